"""The likelihood of whole sequences as an ONNX graph: codes -> bits, -log2 of the probability of each code."""

import math

import numpy as np

from wavegen.architectures import Architecture, FrameSizes, Head, LogisticMixtureHead
from wavegen.checkpoint import Checkpoint
from wavegen.engines.onnx_graph import Enter, Graph, Prediction, Value, add_rows, add_sequence, step_numbers
from wavegen.engines.weights import stack_weights, vertical_weights
from wavegen.export.onnx_conditions import of_channels, of_labels
from wavegen.sampling import LOG_SCALES


def add_likelihood(graph: Graph, model: Checkpoint) -> None:
    """Make a graph the likelihood: inputs `codes` and what conditions them, output `bits`.

    Shapes: codes (B, T), or of images (B, height, row_length).
    Raises: InputError for tensors that do not fit.
    """
    description, weights = model.description, stack_weights(model)
    architecture = description.architecture
    enter: Enter | None
    told: Prediction | None = None
    if description.shape:
        height, width, n_colours = description.shape
        shape: list[int | str] = ["batch", height, width * n_colours]
        codes = graph.input("codes", np.int64, shape, "of whole images, a row's pixels and their colours side by side")
        sequences = graph.reshape(codes, -1, width * n_colours)
        enter = _of_rows(graph, model, codes)
    else:
        shape = ["batch", "steps"]
        codes = sequences = graph.input("codes", np.int64, shape, "of whole sequences, from their beginning")
        if architecture.frames is not None:
            enter, told = _of_frames(graph, architecture, architecture.frames, codes)
        else:
            enter = _of_labels(graph, model, codes)
    parameters = add_sequence(graph, weights, sequences, enter, told)
    bits = _bits(graph, description.head, description.n_classes, parameters, graph.reshape(codes, -1, 1))
    bits = graph.add("Reshape", bits, graph.add("Shape", codes))
    graph.output("bits", bits, np.float32, shape, "-log2 of the probability of each code")


def _of_labels(graph: Graph, model: Checkpoint, codes: Value) -> Enter | None:
    """What enters the layers of sequences: of labels, and of the channels of a frame."""
    architecture = model.description.architecture
    n_channels, n_layers = architecture.condition_channels, architecture.n_conditions
    values = []
    if (labels := of_labels(graph, model)) is not None:
        values.append((graph.split(labels, [n_channels] * n_layers), (-1, 1, n_channels)))
    if architecture.makes == "frames":
        channel = graph.add("Mod", step_numbers(graph, codes), graph.constant(architecture.unit, np.int64))
        at_steps = graph.gather(of_channels(graph, model), channel)
        values.append((graph.split(at_steps, [n_channels] * n_layers), (1, -1, n_channels)))
    if not values:
        return None
    shape = graph.shape(graph.length(codes, 0), -1, n_channels)

    def enter(layer: int, h: Value) -> Value:
        h = graph.add("Reshape", h, shape)
        for each, broadcast in values:
            h = graph.add("Add", h, graph.reshape(each[layer], *broadcast))
        return graph.reshape(h, -1, n_channels)

    return enter


def _of_frames(
    graph: Graph, architecture: Architecture, sizes: FrameSizes, codes: Value
) -> tuple[Enter, Prediction | None]:
    """What enters the layers of sequences, and what a network is told of the next code, as the frames' file says."""
    n_layers, n_channels = architecture.n_conditions, architecture.condition_channels
    per_frame: list[int | str] = ["batch", "frames"]
    condition = graph.input("condition", np.float32, [*per_frame, n_layers, n_channels], "of the frames' file")
    steps, hop, one = step_numbers(graph, codes), graph.constant(sizes.hop, np.int64), graph.constant(1, np.int64)
    frame, within = graph.add("Div", steps, hop), graph.add("Mod", steps, hop)
    last = graph.add("Sub", graph.length(condition, 1), one)
    following = graph.add("Min", graph.add("Add", frame, one), last)
    share = graph.add("Div", graph.cast(within, np.float32), graph.constant(sizes.hop, np.float32))
    share = graph.reshape(share, -1, 1)
    layers = graph.split(graph.reshape(condition, 0, 0, -1), [n_channels] * n_layers, axis=2)

    def enter(layer: int, h: Value) -> Value:
        here, there = (graph.gather(layers[layer], at, axis=1) for at in (frame, following))
        value = graph.add("Add", here, graph.add("Mul", share, graph.add("Sub", there, here)))
        return graph.add("Add", h, graph.reshape(value, -1, n_channels))

    if architecture.prediction is None:
        return enter, None
    order = architecture.prediction.order
    coefficients = graph.input("coefficients", np.float32, [*per_frame, order], "of the frames' file")
    gain = graph.input("gain", np.float32, [*per_frame, 2], "of the frames' file")
    period = graph.input("period", np.int64, [*per_frame, sizes.hop], "of the frames' file")
    told = Prediction(
        coefficients=graph.gather(coefficients, frame, axis=1),
        gain=graph.reshape(graph.gather(gain, frame, axis=1), -1, 2),
        period=graph.gather(graph.reshape(period, 0, -1), steps, axis=1),
    )
    return enter, told


def _of_rows(graph: Graph, model: Checkpoint, codes: Value) -> Enter:
    """What enters the layers of every row of images, of the rows above."""
    weights, architecture = vertical_weights(model), model.description.architecture
    n_layers, n_channels = weights.convolution_bias.shape
    seen = add_rows(graph, weights, codes, architecture.shape[0], of_labels(graph, model))
    layers = graph.split(seen, [n_channels] * n_layers)
    return lambda layer, h: graph.add("Add", h, layers[layer])


def _bits(graph: Graph, head: Head, n_classes: int, parameters: Value, codes: Value) -> Value:
    """Shapes: parameters (rows, P), codes (rows, 1) -> (rows, 1)."""
    if isinstance(head, LogisticMixtureHead):
        nats = _log_mass(graph, head, n_classes, parameters, codes)
    else:
        nats = graph.add("GatherElements", graph.add("LogSoftmax", parameters, axis=1), codes, axis=1)
        nats = graph.cast(nats, np.float64)
    return graph.cast(graph.add("Mul", nats, graph.constant(-1 / math.log(2), np.float64)), np.float32)


def _log_mass(graph: Graph, head: LogisticMixtureHead, n_classes: int, parameters: Value, codes: Value) -> Value:
    """log p(code) of a mixture (models/heads.py), in float64, where nothing cancels that matters."""

    def f64(operator: str, *operands: Value | float) -> Value:
        return graph.add(
            operator, *(one if isinstance(one, str) else graph.constant(one, np.float64) for one in operands)
        )

    def log_sigmoid(x: Value) -> Value:
        """min(x, 0) - log(1 + exp(-|x|))."""
        return f64("Sub", f64("Min", x, 0.0), f64("Log", f64("Add", f64("Exp", f64("Neg", f64("Abs", x))), 1.0)))

    per_code = 2 / (n_classes - 1)
    logits, means, scales = graph.split(graph.cast(parameters, np.float64), [head.n_mixtures] * 3)
    scales = f64("Clip", f64("Sub", scales, math.log(per_code)), *LOG_SCALES)
    sharpness = f64("Exp", f64("Neg", scales))
    from_mean = f64("Sub", graph.cast(codes, np.float64), f64("Div", f64("Add", means, 1.0), per_code))
    upper, lower = (f64("Mul", f64("Add", from_mean, half), sharpness) for half in (0.5, -0.5))
    below, above = log_sigmoid(upper), log_sigmoid(f64("Neg", lower))
    inside = f64("Add", f64("Add", below, above), f64("Log", f64("Sub", 1.0, f64("Exp", f64("Neg", sharpness)))))
    for code, mass in ((0, below), (n_classes - 1, above)):
        inside = graph.add("Where", graph.add("Equal", codes, graph.constant(code, np.int64)), mass, inside)
    terms = f64("Add", graph.add("LogSoftmax", logits, axis=1), inside)
    return graph.add("ReduceLogSumExp", terms, graph.constant([1], np.int64))
