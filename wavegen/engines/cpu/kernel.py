"""The step of a WaveNet in one compiled loop over samples, for any number of streams. It allocates nothing.

It is given the tuples of arguments.py, with an address in place of every array. Every product reads its input in the
precision of the network: `quantise_input` brings it there, with one scale per stream for bytes. One compiled step
serves every network and every precision.
"""

from typing import Any

import numpy as np
from numba import njit, types

from wavegen.engines.cpu.arguments import (
    GUIDANCE,
    LOGISTIC_MIXTURE,
    N_DECODING,
    TEMPERATURE,
    Call,
    Memory,
    Network,
)
from wavegen.engines.cpu.draws import draw_categorical, draw_logistic_mixture, temperature_at
from wavegen.engines.cpu.host import HAS_RELAXED_DOT, LANES
from wavegen.engines.cpu.packing import FLOAT16, FLOAT32, INPUT_STEPS, INT8, INT8X7, INT8X8, Matrices
from wavegen.engines.cpu.simd import (
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
from wavegen.engines.cpu.tuples import kind_of
from wavegen.features.linear_prediction import N_LEVELS, SHIFT

OF_INT8X8, OF_INT8X7 = INPUT_STEPS["int8x8"], INPUT_STEPS["int8x7"]

# A phase of the step is a function to the reader and part of the loop to the compiler.
phase = njit(error_model="numpy", forceinline=True)


@njit(error_model="numpy")
def run(net: Network, memory: Memory, call: Call, first: int, last: int) -> None:
    """Make n steps of streams `first` to `last - 1`; `memory.clock` is left to the caller, for threads share it."""
    begin = read(pointer(memory.clock, np.int64, 0), 0)
    for step in range(call.n):
        now = begin + step
        if net.prediction.order > 0:
            embed_past(net, memory, call, step, now, first, last)
        else:
            embed_previous(net, memory, first, last)
        for layer in range(net.n_layers):
            run_layer(net, memory, call, layer, step, now, first, last)
            if layer < net.n_layers - 1:
                project(net, memory, layer, first, last)
        needs_head = is_head_needed(call, step, first, last)
        if needs_head:
            run_head(net, memory, first, last)
        draw(net, memory, call, step, needs_head, first, last)
        if net.prediction.order > 0:
            remember(net, memory, now, first, last)


@phase
def embed_previous(net: Network, memory: Memory, first: int, last: int) -> None:
    """Begin the residual stream with the embeddings of the newest codes; zeros at the beginning of time."""
    R = net.newest_tap.n_rows
    embedding, x = pointer(net.embedding, np.float32, 0), pointer(memory.x, np.float32, 0)
    for b in range(first, last):
        previous = read(pointer(memory.previous, np.int64, 0), b)
        for offset in range(0, R, LANES):
            if previous < 0:
                store(x, b * R + offset, constant(0.0))
            else:
                store(x, b * R + offset, load(embedding, previous * R + offset))


@phase
def embed_past(
    net: Network, memory: Memory, call: Call, step: int, now: int, first: int, last: int
) -> None:  # fmt: skip
    """Begin the residual stream with what is predicted of the next code, and with past codes and excitations."""
    own, R, n_in = net.prediction, net.newest_tap.n_rows, net.prediction.linear.n_rows
    silence, zero, one = net.n_classes // 2, np.int64(0), np.int64(1)
    coefficients, periods = pointer(call.coefficients, np.int32, 0), pointer(call.periods, np.int32, 0)
    past, companded = pointer(memory.past, np.int32, 0), pointer(memory.companded, np.float32, 0)
    values, inputs = pointer(own.values, np.float32, 0), pointer(memory.inputs, np.float32, 0)
    bias, x = pointer(own.linear_bias, np.float32, 0), pointer(memory.x, np.float32, 0)
    frame, within = (call.phase + step) // call.hop, (call.phase + step) % call.hop
    for b in range(first, last):
        e_now = 4 * b * own.n_past + own.n_past + now % own.n_past  # what was k steps ago lies k before it
        d_now = e_now + 2 * own.n_past
        at = b * call.n_frames + frame
        predicted = predict(coefficients, at * own.order, own.order, past, d_now)
        predicted = min(max(predicted, -silence), net.n_classes - 1 - silence)
        write(pointer(memory.predicted, np.int64, 0), b, predicted)
        to = copy_newest(companded, e_now, own.order, inputs, b * n_in)
        to = copy_newest(companded, d_now, own.order, inputs, to)
        write(inputs, to, read(values, predicted + net.n_classes - 1))
        to += 1
        one_ago = np.int64(0)
        if own.lag_taps > 0:
            period = np.int64(read(periods, at * call.hop + within))
            for n_periods in range(1, 3):
                reach = own.lag_taps // n_periods
                to = copy_around(companded, e_now, n_periods * period, reach, inputs, to)
                to = copy_around(companded, d_now, n_periods * period, reach, inputs, to)
            if period > 0:
                one_ago = np.int64(read(past, d_now - period))
        first_row = embedding_row(net, 0, np.int64(read(past, e_now - 1)))
        second_row = embedding_row(net, 1, one_ago)
        third_row = embedding_row(net, 2, predicted)
        fourth_row = embedding_row(net, 3, np.int64(read(past, d_now - 1)))
        for offset in range(0, R, LANES):
            value = load(bias, offset) + load(first_row, offset)
            value = value + load(second_row, offset)
            value = value + load(third_row, offset)
            store(x, b * R + offset, value + load(fourth_row, offset))
    multiply(
        own.linear, zero, memory.inputs, first * n_in, n_in, memory.scales, first, one, memory.x, first * R, R,
        last - first,
    )  # fmt: skip


@njit
def predict(coefficients: Any, at: int, order: int, past: Any, now: int) -> np.int64:
    """The sum that `linear_prediction.predict` clips, exactly."""
    whole = np.int64(1 << (SHIFT - 1))
    for k in range(order):
        whole += np.int64(read(coefficients, at + k)) * np.int64(read(past, now - 1 - k))
    return whole >> SHIFT


@njit
def copy_newest(source: Any, now: int, n: int, to: Any, at: int) -> int:
    """Put the n numbers before `now`, the newest one first, where they are to be; returns where the next are."""
    for k in range(n):
        write(to, at + k, read(source, now - 1 - k))
    return at + n


@njit
def copy_around(source: Any, now: int, lag: int, reach: int, to: Any, at: int) -> int:
    """The same of a number some steps ago and those to either side of it; zeros where the lag is 0."""
    n = 2 * reach + 1
    for index in range(n):
        write(to, at + index, read(source, now - lag - reach + index) if lag > 0 else np.float32(0))
    return at + n


@njit
def embedding_row(net: Network, table: int, number: int) -> Any:
    """Where the embedding of a number lies."""
    level = np.int64(read(pointer(net.prediction.levels, np.uint8, 0), number + net.n_classes - 1))
    return pointer(net.prediction.embeddings, np.float32, (table * N_LEVELS + level) * net.newest_tap.n_rows)


@phase
def run_layer(
    net: Network, memory: Memory, call: Call, layer: int, step: int, now: int, first: int, last: int
) -> None:  # fmt: skip
    """One convolution and its activation: from the residual stream to `memory.z`."""
    B, k, n = memory.n_streams, net.n_taps, last - first
    R, H, G = net.newest_tap.n_rows, net.newest_tap.n_columns, net.projection.n_rows
    n_steps, h_stride, one = input_steps(net.newest_tap.precision), memory.n_ahead * H, np.int64(1)
    x, h = pointer(memory.x, np.float32, 0), pointer(memory.h, np.float32, 0)
    ring_scales, z_scales = pointer(memory.ring_scales, np.float32, 0), pointer(memory.z_scales, np.float32, 0)
    dilation = read(pointer(net.dilations, np.int64, 0), layer)
    n_known = lookahead_steps(memory, dilation)
    slot = now % n_known
    if step == 0 or slot == 0:
        accumulate_older_taps(net, memory, layer, now, min(n_known - slot, call.n - step), first, last)
    pre = layer * B * h_stride + slot * H
    if call.n_frames > 0:
        add_condition(net, memory, call, layer, step, pre, first, last)
    # The row to write is that of the oldest tap, which has been multiplied.
    row = (read(pointer(net.first_rows, np.int64, 0), layer) + now % max(1, (k - 1) * dilation)) * B + first
    for b in range(n):
        write(ring_scales, row + b, quantise_input(x, (first + b) * R, memory.ring, (row + b) * R, R, n_steps))
    multiply(
        net.newest_tap, layer, memory.ring, row * R, R, memory.ring_scales, row, one, memory.h,
        pre + first * h_stride, h_stride, n,
    )  # fmt: skip
    for b in range(first, last):
        at = (b * net.n_layers + layer) * G
        if net.is_gated:
            quantise_gated(h, pre + b * h_stride, memory.z, at, G, n_steps)
        else:
            rectify(h, pre + b * h_stride, H)
            scale = quantise_input(h, pre + b * h_stride, memory.z, at, G, n_steps)
            write(z_scales, b * net.n_layers + layer, scale)


@phase
def add_condition(
    net: Network, memory: Memory, call: Call, layer: int, step: int, pre: int, first: int, last: int
) -> None:  # fmt: skip
    """Add the condition of a layer at a step, between two frames in proportion, to the pre-activations at `pre`."""
    L, H = net.n_layers, net.newest_tap.n_columns
    h_stride = memory.n_ahead * H
    h, conditions = pointer(memory.h, np.float32, 0), pointer(call.condition, np.float32, 0)
    position = call.phase + step
    frame = min(position // call.hop, call.n_frames - 1)
    # How far it is to the next frame, in [0, 1).
    share = np.float32(position % call.hop) / np.float32(call.hop) if frame < call.n_frames - 1 else np.float32(0)
    for b in range(first, last):
        for offset in range(0, H, LANES):
            at = ((b * call.n_frames + frame) * L + layer) * H + offset
            here = load(conditions, at)
            value = load(h, pre + b * h_stride + offset) + here
            if share > 0:
                value = value + splat(share) * (load(conditions, at + L * H) - here)
            store(h, pre + b * h_stride + offset, value)


@phase
def project(net: Network, memory: Memory, layer: int, first: int, last: int) -> None:
    """Bring the activations of a layer back to the residual stream, which the next layer reads."""
    R, G, L = net.newest_tap.n_rows, net.projection.n_rows, net.n_layers
    bias, x = pointer(net.projection_bias, np.float32, 0), pointer(memory.x, np.float32, 0)
    for b in range(first, last):
        for offset in range(0, R, LANES):
            value = load(bias, layer * R + offset)
            if net.is_residual:
                value = value + load(x, b * R + offset)
            store(x, b * R + offset, value)
    at = first * L + layer
    multiply(
        net.projection, layer, memory.z, at * G, L * G, memory.z_scales, at, L, memory.x, first * R, R, last - first
    )


@phase
def is_head_needed(call: Call, step: int, first: int, last: int) -> bool:
    """Whether a step draws a code of any stream, or logits are wanted; given codes need nothing above the layers."""
    codes = pointer(call.codes, np.int64, 0)
    is_needed = call.wants_logits
    for b in range(first, last):
        is_needed |= read(codes, b * call.n + step) < 0
    return is_needed


@phase
def run_head(net: Network, memory: Memory, first: int, last: int) -> None:
    """From the activations of all layers to the parameters of the next code's distribution, in `memory.out`."""
    L, G, n = net.n_layers, net.projection.n_rows, last - first
    S, A, P = net.skip.n_columns, net.hidden.n_columns, net.out.n_columns
    n_steps, zero, one = input_steps(net.newest_tap.precision), np.int64(0), np.int64(1)
    skip, hidden = pointer(memory.skip, np.float32, 0), pointer(memory.hidden, np.float32, 0)
    out, scales = pointer(memory.out, np.float32, 0), pointer(memory.scales, np.float32, 0)
    broadcast_bias(pointer(net.skip_bias, np.float32, 0), skip, first, last, S)
    if net.is_gated:  # one scale for every z, so one product over all layers
        at = first * L
        multiply(net.skip, zero, memory.z, at * G, L * G, memory.z_scales, at, L, memory.skip, first * S, S, n)
    else:
        for layer in range(L):
            at = first * L + layer
            multiply(net.skip, layer, memory.z, at * G, L * G, memory.z_scales, at, L, memory.skip, first * S, S, n)
    for b in range(first, last):
        rectify(skip, b * S, S)
        write(scales, b, quantise_input(skip, b * S, memory.skip_input, b * S, S, n_steps))
    broadcast_bias(pointer(net.hidden_bias, np.float32, 0), hidden, first, last, A)
    multiply(
        net.hidden, zero, memory.skip_input, first * S, S, memory.scales, first, one, memory.hidden, first * A, A, n
    )
    for b in range(first, last):
        rectify(hidden, b * A, A)
        write(scales, b, quantise_input(hidden, b * A, memory.hidden_input, b * A, A, n_steps))
    broadcast_bias(pointer(net.out_bias, np.float32, 0), out, first, last, P)
    for part in range(net.n_out):
        multiply(
            net.out, part, memory.hidden_input, first * A, A, memory.scales, first, one, memory.out, first * P, P, n
        )


@phase
def draw(
    net: Network, memory: Memory, call: Call, step: int, has_head_run: bool, first: int, last: int
) -> None:  # fmt: skip
    """Draw the codes that are not given, put out logits if they are wanted, and remember the newest codes."""
    P = net.out.n_columns
    newest, codes = pointer(memory.previous, np.int64, 0), pointer(call.codes, np.int64, 0)
    out, weights = pointer(memory.out, np.float32, 0), pointer(memory.probabilities, np.float32, 0)
    keys, logits = pointer(memory.keys, np.int32, 0), pointer(call.logits, np.float32, 0)
    uniforms = pointer(call.uniforms, np.float64, 0)
    for b in range(first, last):
        decoding = pointer(call.decoding, np.float64, b * N_DECODING)
        previous = read(newest, b)
        if has_head_run and net.prediction.order > 0:
            shift_by_prediction(net, memory, call, step, b)
        elif has_head_run and net.head == LOGISTIC_MIXTURE and previous >= 0:
            previous_value = np.float32(previous * (2 / (net.n_classes - 1)) - 1)
            for index in range(b * P + net.n_mixtures, b * P + 2 * net.n_mixtures):
                write(out, index, read(out, index) + previous_value)
        at = b * call.n + step
        is_second = call.is_guided and (b - first) % 2 == 1
        if has_head_run and call.is_guided and not is_second:
            guide(out, b * P, P, np.float32(read(decoding, GUIDANCE)))
        if call.wants_logits:
            for index in range(net.n_parameters):
                write(logits, at * net.n_parameters + index, read(out, b * P + index))
        if read(codes, at) < 0:
            u = read(uniforms, at)
            if is_second:
                drawn = read(codes, at - call.n)
            elif net.head == LOGISTIC_MIXTURE:
                temperature = temperature_of(net, call, step, b)
                drawn = draw_logistic_mixture(out, b * P, net.n_mixtures, net.n_classes, u, temperature)
            else:
                drawn = draw_categorical(out, weights, keys, b * P, net.n_classes, u, decoding)
            write(codes, at, drawn)
        write(newest, b, read(codes, at))


@njit
def shift_by_prediction(net: Network, memory: Memory, call: Call, step: int, b: int) -> None:
    """Let the means of a stream's mixture depart from the predicted code, and means and scales count in gains.

    In float32 and in the order of `models.heads.LogisticMixture.shift_by_prediction`.
    """
    out = pointer(memory.out, np.float32, b * net.out.n_columns)
    gains = pointer(call.gains, np.float32, 2 * (b * call.n_frames + (call.phase + step) // call.hop))
    gain, log_gain = read(gains, 0), read(gains, 1)
    code = read(pointer(memory.predicted, np.int64, 0), b) + net.n_classes // 2
    value = np.float32(code) * np.float32(2 / (net.n_classes - 1)) - np.float32(1)
    for index in range(net.n_mixtures, 2 * net.n_mixtures):
        write(out, index, read(out, index) * gain + value)
    for index in range(2 * net.n_mixtures, 3 * net.n_mixtures):
        write(out, index, read(out, index) + log_gain)


@njit
def temperature_of(net: Network, call: Call, step: int, b: int) -> float:
    """The temperature by which a stream draws at a step."""
    decoding = pointer(call.decoding, np.float64, b * N_DECODING)
    if net.prediction.order == 0:
        return read(decoding, TEMPERATURE)
    voicing = read(pointer(call.voicing, np.float32, b * call.n_frames), (call.phase + step) // call.hop)
    return temperature_at(decoding, np.float64(voicing))


@phase
def remember(net: Network, memory: Memory, now: int, first: int, last: int) -> None:
    """Put the newest codes and their excitations into the past."""
    N, silence, middle = net.prediction.n_past, net.n_classes // 2, net.n_classes - 1
    values = pointer(net.prediction.values, np.float32, 0)
    for b in range(first, last):
        past = pointer(memory.past, np.int32, 4 * b * N + now % N)
        companded = pointer(memory.companded, np.float32, 4 * b * N + now % N)
        d = read(pointer(memory.previous, np.int64, 0), b) - silence
        e = d - read(pointer(memory.predicted, np.int64, 0), b)
        for index in range(2):
            write(past, index * N, np.int32(e))
            write(past, (2 + index) * N, np.int32(d))
            write(companded, index * N, read(values, e + middle))
            write(companded, (2 + index) * N, read(values, d + middle))


@njit
def lookahead_steps(memory: Memory, dilation: int) -> int:
    """For how many steps, at most, all inputs of the older taps are known: a power of two that divides the dilation."""
    return min(memory.n_ahead, dilation & -dilation)


@njit
def accumulate_older_taps(
    net: Network, memory: Memory, layer: int, now: int, n_steps: int, first: int, last: int
) -> None:  # fmt: skip
    """Put the biases of a layer and the products of its older taps at `now` and the steps after it into `memory.h`.

    None of these steps reaches another through an older tap, so one pass over the weights can serve several: that of
    one stream serves its steps if they are more than the streams, else each step's serves all streams. The steps do not
    cross a multiple of `lookahead_steps`, so that their rows lie one after the other in the ring.
    """
    B, k, n = memory.n_streams, net.n_taps, last - first
    R, H = net.newest_tap.n_rows, net.newest_tap.n_columns
    bias, h = pointer(net.convolution_bias, np.float32, layer * H), pointer(memory.h, np.float32, 0)
    dilation = read(pointer(net.dilations, np.int64, 0), layer)
    first_row = read(pointer(net.first_rows, np.int64, 0), layer)
    h_stride, one = memory.n_ahead * H, np.int64(1)
    begin = (layer * B + first) * h_stride + now % lookahead_steps(memory, dilation) * H
    for b in range(n):
        for index in range(n_steps):
            for offset in range(0, H, LANES):
                store(h, begin + b * h_stride + index * H + offset, load(bias, offset))
    for tap in range(k - 1):
        matrix = layer * (k - 1) + tap
        row = (first_row + (now + tap * dilation) % ((k - 1) * dilation)) * B + first
        if n_steps > n:
            for b in range(n):
                multiply(
                    net.older_taps, matrix, memory.ring, (row + b) * R, B * R, memory.ring_scales, row + b, B,
                    memory.h, begin + b * h_stride, H, n_steps,
                )  # fmt: skip
        else:
            for index in range(n_steps):
                at = row + index * B
                multiply(
                    net.older_taps, matrix, memory.ring, at * R, R, memory.ring_scales, at, one, memory.h,
                    begin + index * H, h_stride, n,
                )  # fmt: skip


@njit
def input_steps(precision: int) -> int:
    """`packing.INPUT_STEPS` of a precision, 0 where inputs are floats; a module with the relaxed instruction takes
    networks of int8x8 for int8x7."""
    if precision == INT8X7 or (HAS_RELAXED_DOT and precision == INT8X8):
        return OF_INT8X7
    return OF_INT8X8 if precision == INT8X8 else 0


@njit
def multiply(
    matrices: Matrices, index: int, x: int, x_offset: int, x_stride: int, x_scales: int, x_scales_offset: int,
    x_scales_stride: int, y: int, y_offset: int, y_stride: int, n_streams: int,
) -> None:  # fmt: skip
    """y[b] += x[b] @ matrix, for the vectors that begin at an address, an offset plus b times a stride."""
    n_rows, n_columns, precision, weights = matrices.n_rows, matrices.n_columns, matrices.precision, matrices.weights
    n_steps, done = input_steps(precision), 0
    while done < n_streams:
        left = n_streams - done
        group = matrices.group
        while group > left:
            group //= 2
        x_at = x_offset + done * x_stride
        x_scale = pointer(x_scales, np.float32, x_scales_offset + done * x_scales_stride)
        column, width = 0, matrices.panel
        while column < n_columns:
            while width * LANES > n_columns - column:
                width //= 2
            at = index * n_columns + column
            scale, start = pointer(matrices.scales, np.float32, at), pointer(matrices.starts, np.int32, at)
            to = pointer(y, np.float32, y_offset + done * y_stride + column)
            at *= n_rows
            if n_steps > 0:
                multiply_panel(
                    pointer(weights, np.int8, at), n_rows, scale, start, pointer(x, np.uint8, x_at), x_stride, x_scale,
                    x_scales_stride, to, y_stride, group, width, n_steps,
                )  # fmt: skip
            elif precision == INT8:
                multiply_panel(
                    pointer(weights, np.int8, at), n_rows, scale, start, pointer(x, np.float32, x_at), x_stride,
                    x_scale, x_scales_stride, to, y_stride, group, width, n_steps,
                )  # fmt: skip
            elif precision == FLOAT16:
                multiply_panel(
                    pointer(weights, np.uint16, at), n_rows, scale, start, pointer(x, np.float32, x_at), x_stride,
                    x_scale, x_scales_stride, to, y_stride, group, width, n_steps,
                )  # fmt: skip
            elif precision == FLOAT32:
                multiply_panel(
                    pointer(weights, np.float32, at), n_rows, scale, start, pointer(x, np.float32, x_at), x_stride,
                    x_scale, x_scales_stride, to, y_stride, group, width, n_steps,
                )  # fmt: skip
            column += width * LANES
        done += group


@njit
def quantise_input(x: Any, offset: int, to: int, to_offset: int, n: int, n_steps: int) -> np.float32:
    """Bring float32 numbers to the precision of a product's inputs, at an address; returns their scale.

    `n_steps`: as `input_steps`.
    """
    if n_steps > 0:
        largest = constant(0.0)
        for index in range(0, n, LANES):
            largest = maximum(largest, absolute(load(x, offset + index)))
        most = highest(largest)
        factor = splat(np.float32(n_steps) / most if most > 0 else np.float32(0))
        for index in range(0, n, LANES):
            store_bytes(pointer(to, np.uint8, to_offset), index, load(x, offset + index) * factor, n_steps + 1)
        return most / np.float32(n_steps)
    for index in range(0, n, LANES):
        store(pointer(to, np.float32, to_offset), index, load(x, offset + index))
    return np.float32(1)


@njit
def quantise_gated(h: Any, offset: int, to: int, to_offset: int, n: int, n_steps: int) -> None:
    """Gate n filters with the n gates behind them. The results lie in (-1, 1) and so need no scale of their own."""
    for index in range(0, n, LANES):
        z = gate(load(h, offset + index), load(h, offset + n + index))
        if n_steps > 0:
            store_bytes(pointer(to, np.uint8, to_offset), index, z * splat(np.float32(n_steps)), n_steps + 1)
        else:
            store(pointer(to, np.float32, to_offset), index, z)


@njit
def rectify(x: Any, offset: int, n: int) -> None:
    for index in range(offset, offset + n, LANES):
        store(x, index, maximum(load(x, index), constant(0.0)))


@njit
def broadcast_bias(bias: Any, y: Any, first: int, last: int, n: int) -> None:
    """Begin the sums of some streams with a bias."""
    for b in range(first, last):
        for index in range(0, n, LANES):
            store(y, b * n + index, load(bias, index))


@njit
def guide(out: Any, at: int, n: int, guidance: np.float32) -> None:
    """Move n logits away from the n behind them, those without labels (sampling.guide)."""
    for index in range(at, at + n, LANES):
        unlabelled = load(out, index + n)
        store(out, index, unlabelled + splat(guidance) * (load(out, index) - unlabelled))


@njit(error_model="numpy")
def run_products(net: Network, memory: Memory, n_streams: int, n_steps: int) -> None:
    """The products of n steps and nothing else: the bound that `wavegen bench` compares a step with."""
    L, n = net.n_layers, n_streams
    R, H, G = net.newest_tap.n_rows, net.newest_tap.n_columns, net.projection.n_rows
    S, A, P = net.skip.n_columns, net.hidden.n_columns, net.out.n_columns
    x, h, z, z_scales, h_stride = memory.x, memory.h, memory.z, memory.z_scales, memory.n_ahead * H
    dilations = pointer(net.dilations, np.int64, 0)
    zero, one = np.int64(0), np.int64(1)
    for step in range(n_steps):
        if net.prediction.order > 0:
            n_in = net.prediction.linear.n_rows
            multiply(net.prediction.linear, zero, memory.inputs, zero, n_in, memory.scales, zero, one, x, zero, R, n)
        for layer in range(L):
            n_known = lookahead_steps(memory, read(dilations, layer))
            if step % n_known == 0:
                accumulate_older_taps(net, memory, layer, step, min(n_known, n_steps - step), zero, n)
            multiply(
                net.newest_tap,
                layer,
                memory.ring,
                zero,
                R,
                memory.ring_scales,
                zero,
                one,
                h,
                layer * n * h_stride,
                h_stride,
                n,
            )
            if layer < L - 1:
                multiply(net.projection, layer, z, layer * G, L * G, z_scales, layer, L, x, zero, R, n)
            if not net.is_gated:
                multiply(net.skip, layer, z, layer * G, L * G, z_scales, layer, L, memory.skip, zero, S, n)
        if net.is_gated:
            multiply(net.skip, zero, z, zero, L * G, z_scales, zero, L, memory.skip, zero, S, n)
        multiply(net.hidden, zero, memory.skip_input, zero, S, memory.scales, zero, one, memory.hidden, zero, A, n)
        for part in range(net.n_out):
            multiply(net.out, part, memory.hidden_input, zero, A, memory.scales, zero, one, memory.out, zero, P, n)


# What the engine calls (compiled.py), as `ahead_of_time.object_file` takes it: with the addresses of the tuples.
RUN = {"run": (run, (kind_of(Network), kind_of(Memory), kind_of(Call), types.int64, types.int64))}
RUN_PRODUCTS = {"run_products": (run_products, (kind_of(Network), kind_of(Memory), types.int64, types.int64))}
