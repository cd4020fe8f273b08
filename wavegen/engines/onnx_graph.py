"""A network as ONNX graphs: one step, one row of an image, or a whole sequence. The engine runs them, exports are them.

    code (B,), state (B, N)
      |  embed (or, with a prediction, models/prediction.py)
      |  layers: the row that leaves each queue is the older tap of a convolution
      |  skip, relu, linear, relu, linear, and what the head adds of the code before
    parameters (B, P), next_state (B, N)

The state is one array: of each layer the queue of its past inputs, the oldest first, and with a prediction the past
codes, their excitations and the newest prediction. Zeros are the beginning of time; then the code before is -1.

A step and a whole sequence share their layers: values have rows, one for each stream or for each step of each stream,
and what differs is where a layer finds its older taps (`Taps`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from wavegen.architectures import LogisticMixtureHead
from wavegen.engines.weights import PredictionWeights, StackWeights, VerticalWeights
from wavegen.errors import InputError
from wavegen.features.linear_prediction import SHIFT, companding

OPSET = 18
IR_VERSION = 8  # which came with the opset
MISSING = "ONNX needs libraries that are not installed ({}): pip install 'wavegen[onnx]'"
MAX_BYTES = 2**31 - 2**20  # of a file: what protobuf holds, less the nodes
END = 2**63 - 1  # of a slice: as far as there is

Value = str  # the name of a value of a graph
Dimension = int | str  # a string names one that each call chooses
Enter = Callable[[int, Value], Value]  # what enters a layer, added to its pre-activations (rows, H)


class Graph:
    """An ONNX graph that grows node by node.

    Raises: InputError where onnx is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise InputError(MISSING.format(error)) from error
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names: dict[tuple[Any, ...], Value] = {}  # of constants, by their contents
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """A node with one output."""
        (value,) = self.add_many(operator, *inputs, n_outputs=1, **attributes)
        return value

    def add_many(self, operator: str, *inputs: Value, n_outputs: int, **attributes: Any) -> list[Value]:
        """A node with several outputs."""
        name = f"{operator}_{len(self._nodes)}"
        outputs = [name] if n_outputs == 1 else [f"{name}.{index}" for index in range(n_outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), outputs, name=name, **attributes))
        return outputs

    def constant(self, array: ArrayLike, dtype: DTypeLike | None = None) -> Value:
        """An array that is part of the graph; equal ones are stored once."""
        values = np.ascontiguousarray(array, dtype=dtype).reshape(np.shape(array))
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._names:
            self._names[key] = f"constant_{len(self._constants)}"
            self._constants.append(self._onnx.numpy_helper.from_array(values, self._names[key]))
        return self._names[key]

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[Dimension], meaning: str) -> Value:
        self._inputs.append(self._info(name, dtype, shape, meaning))
        return name

    def output(self, name: str, value: Value, dtype: DTypeLike, shape: Sequence[Dimension], meaning: str) -> None:
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(self._info(name, dtype, shape, meaning))

    def linear(self, x: Value, matrix: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> Value:
        """Shapes: x (rows, in), matrix (out, in), bias (out,) -> (rows, out)."""
        constants = [self.constant(array) for array in (matrix, bias) if array is not None]
        return self.add("Gemm", x, *constants, transB=1)

    def reshape(self, x: Value, *shape: int) -> Value:
        """-1 stands for one length that follows, 0 for the length of x there."""
        return self.add("Reshape", x, self.constant(shape, np.int64))

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=axis)

    def split(self, x: Value, sizes: Sequence[int], axis: int = 1) -> list[Value]:
        if len(sizes) == 1:
            return [x]
        return self.add_many("Split", x, self.constant(sizes, np.int64), n_outputs=len(sizes), axis=axis)

    def slice(self, x: Value, begin: int, end: int, axis: int) -> Value:
        """A stretch along an axis; a negative end counts from the last one."""
        bounds = [self.constant([value], np.int64) for value in (begin, end, axis)]
        return self.add("Slice", x, *bounds)

    def pad(self, x: Value, before: int, after: int, axis: int) -> Value:
        """Zeros before and after an axis."""
        if not before and not after:
            return x
        return self.add(
            "Pad", x, self.constant([before, after], np.int64), "", self.constant([axis], np.int64), mode="constant"
        )

    def cast(self, x: Value, dtype: DTypeLike) -> Value:
        return self.add("Cast", x, to=self._type(dtype))

    def gather(self, table: Value, indices: Value, axis: int = 0) -> Value:
        return self.add("Gather", table, indices, axis=axis)

    def length(self, x: Value, axis: int) -> Value:
        """A length of a value as a vector of one, for shapes that are computed."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def shape(self, first: Value, *rest: int) -> Value:
        """A shape whose first length is computed, for `Reshape` and `Expand`."""
        return self.concat([first, self.constant(rest, np.int64)], axis=0)

    def model(self, name: str, meaning: str, metadata: Mapping[str, str] | None = None) -> bytes:
        """The file, which onnx has checked; the metadata is at its end.

        Raises: InputError for more weights than a file can hold.
        """
        helper = self._onnx.helper
        n_bytes = sum(len(one.raw_data) for one in self._constants)
        if n_bytes >= MAX_BYTES:
            raise InputError(f"the {name} has {n_bytes:,} bytes of weights; ONNX holds less than {MAX_BYTES:,}")
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="wavegen",
            doc_string=meaning,
        )
        helper.set_model_props(model, dict(metadata or {}))
        self._onnx.checker.check_model(model, full_check=True)
        serialised: bytes = model.SerializeToString()
        return serialised

    def _info(self, name: str, dtype: DTypeLike, shape: Sequence[Dimension], meaning: str) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), list(shape), doc_string=meaning)

    def _type(self, dtype: DTypeLike) -> int:
        number: int = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number


class Prediction(NamedTuple):
    """What a network is told of the next code (features/linear_prediction.py), as values of a graph:
    `coefficients` (B, T, order) float32, `gain` (rows, 2) float32, `period` (B, T) int64."""

    coefficients: Value
    gain: Value
    period: Value


class _Told(NamedTuple):
    """What a network makes of a prediction: x (rows, R), the predicted code (rows, 1) and the gain (rows, 2)."""

    x: Value
    code: Value
    gain: Value


class Taps(Protocol):
    """Where a layer finds its past."""

    def joined(self, layer: int, x: Value) -> Value:
        """A layer's inputs at all its taps, the oldest first. Shapes: x (rows, R) -> (rows, k * R)."""
        ...


class StateLayout:
    """Where everything lies in a state: sizes of its pieces, in order.

    The queue of a layer is cut before and behind each row that is an older tap of this step, so that one split finds
    all that a step reads, and one concatenation makes the next state.
    """

    def __init__(self, weights: StackWeights) -> None:
        self._n_taps, self._n_channels = weights.convolution.shape[1], weights.convolution.shape[3]
        self._dilations = weights.dilations
        sizes = None if weights.prediction is None else weights.prediction.sizes
        self.of_prediction = [] if sizes is None else [sizes.n_past, sizes.n_past, 1]

    @cached_property
    def pieces(self) -> list[int]:
        """Numbers in each piece; a state that holds nothing has one number, as arrays are not to be empty."""
        queues = [piece for dilation in self._dilations for piece in self._of_queue(dilation)]
        return [*queues, *self.of_prediction] or [1]

    @property
    def n_numbers(self) -> int:
        return sum(self.pieces)

    def _of_queue(self, dilation: int) -> list[int]:
        row, rest = self._n_channels, (dilation - 1) * self._n_channels
        return ([row, rest] if rest else [row]) * (self._n_taps - 1)

    def queues(self, pieces: Sequence[Value]) -> list[list[Value]]:
        """The pieces of each layer's queue."""
        left = iter(pieces)
        return [[next(left) for _ in self._of_queue(dilation)] for dilation in self._dilations]

    def taps(self, layer: int, queue: Sequence[Value]) -> list[Value]:
        """The pieces of a queue that are taps of this step."""
        return list(queue[:: 2 if self._dilations[layer] > 1 else 1])


class _Queues:
    """The taps of a step: rows of a state."""

    def __init__(self, graph: Graph, layout: StateLayout, pieces: Sequence[Value]) -> None:
        self._graph, self._layout, self._queues = graph, layout, layout.queues(pieces)
        self.next: list[Value] = []  # pieces of the next state

    def joined(self, layer: int, x: Value) -> Value:
        queue = self._queues[layer]
        if queue:
            self.next += [*queue[1:], x]
        return self._graph.concat([*self._layout.taps(layer, queue), x], axis=1)


class _Shifted:
    """The taps of whole sequences: a layer's input some steps ago. `shape` is (B, T, R), as a value."""

    def __init__(self, graph: Graph, weights: StackWeights, shape: Value) -> None:
        self._graph, self._weights, self._shape = graph, weights, shape

    def joined(self, layer: int, x: Value) -> Value:
        graph, (_, n_taps, _, channels) = self._graph, self._weights.convolution.shape
        dilation = self._weights.dilations[layer]
        history = (n_taps - 1) * dilation
        steps = graph.pad(graph.add("Reshape", x, self._shape), history, 0, axis=1)
        ends = [-(history - tap * dilation) or END for tap in range(n_taps)]
        taps = [graph.slice(steps, tap * dilation, end, axis=1) for tap, end in enumerate(ends)]
        return graph.reshape(graph.concat(taps, axis=2), -1, n_taps * channels)


def step_model(weights: StackWeights, is_conditioned: bool) -> bytes:
    """The graph of a step that takes a projected condition, or none: what an engine runs."""
    graph = Graph()
    condition = None
    if is_conditioned:
        shape = weights.convolution_bias.shape
        condition = graph.input("condition", np.float32, ["batch", *shape], "what enters each layer at this step")
    add_step(graph, weights, condition)
    return graph.model("step", "")


def add_step(graph: Graph, weights: StackWeights, condition: Value | None = None) -> None:
    """Make a graph one step: inputs `code`, `state` and what a network with a prediction is told, outputs `parameters`
    and `next_state`.

    Shapes: condition (B, L, H), or (B, L * H).
    """
    layout, n_layers = StateLayout(weights), len(weights.dilations)
    code = graph.input("code", np.int64, ["batch"], "the code before, -1 at the beginning")
    state = graph.input("state", np.float32, ["batch", layout.n_numbers], "next_state of the step before; zeros first")
    pieces = graph.split(state, layout.pieces)
    taps = _Queues(graph, layout, pieces)
    enter: Enter | None = None
    told: _Told | None = None
    past: list[Value] = []
    if condition is not None:
        n_channels = weights.convolution_bias.shape[1]
        each = graph.split(graph.reshape(condition, -1, n_layers * n_channels), [n_channels] * n_layers)
        enter = lambda layer, h: graph.add("Add", h, each[layer])  # noqa: E731
    if weights.prediction is not None:
        told, past = _step_of_prediction(graph, weights.prediction, weights.n_classes, code, pieces[-3:])
    parameters = add_network(graph, weights, code, taps, enter, told)
    graph.output("parameters", parameters, np.float32, ["batch", len(weights.out)], "of the next code's distribution")
    following = graph.concat([*taps.next, *past] or [state], axis=1)
    graph.output("next_state", following, np.float32, ["batch", layout.n_numbers], "the state of the next step")


def add_sequence(
    graph: Graph, weights: StackWeights, codes: Value, enter: Enter | None = None, prediction: Prediction | None = None
) -> Value:
    """The parameters of every code of whole sequences.

    Shapes: codes (B, T) -> (B * T, P). `enter` adds to (B * T, H).
    """
    n_streams = graph.length(codes, 0)
    none = graph.add("Expand", graph.constant([[-1]], np.int64), graph.shape(n_streams, 1))
    before = graph.slice(graph.concat([none, codes], axis=1), 0, -1, axis=1)
    told = None
    if weights.prediction is not None:
        assert prediction is not None  # whoever calls has seen to it
        told = _sequence_of_prediction(graph, weights.prediction, weights.n_classes, codes, prediction)
    taps = _Shifted(graph, weights, graph.shape(n_streams, -1, weights.convolution.shape[3]))
    return add_network(graph, weights, graph.reshape(before, -1), taps, enter, told)


def add_network(
    graph: Graph,
    weights: StackWeights,
    before: Value,
    taps: Taps,
    enter: Enter | None = None,
    told: _Told | None = None,
) -> Value:
    """The network from the codes before (rows,) to the parameters (rows, P)."""
    x = _embedded(graph, weights, before) if told is None else told.x
    gated = []
    for layer, (convolution, bias) in enumerate(zip(weights.convolution, weights.convolution_bias, strict=True)):
        h = graph.linear(taps.joined(layer, x), np.concatenate(list(convolution), axis=1), bias)
        h = h if enter is None else enter(layer, h)
        z = _activated(graph, h, weights.is_gated, len(bias))
        gated.append(z)
        projected = graph.linear(z, weights.projection[layer], weights.projection_bias[layer])
        x = graph.add("Add", x, projected) if weights.is_residual else projected
    skip = graph.linear(graph.concat(gated, axis=1), weights.skip, weights.skip_bias)
    hidden = graph.linear(graph.add("Relu", skip), weights.hidden, weights.hidden_bias)
    parameters = graph.linear(graph.add("Relu", hidden), weights.out, weights.out_bias)
    return _of_head(graph, weights, parameters, before, told)


def _activated(graph: Graph, h: Value, is_gated: bool, n_channels: int) -> Value:
    if not is_gated:
        return graph.add("Relu", h)
    filtered, gate = graph.split(h, [n_channels // 2] * 2)
    return graph.add("Mul", graph.add("Tanh", filtered), graph.add("Sigmoid", gate))


def _embedded(graph: Graph, weights: StackWeights, before: Value) -> Value:
    """Shapes: codes (rows,) -> (rows, R), zeros where there is no code before."""
    rows = graph.gather(graph.constant(weights.embedding), _at_least_0(graph, before))
    return graph.add("Mul", rows, graph.reshape(_is_code(graph, before), -1, 1))


def _at_least_0(graph: Graph, codes: Value) -> Value:
    return graph.add("Max", codes, graph.constant(0, np.int64))


def _is_code(graph: Graph, codes: Value) -> Value:
    """1.0 where there is a code, 0.0 for -1."""
    return graph.cast(graph.add("GreaterOrEqual", codes, graph.constant(0, np.int64)), np.float32)


def _of_head(graph: Graph, weights: StackWeights, parameters: Value, before: Value, told: _Told | None) -> Value:
    """What the network says, turned into parameters by what is known (`Distribution.shift_by_previous` and
    `shift_by_prediction`)."""
    if not isinstance(weights.head, LogisticMixtureHead):
        return parameters
    n = weights.head.n_mixtures
    logits, means, scales = graph.split(parameters, [n] * 3)
    if told is None:
        is_code = graph.reshape(_is_code(graph, before), -1, 1)
        code = graph.reshape(graph.cast(before, np.float32), -1, 1)
        value = graph.add("Mul", _on_axis(graph, code, weights.n_classes), is_code)
    else:
        value = _on_axis(graph, told.code, weights.n_classes)
        gain, log_gain = graph.split(told.gain, [1, 1])
        means, scales = graph.add("Mul", means, gain), graph.add("Add", scales, log_gain)
    return graph.concat([logits, graph.add("Add", means, value), scales], axis=1)


def _on_axis(graph: Graph, code: Value, n_classes: int) -> Value:
    """A code's value on the axis from -1 to 1."""
    scaled = graph.add("Mul", code, graph.constant(2 / (n_classes - 1), np.float32))
    return graph.add("Sub", scaled, graph.constant(1, np.float32))


def _step_of_prediction(
    graph: Graph, weights: PredictionWeights, n_classes: int, code: Value, past: Sequence[Value]
) -> tuple[_Told, list[Value]]:
    """What a network with a prediction makes of the code before, and its pieces of the next state.

    Shapes: past codes (B, n_past) less silence, their excitations (B, n_past), and the newest prediction (B, 1).
    """
    sizes, silence = weights.sizes, n_classes // 2
    coefficients = graph.input(
        "coefficients",
        np.float32,
        ["batch", sizes.order],
        "of the linear prediction, integers, the newest sample's first",
    )
    gain = graph.input("gain", np.float32, ["batch", 2], "the size of what is left, and its logarithm")
    period = graph.input("period", np.int64, ["batch"], "samples since the last period; 0: there is none")
    codes, excitations, predicted = past
    is_code = graph.reshape(_is_code(graph, code), -1, 1)
    d = graph.add("Sub", graph.reshape(graph.cast(code, np.float32), -1, 1), graph.constant(silence, np.float32))
    e = graph.add("Mul", graph.add("Sub", d, predicted), is_code)
    d = graph.add("Mul", d, is_code)
    codes = graph.concat([graph.slice(codes, 1, END, axis=1), d], axis=1)
    excitations = graph.concat([graph.slice(excitations, 1, END, axis=1), e], axis=1)
    steps = graph.constant([[sizes.n_past]], np.int64)
    coefficients = graph.reshape(coefficients, -1, 1, sizes.order)
    predicted = _predicted(graph, weights, n_classes, codes, steps, coefficients)
    period = graph.reshape(period, -1, 1)
    x = _of_prediction(graph, weights, n_classes, _Pasts(codes, excitations, predicted, period, steps))
    code_value = graph.add("Add", predicted, graph.constant(silence, np.float32))
    return _Told(x, code_value, gain), [codes, excitations, predicted]


def _sequence_of_prediction(
    graph: Graph, weights: PredictionWeights, n_classes: int, codes: Value, prediction: Prediction
) -> _Told:
    """The same of whole sequences of codes (B, T)."""
    n_past, silence = weights.sizes.n_past, n_classes // 2
    own = graph.add("Sub", graph.cast(codes, np.float32), graph.constant(silence, np.float32))
    d = graph.pad(own, n_past, 0, axis=1)
    steps = graph.reshape(graph.add("Add", step_numbers(graph, codes), graph.constant(n_past, np.int64)), -1, 1)
    predicted = _predicted(graph, weights, n_classes, d, steps, prediction.coefficients)
    e = graph.pad(graph.add("Sub", own, predicted), n_past, 0, axis=1)
    x = _of_prediction(graph, weights, n_classes, _Pasts(d, e, predicted, prediction.period, steps))
    code = graph.add("Add", graph.reshape(predicted, -1, 1), graph.constant(silence, np.float32))
    return _Told(x, code, prediction.gain)


def step_numbers(graph: Graph, codes: Value) -> Value:
    """0, 1, ... for each step of sequences (B, T)."""
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    return graph.add("Range", zero, graph.reshape(graph.length(codes, 1)), one)


class _Pasts(NamedTuple):
    """What the inputs of a network with a prediction are gathered of: codes less silence and excitations (B, N), the
    predictions and periods (B, T), and where each step is in the first two, (T, 1)."""

    d: Value
    e: Value
    predicted: Value
    period: Value
    steps: Value


def _predicted(
    graph: Graph, weights: PredictionWeights, n_classes: int, d: Value, steps: Value, coefficients: Value
) -> Value:
    """The predicted codes less silence, (B, T): `linear_prediction.predict`, in float64, where it is exact."""
    silence = n_classes // 2
    back = graph.constant(np.arange(1, weights.sizes.order + 1), np.int64)
    before = graph.gather(d, graph.add("Sub", steps, back), axis=1)
    products = graph.add("Mul", graph.cast(before, np.float64), graph.cast(coefficients, np.float64))
    whole = graph.add("ReduceSum", products, graph.constant([2], np.int64), keepdims=0)
    share = graph.add("Mul", whole, graph.constant(2.0**-SHIFT, np.float64))
    rounded = graph.add("Floor", graph.add("Add", share, graph.constant(0.5, np.float64)))
    lowest, highest = (graph.constant(bound, np.float64) for bound in (-silence, n_classes - 1 - silence))
    return graph.cast(graph.add("Clip", rounded, lowest, highest), np.float32)


def _of_prediction(graph: Graph, weights: PredictionWeights, n_classes: int, pasts: _Pasts) -> Value:
    """What past codes bring into the network (models/prediction.py), (rows, R)."""
    order, lag_taps, longest = weights.sizes
    tables, offset = companding(n_classes), graph.constant(n_classes - 1, np.int64)

    def index(numbers: Value) -> Value:
        return graph.add("Add", graph.cast(numbers, np.int64), offset)

    values = graph.constant(tables.values)
    companded_d, companded_e, companded_p = (graph.gather(values, index(each)) for each in pasts[:3])

    def recent(numbers: Value, n: int) -> Value:
        at = graph.add("Sub", pasts.steps, graph.constant(np.arange(1, n + 1), np.int64))
        return graph.reshape(graph.gather(numbers, at, axis=1), -1, n)

    inputs = [recent(companded_e, order), recent(companded_d, order), graph.reshape(companded_p, -1, 1)]
    numbers = [recent(pasts.e, 1), graph.reshape(pasts.predicted, -1, 1), recent(pasts.d, 1)]
    if lag_taps:
        zero = graph.constant(0, np.int64)
        is_voiced = graph.reshape(graph.cast(graph.add("Greater", pasts.period, zero), np.float32), -1, 1)
        bounds = (graph.constant(bound, np.int64) for bound in (lag_taps + 1, longest))
        lag = graph.reshape(graph.add("Clip", pasts.period, *bounds), 0, -1, 1)

        def around(numbers: Value, n_periods: int, reach: int) -> Value:
            periods = graph.add("Mul", lag, graph.constant(n_periods, np.int64))
            offsets = graph.constant(np.arange(-reach, reach + 1), np.int64)
            at = graph.add("Add", graph.add("Sub", pasts.steps, periods), offsets)  # (B, T, 2 * reach + 1)
            found = graph.add("GatherElements", numbers, graph.reshape(at, 0, -1), axis=1)
            return graph.add("Mul", graph.reshape(found, -1, 2 * reach + 1), is_voiced)

        for n_periods, reach in ((1, lag_taps), (2, lag_taps // 2)):
            inputs += [around(companded, n_periods, reach) for companded in (companded_e, companded_d)]
        numbers.insert(1, around(pasts.d, 1, 0))
    else:
        numbers.insert(1, graph.add("Mul", numbers[0], graph.constant(0, np.float32)))
    x = graph.linear(graph.concat(inputs, axis=1), weights.linear, weights.linear_bias)
    levels = graph.constant(tables.levels.astype(np.int32))
    for table, each in zip(weights.embeddings, numbers, strict=True):
        level = graph.gather(levels, graph.reshape(index(each), -1))
        x = graph.add("Add", x, graph.gather(graph.constant(table), level))
    return x


def row_model(weights: VerticalWeights, is_conditioned: bool) -> bytes:
    """The graph of a row of an image (`add_row`), under a projected condition of its labels or none."""
    graph = Graph()
    condition = None
    if is_conditioned:
        n_layers, n_channels = weights.convolution_bias.shape
        condition = graph.input("labels", np.float32, ["batch", 2 * n_layers, n_channels], "what labels bring in")
    add_row(graph, weights, condition)
    return graph.model("row", "")


def row_state_sizes(weights: VerticalWeights) -> list[int]:
    """Numbers in each piece of a state: the past rows of each layer, the oldest first, and the number of the row."""
    of_row = weights.width * weights.embedding.shape[2]
    return [*(dilation * of_row for dilation in weights.dilations), 1]


def add_row(graph: Graph, weights: VerticalWeights, condition: Value | None = None) -> None:
    """Make a graph what a PixelCNN knows of the rows above a row: inputs `row` and `state`, outputs `condition` and
    `next_state`. The state is of the rows above; zeros are the top of an image, and the row above that is -1.

    Shapes: condition (B, 2 * L, H), or (B, 2 * L * H).
    """
    sizes, (n_layers, n_channels) = row_state_sizes(weights), weights.convolution_bias.shape
    width, (n_colours, _, channels) = weights.width, weights.embedding.shape
    length, n_numbers = width * n_colours, sum(sizes)
    row = graph.input("row", np.int64, ["batch", length], "codes of the row above, -1 at the top")
    state = graph.input("state", np.float32, ["batch", n_numbers], "next_state of the row before; zeros first")
    *pasts, number = graph.split(state, sizes)
    following = []

    def above(layer: int, x: Value) -> Value:
        """The row that is `dilation` rows above."""
        of_row, n_rows = width * channels, weights.dilations[layer]
        oldest, *rest = graph.split(pasts[layer], [of_row, (n_rows - 1) * of_row] if n_rows > 1 else [of_row])
        following.extend([*rest, graph.reshape(x, -1, of_row)])
        return graph.reshape(oldest, -1, width, channels)

    position = None
    if weights.position is not None:
        at = graph.reshape(graph.cast(number, np.int64), -1)
        position = graph.gather(graph.constant(weights.position), at)
    seen = _vertical(graph, weights, row, above, position, condition, width)
    following.append(graph.add("Add", number, graph.constant(1, np.float32)))
    shape = ["batch", length, n_layers, n_channels]
    seen = graph.reshape(seen, -1, length, n_layers, n_channels)
    graph.output("condition", seen, np.float32, shape, "what enters each layer of the step at each code of this row")
    graph.output("next_state", graph.concat(following, axis=1), np.float32, ["batch", n_numbers], "of the next row")


def add_rows(graph: Graph, weights: VerticalWeights, codes: Value, height: int, condition: Value | None) -> Value:
    """What is known of the rows above every row of whole images.

    Shapes: codes (B, height, row_length), condition as `add_row` -> (B * height * row_length, L * H).
    """
    width, (n_colours, _, channels) = weights.width, weights.embedding.shape
    length = width * n_colours
    none = graph.add("Expand", graph.constant([[[-1]]], np.int64), graph.shape(graph.length(codes, 0), 1, length))
    rows = graph.slice(graph.concat([none, codes], axis=1), 0, -1, axis=1)

    def above(layer: int, x: Value) -> Value:
        n_rows = weights.dilations[layer]
        if n_rows >= height:
            return graph.add("Mul", x, graph.constant(0, np.float32))
        padded = graph.pad(graph.reshape(x, -1, height, width * channels), n_rows, 0, axis=1)
        return graph.reshape(graph.slice(padded, 0, -n_rows, axis=1), -1, width, channels)

    position = None if weights.position is None else graph.constant(weights.position[:height])
    return _vertical(graph, weights, rows, above, position, condition, height * width)


def _vertical(
    graph: Graph,
    weights: VerticalWeights,
    rows: Value,
    above: Callable[[int, Value], Value],
    position: Value | None,
    condition: Value | None,
    n_pixels: int,
) -> Value:
    """The vertical stack of rows (N, ..., row_length), whose pixels come `n_pixels` to an image.

    Shapes: `above` takes and gives (N, width, R) -> (N * row_length, L * H).
    """
    width, (n_colours, _, channels) = weights.width, weights.embedding.shape
    n_layers, _, kernel_width, n_channels, _ = weights.convolution.shape
    side = kernel_width // 2
    colours = graph.split(graph.reshape(rows, -1, n_colours), [1] * n_colours)
    colours = [graph.reshape(colour, -1) for colour in colours]
    x = graph.add("Mul", _sum_of_embeddings(graph, weights, colours), graph.reshape(_is_code(graph, colours[0]), -1, 1))
    if position is not None:
        x = graph.add("Add", graph.reshape(x, -1, n_pixels, channels), graph.reshape(position, -1, n_pixels, channels))
    each = None
    if condition is not None:
        flat = graph.reshape(condition, -1, 2 * n_layers * n_channels)
        each = graph.split(flat, [n_channels] * n_layers + [n_layers * n_channels])
    entering = []
    for layer in range(n_layers):
        now = graph.reshape(x, -1, width, channels)
        padded = [graph.pad(row, side, side, axis=1) for row in (above(layer, now), now)]
        windows = [graph.slice(row, offset, offset + width, axis=1) for row in padded for offset in range(kernel_width)]
        taps = graph.reshape(graph.concat(windows, axis=2), -1, 2 * kernel_width * channels)
        matrix = weights.convolution[layer].transpose(2, 0, 1, 3).reshape(n_channels, -1)
        h = graph.linear(taps, matrix, weights.convolution_bias[layer])
        if each is not None:
            h = graph.add(
                "Add", graph.reshape(h, -1, n_pixels, n_channels), graph.reshape(each[layer], -1, 1, n_channels)
            )
            h = graph.reshape(h, -1, n_channels)
        z = _activated(graph, h, weights.is_gated, n_channels)
        entering.append(graph.linear(z, weights.entering[layer], weights.entering_bias[layer]))
        projected = graph.linear(z, weights.projection[layer], weights.projection_bias[layer])
        x = graph.add("Add", graph.reshape(x, -1, channels), projected)
    n_numbers = n_layers * n_channels
    seen = graph.reshape(graph.concat(entering, axis=1), -1, 1, n_numbers)
    seen = graph.add("Add", seen, graph.constant(weights.colour.reshape(1, n_colours, n_numbers)))
    if each is not None:
        seen = graph.reshape(seen, -1, n_pixels * n_colours, n_numbers)
        seen = graph.add("Add", seen, graph.reshape(each[-1], -1, 1, n_numbers))
    return graph.reshape(seen, -1, n_numbers)


def _sum_of_embeddings(graph: Graph, weights: VerticalWeights, colours: Sequence[Value]) -> Value:
    """Shapes: per colour (pixels,) -> (pixels, R)."""
    x, *rest = (
        graph.gather(graph.constant(table), _at_least_0(graph, colour))
        for table, colour in zip(weights.embedding, colours, strict=True)
    )
    for each in rest:
        x = graph.add("Add", x, each)
    return x
