"""The step of a WaveNet in one Triton kernel, which makes all steps of a call without returning to the host.

A program keeps a tile of 16 streams and walks through time and layers by itself: the residual stream, the gated
activation and the sum of the skips stay in its registers, the pasts of all layers in ring buffers in the card's memory,
the weights in its caches. Programs have nothing in common, so the kernel launches on any card and with any number of
streams. (nv-wavenet, the last kernel of this kind, split layers over programs and needed them all resident at once.)

    for every step
        x = embedding of the previous code, or past codes and the prediction that a network is told
        for every layer
            h = bias + condition + one product per tap, of x or of what the ring buffer holds
            z = tanh * sigmoid;   skips += z S;   x += z W;   the ring buffer takes x
        logits from the skips, over two layers;   the code is drawn;   it is the previous one of the next step

Shapes as in triton_gpu.Network: B streams, n steps, L layers, K taps, and channels padded to powers of two.
"""

import triton
import triton.language as tl

from wavegen.features import linear_prediction
from wavegen.sampling import DECODING, LOG_SCALES

# The fields of a decoding that are heeded here, and where they stand in its numbers.
DRAWN_BY = ("temperature", "top_k", "top_p", "voiced_temperature", "guidance")
TEMPERATURE, TOP_K, TOP_P, VOICED_TEMPERATURE, GUIDANCE = (tl.constexpr(DECODING.index(name)) for name in DRAWN_BY)
N_DECODING = tl.constexpr(len(DECODING))
LOWEST, HIGHEST = tl.constexpr(LOG_SCALES[0]), tl.constexpr(LOG_SCALES[1])
TINIEST, NEAREST_TO_1 = tl.constexpr(2.0**-54), tl.constexpr(1.0 - 2.0**-53)  # quantiles that are drawn
N_LEVELS = tl.constexpr(linear_prediction.N_LEVELS)
SHIFT, HALF = tl.constexpr(linear_prediction.SHIFT), tl.constexpr(1 << (linear_prediction.SHIFT - 1))
EXCITATION, CODE, PREDICTED, NOTHING = (tl.constexpr(kind) for kind in range(4))  # what an input is a number of
STEEPEST = tl.constexpr(1e30)  # largest 1 / temperature, so that it stays finite in float32


@triton.jit(do_not_specialize=["n_frames", "hop", "phase", "clock", "n", "B"])
def run(
    embedding, convolution, convolution_bias, projection, projection_bias, skip_matrix, skip_bias, hidden_matrix,
    hidden_bias, out_matrix, out_bias, dilations, first_rows, input_matrix, input_bias, embeddings, values, levels,
    input_kinds, input_periods, input_steps, ring, newest, past, companded, room, uniforms, codes, logits, decodings,
    condition, coefficients, gains, periods, voicing, n_frames, hop, phase, clock, n, B,
    N_CLASSES: tl.constexpr, N_MIXTURES: tl.constexpr, LOG_PER_CODE: tl.constexpr, N_GATE: tl.constexpr,
    L: tl.constexpr, K: tl.constexpr, R: tl.constexpr, G: tl.constexpr, S: tl.constexpr, A: tl.constexpr,
    P: tl.constexpr, ROOM: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr, IS_GATED: tl.constexpr,
    IS_RESIDUAL: tl.constexpr, IS_CONDITIONED: tl.constexpr, IS_FILTERED: tl.constexpr, IS_GUIDED: tl.constexpr,
    WANTS_LOGITS: tl.constexpr, ORDER: tl.constexpr, N_PAST: tl.constexpr, N_INPUTS: tl.constexpr,
):  # fmt: skip
    """Make n steps of a tile of streams. Arrays as in `Network` and `TritonEngine`; condition (B, n_frames, L, H)."""
    HALVES: tl.constexpr = 2 if IS_GATED else 1
    N_PARAMETERS: tl.constexpr = 3 * N_MIXTURES if N_MIXTURES > 0 else N_CLASSES
    SILENCE: tl.constexpr = N_CLASSES // 2
    b = (tl.program_id(0) * TILE + tl.arange(0, TILE)).to(tl.int64)
    is_stream = b < B
    r, g, s, a, p = tl.arange(0, R), tl.arange(0, G), tl.arange(0, S), tl.arange(0, A), tl.arange(0, P)
    is_stream_2d = is_stream[:, None]
    previous = tl.load(newest + b, mask=is_stream, other=-1)
    decoding = decodings + b * N_DECODING
    temperature = tl.load(decoding + TEMPERATURE, mask=is_stream, other=1.0)
    top_k = tl.load(decoding + TOP_K, mask=is_stream, other=float("nan"))
    top_p = tl.load(decoding + TOP_P, mask=is_stream, other=float("nan"))
    voiced_temperature = tl.load(decoding + VOICED_TEMPERATURE, mask=is_stream, other=float("nan"))
    guidance = tl.load(decoding + GUIDANCE, mask=is_stream, other=1.0).to(tl.float32)

    for step in range(n):
        now = clock + step
        position = phase + step
        frame = tl.minimum(position // hop, n_frames - 1)
        stream_frame = b * n_frames + frame
        if ORDER > 0:
            e_now = 4 * b * N_PAST + N_PAST + now % N_PAST  # what was k steps ago lies k before it
            d_now = e_now + 2 * N_PAST
            predicted = _predict(coefficients + stream_frame * ORDER, past + d_now, is_stream, ORDER)
            predicted = tl.minimum(tl.maximum(predicted, -SILENCE), N_CLASSES - 1 - SILENCE)
            period = tl.load(periods + stream_frame * hop + position % hop, mask=is_stream, other=0)
            x = tl.zeros((TILE, R), tl.float32) + tl.load(input_bias + r)[None, :]
            newest_e = tl.load(past + e_now - 1, mask=is_stream, other=0)
            newest_d = tl.load(past + d_now - 1, mask=is_stream, other=0)
            one_ago = tl.load(past + d_now - period, mask=is_stream & (period > 0), other=0)
            x += _embedded(embeddings, levels, newest_e, N_CLASSES, R)
            x += _embedded(embeddings + N_LEVELS * R, levels, one_ago, N_CLASSES, R)
            x += _embedded(embeddings + 2 * N_LEVELS * R, levels, predicted, N_CLASSES, R)
            x += _embedded(embeddings + 3 * N_LEVELS * R, levels, newest_d, N_CLASSES, R)
            companded_prediction = tl.load(values + predicted + N_CLASSES - 1)
            for begin in range(0, N_INPUTS, BLOCK):
                column = begin + tl.arange(0, BLOCK)
                kind, n_periods = tl.load(input_kinds + column)[None, :], tl.load(input_periods + column)[None, :]
                ago = tl.load(input_steps + column)[None, :] + n_periods * period[:, None]
                is_past = (kind == EXCITATION) | (kind == CODE)
                is_known = is_stream_2d & is_past & ((n_periods == 0) | (period > 0)[:, None])
                row = companded + tl.where(kind == EXCITATION, e_now[:, None], d_now[:, None])
                taken = tl.load(row - ago, mask=is_known, other=0.0)
                taken = tl.where(kind == PREDICTED, companded_prediction[:, None], taken)
                x = _product(taken, input_matrix + column[:, None] * R + r[None, :], x)
        else:
            x = tl.load(embedding + previous[:, None] * R + r[None, :], mask=(previous >= 0)[:, None], other=0.0)
        skip = tl.zeros((TILE, S), tl.float32) + tl.load(skip_bias + s)[None, :]
        share = (position % hop).to(tl.float32) / hop
        following = tl.minimum(frame + 1, n_frames - 1)

        for layer in range(L):
            dilation = tl.load(dilations + layer)
            first, length = tl.load(first_rows + layer), (K - 1) * dilation + 1
            bias = convolution_bias + layer * HALVES * G
            filtered = tl.zeros((TILE, G), tl.float32) + tl.load(bias + g)[None, :]
            gate = tl.zeros((TILE, G), tl.float32)
            if IS_GATED:
                gate += tl.load(bias + G + g)[None, :]
            if IS_CONDITIONED:
                H: tl.constexpr = HALVES * N_GATE
                here = condition + ((b * n_frames + frame) * L + layer)[:, None] * H + g[None, :]
                there = condition + ((b * n_frames + following) * L + layer)[:, None] * H + g[None, :]
                is_there = is_stream_2d & (g < N_GATE)[None, :]
                filtered += _between(here, there, share, is_there)
                if IS_GATED:
                    gate += _between(here + N_GATE, there + N_GATE, share, is_there)
            for tap in tl.static_range(K):
                if tap == K - 1:
                    taken = x
                else:
                    row = first + (now + length - (K - 1 - tap) * dilation) % length
                    taken = tl.load(ring + (row * B + b)[:, None] * R + r[None, :], mask=is_stream_2d, other=0.0)
                matrix = convolution + ((layer * K + tap) * HALVES) * R * G + r[:, None] * G + g[None, :]
                filtered = _product(taken, matrix, filtered)
                if IS_GATED:
                    gate = _product(taken, matrix + R * G, gate)
            tl.store(ring + ((first + now % length) * B + b)[:, None] * R + r[None, :], x, mask=is_stream_2d)
            z = _tanh(filtered) * tl.sigmoid(gate) if IS_GATED else tl.maximum(filtered, 0.0)
            skip = _product(z, skip_matrix + layer * G * S + g[:, None] * S + s[None, :], skip)
            start = tl.zeros((TILE, R), tl.float32) + tl.load(projection_bias + layer * R + r)[None, :]
            if IS_RESIDUAL:
                start += x
            x = _product(z, projection + layer * G * R + g[:, None] * R + r[None, :], start)

        # The head's inputs are too wide to multiply at once, and registers cannot be cut up: they go through memory.
        mine = room + b[:, None] * ROOM
        tl.store(mine + s[None, :], tl.maximum(skip, 0.0), mask=is_stream_2d)
        tl.debug_barrier()
        hidden = _wide(mine, hidden_matrix, hidden_bias, is_stream_2d, S, A, TILE, BLOCK)
        tl.debug_barrier()
        tl.store(mine + a[None, :], tl.maximum(hidden, 0.0), mask=is_stream_2d)
        tl.debug_barrier()
        u = tl.load(uniforms + b * n + step, mask=is_stream, other=0.0)
        logits_at = logits + (b * n + step)[:, None] * N_PARAMETERS + p[None, :]
        if N_MIXTURES > 0:
            is_component = (p < N_MIXTURES)[None, :]
            weights = _wide(mine, out_matrix, out_bias, is_stream_2d, A, P, TILE, BLOCK)
            means = _wide(mine, out_matrix + A * P, out_bias + P, is_stream_2d, A, P, TILE, BLOCK)
            scales = _wide(mine, out_matrix + 2 * A * P, out_bias + 2 * P, is_stream_2d, A, P, TILE, BLOCK)
            step_temperature = temperature
            if ORDER > 0:
                value = (predicted + SILENCE).to(tl.float32) * (2.0 / (N_CLASSES - 1)) - 1.0
                gain = tl.load(gains + 2 * stream_frame, mask=is_stream, other=1.0)
                means = means * gain[:, None] + value[:, None]
                scales += tl.load(gains + 2 * stream_frame + 1, mask=is_stream, other=0.0)[:, None]
                voice = tl.load(voicing + stream_frame, mask=is_stream, other=0.0).to(tl.float64)
                of_voice = temperature + (voiced_temperature - temperature) * voice
                step_temperature = tl.where(voiced_temperature == voiced_temperature, of_voice, temperature)  # not NaN
            else:
                value = previous.to(tl.float32) * (2.0 / (N_CLASSES - 1)) - 1.0
                means += tl.where(previous >= 0, value, 0.0)[:, None]
            if WANTS_LOGITS:
                tl.store(logits_at, weights, mask=is_stream_2d & is_component)
                tl.store(logits_at + N_MIXTURES, means, mask=is_stream_2d & is_component)
                tl.store(logits_at + 2 * N_MIXTURES, scales, mask=is_stream_2d & is_component)
            drawn = _draw_logistic_mixture(
                weights, means, scales, u, step_temperature, N_MIXTURES, N_CLASSES, LOG_PER_CODE
            )
        else:
            weights = _wide(mine, out_matrix, out_bias, is_stream_2d, A, P, TILE, BLOCK)
            if IS_GUIDED:
                weights = _guide(weights, guidance)
            if WANTS_LOGITS:
                tl.store(logits_at, weights, mask=is_stream_2d & (p < N_CLASSES)[None, :])
            drawn = _draw_categorical(weights, u, temperature, top_k, top_p, N_CLASSES, IS_FILTERED)
        code = tl.load(codes + b * n + step, mask=is_stream, other=0)
        previous = tl.where(code < 0, drawn, code)
        tl.store(codes + b * n + step, previous, mask=is_stream)
        if ORDER > 0:
            d = previous - SILENCE
            _remember(past, companded, values, e_now - N_PAST, d - predicted, is_stream, N_CLASSES, N_PAST)
            _remember(past, companded, values, d_now - N_PAST, d, is_stream, N_CLASSES, N_PAST)
        tl.debug_barrier()  # what this step has stored is loaded by other threads in later ones
    tl.store(newest + b, previous, mask=is_stream)


@triton.jit
def _predict(coefficients, now, is_stream, ORDER: tl.constexpr):
    """The sum that `linear_prediction.predict` clips, exactly, from pointers to its coefficients and to now."""
    whole = tl.zeros(is_stream.shape, tl.int64) + HALF
    for k in range(ORDER):
        coefficient = tl.load(coefficients + k, mask=is_stream, other=0)
        whole += coefficient.to(tl.int64) * tl.load(now - 1 - k, mask=is_stream, other=0).to(tl.int64)
    return whole >> SHIFT


@triton.jit
def _embedded(table, levels, numbers, N_CLASSES: tl.constexpr, R: tl.constexpr):
    """The rows (TILE, R) of a table for numbers (TILE,) between -(N_CLASSES - 1) and N_CLASSES - 1."""
    level = tl.load(levels + numbers + N_CLASSES - 1).to(tl.int32)
    return tl.load(table + level[:, None] * R + tl.arange(0, R)[None, :])


@triton.jit
def _remember(past, companded, values, at, numbers, is_stream, N_CLASSES: tl.constexpr, N_PAST: tl.constexpr):
    """Put numbers (TILE,) into the past, and companded, at a place and N_PAST further on."""
    value = tl.load(values + numbers + N_CLASSES - 1, mask=is_stream, other=0.0)
    for again in tl.static_range(2):
        tl.store(past + at + again * N_PAST, numbers.to(tl.int32), mask=is_stream)
        tl.store(companded + at + again * N_PAST, value, mask=is_stream)


@triton.jit(do_not_specialize=["n_chunks", "n"])
def read(weights, n_chunks, n, sums, CHUNK: tl.constexpr):
    """Read all weights n times, as every program of `run` does in n steps, and add them up: what bounds its speed."""
    at = tl.arange(0, CHUNK)
    total = tl.zeros((CHUNK,), tl.float32)
    for step in range(n):
        for chunk in range(n_chunks):
            position = (chunk + step) % n_chunks  # not the same at every step, so that nothing is read but once
            total += tl.load(weights + position.to(tl.int64) * CHUNK + at).to(tl.float32)
    tl.store(sums + tl.program_id(0), tl.sum(total, axis=0))


@triton.jit
def _product(x, matrix, to):
    """to + x @ matrix, in the precision of the matrix, summed in float32.

    Tensor cores take float32 as TF32, with 11 bits. Three products of the two halves that each number is cut into have
    22 bits of it: what is left out is below 2^-21 of |x| |matrix|. (Without tensor cores a program spills kilobytes.)
    """
    weights = tl.load(matrix)
    return tl.dot(x.to(weights.dtype), weights, to, input_precision="tf32x3")


@triton.jit
def _wide(
    mine, matrix, bias, is_stream_2d, N_IN: tl.constexpr, N_OUT: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """bias + inputs @ matrix (N_IN, N_OUT), of inputs that lie in memory, a block of them at a time."""
    column, block = tl.arange(0, N_OUT), tl.arange(0, BLOCK)
    values = tl.zeros((TILE, N_OUT), tl.float32) + tl.load(bias + column)[None, :]
    for begin in range(0, N_IN, BLOCK):
        taken = tl.load(mine + begin + block[None, :], mask=is_stream_2d, other=0.0)
        values = _product(taken, matrix + (begin + block)[:, None] * N_OUT + column[None, :], values)
    return values


@triton.jit
def _between(here, there, share, mask):
    """What lies on the way from one frame to the next."""
    value = tl.load(here, mask=mask, other=0.0)
    return value + share * (tl.load(there, mask=mask, other=0.0) - value)


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def _guide(logits, guidance):
    """Logits (TILE, P) of pairs of streams, with labels and without, as `sampling.guide` says; guidance (TILE,)."""
    TILE: tl.constexpr = logits.shape[0]
    P: tl.constexpr = logits.shape[1]
    pairs = tl.reshape(logits, (TILE // 2, 2, P))
    is_labelled = tl.arange(0, 2)[None, :, None] == 0
    labelled = tl.sum(tl.where(is_labelled, pairs, 0.0), axis=1)
    unlabelled = tl.sum(tl.where(is_labelled, 0.0, pairs), axis=1)
    by = tl.sum(tl.where(tl.arange(0, 2)[None, :] == 0, tl.reshape(guidance, (TILE // 2, 2)), 0.0), axis=1)
    guided = unlabelled + by[:, None] * (labelled - unlabelled)
    return tl.reshape(tl.broadcast_to(guided[:, None, :], (TILE // 2, 2, P)), (TILE, P))


@triton.jit
def _draw_categorical(
    logits, u, temperature, top_k, top_p, N_CLASSES: tl.constexpr, IS_FILTERED: tl.constexpr
):  # fmt: skip
    """One code for each stream: `sampling.draw_categorical`. Logits (TILE, P), the rest (TILE,)."""
    code = tl.arange(0, logits.shape[1])[None, :]
    logits = tl.where(code < N_CLASSES, logits, float("-inf"))
    largest = tl.max(logits, axis=1)
    likeliest = tl.min(tl.where(logits == largest[:, None], code, N_CLASSES), axis=1)
    steepness = tl.minimum(1.0 / tl.where(temperature == 0, 1.0, temperature), STEEPEST).to(tl.float32)
    weights = tl.exp((logits - largest[:, None]) * steepness[:, None])
    if IS_FILTERED:
        weights = _keep_count(weights, tl.where(top_k < N_CLASSES, top_k, N_CLASSES).to(tl.int32))
        weights = _keep_mass(weights, tl.where(top_p < 1, top_p, 1.0))
    cumulative = tl.cumsum(weights.to(tl.float64), axis=1)
    whole = tl.sum(tl.where(code == logits.shape[1] - 1, cumulative, 0.0), axis=1)
    drawn = tl.sum((cumulative <= (u * whole)[:, None]).to(tl.int32), axis=1)
    return tl.where(temperature == 0, likeliest, drawn).to(tl.int64)


@triton.jit
def _keep_count(weights, n_kept):
    """Zero all but the n_kept largest weights; of equal ones the lower codes stay."""
    keys = weights.to(tl.int32, bitcast=True)  # positive floats are ordered as their bits
    lowest = n_kept * 0
    highest = lowest + 0x7F800000
    for _ in range(31):  # the largest key that at least n_kept weights reach
        middle = lowest + (highest - lowest + 1) // 2
        is_enough = tl.sum((keys >= middle[:, None]).to(tl.int32), axis=1) >= n_kept
        lowest = tl.where(is_enough, middle, lowest)
        highest = tl.where(is_enough, highest, middle - 1)
    is_larger, is_equal = keys > lowest[:, None], keys == lowest[:, None]
    n_left = n_kept - tl.sum(is_larger.to(tl.int32), axis=1)
    rank = tl.cumsum(is_equal.to(tl.int32), axis=1)
    return tl.where(is_larger | (is_equal & (rank <= n_left[:, None])), weights, 0.0)


@triton.jit
def _keep_mass(weights, share):
    """Zero all but the fewest largest weights that together hold a share; of equal ones the lower codes stay."""
    keys = weights.to(tl.int32, bitcast=True)
    masses = weights.to(tl.float64)
    threshold = share * tl.sum(masses, axis=1)
    lowest = (share * 0).to(tl.int32)
    highest = lowest + 0x7F800000
    for _ in range(31):  # the largest key such that the weights that reach it hold the share
        middle = lowest + (highest - lowest + 1) // 2
        is_enough = tl.sum(tl.where(keys >= middle[:, None], masses, 0.0), axis=1) >= threshold
        lowest = tl.where(is_enough, middle, lowest)
        highest = tl.where(is_enough, highest, middle - 1)
    is_larger, is_equal = keys > lowest[:, None], keys == lowest[:, None]
    equal = tl.where(is_equal, masses, 0.0)
    before = tl.sum(tl.where(is_larger, masses, 0.0), axis=1)[:, None] + tl.cumsum(equal, axis=1) - equal
    kept = tl.where(is_larger | (is_equal & (before < threshold[:, None])), weights, 0.0)
    return tl.where((share < 1)[:, None], kept, weights)


@triton.jit
def _draw_logistic_mixture(
    logits, means, log_scales, u, temperature, N_MIXTURES: tl.constexpr, N_CLASSES: tl.constexpr,
    LOG_PER_CODE: tl.constexpr,
):  # fmt: skip
    """One code for each stream: `sampling.draw_logistic_mixture`. Parameters (TILE, P), the rest (TILE,)."""
    component = tl.arange(0, logits.shape[1])[None, :]
    is_there = component < N_MIXTURES
    logits = tl.where(is_there, logits.to(tl.float64), float("-inf"))
    is_greedy = temperature == 0
    per_code = 2.0 / (N_CLASSES - 1)
    log_scales = tl.minimum(tl.maximum(log_scales.to(tl.float64) - LOG_PER_CODE, LOWEST), HIGHEST)
    scaled = logits / tl.where(is_greedy, 1.0, temperature)[:, None]
    weights = tl.exp(scaled - tl.max(scaled, axis=1)[:, None])
    cumulative = tl.cumsum(weights, axis=1)
    threshold = u * tl.sum(weights, axis=1)
    drawn = tl.minimum(tl.sum((cumulative <= threshold[:, None]).to(tl.int32), axis=1), N_MIXTURES - 1)
    heights = logits - log_scales
    highest = tl.max(heights, axis=1)
    peak = tl.min(tl.where(heights == highest[:, None], component, N_MIXTURES), axis=1)
    is_chosen = component == tl.where(is_greedy, peak, drawn)[:, None]
    weight = tl.sum(tl.where(is_chosen, weights, 0.0), axis=1)
    end = tl.sum(tl.where(is_chosen, cumulative, 0.0), axis=1)
    mean = (tl.sum(tl.where(is_chosen, means.to(tl.float64), 0.0), axis=1) + 1.0) / per_code
    scale = tl.exp(tl.sum(tl.where(is_chosen, log_scales, 0.0), axis=1))
    quantile = tl.minimum(tl.maximum((threshold - (end - weight)) / weight, TINIEST), NEAREST_TO_1)
    spread = temperature * scale * (tl.log(quantile) - tl.log(1.0 - quantile))
    value = tl.floor(mean + tl.where(is_greedy, 0.0, spread) + 0.5)
    return tl.minimum(tl.maximum(value, 0.0), N_CLASSES - 1.0).to(tl.int64)
