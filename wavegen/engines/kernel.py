"""The step of a WaveNet in one compiled loop over samples, for any number of streams. It allocates nothing.

Arrays are flat and addressed by offsets; B streams, L layers and channels as in weights.py, padded to whole vectors.
Every product reads its input in the precision of the network: `put` brings it there, with one scale per stream for
bytes. The types of `Network` and `Memory` choose what is compiled; there is no second copy of the step.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from wavegen.engines.compiled import kept
from wavegen.engines.draws import draw_categorical, draw_logistic_mixture
from wavegen.engines.packing import Matrices
from wavegen.engines.simd import (
    LANES,
    absolute,
    constant,
    gate,
    highest,
    load,
    maximum,
    multiply_panel,
    splat,
    store,
    store_bytes,
)

Array = NDArray[np.float32]


class Network(NamedTuple):
    """What does not change: packed weights and sizes in channels."""

    embedding: Array  # (n_classes * R)
    convolution: Matrices  # L * k
    convolution_bias: Array  # (L * H)
    projection: Matrices  # L
    projection_bias: Array  # (L * R)
    skip: Matrices  # 1 over the z of all layers, or L
    skip_bias: Array  # (S)
    hidden: Matrices  # 1
    hidden_bias: Array  # (A)
    out: Matrices  # 1
    out_bias: Array  # (P)
    dilations: NDArray[np.int64]  # (L)
    first_rows: NDArray[np.int64]  # (L) where the ring buffer of each layer begins
    n_taps: int
    n_classes: int
    n_mixtures: int
    n_parameters: int
    is_gated: bool
    is_residual: bool


class Memory(NamedTuple):
    """What changes, for B streams. The first four are the state; the rest is only room to work in.

    An input of a product is kept as float32 or, for bytes, as uint8 that stand for scale * (byte - 128).
    """

    ring: NDArray[
        Any
    ]  # (rows * B * R) inputs of the convolutions; layer l has (k - 1) * dilation rows, but one at least
    ring_scales: Array  # (rows * B)
    heard: NDArray[np.int64]  # (B) the newest code, or -1
    clock: NDArray[np.int64]  # (1) steps since the engine was built, which says where in the rings now is
    x: Array  # (B * R) the residual stream
    h: Array  # (B * H) pre-activations
    z: NDArray[Any]  # (B * L * G) gated activations
    z_scales: Array  # (B * L)
    skip: Array  # (B * S)
    skip_put: NDArray[Any]
    hidden: Array  # (B * A)
    hidden_put: NDArray[Any]
    scales: Array  # (B)
    out: Array  # (B * P)
    probabilities: Array  # (B * P)
    keys: NDArray[np.int32]  # the same memory


class Choice(NamedTuple):
    """How each stream's codes are drawn (sampling.Decoding)."""

    temperature: NDArray[np.float64]  # (B)
    top_k: NDArray[np.int64]  # (B), 0 for off
    top_p: NDArray[np.float64]  # (B), 1 for off


@kept
def run(
    net: Network, memory: Memory, first: int, last: int, uniforms: Any, choice: Choice, codes: Any, condition: Any,
    logits: Any,
) -> None:  # fmt: skip
    """Make n steps of streams `first` to `last - 1`; `memory.clock` is left to the caller, for threads share it.

    Shapes: uniforms (B, n), codes (B, n) with -1 where one is to be drawn, which is then put there, condition
    (B, frames, L, H) with 0, 1 or n frames, logits (B, n, P), or (B, 0, P) where nobody wants them.
    """
    B, n_steps = codes.shape
    L, k, n = len(net.dilations), net.n_taps, last - first
    R, H, G = net.convolution.n_rows, net.convolution.n_columns, net.projection.n_rows
    S, A, P = net.skip.n_columns, net.hidden.n_columns, net.out.n_columns
    n_frames = condition.shape[1]
    wants_logits = logits.shape[1] > 0
    for step in range(n_steps):
        now = memory.clock[0] + step
        frame = step if n_frames > 1 else 0
        is_drawn = wants_logits
        for b in range(first, last):
            is_drawn |= codes[b, step] < 0
            heard = memory.heard[b]
            for offset in range(0, R, LANES):
                if heard < 0:
                    store(memory.x, b * R + offset, constant(0.0))
                else:
                    store(memory.x, b * R + offset, load(net.embedding, heard * R + offset))

        for layer in range(L):
            for b in range(first, last):
                for offset in range(0, H, LANES):
                    value = load(net.convolution_bias, layer * H + offset)
                    if n_frames > 0:
                        value = value + load(condition, ((b * n_frames + frame) * L + layer) * H + offset)
                    store(memory.h, b * H + offset, value)
            dilation = net.dilations[layer]
            length = max(1, (k - 1) * dilation)
            for tap in range(k):
                row = (net.first_rows[layer] + (now + tap * dilation) % length) * B + first
                if tap == k - 1:  # now, whose row is that of the oldest tap, which has been read
                    for b in range(n):
                        scale = put(memory.x, (first + b) * R, memory.ring, (row + b) * R, R)
                        memory.ring_scales[row + b] = scale
                multiply(
                    net.convolution, layer * k + tap, memory.ring, row * R, R, memory.ring_scales, row, 1,
                    memory.h, first * H, H, n,
                )  # fmt: skip
            for b in range(first, last):
                if net.is_gated:
                    for offset in range(0, G, LANES):
                        h = b * H + offset
                        put_gated(
                            gate(load(memory.h, h), load(memory.h, h + G)), memory.z, (b * L + layer) * G + offset
                        )
                else:
                    rectify(memory.h, b * H, H)
                    memory.z_scales[b * L + layer] = put(memory.h, b * H, memory.z, (b * L + layer) * G, G)
            if layer == L - 1:
                break
            for b in range(first, last):
                for offset in range(0, R, LANES):
                    value = load(net.projection_bias, layer * R + offset)
                    if net.is_residual:
                        value = value + load(memory.x, b * R + offset)
                    store(memory.x, b * R + offset, value)
            multiply(
                net.projection, layer, memory.z, (first * L + layer) * G, L * G, memory.z_scales, first * L + layer, L,
                memory.x, first * R, R, n,
            )  # fmt: skip

        if is_drawn:
            spread(net.skip_bias, memory.skip, first, last, S)
            if net.is_gated:  # one scale for every z, so one product over all layers
                multiply(
                    net.skip, 0, memory.z, first * L * G, L * G, memory.z_scales, first * L, L,
                    memory.skip, first * S, S, n,
                )  # fmt: skip
            else:
                for layer in range(L):
                    multiply(
                        net.skip, layer, memory.z, (first * L + layer) * G, L * G, memory.z_scales,
                        first * L + layer, L, memory.skip, first * S, S, n,
                    )  # fmt: skip
            for b in range(first, last):
                rectify(memory.skip, b * S, S)
                memory.scales[b] = put(memory.skip, b * S, memory.skip_put, b * S, S)
            spread(net.hidden_bias, memory.hidden, first, last, A)
            multiply(
                net.hidden, 0, memory.skip_put, first * S, S, memory.scales, first, 1, memory.hidden, first * A, A, n
            )
            for b in range(first, last):
                rectify(memory.hidden, b * A, A)
                memory.scales[b] = put(memory.hidden, b * A, memory.hidden_put, b * A, A)
            spread(net.out_bias, memory.out, first, last, P)
            multiply(net.out, 0, memory.hidden_put, first * A, A, memory.scales, first, 1, memory.out, first * P, P, n)
        for b in range(first, last):
            if is_drawn and net.n_mixtures > 0 and memory.heard[b] >= 0:
                value = np.float32(memory.heard[b] * (2 / (net.n_classes - 1)) - 1)
                for index in range(b * P + net.n_mixtures, b * P + 2 * net.n_mixtures):
                    memory.out[index] += value
            if wants_logits:
                for index in range(net.n_parameters):
                    logits[b, step, index] = memory.out[b * P + index]
            if codes[b, step] < 0:
                if net.n_mixtures > 0:
                    codes[b, step] = draw_logistic_mixture(
                        memory.out, b * P, net.n_mixtures, net.n_classes, uniforms[b, step], choice.temperature[b]
                    )
                else:
                    codes[b, step] = draw_categorical(
                        memory.out, memory.probabilities, memory.keys, b * P, net.n_classes, uniforms[b, step],
                        choice.temperature[b], choice.top_k[b], choice.top_p[b],
                    )  # fmt: skip
            memory.heard[b] = codes[b, step]


@njit
def multiply(
    matrices: Matrices, index: int, x: Any, x_offset: int, x_stride: int, x_scales: Any, x_scales_offset: int,
    x_scales_stride: int, y: Any, y_offset: int, y_stride: int, n_streams: int,
) -> None:  # fmt: skip
    """y[b] += x[b] @ matrix, for the vectors that begin at an offset plus b times a stride."""
    n_rows, n_columns = matrices.n_rows, matrices.n_columns
    done = 0
    while done < n_streams:
        left = n_streams - done
        group = 8 if left >= 8 else 4 if left >= 4 else 2 if left >= 2 else 1
        column, width = 0, matrices.panel
        while column < n_columns:
            while width * LANES > n_columns - column:
                width //= 2
            multiply_panel(
                matrices.weights, n_rows * (index * n_columns + column), n_rows, matrices.scales, matrices.starts,
                index * n_columns + column, x, x_offset + done * x_stride, x_stride, x_scales,
                x_scales_offset + done * x_scales_stride, x_scales_stride, y, y_offset + done * y_stride + column,
                y_stride, group, width,
            )  # fmt: skip
            column += width * LANES
        done += group


def put(x: Any, offset: int, to: Any, to_offset: int, n: int) -> float:
    """Bring float32 numbers to the precision of a product's inputs; returns their scale."""
    raise NotImplementedError("compiled code only")


@overload(put)
def _put(x, offset, to, to_offset, n):  # type: ignore[no-untyped-def]
    def as_bytes(x, offset, to, to_offset, n):  # type: ignore[no-untyped-def]
        largest = constant(0.0)
        for index in range(0, n, LANES):
            largest = maximum(largest, absolute(load(x, offset + index)))
        most = highest(largest)
        factor = splat(np.float32(127) / most if most > 0 else np.float32(0))
        for index in range(0, n, LANES):
            store_bytes(to, to_offset + index, load(x, offset + index) * factor)
        return most / np.float32(127)

    def as_it_is(x, offset, to, to_offset, n):  # type: ignore[no-untyped-def]
        for index in range(0, n, LANES):
            store(to, to_offset + index, load(x, offset + index))
        return np.float32(1)

    return as_bytes if to.dtype == types.uint8 else as_it_is


def put_gated(z: Any, to: Any, to_offset: int) -> None:
    """The same for a vector of gated activations, which lie in (-1, 1) and so need no scale of their own."""
    raise NotImplementedError("compiled code only")


@overload(put_gated)
def _put_gated(z, to, to_offset):  # type: ignore[no-untyped-def]
    if to.dtype == types.uint8:
        return lambda z, to, to_offset: store_bytes(to, to_offset, z * constant(127.0))
    return lambda z, to, to_offset: store(to, to_offset, z)


@njit
def rectify(x: Any, offset: int, n: int) -> None:
    for index in range(offset, offset + n, LANES):
        store(x, index, maximum(load(x, index), constant(0.0)))


@njit
def spread(bias: Any, y: Any, first: int, last: int, n: int) -> None:
    """Begin the sums of some streams with a bias."""
    for b in range(first, last):
        for index in range(0, n, LANES):
            store(y, b * n + index, load(bias, index))


@kept
def run_products(net: Network, memory: Memory, n_streams: int, n_steps: int) -> None:
    """The products of n steps and nothing else: the bound that `wavegen bench` compares a step with."""
    L, k = len(net.dilations), net.n_taps
    R, H, G = net.convolution.n_rows, net.convolution.n_columns, net.projection.n_rows
    S, A, P = net.skip.n_columns, net.hidden.n_columns, net.out.n_columns
    for _ in range(n_steps):
        for layer in range(L):
            for tap in range(k):
                multiply(
                    net.convolution, layer * k + tap, memory.ring, 0, R, memory.ring_scales, 0, 1,
                    memory.h, 0, H, n_streams,
                )  # fmt: skip
            if layer < L - 1:
                multiply(
                    net.projection, layer, memory.z, layer * G, L * G, memory.z_scales, 0, L, memory.x, 0, R, n_streams
                )
            if not net.is_gated:
                multiply(
                    net.skip, layer, memory.z, layer * G, L * G, memory.z_scales, 0, L, memory.skip, 0, S, n_streams
                )
        if net.is_gated:
            multiply(net.skip, 0, memory.z, 0, L * G, memory.z_scales, 0, L, memory.skip, 0, S, n_streams)
        multiply(net.hidden, 0, memory.skip_put, 0, S, memory.scales, 0, 1, memory.hidden, 0, A, n_streams)
        multiply(net.out, 0, memory.hidden_put, 0, A, memory.scales, 0, 1, memory.out, 0, P, n_streams)
