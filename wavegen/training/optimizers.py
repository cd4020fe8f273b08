"""The optimisers of a run and their learning rate: Muon for the matrices inside a network, AdamW for everything else.

Muon is momentum whose updates are orthogonalised (Jordan et al., 2024). A gradient of a matrix is mostly a few large
directions. Muon replaces it by the nearest matrix with all singular values near 1, so rare directions are learnt as
fast as common ones. What is no matrix between hidden channels (embeddings, biases, the last layer) is left to AdamW.
`torch.optim.Muon` is the same for one plain matrix after the other; this one takes all of a shape at once and
convolutions as well, which on a processor is the difference between 2 and 12 % of the time of a step.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from wavegen.devices import multiplies_bfloat16
from wavegen.models.base import Model
from wavegen.recipe import Training

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives singular values towards 1 fastest (Jordan et al.)
N_ITERATIONS = 5
RMS = 0.2  # of an update at learning rate 1, about that of AdamW, so both share one (Liu et al., arXiv:2502.16982)


def learning_rate(settings: Training, step: int) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate` of the peak at the last step."""
    warm = min(1.0, (step + 1) / max(1, settings.warm_up))
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    final = settings.final_learning_rate
    return settings.learning_rate * warm * (final + (1 - final) * cosine)


def make_optimizers(model: Model, settings: Training) -> list[torch.optim.Optimizer]:
    """What the recipe asks for; between them they hold every parameter once."""
    hidden = model.hidden_matrices() if settings.optimizer == "muon" else []
    held = {id(parameter) for parameter in hidden}
    others = [parameter for parameter in model.parameters() if id(parameter) not in held]
    rate, decay = settings.learning_rate, settings.weight_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, rate, betas=settings.betas, weight_decay=decay, foreach=True)
    ]
    if hidden:
        optimizers.append(Muon(hidden, rate, settings.momentum, decay))
    return optimizers


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Have the next update of all optimisers made with this learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


class Muon(torch.optim.Optimizer):
    """Weights (..., out, in): leading axes are the taps of a convolution, and join its inputs to one matrix."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients at hand; `closure` is there for the interface and must be None."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                momenta = [self._momentum(parameter, group["momentum"]) for parameter in parameters]
                updates = orthogonalise(torch.stack([_as_matrix(momentum) for momentum in momenta]))
                updates *= RMS * math.sqrt(max(updates.shape[-2:]))
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(_as_weight(update, parameter.shape), alpha=group["lr"])

    def _momentum(self, parameter: nn.Parameter, decay: float) -> Tensor:
        """Nesterov's momentum: the moving average of gradients, looked at one step ahead."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        state["momentum"].lerp_(parameter.grad, 1 - decay)
        return parameter.grad.lerp(state["momentum"], decay)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Each matrix with its singular values brought to between 0.7 and 1.2, its singular vectors kept.

    Five steps of a Newton-Schulz iteration, which needs products only; bfloat16 is precise enough, and is taken where
    the hardware multiplies it.
    Shapes: (n, rows, columns) -> the same, in the dtype given.
    """
    x = matrices.bfloat16() if multiplies_bfloat16(matrices.device) else matrices.float()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(N_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)


def _as_matrix(weight: Tensor) -> Tensor:
    """(taps..., out, in) -> (out, taps * in)."""
    return weight.flatten(0, -3).transpose(0, 1).flatten(1) if weight.ndim > 2 else weight


def _as_weight(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The way back."""
    if len(shape) == 2:
        return matrix
    return matrix.unflatten(1, (-1, shape[-1])).transpose(0, 1).reshape(shape)
