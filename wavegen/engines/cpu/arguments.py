"""What the step is called with: a network, its memory and what to do, as tuples of numbers and arrays. No numba.

They reach compiled code as 64-bit integers one after the other, with an address in place of every array (`in_memory`);
tuples.py reads them. Arrays are flat; B streams, L layers and channels as in weights.py, padded to whole vectors.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.cpu.packing import Matrices
from wavegen.sampling import DECODING

Array = NDArray[np.float32]
CATEGORICAL, LOGISTIC_MIXTURE = 0, 1  # heads that the step draws from
# The fields of a decoding that the draws heed, and where they stand in its numbers.
DRAWN_BY = ("temperature", "top_k", "top_p", "voiced_temperature", "guidance")
TEMPERATURE, TOP_K, TOP_P, VOICED_TEMPERATURE, GUIDANCE = (DECODING.index(name) for name in DRAWN_BY)
N_DECODING = len(DECODING)


class PredictionInput(NamedTuple):
    """How past codes and a prediction enter a network that is told one (models/prediction.py); order 0 is none."""

    order: int
    lag_taps: int
    n_past: int  # N past codes that are remembered
    linear: Matrices  # 1, float32 whatever the precision of the network
    linear_bias: Array  # (R)
    embeddings: Array  # (4 * N_LEVELS * R)
    values: Array  # (2 * n_classes - 1) a number d companded, at d + n_classes - 1 (linear_prediction.companding)
    levels: NDArray[np.uint8]  # (2 * n_classes - 1)


class Network(NamedTuple):
    """What does not change: packed weights and sizes."""

    embedding: Array  # (n_classes * R)
    prediction: PredictionInput  # what there is in place of the embedding, if its order is not 0
    newest_tap: Matrices  # L
    older_taps: Matrices  # L * (k - 1)
    convolution_bias: Array  # (L * H)
    projection: Matrices  # L
    projection_bias: Array  # (L * R)
    skip: Matrices  # 1 over the z of all layers, or L
    skip_bias: Array  # (S)
    hidden: Matrices  # 1
    hidden_bias: Array  # (A)
    out: Matrices  # n_out, whose products are added up (packing.split_residual)
    n_out: int
    out_bias: Array  # (P)
    dilations: NDArray[np.int64]  # (L)
    first_rows: NDArray[np.int64]  # (L) where the ring buffer of each layer begins
    n_layers: int
    n_taps: int
    n_classes: int
    head: int  # CATEGORICAL or LOGISTIC_MIXTURE
    n_mixtures: int  # of LOGISTIC_MIXTURE
    n_parameters: int
    is_gated: bool
    is_residual: bool


class Memory(NamedTuple):
    """What changes, for B streams. The first six are the state; the rest is only room to work in.

    An input of a product is kept as float32 or, for bytes, as uint8 that stand for scale * (byte - 128), in
    int8x7 for scale * (byte - 64).
    """

    # (rows * B * R) inputs of the convolutions; layer l has (k - 1) * dilation rows, but one at least
    ring: NDArray[Any]
    ring_scales: Array  # (rows * B)
    previous: NDArray[np.int64]  # (B) the newest code, or -1
    # (B * 2 * 2 N) excitations, and behind them codes less silence: the number of step t at t % N and N further on, so
    # that any N of them lie one after the other
    past: NDArray[np.int32]
    companded: Array  # (B * 2 * 2 N) the same, companded
    clock: NDArray[np.int64]  # (1) steps since the engine was built, which says where in the rings now is
    n_streams: int  # B
    x: Array  # (B * R) the residual stream
    h: Array  # (L * B * n_ahead * H) pre-activations, of which those of coming steps lack the newest tap
    n_ahead: int  # a power of two
    z: NDArray[Any]  # (B * L * G) gated activations
    z_scales: Array  # (B * L)
    skip: Array  # (B * S)
    skip_input: NDArray[Any]
    hidden: Array  # (B * A)
    hidden_input: NDArray[Any]
    scales: Array  # (B)
    out: Array  # (B * P)
    probabilities: Array  # (B * P)
    keys: NDArray[np.int32]  # the same memory
    predicted: NDArray[np.int64]  # (B) the next code less silence, as predicted
    inputs: Array  # (B * n_inputs) of the linear layer


class Call(NamedTuple):
    """What n steps are to do."""

    n: int
    uniforms: NDArray[np.float64]  # (B * n)
    decoding: NDArray[np.float64]  # (B * N_DECODING) the numbers of each stream's sampling.Decoding
    is_guided: bool  # the streams are pairs, with labels and without, which are fed the same codes
    codes: NDArray[np.int64]  # (B * n) with -1 where one is to be drawn, which is then put there
    n_frames: int  # of the condition, 0 for none; the last one holds
    hop: int  # steps from a frame to the next
    phase: int  # steps from frame 0 to the first step
    condition: Array  # (B * n_frames * L * H)
    coefficients: NDArray[np.int32]  # (B * n_frames * order), this and the next three of a Prediction
    gains: Array  # (B * n_frames * 2)
    periods: NDArray[np.int32]  # (B * n_frames * hop)
    voicing: Array  # (B * n_frames)
    wants_logits: bool
    logits: Array  # (B * n * n_parameters) if they are wanted


def in_memory(parts: tuple[Any, ...]) -> NDArray[np.int64]:
    """The numbers of a tuple one after the other, as compiled code reads them.

    Whoever calls compiled code keeps the arrays alive, contiguous and of the types that are written beside them.
    """
    return np.fromiter(_leaves(parts), dtype=np.int64)


def _leaves(parts: tuple[Any, ...]) -> Iterator[int]:
    for part in parts:
        if isinstance(part, tuple):
            yield from _leaves(part)
        elif isinstance(part, np.ndarray):
            assert part.flags.c_contiguous
            yield part.ctypes.data
        else:
            yield int(part)
