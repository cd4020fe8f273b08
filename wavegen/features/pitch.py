"""Waveform -> pitch frames: the fundamental frequency of a sound, how periodic and how loud it is, at the frame rate.

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound" (Proceedings of the Institute of Phonetic Sciences 17, Amsterdam, 1993), which is Praat's "To Pitch (ac)":

    r(tau) = autocorrelation of (Hann window * frame)(tau) / autocorrelation of the window(tau),  r(0) = 1

over a window of three longest periods. Peaks of r are candidates with the period tau, and "unvoiced" is one more:

    score of a peak  = r(tau) - OCTAVE_COST * log2(lowest * tau)
    score of unvoiced = VOICING_THRESHOLD + max(0, 2 - (peak of the frame / peak of the sound) * (1 + VOICING_THRESHOLD)
                        / SILENCE_THRESHOLD)

The track is the sequence of candidates with the highest sum of scores, less OCTAVE_JUMP_COST for every octave and
VOICED_UNVOICED_COST for every change of voicing from one frame to the next (Viterbi). Departures from the paper: the
spectrum above 8 kHz is left out, so that the rate hardly matters; r is interpolated to 32 kHz through its spectrum
before a parabola is laid through each peak; and low peaks count too, so that a frame of noise has a strength.

The frames of a network have four features:

    2 ln(f0 / 160 Hz), or 0 where unvoiced | 1 voiced, -1 unvoiced | 2 * strength - 1 | loudness / 50 dB + 1

Silence is (0, -1, -1, -1). Frame i is around sample i * hop; before and after the sound is silence. A sound of T
samples has ceil(T / hop) frames, and so F frames make F * hop samples.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError

REFERENCE_HZ = 160.0  # the frequency whose feature is 0
QUIETEST_DB = -100.0
SLACK = 1.1  # the factor by which the frequency of given frames may lie outside the bounds
PLAUSIBLE = 1.5  # strength and loudness of given frames lie within this, either side of 0
RANGES = {"hop": (1, 65536), "lowest": (20, 2000), "highest": (40, 4000)}  # of samples, Hz and Hz

# Boersma's parameters
PERIODS_IN_WINDOW = 3
SILENCE_THRESHOLD = 0.03  # of the peak of the sound
VOICING_THRESHOLD = 0.45  # of the autocorrelation
OCTAVE_COST = 0.01
OCTAVE_JUMP_COST = 0.35  # this and the next for frames 10 ms apart
VOICED_UNVOICED_COST = 0.14
VOICES = (0.45, 0.7)  # strengths between which a sound becomes all voice
N_CANDIDATES = 14  # voiced ones of a frame

BANDWIDTH_HZ = 8000.0
LAGS_HZ = 32000.0  # lags a second of the autocorrelation, at least
INAUDIBLE = 1e-9  # RMS of a frame beside the peak of the sound; less is rounding error
QUIET_PEAK = 0.1  # of a sound that arrives, at least
HALF_LIFE_S = 10.0  # of its peak
FRAMES_AT_ONCE = 128  # which fit the processor's cache


class PitchTrack(NamedTuple):
    """The pitch of a sound: arrays (F,), float32."""

    f0: NDArray[np.float32]  # Hz; 0 where unvoiced
    strength: NDArray[np.float32]  # height of the autocorrelation's peak, 0 to 1; of the highest peak where unvoiced
    loudness: NDArray[np.float32]  # RMS under the window, dB of full scale; QUIETEST_DB at least


class _Candidates(NamedTuple):
    """Of each frame: (F, 1 + N_CANDIDATES). The first is "unvoiced"; those that are missing have the score -inf."""

    f0: NDArray[np.float32]
    height: NDArray[np.float32]
    score: NDArray[np.float32]


@dataclass(frozen=True)
class Pitch:
    """The parameters of the frames. The result does not depend on the level of the sound, except for the loudness.

    Raises: InputError if there are fewer than four samples to a period, or frames would leave samples out.

    >>> pitch = Pitch(sample_rate=16000)
    >>> track = pitch.track(np.sin(2 * np.pi * 200 * np.arange(16000) / 16000))
    >>> len(track.f0), round(float(track.f0[40]), 2)  # 80 frames a second
    (80, 200.0)
    """

    N_FEATURES: ClassVar[int] = 4

    sample_rate: int
    hop: int = 200
    lowest: float = 60.0
    highest: float = 400.0

    def __post_init__(self) -> None:
        least, most = RANGES["lowest"][0], self.sample_rate / 4
        if not least <= self.lowest < self.highest <= most:
            raise InputError(
                f"features.lowest is {self.lowest:g} Hz and highest {self.highest:g} Hz; expected a rise, from {least} "
                f"Hz at least to a quarter of the sample rate, {most:g} Hz, at most"
            )
        if not 1 <= self.hop <= self._window_length // 2:
            raise InputError(
                f"features.hop is {self.hop}; expected 1 to half of {PERIODS_IN_WINDOW} longest periods, "
                f"{self._window_length // 2} samples"
            )

    @property
    def longest_period(self) -> int:
        """Samples; `periods` has none above."""
        return int(np.ceil(self.sample_rate / self.lowest * SLACK))

    @property
    def shortest_period(self) -> int:
        """Samples; `periods` has none below, but 0."""
        return int(self.sample_rate / (self.highest * SLACK))

    @property
    def silent(self) -> NDArray[np.float32]:
        """What a frame of silence is. Shapes: (4,)."""
        return np.array([0, -1, -1, -1], dtype=np.float32)

    def feature_of(self, f0: float) -> float:
        """The first feature of a voiced frame of a fundamental frequency in Hz."""
        return float(2 * np.log(f0 / REFERENCE_HZ))

    def n_frames(self, n_samples: int) -> int:
        """How many frames a sound has."""
        return -(-n_samples // self.hop)

    def frames(self, waveform: NDArray[np.floating]) -> NDArray[np.float32]:
        """The frames of a whole sound. Shapes: waveform (T,) in [-1, 1] -> (ceil(T / hop), 4)."""
        return self.frames_of(self.track(waveform))

    def frames_of(self, track: PitchTrack) -> NDArray[np.float32]:
        """The frames of a track. Shapes: (F,) each -> (F, 4)."""
        f0, strength, loudness = track
        is_voiced = f0 > 0
        frames = np.empty((len(f0), self.N_FEATURES), dtype=np.float32)
        frames[:, 0] = 2 * np.log(np.where(is_voiced, f0, REFERENCE_HZ) / REFERENCE_HZ)
        frames[:, 1] = np.where(is_voiced, 1, -1)
        frames[:, 2] = 2 * strength - 1
        frames[:, 3] = 1 - loudness / (QUIETEST_DB / 2)
        return frames

    def track(self, waveform: NDArray[np.floating]) -> PitchTrack:
        """The pitch of a whole sound. Shapes: waveform (T,) in [-1, 1] -> (ceil(T / hop),) each."""
        n = self.n_frames(len(waveform))
        mean, peak = _mean_and_peak(waveform)
        loudness = np.full(n, QUIETEST_DB, dtype=np.float32)
        if peak == 0:
            return PitchTrack(np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32), loudness)
        analysis = _Analysis(self)
        chunks = []
        for first in range(0, n, FRAMES_AT_ONCE):
            chunk = slice(first, min(first + FRAMES_AT_ONCE, n))
            power, candidates = analysis.of((self._around(waveform, mean, chunk) - mean) / peak)
            loudness[chunk] = _decibels(power * peak**2)
            chunks.append(candidates)
        candidates = _Candidates(*(np.concatenate(arrays) for arrays in zip(*chunks, strict=True)))
        chosen = np.arange(n), _best_path(candidates, self.hop / self.sample_rate)
        f0 = candidates.f0[chosen]
        strength = np.where(f0 > 0, candidates.height[chosen], candidates.height.max(axis=1))
        return PitchTrack(f0, strength, loudness)

    def check(self, frames: NDArray[Any], name: str) -> NDArray[np.float32]:
        """Frames as float32, (F, 4).

        Raises: InputError for another shape, or numbers that cannot be frames as this module defines them.
        """
        if frames.ndim != 2 or frames.shape[1] != self.N_FEATURES or not len(frames):
            raise InputError(f"{name} holds frames of shape {frames.shape}; expected (frames, {self.N_FEATURES})")
        if frames.dtype.kind != "f":
            raise InputError(f"{name} holds {frames.dtype}; expected floating point numbers")
        if not np.isfinite(frames).all():
            raise InputError(f"{name} holds NaN or infinity")
        voicing = frames[:, 1]
        is_voiced = voicing == 1
        if not (is_voiced | (voicing == -1)).all():
            wrong = voicing[~is_voiced & (voicing != -1)][0]
            raise InputError(f"{name} has the voicing {wrong:g}; expected 1 (voiced) or -1 (unvoiced) in every frame")
        if frames[~is_voiced, 0].any():
            raise InputError(f"{name} has unvoiced frames with a pitch; expected 0 where the voicing is -1")
        low, high = self.pitch_bounds
        pitches = frames[is_voiced, 0]
        beyond = pitches[(pitches < low - 1e-5) | (pitches > high + 1e-5)]
        if len(beyond):
            with np.errstate(over="ignore"):
                hz = REFERENCE_HZ * np.exp(beyond[0] / 2)
            raise InputError(
                f"{name} has a fundamental frequency of {hz:.4g} Hz; expected {self.lowest:g} to {self.highest:g} Hz, "
                f"or a tenth more, as 2 ln(f0 / {REFERENCE_HZ:g} Hz)"
            )
        for column, meaning in ((2, "2 * strength - 1"), (3, "loudness / 50 dB + 1")):
            lowest, highest = float(frames[:, column].min()), float(frames[:, column].max())
            if max(-lowest, highest) > PLAUSIBLE:
                raise InputError(
                    f"{name} spans {lowest:g} to {highest:g} in column {column}; expected {meaning}, about -1 to 1"
                )
        return frames.astype(np.float32)

    def amplified(self, frames: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
        """The frames of the same sound made louder by an amplitude. Shapes: (..., 4) -> (..., 4)."""
        louder = frames.copy()
        change = 20 * np.log10(gain) / -(QUIETEST_DB / 2)
        louder[..., 3] = np.where(frames[..., 3] > -1, np.maximum(frames[..., 3] + change, -1), -1)
        return louder

    def transposed(self, frames: NDArray[np.float32], semitones: float) -> NDArray[np.float32]:
        """The frames of a voice higher by some semitones, as far as the bounds of the pitch allow.

        Shapes: (..., 4) -> (..., 4).
        """
        higher = frames.copy()
        moved = np.clip(frames[..., 0] + semitones / 6 * np.log(2), *self.pitch_bounds)
        higher[..., 0] = np.where(frames[..., 1] > 0, moved, frames[..., 0])
        return higher

    def periods(self, frames: NDArray[np.floating]) -> NDArray[np.int32]:
        """The period at every sample from each frame to the next, in samples: round(sample_rate / f0).

        ln f0 changes along a straight line from frame to frame. Where only one of two neighbours is voiced, f0 is its;
        where neither is, the period is 0.

        Shapes: frames (..., F + 1, 4) -> (..., F, hop).
        """
        is_voiced = frames[..., 1] > 0
        pitch = np.clip(frames[..., 0].astype(np.float64), *self.pitch_bounds)
        here, there = is_voiced[..., :-1], is_voiced[..., 1:]
        start = np.where(here, pitch[..., :-1], pitch[..., 1:])[..., None]
        end = np.where(there, pitch[..., 1:], pitch[..., :-1])[..., None]
        pitch = start + (end - start) * (np.arange(self.hop) / self.hop)
        periods = np.rint(self.sample_rate / REFERENCE_HZ * np.exp(-pitch / 2)).astype(np.int32)
        return np.where((here | there)[..., None], np.minimum(periods, self.longest_period), np.int32(0))

    def voicing(self, frames: NDArray[np.floating]) -> NDArray[np.float32]:
        """How much of a voice there is from each frame to the next: 0 up to a strength of 0.45, 1 from 0.7 on; where
        one of the two is unvoiced, half of the other's.

        Shapes: frames (..., F + 1, 4) -> (..., F).
        """
        lowest, highest = VOICES
        strength = (frames[..., 2].astype(np.float64) + 1) / 2
        voicing = np.clip((strength - lowest) / (highest - lowest), 0, 1) * (frames[..., 1] > 0)
        between: NDArray[np.float32] = ((voicing[..., :-1] + voicing[..., 1:]) / 2).astype(np.float32)
        return between

    @property
    def pitch_bounds(self) -> tuple[float, float]:
        """Of the first feature of voiced frames."""
        return self.feature_of(self.lowest / SLACK), self.feature_of(self.highest * SLACK)

    @property
    def reach(self) -> int:
        """Samples that a frame sees behind the one that it is around."""
        return self._window_length // 2

    @property
    def _window_length(self) -> int:
        """Samples, even."""
        return 2 * round(PERIODS_IN_WINDOW * self.sample_rate / self.lowest / 2)

    def _around(self, waveform: NDArray[np.floating], silence: float, chunk: slice) -> NDArray[np.float64]:
        """The samples under the windows of some frames. Shapes: (T,) -> (n, window length)."""
        length = self._window_length
        begin = chunk.start * self.hop - length // 2
        end = (chunk.stop - 1) * self.hop - length // 2 + length
        samples = np.full(end - begin, silence)
        inside = waveform[max(begin, 0) : max(end, 0)]
        before = max(-begin, 0)
        samples[before : before + len(inside)] = inside
        return np.lib.stride_tricks.sliding_window_view(samples, length)[:: self.hop]


class PitchTracker:
    """The track of a sound while it arrives, one frame after another.

    It is the sequence with the highest score up to the newest frame, so the newest `n_revised` frames may change with
    each that comes; older ones do not. What counts as silence is told by the peak so far, which decays by half in
    `HALF_LIFE_S` and is never below `QUIET_PEAK`: noise before the first word is no voice, and a cough is not
    remembered for ever.
    """

    def __init__(self, pitch: Pitch, n_revised: int) -> None:
        self.pitch = pitch
        self._analysis = _Analysis(pitch)
        self._frame_s = pitch.hop / pitch.sample_rate
        self._peak = QUIET_PEAK
        self._scores = np.zeros(1 + N_CANDIDATES)
        self._candidates: deque[_Candidates] = deque(maxlen=n_revised + 1)
        self._back: deque[NDArray[np.intp]] = deque(maxlen=n_revised)  # from each of those to the one before
        self._loudness: deque[float] = deque(maxlen=n_revised + 1)

    def add(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """The next frame, of the samples under its window; returns the newest n_revised + 1 frames, or all, (n, 4)."""
        frame = samples.astype(np.float64)[None]
        frame -= frame.mean()
        peak = float(np.abs(frame[0, self._analysis.middle]).max())
        self._peak = max(peak, QUIET_PEAK, self._peak * 0.5 ** (self._frame_s / HALF_LIFE_S))
        power, candidates = self._analysis.of(frame / self._peak)
        self._loudness.append(float(_decibels(power * self._peak**2)[0]))
        if not self._candidates:
            self._scores = candidates.score[0].astype(np.float64)
        else:
            pair = _Candidates(*map(np.concatenate, zip(self._candidates[-1], candidates, strict=True)))
            total = _gains(pair, self._frame_s)[0] + self._scores
            back = total.argmax(axis=1)
            self._back.append(back)
            scores = total[np.arange(len(back)), back]
            self._scores = scores - scores.max()  # which would grow for ever
        self._candidates.append(candidates)
        return self.pitch.frames_of(self._track())

    def _track(self) -> PitchTrack:
        """The newest frames, along the best path that leads to the newest."""
        chosen = int(self._scores.argmax())
        path = [chosen]
        for back in reversed(self._back):
            path.append(int(back[path[-1]]))
        path = path[::-1][-len(self._candidates) :]
        f0 = np.array([one.f0[0, slot] for one, slot in zip(self._candidates, path, strict=True)])
        heights = np.array([one.height[0, slot] for one, slot in zip(self._candidates, path, strict=True)])
        strength = np.where(f0 > 0, heights, [one.height.max() for one in self._candidates])
        return PitchTrack(f0, strength, np.array(self._loudness, dtype=np.float32))


class _Analysis:
    """The candidates of frames, whichever they are: steps of the lag, and what only depends on the window."""

    def __init__(self, pitch: Pitch) -> None:
        length, rate = pitch._window_length, pitch.sample_rate
        self.pitch = pitch
        self.n_fft = _fast_length(length + pitch.longest_period)
        self.n_lags = max(_fast_length(int(np.ceil(self.n_fft * LAGS_HZ / rate))), self.n_fft)
        self.lag = self.n_fft / self.n_lags  # samples
        self.n_bins = min(self.n_fft // 2, int(BANDWIDTH_HZ / rate * self.n_fft)) + 1
        self.first = int(rate / pitch.highest / self.lag)  # lags
        self.last = int(np.ceil(rate / pitch.lowest / self.lag))
        reach = round(rate / pitch.lowest / 2)  # half a longest period, either side of the middle
        self.middle = slice(length // 2 - reach, length // 2 + reach + 1)
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        self.of_window, self.at_zero = self._autocorrelation(self.window[None])

    def of(self, frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], _Candidates]:
        """Mean square under the window, and candidates. Shapes: frames (n, length) in [-1, 1] -> (n,), (n, ...)."""
        n = len(frames)
        frames = frames - frames.mean(axis=1, keepdims=True)
        peak = np.abs(frames[:, self.middle]).max(axis=1)
        frames *= self.window
        power = np.einsum("it,it->i", frames, frames) / (self.window @ self.window)
        is_audible = power > INAUDIBLE**2

        f0, height, score = (np.zeros((n, 1 + N_CANDIDATES), dtype=np.float32) for _ in range(3))
        score[:, 0] = VOICING_THRESHOLD + np.maximum(0, 2 - peak * (1 + VOICING_THRESHOLD) / SILENCE_THRESHOLD)
        score[:, 1:] = -np.inf
        r, zero = self._autocorrelation(frames)
        r *= self.at_zero / np.where(is_audible, zero, np.inf)[:, None]
        r /= self.of_window
        row, hertz, heights = self._peaks(r)
        scores = heights - OCTAVE_COST * np.log2(self.pitch.lowest / hertz)
        order = np.lexsort((-scores, row))
        rank = np.arange(len(row)) - np.searchsorted(row, np.arange(n))[row]  # rows come in their order
        best = order[rank < N_CANDIDATES]
        slot = row[best], 1 + rank[rank < N_CANDIDATES]
        f0[slot], height[slot], score[slot] = hertz[best], heights[best], scores[best]
        return power, _Candidates(f0, height, score)

    def _autocorrelation(self, frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapes: windowed frames (n, length) -> lags first - 1 to last + 1 (n, last - first + 3), lag 0 (n,)."""
        spectra = np.fft.rfft(frames, self.n_fft)[:, : self.n_bins]
        power = spectra.real**2 + spectra.imag**2
        if self.n_bins == self.n_fft // 2 + 1:
            power[:, -1] /= 2  # of the highest bin the longer transform sees both halves
        r = np.fft.irfft(power, self.n_lags)
        return r[:, self.first - 1 : self.last + 2], r[:, 0]

    def _peaks(self, r: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Row, frequency in Hz and height of every peak, row by row."""
        middle = r[:, 1:-1]
        row, column = np.nonzero((middle > r[:, :-2]) & (middle >= r[:, 2:]) & (middle > 0))
        left, top, right = (r[row, column + offset] for offset in range(3))
        shift = 0.5 * (left - right) / (left - 2 * top + right)  # of the parabola through the three
        height = top - 0.25 * (left - right) * shift
        height = np.where(height > 1, 1 / height, height)
        hertz = self.pitch.sample_rate / ((self.first + column + shift) * self.lag)
        inside = (hertz >= self.pitch.lowest) & (hertz <= self.pitch.highest)
        return row[inside], hertz[inside], height[inside]


def _best_path(candidates: _Candidates, frame_s: float) -> NDArray[np.intp]:
    """The candidate of every frame, (F,), of the sequence with the highest score (Viterbi)."""
    n, width = candidates.f0.shape
    back = np.zeros((n, width), dtype=np.int8)
    every = np.arange(width)
    score = candidates.score[0].astype(np.float64)
    for begin in range(1, n, FRAMES_AT_ONCE):
        end = min(begin + FRAMES_AT_ONCE, n)
        gains = _gains(_Candidates(*(array[begin - 1 : end] for array in candidates)), frame_s)
        for i, gain in enumerate(gains, begin):
            total = gain + score  # [to, from]
            back[i] = best = total.argmax(axis=1)
            score = total[every, best]
    path = np.empty(n, dtype=np.intp)
    path[-1] = score.argmax()
    for i in range(n - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def _gains(candidates: _Candidates, frame_s: float) -> NDArray[np.float32]:
    """What each step from one frame to the next adds to the score of a path, (F - 1, to, from)."""
    octaves = np.log2(np.where(candidates.f0 > 0, candidates.f0, 1))
    jump_cost, change_cost = (cost * 0.01 / frame_s for cost in (OCTAVE_JUMP_COST, VOICED_UNVOICED_COST))
    gains: NDArray[np.float32] = np.abs(octaves[1:, :, None] - octaves[:-1, None, :]) * -jump_cost
    gains[:, 0, 1:] = gains[:, 1:, 0] = -change_cost
    gains[:, 0, 0] = 0
    gains += candidates.score[1:, :, None]
    return gains


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """dB of full scale; QUIETEST_DB at least."""
    return 10 * np.log10(np.maximum(power, 10 ** (QUIETEST_DB / 10)))


def _mean_and_peak(waveform: NDArray[np.floating]) -> tuple[float, float]:
    """The mean, and the largest distance from it: 0 if there is no sound."""
    if not len(waveform):
        return 0.0, 0.0
    mean = float(waveform.mean(dtype=np.float64))
    low, high = float(waveform.min()), float(waveform.max())
    peak = max(high - mean, mean - low)
    return mean, peak if high > low else 0.0


def _fast_length(least: int) -> int:
    """The next even number without prime factors above 5, whose Fourier transform is quick."""
    length = least + least % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2
