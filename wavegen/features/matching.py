"""A sound made of log-mel frames -> one that has those frames, block by block while it is being made.

A network that draws sample by sample keeps the level of each harmonic only roughly, and what it was told of them is in
the frames. So the bands of the made sound are compared with the frames, and the spectrum is scaled until they agree:

    spectrum of a frame of the sound, times a gain for each bin, so that its bands are those that it was made of
    overlap-add with the frames before and after;   the spectrum of what came out;   again, some rounds

The phases are the sound's own, as the rounds leave them. Each frame is settled once the next `N_AHEAD` have been made,
so the result is `delay` samples late (X. Zhu, G. Beauregard, L. Wyse, "Real-time signal estimation from modified
short-time Fourier transform magnitude spectra", IEEE TASLP 15, 2007, with magnitudes that keep the sound's own detail
within a band). Griffin and Lim's algorithm is the same with phases from nowhere. In float64, so that what is rounded to
float32 does not depend on how a transform is computed (player/matching.py has another).
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wavegen.features.log_mel import QUIETEST, LogMel

FramesAt = Callable[[int, int], NDArray[np.floating]]  # frames from one number to before another, (n, n_mels or more)

N_AHEAD = 3  # frames that are looked at before one is settled
N_ROUNDS = 4  # of every frame that is not settled, each time that one comes
N_SCALINGS = 2  # of a spectrum in a round: bands overlap, so one is not exact
MAX_GAIN = 100.0  # of a bin, and its inverse: 40 dB
JOINED_HZ = 400.0  # of a voice that was transposed: two harmonics, or more
LEAST_OVERLAP = 0.05  # of squared windows, by which what is not covered yet is divided


def matched(
    log_mel: LogMel, sound: NDArray[np.floating], frames: NDArray[np.floating], least_hz: float = 0
) -> NDArray[np.float32]:
    """A whole sound (T,), matched to frames (F, n_mels or more)."""
    matcher = Matcher(log_mel, frames, least_hz)
    return np.concatenate([matcher.feed(sound), matcher.finish()])


class Matcher:
    """Matches one sound, from its beginning on, to frames (F, n_mels or more), the log-mel bands first, or to what
    gives them by number while the sound is made.

    Frames beyond the last are left alone. Bands are joined until they are `least_hz` wide: narrow ones tell where each
    harmonic is, which is not where it is to be in a voice that was transposed.

    >>> log_mel = LogMel(16000)
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
    >>> tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> matcher = Matcher(log_mel, log_mel.frames(tone))
    >>> matched = np.concatenate([matcher.feed(noise), matcher.finish()])
    >>> matched.shape
    (16000,)
    """

    def __init__(self, log_mel: LogMel, frames: NDArray[np.floating] | FramesAt, least_hz: float = 0) -> None:
        self._hop, self._length, self._n_mels = log_mel.hop, log_mel.n_fft, log_mel.n_mels
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._length) / self._length)
        self._frames_at = frames if callable(frames) else lambda first, end: frames[first:end]
        self.window = window
        self._join = _joining(log_mel, least_hz)
        self.filters = log_mel.filters.astype(np.float64) * (2 / window.sum()) @ self._join  # (n_bins, n bands)
        self._n_fed = self._n_given = 0
        # What has come and is not in a frame yet; the frames that are not settled, as windowed sound, from number
        # `_first` on, with the magnitudes that their bands are to have; and the sum of those that are, with that of
        # their squared windows, from the same place on.
        self._waiting: NDArray[np.floating] = np.zeros(self._length // 2)
        self._frames: NDArray[np.floating] = np.zeros((0, self._length))
        self._targets: NDArray[np.floating] = np.zeros((0, self._join.shape[1]))
        self._first = 0
        self._settled: NDArray[np.floating] = np.zeros((2, self._length))
        self._n_to_skip = self._length // 2  # before the beginning of the sound

    @property
    def delay(self) -> int:
        """Samples that can be fed before the first one comes out; the next one brings it. Later ones wait for at most
        a hop longer."""
        return self.n_to_feed(1) - 1

    def n_to_feed(self, n: int) -> int:
        """Samples that have to be fed before n come out."""
        half = self._length // 2  # which comes before the sound
        n_settled = -(-(n + half) // self._hop)
        return (n_settled + N_AHEAD - 1) * self._hop + half

    def feed(self, sound: NDArray[np.floating]) -> NDArray[np.float32]:
        """Take the next samples (T,), and give out those that are ready; how they are cut into calls makes no
        difference."""
        self._n_fed += len(sound)
        return self._given(self._advance(sound))

    def finish(self) -> NDArray[np.float32]:
        """The rest, as long as what was fed."""
        n_left = self._n_fed - self._n_given
        n_frames = -(-(n_left + self._length) // self._hop) + N_AHEAD
        rest = self._given(self._advance(np.zeros(n_frames * self._hop)))
        return rest[:n_left]

    def _given(self, parts: list[NDArray[np.floating]]) -> NDArray[np.float32]:
        """What is given out of finished samples: none from before the beginning."""
        sound = np.concatenate([np.zeros(0), *parts])
        skipped = min(self._n_to_skip, len(sound))
        self._n_to_skip -= skipped
        self._n_given += len(sound) - skipped
        return np.clip(sound[skipped:], -1, 1).astype(np.float32)

    def _advance(self, sound: NDArray[np.floating]) -> list[NDArray[np.floating]]:
        """Take samples; returns what is finished by them, a hop at a time."""
        self._waiting = np.concatenate([self._waiting, sound.astype(np.float64)])
        parts = []
        while len(self._waiting) >= self._length:
            target = self._target(self._first + len(self._frames))
            self._targets = np.concatenate([self._targets, target])
            spectrum = np.fft.rfft(self._waiting[: self._length] * self.window)[None]
            self._waiting = self._waiting[self._hop :]
            made = np.fft.irfft(self._scaled(spectrum, target), self._length) * self.window
            self._frames = np.concatenate([self._frames, made])
            self._refine()
            if len(self._frames) > N_AHEAD:
                parts.append(self._settle())
        return parts

    def _refine(self) -> None:
        """Let the frames that are not settled agree with each other and with those that are."""
        n = len(self._frames)
        places = np.arange(n)[:, None] * self._hop + np.arange(self._length)
        sums = np.zeros((2, self._length + (n - 1) * self._hop))
        sums[:, : self._length] = self._settled
        for place in range(n):
            sums[1, place * self._hop :][: self._length] += np.square(self.window)
        for _ in range(N_ROUNDS):
            together = sums[0].copy()
            for place, frame in enumerate(self._frames):
                together[place * self._hop :][: self._length] += frame
            together /= np.maximum(sums[1], LEAST_OVERLAP)
            spectra = np.fft.rfft(together[places] * self.window)
            self._frames = np.fft.irfft(self._scaled(spectra, self._targets), self._length) * self.window

    def _settle(self) -> NDArray[np.floating]:
        """Settle the oldest frame; returns the samples that no later one reaches."""
        self._settled[0] += self._frames[0]
        self._settled[1] += np.square(self.window)
        done = self._settled[0, : self._hop] / np.maximum(self._settled[1, : self._hop], LEAST_OVERLAP)
        nothing = np.zeros((2, self._hop))
        self._settled = np.concatenate([self._settled[:, self._hop :], nothing], axis=1)
        self._frames, self._targets = self._frames[1:], self._targets[1:]
        self._first += 1
        return done

    def _scaled(
        self, spectra: NDArray[np.complexfloating], targets: NDArray[np.floating]
    ) -> NDArray[np.complexfloating]:
        """Spectra (n, n_bins) with the bands of their targets, (n, n bands) or fewer: what has none stays."""
        n = len(targets)
        magnitudes = np.abs(spectra[:n])
        gains = np.ones_like(magnitudes)
        for _ in range(N_SCALINGS if n else 0):
            of_bands = targets / ((magnitudes * gains) @ self.filters + QUIETEST)
            gains = np.clip(gains * (of_bands @ self.to_bins), 1 / MAX_GAIN, MAX_GAIN)
        return np.concatenate([spectra[:n] * gains, spectra[n:]])

    def _target(self, number: int) -> NDArray[np.floating]:
        """The magnitudes of the bands of a frame, (1, n bands), or (0, n bands) beyond the last."""
        bands = self._frames_at(number, number + 1)[:, : self._n_mels]
        magnitudes: NDArray[np.floating] = 10 ** (2.5 * (np.asarray(bands, dtype=np.float64) - 1))
        return magnitudes @ self._join + QUIETEST

    @cached_property
    def to_bins(self) -> NDArray[np.floating]:
        """From gains of bands to gains of bins (n_mels, n_bins): each bin's mean over its bands, or its neighbour's."""
        weights = self.filters.sum(axis=1)
        inside = np.flatnonzero(weights)
        bins = np.arange(len(weights))
        nearest = inside[np.abs(bins[:, None] - inside).argmin(axis=1)]
        shares: NDArray[np.floating] = (self.filters[nearest] / weights[nearest, None]).T
        return shares


def _joining(log_mel: LogMel, least_hz: float) -> NDArray[np.floating]:
    """Which bands are joined, (n_mels, n bands): neighbours, from the lowest on, until they are wide enough."""
    hertz = np.arange(len(log_mel.filters)) * log_mel.sample_rate / log_mel.n_fft
    centres = hertz @ log_mel.filters / log_mel.filters.sum(axis=0)
    groups, begin = [0], centres[0]
    for centre in centres[1:]:
        is_wide = centre - begin >= least_hz
        groups.append(groups[-1] + is_wide)
        begin = centre if is_wide else begin
    return np.eye(groups[-1] + 1)[groups]
