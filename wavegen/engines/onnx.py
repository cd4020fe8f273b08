"""The step as an ONNX graph in ONNX Runtime: what `wavegen export --to onnx` writes, run here. On one core of a CPU."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import (
    Condition,
    as_frames,
    check_call,
    check_pairs,
    decoding_per_stream,
    decodings_at_step,
)
from wavegen.engines.cache import OncePer
from wavegen.engines.onnx_graph import MISSING, StateLayout, row_model, row_state_sizes, step_model
from wavegen.engines.weights import StackWeights, VerticalWeights
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition
from wavegen.sampling import Decodings, draw_categorical, draw_logistic_mixture, guide

_sessions = OncePer()  # of ONNX Runtime, of each network's weights in memory


def make_session(model: bytes) -> Any:
    """A model in ONNX Runtime, for one thread: more of them wait for each other longer than a step takes.

    Raises: InputError where onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(MISSING.format(error)) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Snapshot(NamedTuple):
    """The streams at one instant: the packed state of each (B, n) and the code before (B,), -1 at the beginning."""

    state: NDArray[np.float32]
    previous: NDArray[np.int64]


class OnnxEngine:
    """An engine (engines/base.py). `is_guided`: the streams are pairs, with labels and without, for guided.py.

    Raises: InputError where onnx or onnxruntime is not installed.
    """

    can_wait = True

    def __init__(self, weights: StackWeights, n_streams: int = 1, is_guided: bool = False) -> None:
        check_pairs(n_streams, is_guided)
        self.n_streams, self._is_guided, self._weights = n_streams, is_guided, weights
        self._n_numbers = StateLayout(weights).n_numbers
        self._draw: Callable[..., NDArray[np.int64]] = draw_categorical
        if weights.n_mixtures is not None:
            self._draw = partial(draw_logistic_mixture, n_classes=weights.n_classes)
        self._session(False)  # is all there that it needs?
        self.start()

    def start(self, streams: Sequence[int] | None = None) -> None:
        if streams is None:
            self._state = np.zeros((self.n_streams, self._n_numbers), dtype=np.float32)
            self._previous = np.full(self.n_streams, -1)
            return
        chosen = list(streams)
        self._state, self._previous = self._state.copy(), self._previous.copy()
        self._state[chosen], self._previous[chosen] = 0, -1

    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decodings,
        codes: NDArray[np.int64] | None = None,
        condition: Condition | None = None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        before = self.snapshot()
        codes = np.full(uniforms.shape, -1, dtype=np.int64) if codes is None else codes.copy()
        frames = self._checked(uniforms.shape, codes, condition)
        each = decoding_per_stream(decoding, self.n_streams, self._weights.head, self._is_guided)
        for step in range(uniforms.shape[1]):
            parameters = self._run(frames, step)
            if self._is_guided:
                parameters = guide(parameters, each)
            if logits is not None:
                logits[:, step] = parameters
            if (codes[:, step] < 0).any():
                drawn = self._draw(parameters, uniforms[:, step], decodings_at_step(each, frames, step))
                codes[:, step] = np.where(codes[:, step] < 0, drawn, codes[:, step])
            self._previous = codes[:, step].copy()
        if streams is not None:
            waiting = sorted({*range(self.n_streams)} - {*streams})
            self._state, self._previous = self._state.copy(), self._previous.copy()
            self._state[waiting], self._previous[waiting] = before.state[waiting], before.previous[waiting]
        return codes

    def logits(self, codes: NDArray[np.int64], condition: Condition | None = None) -> NDArray[np.floating]:
        frames = self._checked(codes.shape, codes, condition)
        logits = np.empty((*codes.shape, len(self._weights.out)), dtype=np.float32)
        for step in range(codes.shape[1]):
            logits[:, step] = self._run(frames, step)
            self._previous = codes[:, step].copy()
        return logits

    def snapshot(self) -> Snapshot:
        return Snapshot(self._state, self._previous)  # neither is written to

    def restore(self, state: Snapshot, streams: Sequence[int] | None = None) -> None:
        chosen = list(range(self.n_streams) if streams is None else streams)
        self._state, self._previous = state.state[chosen], state.previous[chosen]

    def _checked(
        self, shape: tuple[int, ...], codes: NDArray[np.int64], condition: Condition | None
    ) -> FrameCondition[NDArray[np.float32]] | None:
        """The condition of a call as frames. Raises: InputError for a call that does not fit the network."""
        own = self._weights.prediction
        check_call(self.n_streams, self._weights.n_classes, shape, codes, condition, None if own is None else own.sizes)
        frames = as_frames(condition)
        if frames is None:
            return None
        expected = self._weights.convolution_bias.shape
        if frames.values.shape[2:] != expected:
            raise InputError(f"condition has layers and channels {frames.values.shape[2:]}; expected {expected}")
        return frames if own is not None else frames._replace(prediction=None)

    def _run(self, frames: FrameCondition[NDArray[np.float32]] | None, step: int) -> NDArray[np.float32]:
        """The parameters (B, P) of the next code; moves the state on."""
        inputs: dict[str, NDArray[Any]] = {"code": self._previous, "state": self._state}
        if frames is not None:
            inputs["condition"] = frames.value_at(step).astype(np.float32, copy=False)
            if frames.prediction is not None:
                frame, within = divmod(frames.phase + step, frames.hop)
                coefficients, gains, periods, _ = frames.prediction
                inputs["coefficients"] = coefficients[:, frame].astype(np.float32)
                inputs["gain"] = np.ascontiguousarray(gains[:, frame], dtype=np.float32)
                inputs["period"] = periods[:, frame, within].astype(np.int64)
        parameters: NDArray[np.float32]
        parameters, self._state = self._session(frames is not None).run(None, inputs)
        return parameters

    def _session(self, is_conditioned: bool) -> Any:
        weights = self._weights
        return _sessions.get(weights, is_conditioned, lambda: make_session(step_model(weights, is_conditioned)))


class OnnxVerticalStack:
    """The rows above (engines/base.py) by the graph of a row. `condition` is that of the labels, (B, 1, 2 * L, H)."""

    def __init__(self, weights: VerticalWeights, n_streams: int, condition: NDArray[np.float32] | None) -> None:
        self._weights, self._n_streams = weights, n_streams
        self._labels = {} if condition is None else {"labels": np.ascontiguousarray(condition[:, 0])}
        self._session = _sessions.get(
            weights, condition is not None, lambda: make_session(row_model(weights, condition is not None))
        )
        self.start()

    def start(self) -> None:
        n_colours = len(self._weights.embedding)
        self._row = np.full((self._n_streams, self._weights.width * n_colours), -1)
        self._state = np.zeros((self._n_streams, sum(row_state_sizes(self._weights))), dtype=np.float32)

    def condition(self) -> NDArray[np.float32]:
        condition: NDArray[np.float32]
        condition, self._state = self._session.run(None, {"row": self._row, "state": self._state, **self._labels})
        return condition

    def feed(self, row: NDArray[np.int64]) -> None:
        self._row = row.copy()
