"""A condition that changes more slowly than codes are made."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

ArrayT = TypeVar("ArrayT", bound=Any)  # an array at the engines, a tensor in the networks
OtherT = TypeVar("OtherT", bound=Any)


class Prediction(NamedTuple, Generic[ArrayT]):
    """What a network is told of the next code beforehand (features/linear_prediction.py): each holds for one hop.

    `coefficients` (B, F, order) integers, the newest sample's first, in units of 1 / 2**13. `gains` (B, F, 2): the
    unit of what is left, on an axis from -1 to 1, and its natural logarithm. `periods` (B, F, hop) integers: how many
    samples ago the last period was, at each sample; 0 where there is none. `voicing` (B, F) from 0 to 1: how much of a
    decoding's temperature is the one for voices.
    """

    coefficients: ArrayT
    gains: ArrayT
    periods: ArrayT
    voicing: ArrayT

    def map(self, function: Callable[[ArrayT], OtherT]) -> "Prediction[OtherT]":
        """The same of what a function makes of each array."""
        return Prediction(*(function(array) for array in self))


class Frames(NamedTuple, Generic[ArrayT]):
    """What the frames of a stretch tell a network: `values` (B, look_ahead + F + look_ahead, n_features), the frame at
    `look_ahead` around the first sample; and the prediction of F frames, if it takes one."""

    values: ArrayT
    prediction: Prediction[ArrayT] | None = None

    def map(self, function: Callable[[ArrayT], OtherT]) -> "Frames[OtherT]":
        """The same of what a function makes of each array."""
        return Frames(function(self.values), None if self.prediction is None else self.prediction.map(function))


class FrameCondition(NamedTuple, Generic[ArrayT]):
    """Frames: `values` (B, F, n_layers, channels), `hop` steps apart, the first of them `phase` steps before a call.

    Between two frames lies a straight line; the last one holds for one hop. The prediction is of the same frames.
    """

    values: ArrayT
    hop: int
    phase: int = 0
    prediction: Prediction[ArrayT] | None = None

    def map(self, function: Callable[[ArrayT], OtherT]) -> "FrameCondition[OtherT]":
        """The same of what a function makes of each array."""
        prediction = None if self.prediction is None else self.prediction.map(function)
        return FrameCondition(function(self.values), self.hop, self.phase, prediction)

    @property
    def n_steps(self) -> int:
        """How many steps of a call they are enough for."""
        return int(self.values.shape[1]) * self.hop - self.phase

    def value_at(self, step: int) -> ArrayT:
        """The values at one step, (B, n_layers, channels): on the line between two frames; the last one holds."""
        last = self.values.shape[1] - 1
        frame, within = divmod(self.phase + step, self.hop)
        here, there = self.values[:, min(frame, last)], self.values[:, min(frame + 1, last)]
        value: ArrayT = here + within / self.hop * (there - here)
        return value

    def part(self, first: int, n: int) -> "FrameCondition[ArrayT]":
        """What the n steps from step `first` on need of it."""
        position = self.phase + first
        begin = position // self.hop
        end = (position + n - 1) // self.hop + 2
        return self._replace(phase=position - begin * self.hop).map(lambda array: array[:, begin:end])


def joined(parts: Sequence[FrameCondition[NDArray]], axis: int) -> FrameCondition[NDArray]:
    """Conditions side by side (axis 0: their streams) or one after the other (axis 1: their frames); the hop and the
    phase are those of the first."""
    values = np.concatenate([part.values for part in parts], axis=axis)
    predictions = [part.prediction for part in parts if part.prediction is not None]
    if not predictions:
        return parts[0]._replace(values=values)
    arrays = (np.concatenate(each, axis=axis) for each in zip(*predictions, strict=True))
    return parts[0]._replace(values=values, prediction=Prediction(*arrays))
