"""Conditions in ONNX: of labels, of a planner's channels and of feature frames; and the frames of a planner's codes.

All is what numpy computes (generation/conditioning.py, generation/planning.py, features/), in float64 where that is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wavegen.architectures import FrameSizes, PlannerArchitecture
from wavegen.checkpoint import Checkpoint
from wavegen.engines.onnx_graph import END, Graph, Value
from wavegen.features.frame_codes import LOUDEST_BAND, FrameCodes
from wavegen.features.frames import binomial_weights
from wavegen.features.linear_prediction import LARGEST, LEAST_NOISE, NOISE, SHIFT, STEP, Predictor
from wavegen.features.log_mel import SILENT
from wavegen.features.pitch import REFERENCE_HZ, VOICES, Pitch
from wavegen.generation.conditioning import frame_weights, label_weights
from wavegen.generation.planning import CHUNK, position_of


class FrameValues(NamedTuple):
    """What a vocoder is given of F frames: `condition` (B, F, L, H), and with a prediction `coefficients` (B, F, order)
    integers, `gain` (B, F, 2), `period` (B, F, hop) int64 and `voicing` (B, F); else None."""

    condition: Value
    coefficients: Value | None = None
    gain: Value | None = None
    period: Value | None = None
    voicing: Value | None = None


def of_labels(graph: Graph, model: Checkpoint) -> Value | None:
    """What labels, each an input, bring into all layers, (B, n_conditions * H); None for a model without.

    Raises: InputError for tensors that do not fit.
    """
    if not model.description.labels:
        return None
    tables, project = label_weights(model)
    embedded = []
    for name, table in tables.items():
        meaning = f"which value of the label {name}, by its number in the metadata; {len(table) - 1} is unknown"
        value = graph.input(f"label_{name}", np.int64, ["batch"], meaning)
        embedded.append(graph.gather(graph.constant(table), value))
    return graph.linear(graph.concat(embedded, axis=1), project)


def of_channels(graph: Graph, planner: Checkpoint) -> Value:
    """What enters the layers of a planner at each channel of a frame, (n_channels, L * H).

    Raises: InputError for tensors that do not fit.
    """
    position = position_of(planner)[0]
    return graph.constant(position.reshape(len(position), -1))


def n_neighbours(sizes: FrameSizes) -> int:
    """Frames to either side of those that a condition is made of."""
    return max(1, sizes.look_ahead)


def frame_values(graph: Graph, model: Checkpoint, sizes: FrameSizes, frames: Value) -> FrameValues:
    """What a vocoder makes of frames.

    Shapes: frames (B, n_neighbours + F + n_neighbours, n_features).
    Raises: InputError for tensors that do not fit.
    """
    weights, architecture = frame_weights(model, sizes), model.description.architecture
    side, n_taps = n_neighbours(sizes), 2 * sizes.look_ahead + 1
    outer = side - sizes.look_ahead
    windows = [graph.slice(frames, outer + tap, -(outer + n_taps - 1 - tap) or END, axis=1) for tap in range(n_taps)]
    x = graph.reshape(graph.concat(windows, axis=2), -1, n_taps * sizes.n_features)
    around = graph.linear(x, np.concatenate(list(weights["around.weight"]), axis=1), weights["around.bias"])
    hidden = graph.linear(graph.add("Relu", around), weights["hidden.weight"], weights["hidden.bias"])
    values = graph.linear(graph.add("Relu", hidden), weights["project.weight"])
    n_layers, n_channels = architecture.n_conditions, architecture.condition_channels
    shape = graph.shape(graph.length(frames, 0), -1, n_layers, n_channels)
    condition = graph.add("Reshape", values, shape)
    if (labels := of_labels(graph, model)) is not None:
        condition = graph.add("Add", condition, graph.reshape(labels, -1, 1, n_layers, n_channels))
    predictor = model.description.make_predictor()
    if predictor is None:
        return FrameValues(condition)
    seen = graph.slice(frames, side, 1 - side or END, axis=1)
    return FrameValues(condition, *_prediction(_Float64(graph), predictor, seen, sizes.hop))


class _Float64:
    """Arithmetic of a graph in float64: operands that are numbers or arrays become constants."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, operator: str, *operands: Value | ArrayLike) -> Value:
        return self.graph.add(operator, *(self.operand(one) for one in operands))

    def operand(self, one: Value | ArrayLike) -> Value:
        return one if isinstance(one, str) else self.graph.constant(one, np.float64)

    def of(self, x: Value) -> Value:
        return self.graph.cast(x, np.float64)

    def where(self, condition: Value, x: Value | ArrayLike, y: Value | ArrayLike) -> Value:
        return self.graph.add("Where", condition, self.operand(x), self.operand(y))


def _prediction(f64: _Float64, predictor: Predictor, frames: Value, hop: int) -> tuple[Value, Value, Value, Value]:
    """Coefficients, gains, periods and voicing: `Predictor.of` in a graph. Shapes: frames (B, F + 1, n_features)."""
    graph, n_mels = f64.graph, predictor.log_mel.n_mels
    bands = f64.of(graph.slice(frames, 0, n_mels, axis=2))
    here, there = graph.slice(bands, 0, -1, axis=1), graph.slice(bands, 1, END, axis=1)
    exponent = f64("Mul", f64("Sub", f64("Mul", f64("Add", here, there), 0.5), 1.0), 2.5)
    magnitudes = f64("MatMul", f64("Pow", 10.0, exponent), predictor.to_bins)
    autocorrelation = f64("MatMul", f64("Mul", magnitudes, magnitudes), predictor.to_lags)
    factors = predictor.lag_window * np.where(np.arange(predictor.order + 1) == 0, 1 + NOISE, 1.0)
    noise = np.where(np.arange(predictor.order + 1) == 0, LEAST_NOISE, 0.0)
    autocorrelation = f64("Add", f64("Mul", autocorrelation, factors), noise)
    power = graph.slice(autocorrelation, 0, 1, axis=2)
    shares = f64("Mul", f64("Round", f64("Mul", f64("Div", autocorrelation, power), 1 / STEP)), STEP)
    filters, left = _levinson(f64, shares, predictor.order)
    gain = f64("Mul", f64("Sqrt", f64("Mul", power, left)), predictor.per_magnitude)
    gain = f64("Max", gain, predictor.least_gain)
    gains = graph.cast(graph.concat([gain, f64("Log", gain)], axis=2), np.float32)
    rounded = f64("Round", f64("Mul", filters, float(1 << SHIFT)))
    coefficients = graph.cast(f64("Clip", rounded, -LARGEST, LARGEST), np.float32)
    if predictor.pitch is None:
        none = f64("Mul", gain, 0.0)  # (B, F, 1)
        period = graph.cast(f64("Mul", none, np.zeros((1, 1, hop))), np.int64)
        return coefficients, gains, period, graph.cast(graph.reshape(none, 0, -1), np.float32)
    pitch = f64.of(graph.slice(frames, n_mels, END, axis=2))
    return coefficients, gains, _periods(f64, predictor.pitch, pitch), _voicing(f64, pitch)


def _levinson(f64: _Float64, autocorrelation: Value, order: int) -> tuple[Value, Value]:
    """`linear_prediction.levinson`. Shapes: (B, F, order + 1) -> filters (B, F, order), error (B, F, 1)."""
    graph = f64.graph
    lags = _columns(graph, autocorrelation, *range(order + 1))
    error, coefficients = lags[0], list[Value]()
    for k in range(order):
        left = lags[k + 1]
        if k:
            explained = f64("Mul", coefficients[0], lags[k])
            for index in range(1, k):  # in the order of all others
                explained = f64("Add", explained, f64("Mul", coefficients[index], lags[k - index]))
            left = f64("Sub", left, explained)
        reflection = f64("Div", left, error)
        pairs = zip(coefficients, reversed(coefficients), strict=True)
        coefficients = [f64("Sub", one, f64("Mul", reflection, other)) for one, other in pairs] + [reflection]
        error = f64("Mul", error, f64("Sub", 1.0, f64("Mul", reflection, reflection)))
    return graph.concat(coefficients, axis=2), error


def _columns(graph: Graph, x: Value, *columns: int) -> list[Value]:
    """Some of the last axis of (B, F, C), (B, F, 1) each."""
    return [graph.slice(x, column, column + 1, axis=2) for column in columns]


def _periods(f64: _Float64, pitch: Pitch, frames: Value) -> Value:
    """`Pitch.periods`. Shapes: (B, F + 1, 4) -> (B, F, hop) int64."""
    graph = f64.graph
    value, voicing = _columns(graph, frames, 0, 1)
    is_voiced = f64("Greater", voicing, 0.0)
    value = f64("Clip", value, *pitch.pitch_bounds)
    here, there = (graph.slice(is_voiced, *bounds, axis=1) for bounds in ((0, -1), (1, END)))
    of_here, of_there = (graph.slice(value, *bounds, axis=1) for bounds in ((0, -1), (1, END)))
    start, end = f64.where(here, of_here, of_there), f64.where(there, of_there, of_here)
    between = f64("Add", start, f64("Mul", f64("Sub", end, start), np.arange(pitch.hop) / pitch.hop))
    seconds = f64("Mul", f64("Exp", f64("Mul", between, -0.5)), pitch.sample_rate / REFERENCE_HZ)
    period = f64("Min", f64("Round", seconds), float(pitch.longest_period))
    return graph.cast(f64.where(graph.add("Or", here, there), period, 0.0), np.int64)


def _voicing(f64: _Float64, frames: Value) -> Value:
    """`Pitch.voicing`. Shapes: (B, F + 1, 4) -> (B, F)."""
    graph, (lowest, highest) = f64.graph, VOICES
    voicing, strength = _columns(graph, frames, 1, 2)
    share = f64("Div", f64("Sub", f64("Mul", f64("Add", strength, 1.0), 0.5), lowest), highest - lowest)
    share = f64.where(f64("Greater", voicing, 0.0), f64("Clip", share, 0.0, 1.0), 0.0)
    here, there = graph.slice(share, 0, -1, axis=1), graph.slice(share, 1, END, axis=1)
    return graph.cast(graph.reshape(f64("Mul", f64("Add", here, there), 0.5), 0, -1), np.float32)


def n_window(sizes: PlannerArchitecture) -> int:
    """Frames of codes of which CHUNK are made."""
    return CHUNK + 2 * sizes.n_ahead


def planned_frames(graph: Graph, codes: FrameCodes, sizes: PlannerArchitecture, values: Value) -> Value:
    """Frames of a planner's codes, decoded and smoothed as generation/planning.py does.

    Shapes: values (B, n_window, n_channels) codes -> (B, CHUNK, n_features), those in the middle.
    """
    f64, features = _Float64(graph), codes.features
    levels, n_own = f64.of(values), codes.n_channels - features.n_mels
    lowest, highest = codes.cepstrum_bounds
    cepstrum = _dequantised(f64, graph.slice(levels, n_own, END, axis=2), lowest, highest, codes.n_levels)
    bands = f64("Clip", f64("MatMul", cepstrum, codes.cosines), SILENT, LOUDEST_BAND)
    bands = _mean(f64, graph.cast(bands, np.float32), sizes.smoothing, sizes)
    if features.pitch is None:
        return graph.cast(bands, np.float32)
    return graph.cast(graph.concat([bands, *_planned_pitch(f64, codes, sizes, levels)], axis=2), np.float32)


def _planned_pitch(f64: _Float64, codes: FrameCodes, sizes: PlannerArchitecture, levels: Value) -> Sequence[Value]:
    """The four columns of the pitch, (B, CHUNK, 1) each."""
    graph, n, far = f64.graph, codes.n_levels, sizes.pitch_smoothing
    loudness, of_voice, strength = _columns(graph, levels, 0, 1, 2)
    is_voiced = f64("Greater", of_voice, 0.0)
    level = f64("Sub", f64("Max", of_voice, 1.0), 1.0)
    f0 = f64.where(is_voiced, _dequantised(f64, level, *codes.pitch_bounds, n - 1), 0.0)
    own = graph.slice(is_voiced, sizes.n_ahead, sizes.n_ahead + CHUNK, axis=1)
    share = f64.where(own, _mean(f64, f64.of(is_voiced), far, sizes), 1.0)
    mean = f64("Div", _mean(f64, graph.cast(f0, np.float32), far, sizes), share)
    rest = [
        _mean(f64, graph.cast(_dequantised(f64, one, -1.0, 1.0, n), np.float32), sizes.smoothing, sizes)
        for one in (strength, loudness)
    ]
    return [f64.where(own, mean, 0.0), f64.where(own, 1.0, -1.0), *rest]


def _dequantised(f64: _Float64, levels: Value, lowest: ArrayLike, highest: ArrayLike, n: int) -> Value:
    width = np.asarray(highest) - np.asarray(lowest)
    return f64("Add", f64("Mul", f64("Div", levels, float(n - 1)), width), lowest)


def _mean(f64: _Float64, x: Value, side: int, sizes: PlannerArchitecture) -> Value:
    """Means over neighbours with binomial weights. Shapes: (B, n_window, C) -> (B, CHUNK, C), float64."""
    matrix: NDArray[np.float64] = np.zeros((CHUNK, n_window(sizes)))
    for frame in range(CHUNK):
        first = frame + sizes.n_ahead - side
        matrix[frame, first : first + 2 * side + 1] = binomial_weights(side)
    return f64("MatMul", matrix, f64.of(x))
