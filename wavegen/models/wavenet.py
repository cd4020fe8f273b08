"""WaveNet (arXiv:1609.03499): codes -> parameters of the next code.

    codes (B, T)
      |  delay by one step (so the output at t has seen the codes before t only), embed
    x (B, T, residual_channels)
      |  n_blocks times dilations 1, 2, 4, ... 2^(layers_per_block - 1)   [nn/gated.py]
    z_1 ... z_n (B, T, gate_channels) each
      |  skip: the sum over layers of a projection of each z
    s (B, T, skip_channels)
      |  relu, linear, relu, linear
    logits (B, T, head parameters)

Departures from the paper: the codes enter through an embedding instead of a causal convolution over one-hot vectors,
which is the same thing for a kernel of 1 and lets `receptive_field` be 1 + (kernel_size - 1) * sum(dilations); and the
skip projections of all layers are one matrix over the concatenated z, which is the same sum and faster.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wavegen.features.frame_condition import FrameCondition
from wavegen.models.base import map_state
from wavegen.models.conditions import FrameNetwork, Labelled
from wavegen.models.embedding import embed_codes
from wavegen.models.heads import Categorical, make_head
from wavegen.nn.causal import shift
from wavegen.nn.gated import Activation, GatedStack, condition_channels


class WaveNetState(NamedTuple):
    """The pasts at one instant: of the delay, the newest code plus 1 (0: nothing yet), and of all layers."""

    delay: Tensor
    stack: list[Tensor]


class WaveNet(Labelled):
    """The network. Sizes are in channels; `labels` maps each label's name to its number of known values.

    `n_features` numbers in each of the frames that condition it, one every `hop` samples; 0 for none.
    `frame_channels` and `look_ahead`: see conditions.FrameNetwork.

    Ablations of the paper: `activation="relu"`, `residual=False`, `dilated=False` (every dilation 1).
    """

    def __init__(
        self,
        n_classes: int,
        n_blocks: int,
        layers_per_block: int,
        residual_channels: int,
        gate_channels: int,
        skip_channels: int,
        head_channels: int,
        kernel_size: int = 2,
        activation: Activation = "gated",
        residual: bool = True,
        dilated: bool = True,
        labels: Mapping[str, int] | None = None,
        label_channels: int = 16,
        head: str = Categorical.kind,
        n_mixtures: int = 10,
        mean_unit: float = 1.0,
        dropout: float = 0.0,
        n_features: int = 0,
        hop: int = 1,
        frame_channels: int = 64,
        look_ahead: int = 2,
    ) -> None:
        super().__init__()
        block = [2**i if dilated else 1 for i in range(layers_per_block)]
        self.dilations = tuple(block * n_blocks)
        self.head = make_head(head, n_classes, n_mixtures, mean_unit)

        self.embed = embed_codes(n_classes, residual_channels)
        self.stack = GatedStack(
            self.dilations, residual_channels, gate_channels, kernel_size, activation, residual, dropout
        )
        self.skip = nn.Linear(len(self.dilations) * gate_channels, skip_channels)
        self.head_hidden = nn.Linear(skip_channels, head_channels)
        self.head_out = nn.Linear(head_channels, self.head.n_parameters)
        self.head.start(self.head_out.weight, self.head_out.bias)

        channels = condition_channels(gate_channels, activation)
        self.add_labels(labels, label_channels, len(self.dilations), channels)
        self.hop = hop
        self.frame_network = (
            FrameNetwork(n_features, frame_channels, look_ahead, len(self.dilations), channels) if n_features else None
        )

    @property
    def device(self) -> torch.device:
        return self.head_out.weight.device

    @property
    def row_length(self) -> int:
        """Codes that a chunk must be a multiple of."""
        return 1

    @property
    def receptive_field(self) -> int:
        """Samples that the prediction of the next one can see."""
        return self.stack.receptive_field

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights between hidden channels, which an optimiser may treat as matrices (muon.py)."""
        inside = (self.stack, self.skip, self.head_hidden)
        return [parameter for module in inside for parameter in module.parameters() if parameter.ndim > 1]

    def forward(
        self, codes: Tensor, state: WaveNetState | None = None, condition: Tensor | FrameCondition[Tensor] | None = None
    ) -> tuple[Tensor, WaveNetState]:
        """Predict every code of a chunk from the codes before it.

        Shapes: codes (B, T) int64, condition (B, T or 1, n_layers, condition_channels), or frames of it
        -> logits (B, T, head parameters), state. The entry at t has seen codes before t only.
        """
        delayed, delay = shift(codes + 1, None if state is None else state.delay)  # 0: nothing was heard yet
        is_heard, heard = delayed > 0, (delayed - 1).clamp(min=0)
        x = self.embed(heard) * is_heard[..., None]
        _, activations, stack = self.stack(x, None if state is None else state.stack, condition)
        skip = torch.relu(self.skip(torch.cat(activations, dim=-1)))
        if self.head.is_precise:
            with torch.autocast(skip.device.type, enabled=False):
                parameters = self.say(skip.to(self.head_out.weight.dtype))
        else:
            parameters = self.say(skip)
        return self.head.shift_by_previous(parameters, heard, is_heard), WaveNetState(delay, stack)

    def condition(
        self, labels: Mapping[str, Tensor], frames: Tensor | None = None
    ) -> Tensor | FrameCondition[Tensor] | None:
        """What enters the layers, from labels and from feature frames, the first of them at a chunk's first sample.

        Shapes: per label (B,), frames (B, look_ahead + F + look_ahead, n_features)
        -> (B, 1 or F, n_layers, condition_channels); None without either.
        """
        of_labels = self.of_labels(labels)
        if self.frame_network is None:
            return of_labels
        assert frames is not None  # whoever calls has the features that the model was built for
        of_frames: Tensor = self.frame_network(frames)
        return FrameCondition(of_frames if of_labels is None else of_frames + of_labels, self.hop)

    def say(self, skip: Tensor) -> Tensor:
        """The last two layers: from the rectified sum of the skips to what the head takes.

        Shapes: skip (B, T, skip_channels) -> (B, T, head parameters).
        """
        parameters: Tensor = self.head_out(torch.relu(self.head_hidden(skip)))
        return parameters

    @torch.no_grad()
    def initial_state(self, n_streams: int) -> WaveNetState:
        """The state of some streams at the beginning of time."""
        _, state = self(torch.zeros((n_streams, 0), dtype=torch.int64, device=self.device))
        beginning: WaveNetState = map_state(Tensor.clone, state)  # tensors of their own, which may be written to
        return beginning

    def observe(self, state: WaveNetState, codes: Tensor) -> WaveNetState:
        """The state with the newest step's code replaced: predict first, then say what the code turned out to be.

        Shapes: codes (B, 1).
        """
        return state._replace(delay=codes + 1)
