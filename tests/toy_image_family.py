"""A family of images in one file: each code given the one above it and the one before it in its row.

FAMILIES["neighbours"] = NeighboursArchitecture registers it.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from wavegen.architectures import ImageArchitecture, Size
from wavegen.models.base import ImageModel, Model
from wavegen.nn.causal import shift


@dataclass(frozen=True, kw_only=True)
class NeighboursArchitecture(ImageArchitecture):
    """Embeddings of the codes above and before, summed, and a linear layer; it draws images."""

    kind: ClassVar[str] = "neighbours"
    network: ClassVar[str] = "tests.toy_image_family:Neighbours"

    channels: Annotated[int, Size("size of each embedding", gt=0, le=65536)] = 16

    @property
    def receptive_field(self) -> int:
        return self.row_length

    @property
    def multiply_adds(self) -> int:
        return self.channels * self.n_parameters_of_head


class NeighboursRow(Model):
    """The network along a row: the code before it, and what `Neighbours.vertical_condition` says of the code above."""

    architecture: NeighboursArchitecture

    def __init__(self, architecture: NeighboursArchitecture) -> None:
        super().__init__(architecture)
        self.before = nn.Embedding(architecture.n_classes + 1, architecture.channels)
        self.out = nn.Linear(architecture.channels, self.head.n_parameters)
        self.head.init_output_layer(self.out.weight, self.out.bias)

    def forward(self, codes: Tensor, state: Any = None, condition: Any = None) -> tuple[Tensor, Any]:
        """Shapes: codes (B, T), condition (B, T, 1, channels) -> (B, T, head parameters), state."""
        before, state = shift(codes + 1, state)
        x = self.before(before)
        if condition is not None:
            x = x + condition[..., 0, :]
        parameters = self.out(x)
        return self.head.shift_by_previous(parameters, (before - 1).clamp(min=0), before > 0), state

    def observe(self, state: Any, codes: Tensor) -> Any:
        return codes + 1


class Neighbours(ImageModel):
    """The table of the codes above, over the network along a row."""

    architecture: NeighboursArchitecture

    def __init__(self, architecture: NeighboursArchitecture) -> None:
        super().__init__(architecture)
        self.row = NeighboursRow(architecture)
        self.above = nn.Embedding(architecture.n_classes + 1, architecture.channels)

    def vertical_condition(self, rows: Tensor, state: Any = None, condition: Any = None) -> tuple[Tensor, Any]:
        above, state = shift(rows + 1, state)
        return self.above(above)[..., None, :], state

    def observe(self, state: Any, codes: Tensor) -> Any:
        return codes[:, None] + 1
