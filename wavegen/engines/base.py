"""What every engine offers: numpy at its boundary, continuing where its last call stopped."""

import os
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import Head, PredictionSizes
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition, Prediction
from wavegen.sampling import DECODING, Decoding, Decodings

Condition = NDArray[np.float32] | FrameCondition[NDArray[np.float32]]


class Engine(Protocol):
    """A network that remembers B streams. B is fixed when it is built; all streams advance together.

    Axes: B streams, n steps, one code a step; the colours of a pixel are steps. `condition` is
    (B, 1 or n, n_layers, channels), already projected (generation/conditioning.py): one frame that holds throughout, or
    one per step; or a `FrameCondition`, whose frames lie some steps apart, between which the engine interpolates. A
    network that is told a prediction of the next code finds it there; others do not look at one.

    `can_wait`: whether `advance` takes `streams`, and leaves the others where they are.
    """

    n_streams: int
    can_wait: bool

    def start(self, streams: Sequence[int] | None = None) -> None:
        """Put these streams (all by default) at the beginning of time."""
        ...

    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decodings,
        codes: NDArray[np.int64] | None = None,
        condition: Condition | None = None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        """Make n steps: uniforms (B, n) -> codes (B, n).

        Where `codes` (B, n) is given and not -1 it is taken instead of drawn: priming, correcting a stream. If
        `logits` (B, n, parameters) is given, it is filled with what every code was drawn from. Only `streams` make the
        steps where they are given; what is returned and filled in for the others means nothing.
        """
        ...

    def logits(self, codes: NDArray[np.int64], condition: Condition | None = None) -> NDArray[np.floating]:
        """Run given codes (B, n) along the cached path -> (B, n, parameters): what tests compare."""
        ...

    def snapshot(self) -> Any:
        """The state of all streams, for `restore`."""
        ...

    def restore(self, state: Any, streams: Sequence[int] | None = None) -> None:
        """Go back to a snapshot of this engine; stream i as stream `streams[i]` was, or as it was itself."""
        ...


class VerticalStack(Protocol):
    """What a PixelCNN knows of the rows above, for B images that grow together, row by row.

    Axes: B images, S codes in a row.
    """

    def start(self) -> None:
        """Put every image at its first row."""
        ...

    def condition(self) -> NDArray[np.float32]:
        """The condition (B, S, n_layers, channels) under which an engine makes the next row."""
        ...

    def feed(self, row: NDArray[np.int64]) -> None:
        """Take the codes (B, S) of the row that `condition` was for."""
        ...


def check_pairs(n_streams: int, is_guided: bool) -> None:
    """Raises: InputError if a guided engine's streams do not come in pairs, with labels and without."""
    if is_guided and n_streams % 2:
        raise InputError(f"{n_streams} streams are wanted of a guided engine; expected pairs of them")


def decoding_per_stream(
    decoding: Decodings, n_streams: int, head: Head, is_guided: bool, drawn_by: Collection[str] = DECODING
) -> list[Decoding]:
    """The decoding of every stream; `drawn_by` names the fields that the engine heeds.

    Raises: InputError if they are not as many as the streams, or one has what the head or the engine has not.
    """
    each = [decoding] * n_streams if isinstance(decoding, Decoding) else list(decoding)
    if len(each) != n_streams:
        raise InputError(f"decodings for {len(each)} streams are given; expected {n_streams}")
    for one in {id(one): one for one in each}.values():  # of many streams it may be the same
        one.check_head(head)
        for name in one.changed:
            if name not in drawn_by:
                raise InputError(f"this engine does not draw by {name}; leave it out, or take the engine reference")
        if one.is_guided and not is_guided:
            raise InputError(f"guidance is {one.guidance}; this engine was made without, and expects 1")
    return each


def decodings_at_step(each: Sequence[Decoding], condition: Condition | None, step: int) -> Sequence[Decoding]:
    """The decodings of a step, whose temperature may depend on how much of a voice there is."""
    prediction = condition.prediction if isinstance(condition, FrameCondition) else None
    if prediction is None or all(one.voiced_temperature is None for one in each):
        return each
    assert isinstance(condition, FrameCondition)
    voicing = prediction.voicing[:, (condition.phase + step) // condition.hop]
    return [one.at_voicing(share) for one, share in zip(each, voicing, strict=True)]


def check_call(
    n_streams: int,
    n_classes: int,
    shape: tuple[int, ...],
    codes: NDArray[np.int64],
    condition: Condition | None,
    prediction: PredictionSizes | None = None,
) -> None:
    """Look at what an engine is called with; `shape` is that of its uniforms, `prediction` what the network is told.

    Raises: InputError for shapes, codes or a prediction that do not fit the network.
    """
    if len(shape) != 2 or shape[0] != n_streams or codes.shape != shape:
        raise InputError(f"uniforms are {shape} and codes {codes.shape}; expected ({n_streams}, n) of both")
    n = shape[1]
    if isinstance(condition, FrameCondition):
        values, hop, phase = condition.values, condition.hop, condition.phase
        if len(values) != n_streams or hop < 1 or phase < 0 or condition.n_steps < n:
            raise InputError(
                f"condition is frames {values.shape}, {hop} steps apart, the first at step {-phase}; "
                f"expected ({n_streams}, frames for {n} steps, layers, channels)"
            )
    elif condition is not None and (len(condition) != n_streams or condition.shape[1] not in (1, n)):
        raise InputError(f"condition is {condition.shape}; expected ({n_streams}, 1 or {n}, layers, channels)")
    if codes.size and not -1 <= codes.min() <= codes.max() < n_classes:
        raise InputError(f"codes span {codes.min()} to {codes.max()}; expected 0 to {n_classes - 1}, or -1 to draw")
    if prediction is not None and n:
        _check_prediction(prediction, condition)


def _check_prediction(sizes: PredictionSizes, condition: Condition | None) -> None:
    """Raises: InputError if a condition does not hold a prediction of such sizes for each of its frames."""
    if not isinstance(condition, FrameCondition) or condition.prediction is None:
        raise InputError("this network is told a prediction of the next code; expected frames with one")
    own, hop = condition.prediction, condition.hop
    per_frame = condition.values.shape[:2]
    expected = Prediction((*per_frame, sizes.order), (*per_frame, 2), (*per_frame, hop), per_frame)
    for name, array, shape in zip(Prediction._fields, own, expected, strict=True):
        if array.shape != shape:
            raise InputError(f"the prediction's {name} are {array.shape}; expected {shape}")
    if sizes.lag_taps:
        shortest, longest = np.where(own.periods == 0, sizes.longest_period, own.periods).min(), own.periods.max()
        if shortest <= sizes.lag_taps or longest > sizes.longest_period:
            raise InputError(
                f"periods are {shortest} to {longest} samples; expected {sizes.lag_taps + 1} to "
                f"{sizes.longest_period}, or 0 where there is none"
            )


def as_frames(condition: Condition | None) -> FrameCondition[NDArray[np.float32]] | None:
    """The same as frames: one per step lie one step apart, and the last one holds."""
    return FrameCondition(condition, hop=1) if isinstance(condition, np.ndarray) else condition


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
