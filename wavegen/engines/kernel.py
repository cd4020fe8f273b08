"""The step of a WaveNet in one compiled loop over samples, for any number of streams. It allocates nothing.

Arrays are flat and addressed by pointers and offsets; B streams, L layers and channels as in weights.py, padded to
whole vectors. Every product reads its input in the precision of the network: `put` brings it there, with one scale per
stream for bytes. The types of `Network` and `Memory` choose what is compiled; there is no second copy of the step.
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
    pointer,
    read,
    splat,
    store,
    store_bytes,
    write,
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
    convolution, projection, skips = pointers(net.convolution), pointers(net.projection), pointers(net.skip)
    to_hidden, to_out = pointers(net.hidden), pointers(net.out)
    embedding, convolution_bias, conditions = pointer(net.embedding), pointer(net.convolution_bias), pointer(condition)
    projection_bias, skip_bias = pointer(net.projection_bias), pointer(net.skip_bias)
    hidden_bias, out_bias = pointer(net.hidden_bias), pointer(net.out_bias)
    dilations, first_rows = pointer(net.dilations), pointer(net.first_rows)
    ring, ring_scales, newest = pointer(memory.ring), pointer(memory.ring_scales), pointer(memory.heard)
    x, h, z, z_scales = pointer(memory.x), pointer(memory.h), pointer(memory.z), pointer(memory.z_scales)
    skip, skip_put, scales = pointer(memory.skip), pointer(memory.skip_put), pointer(memory.scales)
    hidden, hidden_put, out = pointer(memory.hidden), pointer(memory.hidden_put), pointer(memory.out)
    weights, keys = pointer(memory.probabilities), pointer(memory.keys)
    temperature, top_k, top_p = pointer(choice.temperature), pointer(choice.top_k), pointer(choice.top_p)
    begin = read(pointer(memory.clock), 0)
    zero, one = np.int64(0), np.int64(1)  # numba compiles a function anew for every literal that it is given

    for step in range(n_steps):
        now = begin + step
        frame = step if n_frames > 1 else 0
        is_drawn = wants_logits
        for b in range(first, last):
            is_drawn |= codes[b, step] < 0
            heard = read(newest, b)
            for offset in range(0, R, LANES):
                if heard < 0:
                    store(x, b * R + offset, constant(0.0))
                else:
                    store(x, b * R + offset, load(embedding, heard * R + offset))

        for layer in range(L):
            for b in range(first, last):
                for offset in range(0, H, LANES):
                    value = load(convolution_bias, layer * H + offset)
                    if n_frames > 0:
                        value = value + load(conditions, ((b * n_frames + frame) * L + layer) * H + offset)
                    store(h, b * H + offset, value)
            dilation = read(dilations, layer)
            length = max(1, (k - 1) * dilation)
            for tap in range(k):
                row = (read(first_rows, layer) + (now + tap * dilation) % length) * B + first
                if tap == k - 1:  # now, whose row is that of the oldest tap, which has been read
                    for b in range(n):
                        write(ring_scales, row + b, put(x, (first + b) * R, ring, (row + b) * R, R))
                multiply(convolution, layer * k + tap, ring, row * R, R, ring_scales, row, one, h, first * H, H, n)
            for b in range(first, last):
                at = (b * L + layer) * G
                if net.is_gated:
                    for offset in range(0, G, LANES):
                        here = b * H + offset
                        put_gated(gate(load(h, here), load(h, here + G)), z, at + offset)
                else:
                    rectify(h, b * H, H)
                    write(z_scales, b * L + layer, put(h, b * H, z, at, G))
            if layer == L - 1:
                break
            for b in range(first, last):
                for offset in range(0, R, LANES):
                    value = load(projection_bias, layer * R + offset)
                    if net.is_residual:
                        value = value + load(x, b * R + offset)
                    store(x, b * R + offset, value)
            at = first * L + layer
            multiply(projection, layer, z, at * G, L * G, z_scales, at, L, x, first * R, R, n)

        if is_drawn:
            spread(skip_bias, skip, first, last, S)
            if net.is_gated:  # one scale for every z, so one product over all layers
                multiply(skips, zero, z, first * L * G, L * G, z_scales, first * L, L, skip, first * S, S, n)
            else:
                for layer in range(L):
                    at = first * L + layer
                    multiply(skips, layer, z, at * G, L * G, z_scales, at, L, skip, first * S, S, n)
            for b in range(first, last):
                rectify(skip, b * S, S)
                write(scales, b, put(skip, b * S, skip_put, b * S, S))
            spread(hidden_bias, hidden, first, last, A)
            multiply(to_hidden, zero, skip_put, first * S, S, scales, first, one, hidden, first * A, A, n)
            for b in range(first, last):
                rectify(hidden, b * A, A)
                write(scales, b, put(hidden, b * A, hidden_put, b * A, A))
            spread(out_bias, out, first, last, P)
            multiply(to_out, zero, hidden_put, first * A, A, scales, first, one, out, first * P, P, n)

        for b in range(first, last):
            heard = read(newest, b)
            if is_drawn and net.n_mixtures > 0 and heard >= 0:
                value_heard = np.float32(heard * (2 / (net.n_classes - 1)) - 1)
                for index in range(b * P + net.n_mixtures, b * P + 2 * net.n_mixtures):
                    write(out, index, read(out, index) + value_heard)
            if wants_logits:
                for index in range(net.n_parameters):
                    logits[b, step, index] = read(out, b * P + index)
            if codes[b, step] < 0:
                if net.n_mixtures > 0:
                    codes[b, step] = draw_logistic_mixture(
                        out, b * P, net.n_mixtures, net.n_classes, uniforms[b, step], read(temperature, b)
                    )
                else:
                    codes[b, step] = draw_categorical(
                        out, weights, keys, b * P, net.n_classes, uniforms[b, step], read(temperature, b),
                        read(top_k, b), read(top_p, b),
                    )  # fmt: skip
            write(newest, b, codes[b, step])


@njit
def pointers(matrices: Matrices) -> Any:
    """The same matrices without references for numba to count."""
    return Matrices(
        pointer(matrices.weights), pointer(matrices.scales), pointer(matrices.starts), matrices.n_rows,
        matrices.n_columns, matrices.panel,
    )  # fmt: skip


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
    L, k, n = len(net.dilations), net.n_taps, n_streams
    R, H, G = net.convolution.n_rows, net.convolution.n_columns, net.projection.n_rows
    S, A, P = net.skip.n_columns, net.hidden.n_columns, net.out.n_columns
    convolution, projection, skips = pointers(net.convolution), pointers(net.projection), pointers(net.skip)
    to_hidden, to_out = pointers(net.hidden), pointers(net.out)
    ring, ring_scales, scales = pointer(memory.ring), pointer(memory.ring_scales), pointer(memory.scales)
    x, h, z, z_scales = pointer(memory.x), pointer(memory.h), pointer(memory.z), pointer(memory.z_scales)
    skip, skip_put = pointer(memory.skip), pointer(memory.skip_put)
    hidden, hidden_put, out = pointer(memory.hidden), pointer(memory.hidden_put), pointer(memory.out)
    zero, one = np.int64(0), np.int64(1)
    for _ in range(n_steps):
        for layer in range(L):
            for tap in range(k):
                multiply(convolution, layer * k + tap, ring, zero, R, ring_scales, zero, one, h, zero, H, n)
            if layer < L - 1:
                multiply(projection, layer, z, layer * G, L * G, z_scales, layer, L, x, zero, R, n)
            if not net.is_gated:
                multiply(skips, layer, z, layer * G, L * G, z_scales, layer, L, skip, zero, S, n)
        if net.is_gated:
            multiply(skips, zero, z, zero, L * G, z_scales, zero, L, skip, zero, S, n)
        multiply(to_hidden, zero, skip_put, zero, S, scales, zero, one, hidden, zero, A, n)
        multiply(to_out, zero, hidden_put, zero, A, scales, zero, one, out, zero, P, n)
