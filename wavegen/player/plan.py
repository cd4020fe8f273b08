"""The frames of a planner and what a vocoder is made under by them, compiled: as `generation/planning.py`,
`generation/conditioning.FrameConditioner` and `features/linear_prediction.Predictor`, frame by frame.

In float64 where those are, and rounded where they are: so the results are the same but where one lies within 1e-13 of
the middle of two numbers that it may be rounded to.
"""

import numpy as np
from numba import njit

from wavegen.engines.cpu.arguments import GUIDANCE, N_DECODING, TEMPERATURE, TOP_P
from wavegen.engines.cpu.philox import uniform
from wavegen.engines.cpu.simd import pointer, read, write
from wavegen.features.frame_codes import LOUDNESS, PITCH, STRENGTH, VOICED
from wavegen.features.linear_prediction import LARGEST, LEAST_NOISE, NOISE, SHIFT, STEP
from wavegen.features.pitch import REFERENCE_HZ, VOICES
from wavegen.generation.planning import CHUNK, NUMBERS
from wavegen.player.model import (
    CONDITIONED,
    DRAWN,
    N_DRAWN,
    SMOOTHED,
    WAS_GUIDED,
    frames_of,
    plan_of,
    planner_labels_of,
    planner_memory_of,
    planner_of,
    sound_of,
)
from wavegen.player.networks import condition_labels, copy_first_stream, run

PLAN = np.uint64(NUMBERS)


@njit(error_model="numpy")
def prepare(model: int) -> None:
    """Draw as learnt."""
    plan = plan_of(model)
    for which in range(4):
        decoding = pointer(plan.decoding, np.float64, which * N_DECODING)
        for what in range(N_DECODING):
            write(decoding, what, np.nan)
        write(decoding, TEMPERATURE, 1.0)
        write(decoding, TOP_P, 1.0)
        write(decoding, GUIDANCE, 1.0)


@njit(error_model="numpy")
def relabel(model: int) -> None:
    """Plan by other labels from the next frame on."""
    plan, labels = plan_of(model), planner_labels_of(model)
    condition_labels(labels, sound_of(model).planned, plan.of_labels)
    n_outputs = plan.n_outputs
    position, of_labels = pointer(plan.position, np.float32, 0), pointer(plan.of_labels, np.float32, 0)
    condition = pointer(plan.condition, np.float32, 0)
    n = plan.n_channels * n_outputs
    for stream in range(2):
        for index in range(n):
            value = read(position, index)
            if labels.n > 0:
                value += read(of_labels, stream * n_outputs + index % n_outputs)
            write(condition, stream * n + index, value)


@njit(error_model="numpy")
def advance(model: int, seed: np.uint64, number: np.uint64, frame: int) -> None:
    """Have what a vocoder is told at a frame, which is the first one, the one before, or the next."""
    counts = pointer(plan_of(model).counts, np.int64, 0)
    conditioned = read(counts, CONDITIONED)
    draw_until(model, seed, number, n_planned(max(1, frames_of(model).look_ahead), frame) + plan_of(model).n_ahead - 1)
    if conditioned == 0:
        project(model, 0)
        conditioned = 1
    while conditioned < frame + 2:
        project(model, conditioned)
        if frames_of(model).order > 0:
            predict(model, conditioned - 1)
        conditioned += 1
    write(counts, CONDITIONED, conditioned)


@njit(error_model="numpy")
def n_planned(side: int, frame: int) -> int:
    """How many frames are planned when one begins: whole chunks, as far as `FrameConditioner` asks for the chunk of the
    next frame with so many to either side. So a change counts from the same frame on, here and there."""
    return CHUNK * ((frame + 1) // CHUNK + 1 + (side + CHUNK - 1) // CHUNK)


@njit(error_model="numpy")
def frame_at(model: int, frame: int) -> int:
    """Where a smoothed frame lies; a silent one before the first."""
    frames = frames_of(model)
    if frame < 0:
        return frames.silent
    return plan_of(model).smoothed + 4 * (frame % plan_of(model).n_smoothed) * frames.n_features


@njit(error_model="numpy")
def project(model: int, frame: int) -> None:
    """What enters every layer at a frame, behind that of the frame before; as `conditioning.project_frames`."""
    frames = frames_of(model)
    smooth_until(model, frame + frames.look_ahead)
    hidden, n_taps = frames.hidden, 2 * frames.look_ahead + 1
    around, middle = pointer(frames.around, np.float32, 0), pointer(frames.middle, np.float32, 0)
    around_bias, middle_bias = pointer(frames.around_bias, np.float32, 0), pointer(frames.middle_bias, np.float32, 0)
    matrix, projected = pointer(frames.project, np.float32, 0), pointer(frames.projected, np.float32, 0)
    seen, behind = pointer(frames.seen, np.float64, 0), pointer(frames.seen, np.float64, hidden)
    for channel in range(hidden):
        write(seen, channel, np.float64(read(around_bias, channel)))
    for tap in range(n_taps):
        values = pointer(frame_at(model, frame + tap - frames.look_ahead), np.float32, 0)
        for channel in range(hidden):
            total, row = read(seen, channel), (tap * hidden + channel) * frames.n_features
            for index in range(frames.n_features):
                total += np.float64(read(around, row + index)) * np.float64(read(values, index))
            write(seen, channel, total)
    for channel in range(hidden):
        total = np.float64(read(middle_bias, channel))
        for index in range(hidden):
            total += np.float64(read(middle, channel * hidden + index)) * max(read(seen, index), 0.0)
        write(behind, channel, max(total, 0.0))
    for output in range(frames.n_outputs):
        total = 0.0
        for index in range(hidden):
            total += np.float64(read(matrix, output * hidden + index)) * read(behind, index)
        write(projected, output, read(projected, frames.n_outputs + output))
        write(projected, frames.n_outputs + output, np.float32(total))


@njit(error_model="numpy")
def smooth_until(model: int, frame: int) -> None:
    """Have the smoothed frames up to one, of those that are drawn; as `Features.smoothed`, with the first frame held
    before it."""
    plan, frames = plan_of(model), frames_of(model)
    counts, n_features, f0 = pointer(plan.counts, np.int64, 0), frames.n_features, frames.n_mels
    weights, of_pitch = pointer(plan.smoothing, np.float64, 0), pointer(plan.pitch_smoothing, np.float64, 0)
    drawn, n_ahead = pointer(plan.drawn, np.float32, 0), plan.n_ahead
    for now in range(read(counts, SMOOTHED), frame + 1):
        to = pointer(frame_at(model, now), np.float32, 0)
        for feature in range(n_features):
            total = 0.0
            for tap in range(2 * n_ahead + 1):
                at = max(0, now + tap - n_ahead) % N_DRAWN * n_features
                weight = read(weights, tap)
                if weight > 0:
                    total += weight * np.float64(read(drawn, at + feature))
            write(to, feature, np.float32(total))
        if frames.has_pitch:
            own = now % N_DRAWN * n_features + f0
            write(to, f0 + VOICED, read(drawn, own + VOICED))
            pitch, share = 0.0, 0.0
            for tap in range(2 * n_ahead + 1):
                at = max(0, now + tap - n_ahead) % N_DRAWN * n_features + f0
                if read(drawn, at + VOICED) > 0:
                    share += read(of_pitch, tap)
                    pitch += read(of_pitch, tap) * np.float64(read(drawn, at + PITCH))
            write(to, f0 + PITCH, np.float32(pitch / share) if read(drawn, own + VOICED) > 0 else np.float32(0))
        write(counts, SMOOTHED, now + 1)


@njit(error_model="numpy")
def draw_until(model: int, seed: np.uint64, number: np.uint64, frame: int) -> None:
    """Have the frames drawn up to one; as `planning.Plan` does."""
    plan, n_features = plan_of(model), frames_of(model).n_features
    counts = pointer(plan.counts, np.int64, 0)
    for now in range(read(counts, DRAWN), frame + 1):
        draw(model, seed, number, now)
        decode(model, plan.drawn + 4 * (now % N_DRAWN) * n_features)
        write(counts, DRAWN, now + 1)


@njit(error_model="numpy")
def draw(model: int, seed: np.uint64, number: np.uint64, frame: int) -> None:
    """The codes of a frame: its detail by one temperature, how loud and how high it is as learnt."""
    plan, net, memory = plan_of(model), planner_of(model), planner_memory_of(model)
    n_channels, counts = plan.n_channels, pointer(plan.counts, np.int64, 0)
    uniforms, codes = pointer(plan.uniforms, np.float64, 0), pointer(plan.codes, np.int64, 0)
    is_detail, drawn = pointer(plan.is_detail, np.int64, 0), pointer(plan.drawn_codes, np.int64, 0)
    is_guided = memory.n_streams == 2 and read(pointer(plan.decoding, np.float64, 0), GUIDANCE) != 1
    if is_guided and read(counts, WAS_GUIDED) == 0:
        copy_first_stream(net, memory)
    write(counts, WAS_GUIDED, np.int64(is_guided))
    for channel in range(n_channels):
        write(uniforms, channel, uniform(seed, PLAN + number, frame * n_channels + channel))
    first, one = 0, np.int64(1)
    while first < n_channels:
        n = 1
        while first + n < n_channels and read(is_detail, first + n) == read(is_detail, first):
            n += 1
        for index in range(2 * n):
            write(drawn, index, -1)
        run(
            net, memory, frames_of(model), n, plan.uniforms + 8 * first,
            plan.decoding + 16 * N_DECODING * read(is_detail, first), is_guided, plan.drawn_codes, n_channels, one,
            first, plan.condition,
        )  # fmt: skip
        for index in range(n):
            write(codes, first + index, read(drawn, index))
        first += n


@njit(error_model="numpy")
def decode(model: int, to: int) -> None:
    """The frame of the codes; as `FrameCodes.decode`."""
    plan, frames = plan_of(model), frames_of(model)
    n_mels, n_own = frames.n_mels, plan.n_channels - frames.n_mels
    lowest, highest = pointer(plan.lowest, np.float64, 0), pointer(plan.highest, np.float64, 0)
    codes, cosines = pointer(plan.codes, np.int64, 0), pointer(plan.cosines, np.float64, 0)
    bounds, frame = pointer(plan.band_bounds, np.float64, 0), pointer(to, np.float32, 0)
    most = np.float64(plan.n_levels - 1)
    for band in range(n_mels):
        total = 0.0
        for k in range(n_mels):
            low, high = read(lowest, n_own + k), read(highest, n_own + k)
            total += (low + np.float64(read(codes, n_own + k)) / most * (high - low)) * read(cosines, k * n_mels + band)
        write(frame, band, np.float32(min(max(total, read(bounds, 0)), read(bounds, 1))))
    if frames.has_pitch:
        of_voice = read(codes, 1)
        f0 = read(lowest, 1) + np.float64(max(of_voice, 1) - 1) / (most - 1) * (read(highest, 1) - read(lowest, 1))
        write(frame, n_mels + PITCH, np.float32(f0 if of_voice > 0 else 0.0))
        write(frame, n_mels + VOICED, np.float32(1 if of_voice > 0 else -1))
        write(frame, n_mels + STRENGTH, np.float32(-1 + np.float64(read(codes, 2)) / most * 2))
        write(frame, n_mels + LOUDNESS, np.float32(-1 + np.float64(read(codes, 0)) / most * 2))


@njit(error_model="numpy")
def predict(model: int, frame: int) -> None:
    """The prediction from a frame to the next; as `Predictor.of`."""
    frames = frames_of(model)
    order, n_bins, n_mels = frames.order, frames.n_bins, frames.n_mels
    here = pointer(frame_at(model, frame), np.float32, 0)
    there = pointer(frame_at(model, frame + 1), np.float32, 0)
    magnitudes, to_bins = pointer(frames.magnitudes, np.float64, 0), pointer(frames.to_bins, np.float64, 0)
    autocorrelation, to_lags = pointer(frames.autocorrelation, np.float64, 0), pointer(frames.to_lags, np.float64, 0)
    lag_window, gains_of = pointer(frames.lag_window, np.float64, 0), pointer(frames.gains_of, np.float64, 0)
    for index in range(n_bins):
        write(magnitudes, index, 0.0)
    for band in range(n_mels):
        level = (np.float64(read(here, band)) + np.float64(read(there, band))) / 2
        magnitude = 10.0 ** (2.5 * (level - 1))
        for index in range(n_bins):
            write(magnitudes, index, read(magnitudes, index) + magnitude * read(to_bins, band * n_bins + index))
    for lag in range(order + 1):
        write(autocorrelation, lag, 0.0)
    for index in range(n_bins):
        power = read(magnitudes, index) * read(magnitudes, index)
        for lag in range(order + 1):
            write(autocorrelation, lag, read(autocorrelation, lag) + power * read(to_lags, index * (order + 1) + lag))
    for lag in range(order + 1):
        write(autocorrelation, lag, read(autocorrelation, lag) * read(lag_window, lag))
    power = read(autocorrelation, 0) * (1 + NOISE) + LEAST_NOISE
    write(autocorrelation, 0, power)
    for lag in range(order + 1):
        write(autocorrelation, lag, np.rint(read(autocorrelation, lag) / power * (1 / STEP)) * STEP)
    left = levinson(model)
    gain = max(read(gains_of, 0) * np.sqrt(power * left), read(gains_of, 1))
    gains, coefficients = pointer(frames.gains, np.float32, 0), pointer(frames.coefficients, np.int32, 0)
    write(gains, 0, np.float32(gain))
    write(gains, 1, np.float32(np.log(gain)))
    filters = pointer(frames.filters, np.float64, 0)
    for k in range(order):
        value = min(max(np.rint(read(filters, k) * (1 << SHIFT)), -LARGEST), LARGEST)
        write(coefficients, k, np.int32(value))
    follow_pitch(model, here, there)


@njit(error_model="numpy")
def levinson(model: int) -> float:
    """`linear_prediction.levinson` of the autocorrelation, into `frames.filters`; returns the power that is left."""
    frames = frames_of(model)
    order, r = frames.order, pointer(frames.autocorrelation, np.float64, 0)
    filters, before = pointer(frames.filters, np.float64, 0), pointer(frames.filters, np.float64, order)
    error = read(r, 0)
    for k in range(order):
        explained = 0.0
        for index in range(k):
            explained += read(filters, index) * read(r, k - index)
            write(before, index, read(filters, index))
        reflection = (read(r, k + 1) - explained) / error
        for index in range(k):
            write(filters, index, read(before, index) - reflection * read(before, k - 1 - index))
        write(filters, k, reflection)
        error *= 1 - reflection * reflection
    return error


@njit(error_model="numpy")
def follow_pitch(model: int, here: int, there: int) -> None:
    """Periods and voicing from a frame to the next; as `Pitch.periods` and `Pitch.voicing`."""
    frames = frames_of(model)
    periods, voicing = pointer(frames.periods, np.int32, 0), pointer(frames.voicing, np.float32, 0)
    if not frames.has_pitch:
        for index in range(frames.hop):
            write(periods, index, np.int32(0))
        write(voicing, 0, np.float32(0))
        return
    bounds, f0 = pointer(frames.pitch_bounds, np.float64, 0), frames.n_mels
    is_voiced, is_then = read(here, f0 + VOICED) > 0, read(there, f0 + VOICED) > 0
    begin = min(max(np.float64(read(here, f0)), read(bounds, 0)), read(bounds, 1))
    end = min(max(np.float64(read(there, f0)), read(bounds, 0)), read(bounds, 1))
    begin, end = begin if is_voiced else end, end if is_then else begin
    for index in range(frames.hop):
        pitch = begin + (end - begin) * (np.float64(index) / np.float64(frames.hop))
        period = min(np.rint(frames.sample_rate / REFERENCE_HZ * np.exp(-pitch / 2)), frames.longest_period)
        write(periods, index, np.int32(period) if is_voiced or is_then else np.int32(0))
    both = voice(np.float64(read(here, f0 + STRENGTH)), is_voiced) + voice(
        np.float64(read(there, f0 + STRENGTH)), is_then
    )
    write(voicing, 0, np.float32(both / 2))


@njit(error_model="numpy")
def voice(strength: float, is_voiced: bool) -> float:
    """How much of a voice there is at a frame."""
    share = ((strength + 1) / 2 - VOICES[0]) / (VOICES[1] - VOICES[0])
    return min(max(share, 0.0), 1.0) if is_voiced else 0.0
