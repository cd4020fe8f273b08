"""What every network offers (`Model`), and what its state is: a tree of tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wavegen.architectures import Architecture
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.models.heads import make_head
from wavegen.nn.gated import GatedLayer

Condition = Tensor | FrameCondition[Tensor]


class TrainingBatch(NamedTuple):
    """What a network is trained on, on its device: the codes to predict and those that it is given in their place,
    which of them count, label rows by name (each (B,)), and the feature frames of a vocoder. Codes are (B, T), of which
    the first `lead_in` come before the window, to be seen."""

    codes: Tensor
    inputs: Tensor
    counted: Tensor
    labels: dict[str, Tensor]
    frames: Frames[Tensor] | None = None
    lead_in: int = 0


class Model(nn.Module):
    """A network: codes in, parameters of the next code's distribution out. A family derives from this.

    What it has to define is `forward` and `observe`; labels, frames, and what doctor and Muon look at are up to it.
    tests/models/test_contract.py says what it must do.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.head = make_head(architecture.head, architecture.n_classes)

    @property
    def receptive_field(self) -> int:
        """Codes that the prediction of the next one can see."""
        return self.architecture.receptive_field

    @property
    def row_length(self) -> int:
        """Codes that are observed together."""
        return self.architecture.row_length

    @property
    def unit(self) -> int:
        """Codes that chunks begin and end at multiples of."""
        return self.architecture.unit

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def stepped(self) -> "Model":
        """The network that engines step code by code: itself, or of images the one along a row."""
        return self

    def gated_layers(self) -> Sequence[GatedLayer]:
        """Its gated layers, if it has any, in the order in which they compute."""
        return []

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights between hidden channels, which an optimiser may treat as matrices (training/optimizers.py)."""
        return []

    def forward(self, codes: Tensor, state: Any = None, condition: Any = None) -> tuple[Tensor, Any]:
        """Predict every code of a chunk from the codes before it.

        A state of None is the beginning of time; a condition is what `condition` makes.

        Shapes: codes (B, T) int64 -> (B, T, head parameters), state. The entry at t has seen codes before t only.
        """
        raise NotImplementedError

    def observe(self, state: Any, codes: Tensor) -> Any:
        """The state with the newest row's codes replaced: predict first, then say what the codes turned out to be.

        Shapes: codes (B, row_length).
        """
        raise NotImplementedError

    def condition(self, labels: Mapping[str, Tensor], frames: Frames[Tensor] | None = None) -> Condition | None:
        """What labels, and the feature frames from a chunk's first code on, make of the network; None for nothing.

        Shapes: per label (B,) rows of its embedding.
        """
        assert not labels  # `Architecture.check` has seen to it
        assert frames is None
        return None

    def loss(self, batch: TrainingBatch) -> Tensor:
        """Mean -log2 p(code) over the codes of a batch that count."""
        parameters, _ = self(batch.inputs, None, self.condition(batch.labels, batch.frames))
        return self.mean_bits(parameters, batch.codes, batch.counted)

    def mean_bits(self, parameters: Tensor, codes: Tensor, counted: Tensor) -> Tensor:
        """Mean -log2 p(code) over the codes that count. Shapes: parameters (B, T, head parameters), the rest (B, T)."""
        bits = self.head.bits(parameters, codes)
        return (bits * counted).sum() / counted.sum().clamp(min=1)

    @torch.no_grad()
    def initial_state(self, n_streams: int) -> Any:
        """The state of some streams at the beginning of time, of tensors that may be written to."""
        _, state = self(torch.zeros((n_streams, 0), dtype=torch.int64, device=self.device))
        return map_state(Tensor.clone, state)


class ImageModel(Model):
    """A network over images whose rows depend on those above through a condition alone (models/pixelcnn.py).

    `row` is a network over the codes of a row, each from its beginning, under what `vertical_condition` gives (or
    None, which only sets up its state); it `observe`s codes (B, 1). What is left to define is `vertical_condition`,
    and `observe` of a row's codes (B, row_length).
    """

    row: Model

    @property
    def stepped(self) -> Model:
        return self.row

    def forward(self, codes: Tensor, state: Any = None, condition: Any = None) -> tuple[Tensor, Any]:
        """Predict every code of a chunk of whole rows from the codes before it.

        Shapes: codes (B, H * row_length) int64, condition as `condition` makes it
        -> (B, H * row_length, head parameters), state.
        """
        rows = codes.unflatten(1, (-1, self.row_length))
        seen, state = self.vertical_condition(rows, state, condition)
        parameters, _ = self.row(rows.flatten(0, 1), None, seen.flatten(0, 1))
        return parameters.unflatten(0, rows.shape[:2]).flatten(1, 2), state

    def vertical_condition(self, rows: Tensor, state: Any = None, condition: Any = None) -> tuple[Tensor, Any]:
        """What enters the layers of every row: a function of the rows before it.

        Shapes: rows (B, H, row_length) -> (B, H, row_length, n_layers, condition_channels), state.
        """
        raise NotImplementedError


def frames_on(device: torch.device, frames: Frames[NDArray[Any]] | None) -> Frames[Tensor] | None:
    """What `Framer.frames` gives, as `Model.condition` takes it."""
    return None if frames is None else frames.map(lambda array: torch.from_numpy(array).to(device))


def map_state(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """The same tree with every tensor replaced by `function` of it.

    A tree is a tensor, or a tuple, a named tuple or a list of trees; every tensor has the streams along its first axis.
    """
    if isinstance(state, Tensor):
        return function(state)
    branches = [map_state(function, branch) for branch in state]
    if isinstance(state, list):
        return branches
    return type(state)(*branches) if hasattr(state, "_fields") else tuple(branches)


def tensors_of(state: Any) -> list[Tensor]:
    """All tensors of a state, in order."""
    return [state] if isinstance(state, Tensor) else [tensor for branch in state for tensor in tensors_of(branch)]
