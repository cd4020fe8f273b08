"""A network and its memory, laid out as the kernel reads them, for a vector unit: that of this CPU or another's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.cpu.arguments import CATEGORICAL, LOGISTIC_MIXTURE, Memory, Network, PredictionInput
from wavegen.engines.cpu.packing import (
    INPUT_STEPS,
    Matrices,
    Precision,
    VectorUnit,
    align_to_cache_line,
    pack,
    pad,
    split_residual,
)
from wavegen.engines.weights import PredictionWeights, StackWeights
from wavegen.features.linear_prediction import companding

NOTHING = np.zeros(0, dtype=np.float32)
STEPS_OF_A_PASS = 4  # that one pass over the weights of older taps serves
IMPOSSIBLE = -1e30  # the logit of a class that only fills a vector


def pack_network(weights: StackWeights, precision: Precision, group: int, unit: VectorUnit) -> Network:
    """Pad every channel count to whole vectors and lay out the matrices, for passes of `group` streams at most."""
    lanes = unit.lanes
    if precision == "float32" and unit.reads_float16 and _all_fit_float16(weights):
        precision = "float16"  # the very same numbers, and half as much to read
    n_layers, n_taps = weights.convolution.shape[:2]
    n_gate = weights.projection.shape[2]

    def packed(matrices: NDArray[np.float32], group: int = group) -> Matrices:
        return pack(pad(matrices, lanes, 1, 2), precision, lanes, unit.panel_vectors(group), group)

    def flat(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return align_to_cache_line(pad(array, lanes, array.ndim - 1).ravel())

    convolution = pad_halves(weights.convolution.transpose(0, 1, 3, 2), weights.is_gated, 3, lanes)
    skip = pad(weights.skip.T.reshape(n_layers, n_gate, -1), lanes, 1)  # (L, G, S)
    if weights.is_gated:
        skip = skip.reshape(1, -1, skip.shape[2])
    out = split_residual(weights.out.T, precision)
    ring_rows = [max(1, (n_taps - 1) * dilation) for dilation in weights.dilations]
    return Network(
        embedding=flat(weights.embedding),
        prediction=_pack_prediction(weights.prediction, weights.n_classes, group, unit),
        newest_tap=packed(convolution[:, -1]),
        older_taps=packed(
            convolution[:, :-1].reshape(n_layers * (n_taps - 1), *convolution.shape[2:]),
            max(group, STEPS_OF_A_PASS),
        ),
        convolution_bias=align_to_cache_line(pad_halves(weights.convolution_bias, weights.is_gated, 1, lanes).ravel()),
        projection=packed(weights.projection.transpose(0, 2, 1)),
        projection_bias=flat(weights.projection_bias),
        skip=packed(skip),
        skip_bias=flat(weights.skip_bias),
        hidden=packed(weights.hidden.T[None]),
        hidden_bias=flat(weights.hidden_bias),
        out=packed(out),
        n_out=len(out),
        out_bias=align_to_cache_line(pad(weights.out_bias, lanes, 0, value=IMPOSSIBLE)),
        dilations=np.array(weights.dilations, dtype=np.int64),
        first_rows=np.cumsum([0, *ring_rows[:-1]], dtype=np.int64),
        n_layers=n_layers,
        n_taps=n_taps,
        n_classes=weights.n_classes,
        head=CATEGORICAL if weights.n_mixtures is None else LOGISTIC_MIXTURE,
        n_mixtures=weights.n_mixtures or 0,
        n_parameters=len(weights.out_bias),
        is_gated=weights.is_gated,
        is_residual=weights.is_residual,
    )


def _pack_prediction(
    weights: PredictionWeights | None, n_classes: int, group: int, unit: VectorUnit
) -> PredictionInput:
    """In float32 always, or in float16 where that is the same: past codes enter as exactly as they are known."""
    lanes = unit.lanes

    def packed(matrix: NDArray[np.float32]) -> Matrices:
        precision: Precision = "float16" if fits_float16(matrix) and unit.reads_float16 else "float32"
        return pack(pad(matrix.T[None], lanes, 1, 2), precision, lanes, unit.panel_vectors(group), group)

    if weights is None:
        nothing = packed(np.zeros((lanes, lanes), dtype=np.float32))
        return PredictionInput(0, 0, 0, nothing, NOTHING, NOTHING, NOTHING, np.zeros(0, dtype=np.uint8))
    values, levels = companding(n_classes)
    return PredictionInput(
        order=weights.sizes.order,
        lag_taps=weights.sizes.lag_taps,
        n_past=weights.sizes.n_past,
        linear=packed(weights.linear),
        linear_bias=align_to_cache_line(pad(weights.linear_bias, lanes, 0)),
        embeddings=align_to_cache_line(pad(weights.embeddings, lanes, 2).ravel()),
        values=values,
        levels=levels,
    )


def make_memory(network: Network, n_streams: int, precision: Precision, n_ahead: int) -> Memory:
    """State and room to work for some streams, whose older taps are multiplied for `n_ahead` steps at once."""
    kind = np.uint8 if precision in INPUT_STEPS else np.float32
    n_layers = network.n_layers
    n_rows = sum(max(1, (network.n_taps - 1) * int(dilation)) for dilation in network.dilations)
    R, H, G = network.newest_tap.n_rows, network.newest_tap.n_columns, network.projection.n_rows
    S, A, P = network.skip.n_columns, network.hidden.n_columns, network.out.n_columns

    def numbers(n: int) -> NDArray[np.float32]:
        return align_to_cache_line(np.zeros(n_streams * n, dtype=np.float32))

    def inputs(n: int) -> NDArray[Any]:
        return align_to_cache_line(np.zeros(n_streams * n, dtype=kind))

    probabilities, n_past = numbers(P), network.prediction.n_past
    return Memory(
        ring=inputs(n_rows * R),
        ring_scales=numbers(n_rows),
        previous=np.full(n_streams, -1, dtype=np.int64),
        past=np.zeros(n_streams * 4 * n_past, dtype=np.int32),
        companded=np.zeros(n_streams * 4 * n_past, dtype=np.float32),
        clock=np.zeros(1, dtype=np.int64),
        n_streams=n_streams,
        x=numbers(R),
        h=numbers(n_layers * n_ahead * H),
        n_ahead=n_ahead,
        z=inputs(n_layers * G),
        z_scales=np.full(n_streams * n_layers, 1 / INPUT_STEPS.get(precision, 1), dtype=np.float32),
        skip=numbers(S),
        skip_input=inputs(S),
        hidden=numbers(A),
        hidden_input=inputs(A),
        scales=numbers(1),
        out=numbers(P),
        probabilities=probabilities,
        keys=probabilities.view(np.int32),
        predicted=np.zeros(n_streams, dtype=np.int64),
        inputs=numbers(network.prediction.linear.n_rows),
    )


def _all_fit_float16(weights: StackWeights) -> bool:
    """Whether float16 holds the matrices exactly, as it does those of an exported model."""
    matrices = (weights.convolution, weights.projection, weights.skip, weights.hidden, weights.out)
    return all(fits_float16(matrix) for matrix in matrices)


def fits_float16(matrix: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(matrix.astype(np.float16), matrix)


def pad_halves(array: NDArray[np.float32], is_gated: bool, axis: int, lanes: int) -> NDArray[np.float32]:
    """Pad the outputs of a convolution to whole vectors: of gated layers the filter's and the gate's each."""
    parts = np.split(array, 2 if is_gated else 1, axis=axis)
    return np.concatenate([pad(part, lanes, axis) for part in parts], axis=axis)
