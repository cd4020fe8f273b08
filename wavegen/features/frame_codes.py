"""Feature frames as codes: what a planner (models/planner.py) is trained on and makes.

A frame becomes some codes, its channels, in an order from the whole to the detail, as a pixel is red, green and blue:

    loudness | pitch, 0 where there is no voice | strength | the log-mel bands, from low to high

or the bands alone where the features have no pitch. Each is one of some levels, evenly spaced over what the feature can
be; with `N_LEVELS` they are 0.85 dB of a band, 0.8 dB of the loudness and a quarter of a semitone apart.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wavegen.features.frames import Features
from wavegen.features.log_mel import SILENT

N_LEVELS = 128
LOUDEST_BAND = 1.15  # a sine at full scale is about 1
PITCH, VOICED, STRENGTH, LOUDNESS = 0, 1, 2, 3  # columns of the pitch (pitch.py)


@dataclass(frozen=True)
class FrameCodes:
    """Quantises the frames of some features.

    >>> from wavegen.features.frames import make_features
    >>> features = make_features(16000, {"n_mels": 32, "hop": 200, "pitch": {}})
    >>> codes = FrameCodes(features)
    >>> codes.n_channels, codes.encode(features.silent[None])[0, :4].tolist()
    (35, [0, 0, 0, 0])
    """

    features: Features
    n_levels: int = N_LEVELS

    @property
    def n_channels(self) -> int:
        """Codes of a frame."""
        return self.features.n_mels + (0 if self.features.pitch is None else 3)

    def encode(self, frames: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The nearest levels. Shapes: frames (..., n_features) -> codes (..., n_channels)."""
        n_mels = self.features.n_mels
        bands = _levels(frames[..., :n_mels], SILENT, LOUDEST_BAND, self.n_levels)
        if self.features.pitch is None:
            return bands
        pitch = frames[..., n_mels:]
        of_voice = 1 + _levels(pitch[..., PITCH], *self._pitch_bounds, self.n_levels - 1)
        own = [
            _levels(pitch[..., LOUDNESS], -1, 1, self.n_levels),
            np.where(pitch[..., VOICED] > 0, of_voice, np.uint8(0)),
            _levels(pitch[..., STRENGTH], -1, 1, self.n_levels),
        ]
        return np.concatenate([np.stack(own, axis=-1), bands], axis=-1)

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The frames of the levels. Shapes: codes (..., n_channels) from 0 to n_levels - 1 -> (..., n_features)."""
        codes = np.asarray(codes)
        if self.features.pitch is None:
            return _values(codes, SILENT, LOUDEST_BAND, self.n_levels)
        loudness, of_voice, strength = (codes[..., channel] for channel in range(3))
        is_voiced = of_voice > 0
        f0 = _values(np.maximum(of_voice, 1) - 1, *self._pitch_bounds, self.n_levels - 1)
        pitch = [
            np.where(is_voiced, f0, np.float32(0)),
            np.where(is_voiced, np.float32(1), np.float32(-1)),
            _values(strength, -1, 1, self.n_levels),
            _values(loudness, -1, 1, self.n_levels),
        ]
        bands = _values(codes[..., 3:], SILENT, LOUDEST_BAND, self.n_levels)
        return np.concatenate([bands, np.stack(pitch, axis=-1)], axis=-1)

    @cached_property
    def _pitch_bounds(self) -> tuple[float, float]:
        """Of the pitch of voiced frames, lowest and highest."""
        pitch = self.features.pitch
        assert pitch is not None
        return pitch.feature_of(pitch.lowest), pitch.feature_of(pitch.highest)


def _levels(values: NDArray[np.floating], lowest: float, highest: float, n: int) -> NDArray[np.uint8]:
    """The nearest of n levels from lowest to highest; what lies beyond is at the end."""
    shares = (values.astype(np.float64) - lowest) / (highest - lowest)
    return np.rint(np.clip(shares, 0, 1) * (n - 1)).astype(np.uint8)


def _values(levels: NDArray[np.integer], lowest: float, highest: float, n: int) -> NDArray[np.float32]:
    """The way back."""
    return (lowest + levels.astype(np.float64) / (n - 1) * (highest - lowest)).astype(np.float32)
