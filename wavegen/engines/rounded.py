"""What the reduced precisions compute, said in torch: the reference with rounded weights and activations.

The compiled engine is compared with it, and what a precision costs a model is measured with it: at the speed of
training, on any CPU.
"""

import copy
from typing import cast

import torch
from torch import Tensor

from wavegen.engines.cpu.packing import INPUT_STEPS, REDUCED, Precision, round_columns, split_residual
from wavegen.engines.weights import why_not
from wavegen.models.base import Model
from wavegen.models.wavenet import WaveNet


def precisions_of(model: Model) -> tuple[Precision, ...]:
    """The reduced precisions of the CPU engine that a model has: none if compiled engines do not run it."""
    return REDUCED if why_not(model.architecture) is None else ()


@torch.no_grad()
def in_precision(model: Model, precision: Precision) -> Model:
    """A copy of a network that rounds as the CPU engine does in some precision (cpu/packing.py and cpu/kernel.py).

    Of a PixelCNN that is the row alone: what is above it is computed in float32.
    """
    model = copy.deepcopy(model)
    _round_stack(cast(WaveNet, model.stepped), precision)  # what compiled engines step is a WaveNet
    return model


def _round_stack(model: WaveNet, precision: Precision) -> None:
    """Round a network in place."""
    is_gated = all(layer.activation == "gated" for layer in model.stack.layers)
    for layer in model.stack.layers:
        _round(layer.conv.weight, precision)
        _round(layer.project.weight, precision)
    # A ReLU layer's z has a scale of its own, so its part of the skip matrix is a matrix of its own.
    n_parts = 1 if is_gated else len(model.stack.layers)
    for part in model.skip.weight.chunk(n_parts, dim=1):
        _round(part, precision)
    _round(model.head_hidden.weight, precision)
    parts = torch.from_numpy(split_residual(model.head_out.weight.float().T.cpu().numpy(), precision)).transpose(-1, -2)
    for part in parts:
        _round(part, precision)
    model.head_out.weight.copy_(parts.sum(dim=0))
    n_steps = INPUT_STEPS.get(precision)
    if n_steps is None:
        return

    def gated(z: Tensor) -> Tensor:
        return torch.round(z * n_steps) / n_steps if is_gated else _as_bytes(z, n_steps)

    for layer in model.stack.layers:
        layer.conv.register_forward_pre_hook(lambda _module, given: (_as_bytes(given[0], n_steps), *given[1:]))
        layer.project.register_forward_pre_hook(lambda _module, given: (gated(given[0]),))
    model.skip.register_forward_pre_hook(
        lambda _module, given: (torch.cat([gated(z) for z in given[0].chunk(len(model.stack.layers), dim=-1)], -1),)
    )
    for output in (model.head_hidden, model.head_out):
        output.register_forward_pre_hook(lambda _module, given: (_as_bytes(given[0], n_steps),))


def _round(weight: Tensor, precision: Precision) -> None:
    """Round a matrix (..., out, in) in place."""
    rounded = round_columns(weight.float().transpose(-1, -2).cpu().numpy(), precision)
    weight.copy_(torch.from_numpy(rounded.values * rounded.scales[..., None, :]).transpose(-1, -2))


def _as_bytes(x: Tensor, n_steps: int) -> Tensor:
    """Round every step's channels to so many steps up to the largest."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    factor = torch.where(largest > 0, n_steps / largest, 0.0)
    return torch.round(x * factor) * (largest / n_steps)
