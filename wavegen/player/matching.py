"""Sound scaled until it has the frames that it was made of, compiled: as `features/matching.Matcher`."""

import numpy as np
from numba import njit

from wavegen.engines.cpu.simd import pointer, read, write
from wavegen.features.log_mel import QUIETEST
from wavegen.features.matching import LEAST_OVERLAP, MAX_GAIN, N_AHEAD, N_ROUNDS, N_SCALINGS
from wavegen.player.model import (
    FIRST,
    N_HELD,
    N_MATCHING_COUNTS,
    N_READY,
    N_TO_SKIP,
    N_WAITING,
    matching_of,
)
from wavegen.player.plan import frame_at

LEAST_QUIET = np.float64(QUIETEST)


@njit(error_model="numpy")
def begin(model: int) -> None:
    """Have heard nothing but the silence before the sound."""
    own = matching_of(model)
    counts, waiting = pointer(own.counts, np.int64, 0), pointer(own.waiting, np.float64, 0)
    settled = pointer(own.settled, np.float64, 0)
    for index in range(N_MATCHING_COUNTS):
        write(counts, index, 0)
    write(counts, N_WAITING, own.length // 2)
    write(counts, N_TO_SKIP, own.length // 2)
    for index in range(own.length):
        write(waiting, index, 0.0)
        write(settled, index, 0.0)
        write(settled, own.length + index, 0.0)


@njit(error_model="numpy")
def advance(model: int) -> None:
    """Take the frame that has come whole, and let the oldest of those that are held be settled."""
    own = matching_of(model)
    counts, length, hop = pointer(own.counts, np.int64, 0), own.length, own.hop
    n_held, waiting = read(counts, N_HELD), pointer(own.waiting, np.float64, 0)
    aim(model, n_held)
    window, complex_sound = pointer(own.window, np.float64, 0), pointer(own.spectrum, np.float64, 0)
    for index in range(length):
        write(complex_sound, 2 * index, read(waiting, index) * read(window, index))
        write(complex_sound, 2 * index + 1, 0.0)
    scale(model, n_held)
    for index in range(length - hop):
        write(waiting, index, read(waiting, index + hop))
    write(counts, N_WAITING, length - hop)
    write(counts, N_HELD, n_held + 1)
    refine(model)
    if n_held + 1 > N_AHEAD:
        settle(model)


@njit(error_model="numpy")
def aim(model: int, place: int) -> None:
    """The magnitudes that the bands of a frame are to have."""
    own = matching_of(model)
    number = read(pointer(own.counts, np.int64, 0), FIRST) + place
    bands = pointer(frame_at(model, number), np.float32, 0)
    targets = pointer(own.targets, np.float64, place * own.n_mels)
    for band in range(own.n_mels):
        magnitude = 10.0 ** (2.5 * (np.float64(read(bands, band)) - 1))
        write(targets, band, magnitude + LEAST_QUIET)


@njit(error_model="numpy")
def scale(model: int, place: int) -> None:
    """Let the windowed sound in `spectrum` have the bands of a frame, and hold it as that."""
    own = matching_of(model)
    length, n_mels, n_bins = own.length, own.n_mels, own.length // 2 + 1
    spectrum, held = pointer(own.spectrum, np.float64, 0), pointer(own.held, np.float64, place * own.length)
    gains, magnitudes = pointer(own.gains, np.float64, 0), pointer(own.magnitudes, np.float64, 0)
    filters, to_bins = pointer(own.filters, np.float64, 0), pointer(own.to_bins, np.float64, 0)
    targets, of_bins = pointer(own.targets, np.float64, place * n_mels), pointer(own.of_bins, np.float64, 0)
    window, spans = pointer(own.window, np.float64, 0), pointer(own.spans, np.int64, 0)
    transform(model, 1.0)
    for index in range(n_bins):
        real, imaginary = read(spectrum, 2 * index), read(spectrum, 2 * index + 1)
        write(magnitudes, index, np.sqrt(real * real + imaginary * imaginary))
        write(gains, index, 1.0)
    for _ in range(N_SCALINGS):
        for index in range(n_bins):
            write(of_bins, index, 0.0)
        for band in range(n_mels):
            total, row = 0.0, band * n_bins
            for index in range(read(spans, 4 * band), read(spans, 4 * band + 1)):
                total += read(magnitudes, index) * read(gains, index) * read(filters, row + index)
            of_band = read(targets, band) / (total + LEAST_QUIET)
            for index in range(read(spans, 4 * band + 2), read(spans, 4 * band + 3)):
                write(of_bins, index, read(of_bins, index) + of_band * read(to_bins, row + index))
        for index in range(n_bins):
            write(gains, index, min(max(read(gains, index) * read(of_bins, index), 1 / MAX_GAIN), MAX_GAIN))
    for index in range(n_bins):
        real = read(spectrum, 2 * index) * read(gains, index)
        imaginary = read(spectrum, 2 * index + 1) * read(gains, index)
        mirrored = (length - index) % length
        write(spectrum, 2 * mirrored, real)
        write(spectrum, 2 * mirrored + 1, -imaginary)
        write(spectrum, 2 * index, real)
        write(spectrum, 2 * index + 1, imaginary)
    transform(model, -1.0)
    for index in range(length):
        write(held, index, read(spectrum, 2 * index) / np.float64(length) * read(window, index))


@njit(error_model="numpy")
def refine(model: int) -> None:
    """Let the frames that are held agree with each other and with those that are settled."""
    own = matching_of(model)
    length, hop, n = own.length, own.hop, read(pointer(own.counts, np.int64, 0), N_HELD)
    together, covered = pointer(own.sums, np.float64, 0), pointer(own.sums, np.float64, length + N_AHEAD * hop)
    settled, window = pointer(own.settled, np.float64, 0), pointer(own.window, np.float64, 0)
    spectrum = pointer(own.spectrum, np.float64, 0)
    n_samples = length + (n - 1) * hop
    for index in range(n_samples):
        write(covered, index, read(settled, length + index) if index < length else 0.0)
    for place in range(n):
        for index in range(length):
            square = read(window, index) * read(window, index)
            write(covered, place * hop + index, read(covered, place * hop + index) + square)
    for _ in range(N_ROUNDS):
        for index in range(n_samples):
            write(together, index, read(settled, index) if index < length else 0.0)
        for place in range(n):
            held = pointer(own.held, np.float64, place * length)
            for index in range(length):
                write(together, place * hop + index, read(together, place * hop + index) + read(held, index))
        for index in range(n_samples):
            write(together, index, read(together, index) / max(read(covered, index), LEAST_OVERLAP))
        for place in range(n):
            for index in range(length):
                write(spectrum, 2 * index, read(together, place * hop + index) * read(window, index))
                write(spectrum, 2 * index + 1, 0.0)
            scale(model, place)


@njit(error_model="numpy")
def settle(model: int) -> None:
    """Settle the oldest frame that is held: the samples that no later one reaches are ready."""
    own = matching_of(model)
    length, hop, counts = own.length, own.hop, pointer(own.counts, np.int64, 0)
    settled, held, window = (
        pointer(own.settled, np.float64, 0),
        pointer(own.held, np.float64, 0),
        pointer(own.window, np.float64, 0),
    )
    ready, targets = pointer(own.ready, np.float64, 0), pointer(own.targets, np.float64, 0)
    for index in range(length):
        write(settled, index, read(settled, index) + read(held, index))
        write(settled, length + index, read(settled, length + index) + read(window, index) * read(window, index))
    n_skipped = min(read(counts, N_TO_SKIP), hop)
    write(counts, N_TO_SKIP, read(counts, N_TO_SKIP) - n_skipped)
    for index in range(n_skipped, hop):
        write(ready, index - n_skipped, read(settled, index) / max(read(settled, length + index), LEAST_OVERLAP))
    write(counts, N_READY, hop - n_skipped)
    for row in range(2):
        for index in range(length):
            write(
                settled,
                row * length + index,
                read(settled, row * length + index + hop) if index + hop < length else 0.0,
            )
    for index in range(N_AHEAD * length):
        write(held, index, read(held, length + index))
    for index in range(N_AHEAD * own.n_mels):
        write(targets, index, read(targets, own.n_mels + index))
    write(counts, N_HELD, N_AHEAD)
    write(counts, FIRST, read(counts, FIRST) + 1)


@njit(error_model="numpy")
def transform(model: int, sign: float) -> None:
    """The Fourier transform of `spectrum` in its place (Cooley and Tukey's, of a power of two), or with sign -1 the
    inverse, but for a factor."""
    own = matching_of(model)
    n, x, turns = own.length, pointer(own.spectrum, np.float64, 0), pointer(own.turns, np.float64, 0)
    other = 0
    for index in range(1, n):
        bit = n >> 1
        while other & bit:
            other ^= bit
            bit >>= 1
        other ^= bit
        if index < other:
            for part in range(2):
                kept = read(x, 2 * index + part)
                write(x, 2 * index + part, read(x, 2 * other + part))
                write(x, 2 * other + part, kept)
    size = 2
    while size <= n:
        half, stride = size // 2, n // size
        for begin in range(0, n, size):
            for k in range(half):
                cosine, sine = read(turns, 2 * k * stride), -sign * read(turns, 2 * k * stride + 1)
                low, high = 2 * (begin + k), 2 * (begin + k + half)
                real = read(x, high) * cosine - read(x, high + 1) * sine
                imaginary = read(x, high) * sine + read(x, high + 1) * cosine
                write(x, high, read(x, low) - real)
                write(x, high + 1, read(x, low + 1) - imaginary)
                write(x, low, read(x, low) + real)
                write(x, low + 1, read(x, low + 1) + imaginary)
        size *= 2
