"""Scheduled sampling: a network is trained on some of its own draws, as it will meet them when it runs free."""

import torch

from wavegen.models.base import TrainingBatch
from wavegen.sampling import Decoding, uniform_rows
from wavegen.training.run import Run


@torch.no_grad()
def scheduled_sampling(run: Run, tensors: TrainingBatch, number: int) -> TrainingBatch:
    """Put the network's own draws in place of some inputs of the step's batch `number`, if the recipe wants that.

    The share of draws rises linearly from 0 to `training.scheduled_sampling` at the last step. Two passes, as in
    Mihaylova and Martins, "Scheduled sampling for transformers" (arXiv:1906.07651): the first, without gradient,
    predicts every code from the true ones, and draws.
    """
    settings, model, step = run.recipe.training, run.state.model, run.state.step
    share = settings.scheduled_sampling * step / settings.steps
    if share == 0:
        return tensors
    inputs = tensors.inputs
    with run.autocast():
        parameters, _ = model(inputs, None, model.condition(tensors.labels, tensors.frames))
    first = (step * run.ranks.size + run.ranks.rank) * inputs.numel()
    draws = uniform_rows(settings.seed, number, first, inputs.numel(), 2)
    is_own = torch.from_numpy(draws[:, 0] < share).view(inputs.shape).to(inputs.device)
    own = model.head.draw(parameters[is_own].float().cpu().numpy(), draws[draws[:, 0] < share, 1], Decoding())
    inputs = inputs.clone()
    inputs[is_own] = torch.from_numpy(own).to(inputs.device)
    return tensors._replace(inputs=inputs)
