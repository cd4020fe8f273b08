"""Gated PixelCNN (arXiv:1606.05328): an image, row by row, on the causal core that WaveNet is made of.

    codes (B, H, W, colours)
      |  delay by one row (so the output at a row has seen the rows above only), embed, add the position
    x (B, H, W, residual_channels)
      |  `vertical`: a stack that streams over rows; its kernels reach one row up and some pixels to either side
    z_1 ... z_n (B, H, W, gate_channels)
      |  a projection of each
    condition (B, H, W * colours, n_layers, condition_channels)
      |
      v
    `row`: a WaveNet over the codes of a row, from left to right, red, green, blue within a pixel
      |
    logits (B, H, W * colours, head parameters)

Two delays take the place of the paper's masks. Mask A hides a pixel from itself in the first layer: that is the delay
of `row` by one code. The vertical stack's masks hide a row from itself: that is its delay by one row. Mask B, of the
later layers, lets a pixel see the feature of its own place: a causal convolution does. What the two stacks see between
them is a stretch to the left, and what is above that and some pixels to the right, without a blind spot; deep enough,
that is everything before.

Departures from the paper: colours are codes of their own in the row, so that green sees red through the whole network
instead of through a masked third of its channels; the row has the dilations and the skip connections of WaveNet; rows
are dilated too; where the pixel is in the image can be an input (the paper's section 2.3 maps labels to places); and
what enters a layer of the row is a projection of the gated activation of the layer above it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wavegen.architectures import PixelCNNArchitecture
from wavegen.features.frame_condition import Frames
from wavegen.models.base import Condition, ImageModel
from wavegen.models.conditions import Labelled
from wavegen.models.embedding import embed_codes
from wavegen.models.wavenet import WaveNet
from wavegen.nn.causal import shift
from wavegen.nn.gated import GatedLayer, GatedStack


class PixelCNNState(NamedTuple):
    """What is known of the rows above.

    The newest row's codes plus 1 (0: nothing yet), the past of all layers, and the number of rows (B,), which is the
    same for all.
    """

    delay: Tensor
    stack: list[Tensor]
    n_rows: Tensor


class PixelCNN(Labelled, ImageModel):
    """The network. With `position_embedding` it learns what is usual at each position of an image."""

    architecture: PixelCNNArchitecture
    row: WaveNet

    def __init__(self, architecture: PixelCNNArchitecture) -> None:
        super().__init__(architecture)
        shape, dilations = architecture, architecture.dilations
        self.row = WaveNet(shape.row)
        self.embed = nn.ModuleList(
            embed_codes(shape.n_classes, shape.residual_channels) for _ in range(shape.n_colours)
        )
        self.vertical = GatedStack(
            dilations,
            shape.residual_channels,
            shape.gate_channels,
            (2, shape.kernel_width),
            shape.activation,
            dropout=shape.dropout,
        )
        if shape.position_embedding:
            self.row_position = nn.Parameter(torch.zeros(shape.height, 1, shape.residual_channels))
            self.column_position = nn.Parameter(torch.zeros(shape.width, shape.residual_channels))
        self.enter = nn.ModuleList(nn.Linear(shape.gate_channels, shape.condition_channels) for _ in dilations)
        self.colour = nn.Parameter(torch.zeros(shape.n_colours, len(dilations), shape.condition_channels))
        self.add_labels()

    def gated_layers(self) -> Sequence[GatedLayer]:
        return [*self.vertical.layers, *self.row.stack.layers]

    def hidden_matrices(self) -> list[nn.Parameter]:
        stacks = (self.vertical, self.enter)
        own = [parameter for part in stacks for parameter in part.parameters() if parameter.ndim > 1]
        return self.row.hidden_matrices() + own

    def condition(self, labels: Mapping[str, Tensor], frames: Frames[Tensor] | None = None) -> Condition | None:
        """What enters the layers of both stacks, from labels; there are no frames for images.

        Shapes: per label (B,) -> (B, 1, 2 * n_layers, condition_channels); None without labels.
        """
        assert frames is None
        return self.of_labels(labels)

    def vertical_condition(
        self, rows: Tensor, state: PixelCNNState | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, PixelCNNState]:
        """What enters the layers of every row: a function of the rows before it, of the labels, and of the position.

        Shapes: rows (B, H, row_length) -> (B, H, row_length, n_layers, condition_channels), state.
        """
        delayed, delay = shift(rows + 1, None if state is None else state.delay)  # 0: there is nothing above
        shape, n_layers = self.architecture, len(self.architecture.dilations)
        pixels = delayed.unflatten(-1, (shape.width, shape.n_colours))
        embedded = [embed((pixels[..., colour] - 1).clamp(min=0)) for colour, embed in enumerate(self.embed)]
        x = torch.stack(embedded).sum(dim=0) * (pixels[..., :1] > 0)
        first = 0 if state is None else int(state.n_rows[0])
        last = first + rows.shape[1]
        if shape.position_embedding:
            if last > shape.height:
                raise ValueError(f"{last} rows; expected at most the height of {shape.height}")
            x = x + self.row_position[first:last] + self.column_position
        label = None if condition is None else condition[:, :, None]
        _, activations, stack = self.vertical(
            x, None if state is None else state.stack, None if label is None else label[..., :n_layers, :]
        )
        entering = [enter(z) for enter, z in zip(self.enter, activations, strict=True)]
        seen = torch.stack(entering, dim=-2)[..., None, :, :] + self.colour
        seen = seen.flatten(2, 3)
        if label is not None:
            seen = seen + label[..., n_layers:, :]
        n_rows = torch.full((len(rows),), last, device=rows.device)
        return seen, PixelCNNState(delay, stack, n_rows)

    def observe(self, state: PixelCNNState, codes: Tensor) -> PixelCNNState:
        return state._replace(delay=codes[:, None] + 1)
