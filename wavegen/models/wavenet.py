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

With a prediction (models/prediction.py) past codes enter in another way, and the head departs from what is predicted.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wavegen.architectures import SequenceArchitecture
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.models.base import Condition, TrainingBatch
from wavegen.models.conditions import FrameNetwork, Labelled
from wavegen.models.embedding import embed_codes
from wavegen.models.prediction import Past, PredictionInput
from wavegen.nn.causal import shift
from wavegen.nn.gated import GatedLayer, GatedStack


class WaveNetState(NamedTuple):
    """The pasts at one instant: of the delay, the newest code plus 1 (0: nothing yet), or what a network with a
    prediction has to know of past codes; and of all layers."""

    delay: Tensor | Past
    stack: list[Tensor] | None


class WaveNet(Labelled):
    """The network. Ablations of the paper: activation "relu", residual false, dilated false (every dilation 1)."""

    architecture: SequenceArchitecture

    def __init__(self, architecture: SequenceArchitecture) -> None:
        super().__init__(architecture)
        shape, n_layers = architecture, len(architecture.dilations)
        self.prediction = None
        if shape.prediction is None:
            self.embed = embed_codes(shape.n_classes, shape.residual_channels)
        else:
            self.prediction = PredictionInput(shape.prediction, shape.n_classes, shape.residual_channels)
        self.stack = GatedStack(
            shape.dilations,
            shape.residual_channels,
            shape.gate_channels,
            shape.kernel_size,
            shape.activation,
            shape.residual,
            shape.dropout,
        )
        self.skip = nn.Linear(n_layers * shape.gate_channels, shape.skip_channels)
        self.head_hidden = nn.Linear(shape.skip_channels, shape.head_channels)
        self.head_out = nn.Linear(shape.head_channels, self.head.n_parameters)
        self.head.init_output_layer(self.head_out.weight, self.head_out.bias)
        self.add_labels()
        self.frame_network = (
            None if shape.frames is None else FrameNetwork(shape.frames, n_layers, shape.condition_channels)
        )

    def gated_layers(self) -> Sequence[GatedLayer]:
        return self.stack.layers

    def hidden_matrices(self) -> list[nn.Parameter]:
        inside = (self.stack, self.skip, self.head_hidden)
        return [parameter for module in inside for parameter in module.parameters() if parameter.ndim > 1]

    def forward(
        self, codes: Tensor, state: WaveNetState | None = None, condition: Condition | None = None
    ) -> tuple[Tensor, WaveNetState]:
        """Predict every code of a chunk from the codes before it.

        Shapes: codes (B, T) int64, condition (B, T or 1, n_layers, condition_channels), or frames of it
        -> logits (B, T, head parameters), state. The entry at t has seen codes before t only.
        """
        past: Any = None if state is None else state.delay
        delay: Tensor | Past
        if self.prediction is None:
            delayed, delay = shift(codes + 1, past)  # 0: there is no code before
            has_previous, previous = delayed > 0, (delayed - 1).clamp(min=0)
            x = self.embed(previous) * has_previous[..., None]
        else:
            x, predicted, delay = self.prediction(codes, past, condition)
        _, activations, stack = self.stack(x, None if state is None else state.stack, condition)
        skip = torch.relu(self.skip(torch.cat(activations, dim=-1)))
        if self.architecture.head.is_precise:
            with torch.autocast(skip.device.type, enabled=False):
                parameters = self.output_layers(skip.to(self.head_out.weight.dtype))
        else:
            parameters = self.output_layers(skip)
        if self.prediction is None:
            parameters = self.head.shift_by_previous(parameters, previous, has_previous)
        else:
            parameters = self.head.shift_by_prediction(parameters, predicted)
        return parameters, WaveNetState(delay, stack)

    def condition(self, labels: Mapping[str, Tensor], frames: Frames[Tensor] | None = None) -> Condition | None:
        """What enters the layers, from labels and from feature frames, the first of them at a chunk's first sample.

        Shapes: per label (B,) -> (B, 1 or F, n_layers, condition_channels); None without either.
        """
        of_labels = self.of_labels(labels)
        if self.frame_network is None:
            return of_labels
        sizes = self.architecture.frames
        assert frames is not None and sizes is not None  # whoever calls has the features that the model was built for
        of_frames: Tensor = self.frame_network(frames.values)
        values = of_frames if of_labels is None else of_frames + of_labels
        return FrameCondition(values, sizes.hop, prediction=frames.prediction)

    def loss(self, batch: TrainingBatch) -> Tensor:
        """As every model's; where past codes enter beside the layers, those before the window are looked at first."""
        lead_in = batch.lead_in
        if self.prediction is None or not lead_in:
            return super().loss(batch)
        condition = self.condition(batch.labels, batch.frames)
        assert isinstance(condition, FrameCondition)
        _, _, past = self.prediction(batch.inputs[:, :lead_in], None, condition.part(0, lead_in))
        window = condition.part(lead_in, batch.codes.shape[1] - lead_in)
        parameters, _ = self(batch.inputs[:, lead_in:], WaveNetState(past, None), window)
        return self.mean_bits(parameters, batch.codes[:, lead_in:], batch.counted[:, lead_in:])

    def output_layers(self, skip: Tensor) -> Tensor:
        """The last two layers: from the rectified sum of the skips to what the head takes.

        Shapes: skip (B, T, skip_channels) -> (B, T, head parameters).
        """
        parameters: Tensor = self.head_out(torch.relu(self.head_hidden(skip)))
        return parameters

    def observe(self, state: WaveNetState, codes: Tensor) -> WaveNetState:
        """The state with the newest step's code replaced: predict first, then say what the code turned out to be.

        Shapes: codes (B, 1).
        """
        if self.prediction is None:
            return state._replace(delay=codes + 1)
        assert isinstance(state.delay, Past)
        return state._replace(delay=self.prediction.observe(state.delay, codes))
