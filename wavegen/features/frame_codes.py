"""Feature frames as codes: what a planner (models/planner.py) is trained on and makes.

A frame becomes some codes, its channels, in an order from the whole to the detail, as a pixel is red, green and blue:

    loudness | pitch, 0 where there is no voice | strength | cepstrum: c[0], c[1], ... of the log-mel bands

or the cepstrum alone where the features have no pitch. The cepstrum is the orthonormal discrete cosine transform
(DCT-II) of the bands, as in mel-frequency cepstral coefficients (S. Davis and P. Mermelstein, IEEE Trans. ASSP 28,
1980): c[0] is their mean, c[1] how much the low ones exceed the high ones, and each later one a finer ripple. Each
channel is one of some levels, evenly spaced; with `N_LEVELS` those of the loudness and of the mean of the bands are
0.8 dB apart, of the pitch a quarter of a semitone.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wavegen.features.frames import Features
from wavegen.features.log_mel import SILENT

N_LEVELS = 128
LOUDEST_BAND = 1.15  # a sine at full scale is about 1
RIPPLE = 0.5  # c[k] of bands is within this times sqrt(n_mels / k), either side of 0; that of speech within two thirds
PITCH, VOICED, STRENGTH, LOUDNESS = 0, 1, 2, 3  # columns of the pitch (pitch.py)


@dataclass(frozen=True)
class FrameCodes:
    """Quantises the frames of some features.

    >>> from wavegen.features.frames import make_features
    >>> features = make_features(16000, {"n_mels": 20, "hop": 200, "pitch": {}})
    >>> codes = FrameCodes(features)
    >>> codes.n_channels, codes.encode(features.silent[None])[0, :4].tolist()
    (23, [0, 0, 0, 0])
    """

    features: Features
    n_levels: int = N_LEVELS

    @property
    def n_channels(self) -> int:
        """Codes of a frame."""
        return self.features.n_mels + (0 if self.features.pitch is None else 3)

    @property
    def is_detail(self) -> list[bool]:
        """Of each channel, whether it tells of the sound's colour, and not how loud or how high it is."""
        of_cepstrum = [False] + [True] * (self.features.n_mels - 1)
        return of_cepstrum if self.features.pitch is None else [False, False, True, *of_cepstrum]

    def encode(self, frames: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The nearest levels. Shapes: frames (..., n_features) -> codes (..., n_channels)."""
        n_mels = self.features.n_mels
        cepstrum = _levels(frames[..., :n_mels] @ self.cosines.T, *self.cepstrum_bounds, self.n_levels)
        if self.features.pitch is None:
            return cepstrum
        pitch = frames[..., n_mels:]
        of_voice = 1 + _levels(pitch[..., PITCH], *self.pitch_bounds, self.n_levels - 1)
        own = [
            _levels(pitch[..., LOUDNESS], -1, 1, self.n_levels),
            np.where(pitch[..., VOICED] > 0, of_voice, np.uint8(0)),
            _levels(pitch[..., STRENGTH], -1, 1, self.n_levels),
        ]
        return np.concatenate([np.stack(own, axis=-1), cepstrum], axis=-1)

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The frames of the levels. Shapes: codes (..., n_channels) from 0 to n_levels - 1 -> (..., n_features)."""
        codes = np.asarray(codes)
        n_own = self.n_channels - self.features.n_mels
        cepstrum = _values(codes[..., n_own:], *self.cepstrum_bounds, self.n_levels)
        bands = np.clip(cepstrum @ self.cosines, SILENT, LOUDEST_BAND).astype(np.float32)
        if self.features.pitch is None:
            return bands
        loudness, of_voice, strength = (codes[..., channel] for channel in range(3))
        is_voiced = of_voice > 0
        f0 = _values(np.maximum(of_voice, 1) - 1, *self.pitch_bounds, self.n_levels - 1)
        pitch = [
            np.where(is_voiced, f0, np.float32(0)),
            np.where(is_voiced, np.float32(1), np.float32(-1)),
            _values(strength, -1, 1, self.n_levels),
            _values(loudness, -1, 1, self.n_levels),
        ]
        return np.concatenate([bands, np.stack(pitch, axis=-1).astype(np.float32)], axis=-1)

    @cached_property
    def cosines(self) -> NDArray[np.float64]:
        """The rows of the transform, (n_mels, n_mels), each of length 1."""
        n = self.features.n_mels
        rows = np.cos(np.pi / n * np.arange(n)[:, None] * (np.arange(n) + 0.5)) * np.sqrt(2 / n)
        rows[:1] *= np.sqrt(1 / 2)
        return rows

    @cached_property
    def cepstrum_bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest of each coefficient, (n_mels,): but for c[0], level n_levels / 2 is 0."""
        n, half = self.features.n_mels, self.n_levels / 2
        lowest = -RIPPLE * np.sqrt(n / np.maximum(1, np.arange(n)))
        highest = -lowest * (half - 1) / half
        lowest[:1], highest[:1] = SILENT * np.sqrt(n), LOUDEST_BAND * np.sqrt(n)
        return lowest, highest

    @property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the first and the last level of each channel are, (n_channels,); of the pitch that of voiced frames."""
        lowest, highest = self.cepstrum_bounds
        if self.features.pitch is None:
            return lowest, highest
        low, high = self.pitch_bounds
        return np.concatenate([[-1, low, -1], lowest]), np.concatenate([[1, high, 1], highest])

    @cached_property
    def pitch_bounds(self) -> tuple[float, float]:
        """Of the pitch of voiced frames, lowest and highest."""
        pitch = self.features.pitch
        assert pitch is not None
        return pitch.feature_of(pitch.lowest), pitch.feature_of(pitch.highest)


Bound = float | NDArray[np.float64]


def _levels(values: NDArray[np.floating], lowest: Bound, highest: Bound, n: int) -> NDArray[np.uint8]:
    """The nearest of n levels from lowest to highest; what lies beyond is at the end."""
    shares = (values.astype(np.float64) - lowest) / (highest - lowest)
    return np.rint(np.clip(shares, 0, 1) * (n - 1)).astype(np.uint8)


def _values(levels: NDArray[np.integer], lowest: Bound, highest: Bound, n: int) -> NDArray[np.float64]:
    """The way back."""
    return lowest + levels.astype(np.float64) / (n - 1) * (highest - lowest)
