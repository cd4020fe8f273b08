"""Gated PixelCNN (arXiv:1606.05328): an image, row by row, on the causal core that WaveNet is made of.

    codes (B, H, W, colours)
      |  delay by one row (so the output at a row has seen the rows above only), embed, add the place
    x (B, H, W, residual_channels)
      |  `above`: a stack that streams over rows; its kernels reach one row up and some pixels to either side
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

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wavegen.models.conditions import Labelled
from wavegen.models.embedding import embed_codes
from wavegen.models.heads import Categorical, LogisticMixture
from wavegen.models.wavenet import WaveNet
from wavegen.nn.causal import shift
from wavegen.nn.gated import Activation, GatedStack, condition_channels


class PixelCNNState(NamedTuple):
    """What is known of the rows above.

    The newest row's codes plus 1 (0: nothing yet), the past of all layers, and the number of rows.
    """

    delay: Tensor
    stack: list[Tensor]
    n_rows: int


class PixelCNN(Labelled):
    """The network. `width` is in pixels, `n_colours` is 1 for grey and 3 for red, green, blue;
    other sizes as WaveNet's.

    `reach` is how many pixels of the row above a layer sees, the one above included: an odd number. With a `height`, in
    pixels, the network learns what is usual at each place of an image, and draws images of that height.
    """

    def __init__(
        self,
        n_classes: int,
        width: int,
        n_colours: int,
        n_blocks: int,
        layers_per_block: int,
        residual_channels: int,
        gate_channels: int,
        skip_channels: int,
        head_channels: int,
        reach: int = 3,
        height: int | None = None,
        activation: Activation = "gated",
        dropout: float = 0.0,
        labels: Mapping[str, int] | None = None,
        label_channels: int = 16,
        head: str = Categorical.kind,
        n_mixtures: int = 10,
        mean_unit: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.n_colours = width, n_colours
        self.row = WaveNet(
            n_classes,
            n_blocks,
            layers_per_block,
            residual_channels,
            gate_channels,
            skip_channels,
            head_channels,
            activation=activation,
            dropout=dropout,
            head=head,
            n_mixtures=n_mixtures,
            mean_unit=mean_unit,
        )
        self.n_layers = len(self.row.dilations)
        channels = condition_channels(gate_channels, activation)
        self.embed = nn.ModuleList(embed_codes(n_classes, residual_channels) for _ in range(n_colours))
        self.above = GatedStack(
            self.row.dilations, residual_channels, gate_channels, (2, reach), activation, dropout=dropout
        )
        if height is not None:
            self.row_place = nn.Parameter(torch.zeros(height, 1, residual_channels))
            self.column_place = nn.Parameter(torch.zeros(width, residual_channels))
        self.height = height
        self.enter = nn.ModuleList(nn.Linear(gate_channels, channels) for _ in self.row.dilations)
        self.colour = nn.Parameter(torch.zeros(n_colours, self.n_layers, channels))
        self.add_labels(labels, label_channels, 2 * self.n_layers, channels)

    @property
    def device(self) -> torch.device:
        return self.row.device

    @property
    def head(self) -> Categorical | LogisticMixture:
        """What the logits are parameters of."""
        return self.row.head

    @property
    def row_length(self) -> int:
        """Codes in a row, which a chunk must be a multiple of."""
        return self.width * self.n_colours

    @property
    def receptive_field(self) -> int:
        """Codes from the farthest that a prediction can see up to itself: at most so many rows, counted whole."""
        return (self.above.receptive_field + 1) * self.row_length

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights between hidden channels, which an optimiser may treat as matrices (muon.py)."""
        own = [parameter for part in (self.above, self.enter) for parameter in part.parameters() if parameter.ndim > 1]
        return self.row.hidden_matrices() + own

    def forward(
        self, codes: Tensor, state: PixelCNNState | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, PixelCNNState]:
        """Predict every code of a chunk of whole rows from the codes before it.

        Shapes: codes (B, H * row_length) int64, condition as `condition` makes it
        -> logits (B, H * row_length, head parameters), state.
        """
        rows = codes.unflatten(1, (-1, self.row_length))
        seen, state = self.look_above(rows, state, condition)
        logits, _ = self.row(rows.flatten(0, 1), None, seen.flatten(0, 1))
        return logits.unflatten(0, rows.shape[:2]).flatten(1, 2), state

    def condition(self, labels: Mapping[str, Tensor], frames: Tensor | None = None) -> Tensor | None:
        """What enters the layers of both stacks, from labels; there are no frames for images.

        Shapes: per label (B,) -> (B, 1, 2 * n_layers, condition_channels); None without labels.
        """
        assert frames is None
        return self.of_labels(labels)

    def look_above(
        self, rows: Tensor, state: PixelCNNState | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, PixelCNNState]:
        """What enters the layers of every row: a function of the rows before it, of the labels, and of the place.

        Shapes: rows (B, H, row_length) -> (B, H, row_length, n_layers, condition_channels), state.
        """
        delayed, delay = shift(rows + 1, None if state is None else state.delay)  # 0: there is nothing above
        pixels = delayed.unflatten(-1, (self.width, self.n_colours))
        embedded = [embed((pixels[..., colour] - 1).clamp(min=0)) for colour, embed in enumerate(self.embed)]
        x = torch.stack(embedded).sum(dim=0) * (pixels[..., :1] > 0)
        first = 0 if state is None else state.n_rows
        if self.height is not None:
            if first + rows.shape[1] > self.height:
                raise ValueError(f"{first + rows.shape[1]} rows; expected at most the height of {self.height}")
            x = x + self.row_place[first : first + rows.shape[1]] + self.column_place
        label = None if condition is None else condition[:, :, None]
        _, activations, stack = self.above(
            x, None if state is None else state.stack, None if label is None else label[..., : self.n_layers, :]
        )
        entering = [enter(z) for enter, z in zip(self.enter, activations, strict=True)]
        seen = torch.stack(entering, dim=-2)[..., None, :, :] + self.colour
        seen = seen.flatten(2, 3)
        if label is not None:
            seen = seen + label[..., self.n_layers :, :]
        return seen, PixelCNNState(delay, stack, first + rows.shape[1])

    def observe(self, state: PixelCNNState, row: Tensor) -> PixelCNNState:
        """The state with the newest row's codes replaced: look above first, then say what the row turned out to be.

        Shapes: row (B, 1, row_length).
        """
        return state._replace(delay=row + 1)
