"""A family in one file: a table of what follows each code. FAMILIES["table"] = TableArchitecture registers it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from wavegen.architectures import Architecture
from wavegen.models.base import Model
from wavegen.nn.causal import shift


@dataclass(frozen=True, kw_only=True)
class TableArchitecture(Architecture):
    """A table of what follows each code, which makes sound."""

    kind: ClassVar[str] = "table"
    makes: ClassVar[Literal["sound", "images"]] = "sound"
    network: ClassVar[str] = "tests.toy_family:Table"

    @property
    def receptive_field(self) -> int:
        return 1

    @property
    def multiply_adds(self) -> int:
        return 0  # it only looks up


class Table(Model):
    """A row of parameters for each code before, the first of them for none."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        n_rows = architecture.n_classes + 1
        self.rows = nn.Parameter(torch.randn(self.head.n_parameters, n_rows) / n_rows)
        self.bias = nn.Parameter(torch.zeros(self.head.n_parameters))
        self.head.init_output_layer(self.rows, self.bias)

    def forward(self, codes: Tensor, state: Any = None, condition: Any = None) -> tuple[Tensor, Any]:
        before, state = shift(codes + 1, state)
        parameters = self.rows.T[before] + self.bias
        return self.head.shift_by_previous(parameters, (before - 1).clamp(min=0), before > 0), state

    def observe(self, state: Any, codes: Tensor) -> Any:
        return codes + 1
