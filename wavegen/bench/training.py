"""How fast this machine trains: our loop beside bare steps of the same network written in other ways."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from wavegen.architectures import WaveNetArchitecture
from wavegen.devices import choose_device
from wavegen.models.wavenet import WaveNet
from wavegen.progress import Bar
from wavegen.recipe import AudioData, Recipe, SineData
from wavegen.training.batches import Prepared
from wavegen.training.folder import opened
from wavegen.training.loop import update
from wavegen.training.metrics import Metrics, Update
from wavegen.training.optimizers import make_optimizers
from wavegen.training.run import Run, set_up

ROUNDS = 20  # unless somebody says otherwise
MAX_BATCH = 32_000  # samples per step when training is timed


class Timing(NamedTuple):
    """Median speed of one contestant, and its share of the fastest's."""

    name: str
    samples_per_s: float
    share_of_best: float


class TrainingReport(NamedTuple):
    """The formulations, and the share of its time that our loop waited for data; the recipe's rate is in Hz."""

    timings: list[Timing]
    waiting: float
    sample_rate: int


def time_training(recipe: Recipe, device: str, rounds: int, bar: Bar) -> TrainingReport:
    """Time our training loop beside bare steps (forward, backward, AdamW) of the same network written in other ways.

    The recipe's corpus is replaced by a sine of the same rate, so that nothing needs to be prepared; nothing is
    compiled, and batches are cut to about 30,000 samples, so that a round takes seconds.
    """
    assert isinstance(recipe.data, AudioData)  # bench has sizes of sound only
    sine = SineData(corpus="sine", sample_rate=recipe.data.sample_rate, frequencies=[440], seconds=30, n_recordings=3)
    batch_size = max(1, min(recipe.training.batch_size, MAX_BATCH // recipe.window))
    training = recipe.training.model_copy(update={"compile": False, "batch_size": batch_size})
    recipe = recipe.model_copy(update={"data": sine, "training": training})
    chosen = choose_device(device)
    with tempfile.TemporaryDirectory() as folder:
        run = set_up(recipe, Path(folder), chosen)
        with opened(run.folder, recipe, step=0) as log, run.feed() as batches:
            contestants: dict[str, Callable[[], object]] = {
                "our training loop": lambda: _logged_update(run, batches, log)
            }
            for (name, forward), precision in itertools.product(FORMULATIONS.items(), (torch.float32, torch.bfloat16)):
                title = f"{name}, {str(precision).removeprefix('torch.')}"
                contestants[title] = _bare_step(recipe, run, forward, precision)
            for step in contestants.values():
                step()
            seconds: dict[str, list[float]] = {name: [] for name in contestants}
            for number in range(rounds):
                for name, step in contestants.items():
                    began = time.perf_counter()
                    step()
                    if chosen.type == "cuda":
                        torch.cuda.synchronize()
                    seconds[name].append(time.perf_counter() - began)
                bar.update(number + 1)
            waiting = _share_of_waiting(run, batches, log, rounds)
    return TrainingReport(_rank(seconds, recipe.training.batch_size * recipe.window), waiting, sine.sample_rate)


def conv1d(model: WaveNet, codes: Tensor) -> Tensor:
    """The network as most repositories write it: conv1d on (B, C, T), zero padding on the left, a sum of skips."""
    x = F.pad(model.embed(codes).transpose(1, 2), (1, 0))[:, :, :-1]
    skips = model.skip.weight.split(model.stack.layers[0].project.in_features, dim=1)
    skip = torch.zeros((), device=x.device)
    for layer, weight in zip(model.stack.layers, skips, strict=True):
        padded = F.pad(x, (layer.conv.history, 0))
        h = F.conv1d(padded, layer.conv.weight.permute(1, 2, 0), layer.conv.bias, dilation=layer.conv.dilation)
        filtered, gate = h.chunk(2, dim=1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        x = x + F.conv1d(z, layer.project.weight[..., None], layer.project.bias)
        skip = skip + F.conv1d(z, weight[..., None])
    hidden = torch.relu(skip + model.skip.bias[:, None])
    hidden = torch.relu(F.conv1d(hidden, model.head_hidden.weight[..., None], model.head_hidden.bias))
    return F.conv1d(hidden, model.head_out.weight[..., None], model.head_out.bias).transpose(1, 2)


def joined_taps(model: WaveNet, codes: Tensor) -> Tensor:
    """The network as matrix products on (B, T, C), with the taps of a convolution side by side in one product."""
    x = F.pad(model.embed(codes), (0, 0, 1, 0))[:, :-1]
    activations = []
    for layer in model.stack.layers:
        n_taps = layer.conv.weight.shape[0]
        padded = F.pad(x, (0, 0, layer.conv.history, 0))
        taps = [padded.narrow(1, k * layer.conv.dilation, x.shape[1]) for k in range(n_taps)]
        h = F.linear(torch.cat(taps, dim=-1), torch.cat(list(layer.conv.weight), dim=-1), layer.conv.bias)
        filtered, gate = h.chunk(2, dim=-1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        activations.append(z)
        x = x + layer.project(z)
    skip = torch.relu(model.skip(torch.cat(activations, dim=-1)))
    return model.head_out(torch.relu(model.head_hidden(skip)))


def wavegen(model: WaveNet, codes: Tensor) -> Tensor:
    """The network as it is."""
    logits: Tensor = model(codes)[0]
    return logits


FORMULATIONS: dict[str, Callable[[WaveNet, Tensor], Tensor]] = {
    "wavegen's own": wavegen,
    "conv1d on (B, C, T)": conv1d,
    "joined taps on (B, T, C)": joined_taps,
}


def _bare_step(
    recipe: Recipe, run: Run, forward: Callable[[WaveNet, Tensor], Tensor], precision: torch.dtype
) -> Callable[[], object]:
    """Forward, backward and the recipe's optimisers, with nothing of our loop around them."""
    model = WaveNet(cast(WaveNetArchitecture, run.description.architecture)).to(run.device)
    optimizers = make_optimizers(model, recipe.training)
    batch = run.windows.batch(0, recipe.training.batch_size)
    codes = torch.from_numpy(batch.codes).to(run.device)

    def step() -> float:
        with torch.autocast(run.device.type, torch.bfloat16, enabled=precision is torch.bfloat16):
            logits = forward(model, codes)
        loss = model.head.bits(logits, codes).mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        return loss.item()

    return step


def _logged_update(run: Run, batches: Iterator[Prepared], log: Metrics) -> Update:
    """A step of our training loop, all of it but validations, saves and samples."""
    made = update(run, batches)
    log.add(run.state.step, made, is_last=False)
    return made


def _share_of_waiting(run: Run, batches: Iterator[Prepared], log: Metrics, n_steps: int) -> float:
    """Let our loop run alone, and see which share of its time it waits for data."""
    _logged_update(run, batches, log)  # the batches made while others were timed are gone after this
    waited_s, began = 0.0, time.perf_counter()
    for _ in range(n_steps):
        waited_s += _logged_update(run, batches, log).waited_s
    return waited_s / (time.perf_counter() - began)


def _rank(seconds: dict[str, list[float]], n_samples: int) -> list[Timing]:
    """Medians, fastest first. Each round's contestants ran side by side, so shares are medians of ratios per round."""
    medians = {name: sorted(each)[len(each) // 2] for name, each in seconds.items()}
    best = min(medians, key=lambda name: medians[name])
    timings = []
    for name in sorted(medians, key=lambda name: medians[name]):
        ratios = sorted(b / own for b, own in zip(seconds[best], seconds[name], strict=True))
        timings.append(Timing(name, n_samples / medians[name], ratios[len(ratios) // 2]))
    return timings
