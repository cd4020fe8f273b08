"""A condition that changes more slowly than codes are made."""

from typing import Any, Generic, NamedTuple, TypeVar

ArrayT = TypeVar("ArrayT", bound=Any)  # an array at the engines, a tensor in the networks


class FrameCondition(NamedTuple, Generic[ArrayT]):
    """Frames: `values` (B, F, n_layers, channels), `hop` steps apart, the first of them `phase` steps before a call.

    Between two frames lies a straight line; the last one holds for one hop.
    """

    values: ArrayT
    hop: int
    phase: int = 0

    @property
    def n_steps(self) -> int:
        """How many steps of a call they are enough for."""
        return int(self.values.shape[1]) * self.hop - self.phase

    def part(self, first: int, n: int) -> "FrameCondition[ArrayT]":
        """What the n steps from step `first` on need of it."""
        position = self.phase + first
        begin = position // self.hop
        end = (position + n - 1) // self.hop + 2
        return FrameCondition(self.values[:, begin:end], self.hop, position - begin * self.hop)
