"""Gated layers and stacks of them: the body of WaveNet and of PixelCNN.

                   condition
                       |
x ---> CausalConv ---> + ---> tanh * sigmoid ---> z ---> project ---> + ---> next layer
 \\                                               |                    /
  \\----------------------------------------------|-------------------/
                                                  v
                                      to the skip sum, if the owner wants one
"""

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from wavegen.features.frame_condition import FrameCondition
from wavegen.nn.causal import CausalConv

Activation = Literal["gated", "relu"]


class GatedLayer(nn.Module):
    """One residual layer.

    z = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h),   out = x + W_r z
    (WaveNet, arXiv:1609.03499, section 2.3 and equations 2 and 3; `h` arrives projected, as `condition`.)

    The papers' ablations: `activation="relu"` takes z = relu(W * x + V h), `residual=False` takes out = W_r z.
    While training, `dropout` is the share of z that is zeroed (as in PixelCNN++, arXiv:1701.05517, section 2.5).
    """

    def __init__(
        self,
        residual_channels: int,
        gate_channels: int,
        kernel_size: int | tuple[int, int] = 2,
        dilation: int = 1,
        activation: Activation = "gated",
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.residual = residual
        self.dropout = nn.Dropout(dropout)
        self.conv = CausalConv(residual_channels, condition_channels(gate_channels, activation), kernel_size, dilation)
        self.project = nn.Linear(gate_channels, residual_channels)
        # Small at first, so that a deep residual stack begins near the identity.
        nn.init.normal_(self.project.weight, std=(0.3 if residual else 1.0) / math.sqrt(gate_channels))
        nn.init.zeros_(self.project.bias)

    def forward(
        self, x: Tensor, state: Tensor | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance one chunk; returns the new residual stream, the gated activation z, and the state.

        Shapes: x (B, T, ..., residual_channels), condition broadcastable to (B, T, ..., condition_channels)
        -> out (B, T, ..., residual_channels), z (B, T, ..., gate_channels), state.
        """
        h, state = self.conv(x, state)
        if condition is not None:
            h = h + condition
        if self.activation == "gated":
            filtered, gate = h.chunk(2, dim=-1)
            z = torch.tanh(filtered) * torch.sigmoid(gate)
        else:
            z = torch.relu(h)
        z = self.dropout(z)
        out = self.project(z)
        return (x + out if self.residual else out), z, state


class GatedStack(nn.Module):
    """Gated layers in sequence, one per entry of `dilations`."""

    def __init__(
        self,
        dilations: Sequence[int],
        residual_channels: int,
        gate_channels: int,
        kernel_size: int | tuple[int, int] = 2,
        activation: Activation = "gated",
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers = nn.ModuleList(
            GatedLayer(residual_channels, gate_channels, kernel_size, dilation, activation, residual, dropout)
            for dilation in dilations
        )
        self.layers = cast(Sequence[GatedLayer], layers)

    @property
    def receptive_field(self) -> int:
        """Steps that one output can see, its own included: 1 + (kernel_size - 1) * sum(dilations)."""
        return 1 + sum(layer.conv.history for layer in self.layers)

    def forward(
        self, x: Tensor, state: Sequence[Tensor] | None = None, condition: Tensor | FrameCondition[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Advance one chunk; returns the residual stream, every layer's activation z, and every layer's state.

        Shapes: x (B, T, ..., residual_channels), condition (B, T or 1, ..., n_layers, condition_channels), or frames
        of it, between which it is interpolated; of fewer steps than the chunk, it repeats.
        """
        activations, states = [], []
        conditions = _of_layers(condition, len(self.layers), x.shape[1])
        for index, (layer, entering) in enumerate(zip(self.layers, conditions, strict=True)):
            x, z, layer_state = layer(x, None if state is None else state[index], entering)
            activations.append(z)
            states.append(layer_state)
        return x, activations, states


def condition_channels(gate_channels: int, activation: Activation) -> int:
    """Channels that a layer's convolution makes, and that its condition has: filter and gate, or one for ReLU."""
    return 2 * gate_channels if activation == "gated" else gate_channels


def _of_layers(
    condition: Tensor | FrameCondition[Tensor] | None, n_layers: int, n_steps: int
) -> Sequence[Tensor | None]:
    """What enters each layer: (B, T or 1, ..., condition_channels)."""
    if condition is None:
        return [None] * n_layers
    if not isinstance(condition, FrameCondition):
        n_repeats = 1 if condition.shape[1] == 1 else n_steps // condition.shape[1]
        one_by_one = condition.unbind(-2)  # repeated layer by layer, because all together take much memory
        return one_by_one if n_repeats == 1 else [torch.cat([one] * n_repeats, dim=1) for one in one_by_one]
    return [interpolated(condition._replace(values=values), n_steps) for values in condition.values.unbind(-2)]


def interpolated(condition: FrameCondition[Tensor], n_steps: int) -> Tensor:
    """A condition at frame rate, at each of n steps: linear from one value to the next, and held from the last one on.

    Shapes: values (B, F, C) -> (B, n_steps, C); of one step, (B, F, ..., C) -> (B, 1, ..., C).
    """
    values, hop, phase = condition.values, condition.hop, condition.phase
    if n_steps == 1:
        return condition.value_at(0)[:, None]
    following = torch.cat([values[:, 1:], values[:, -1:]], dim=1)
    share = torch.arange(hop, device=values.device, dtype=values.dtype)[:, None] / hop
    steps = (values[:, :, None] + share * (following - values)[:, :, None]).flatten(1, 2)
    return steps[:, phase : phase + n_steps]
