"""What is known of the next sample before a network looks at it: linear prediction, and where the last period was.

Speech is a source behind a filter: what of the next sample follows from the last few is the filter's (LPCNet,
arXiv:1810.11846), and what follows from the period before is the voice's (Quasi-Periodic WaveNet, arXiv:2007.05663). A
network that is given both has only what is left to say, and it need not remember a period for as long as a vowel lasts.

    d[t] = code - silence                                   an integer
    p[t] = round(sum over k of a[k] d[t - k] / 2**13)       within the codes
    e[t] = d[t] - p[t]                                      the excitation

The coefficients a (order 16, say) are integers and hold for a frame, so that p is exact, whatever computes it. They
are those of the log-mel frames: the bands give the power at each frequency, its inverse Fourier transform is the
autocorrelation, and Levinson and Durbin's recursion solves for the filter (J. Makhoul, "Linear prediction: a tutorial
review", Proc. IEEE 63, 1975; LPCNet takes them of its cepstrum in the same way). The gain is the size of the
excitation that the frame's power leaves. No recording is looked at, so frames from elsewhere do as well.

The recursion makes much of a last bit, and sums, powers and logarithms differ in that from one machine to the next. So
the autocorrelation is rounded before it, and from there on all is computed in one order: coefficients and gains are the
same everywhere, but where a number lies within a last bit of the middle between two that it may be rounded to.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.features.frame_condition import Prediction
from wavegen.features.log_mel import LogMel
from wavegen.features.pitch import Pitch

SHIFT = 13  # binary places of the coefficients
LARGEST = 1 << (SHIFT + 4)  # of a coefficient: 16
MU = 255  # of the logarithm by which amplitudes are companded before a network sees them
N_LEVELS = 256  # that it tells apart in an embedding
N_EMBEDDED = 4  # amplitudes that are embedded beside its linear layer
NOISE, LEAST_NOISE = 1e-4, 1e-9  # of the power, and at least, that is added as white noise: every filter is stable
STEP = 2.0**-28  # of the autocorrelation's lags, as shares of the power
LAG_WINDOW_HZ = 40.0  # by which spectral lines are widened, as speech coders do
EXCITATION = 0.888  # of speech, whose gain is 1 (measured on LibriSpeech), of noise with the same bands


@dataclass(frozen=True)
class Predictor:
    """Makes predictions of frames: `order` coefficients of the log-mel bands, and with `pitch` the periods.

    `pre_emphasis` is that of the codes, `n_classes` their number, which the smallest gain follows from.

    >>> predictor = Predictor(LogMel(16000), order=16, pre_emphasis=0.85, n_classes=65536)
    >>> predictor.of(np.zeros((1, 4, 80))).coefficients.shape  # the last frame only says how the third goes on
    (1, 3, 16)
    """

    log_mel: LogMel
    order: int
    pre_emphasis: float
    n_classes: int
    pitch: Pitch | None = None

    def of(self, frames: NDArray[np.floating]) -> Prediction[NDArray]:
        """The prediction between frames and those behind them.

        Shapes: frames (B, F + 1, n_features), the log-mel bands first and the pitch's last -> (B, F, ...).
        """
        bands = np.asarray(frames[..., : self.log_mel.n_mels], dtype=np.float64)
        autocorrelation = self._autocorrelation((bands[:, :-1] + bands[:, 1:]) / 2)
        power = autocorrelation[..., :1]
        filters, left = levinson(np.rint(autocorrelation / power * (1 / STEP)) * STEP)
        gains = np.maximum(self.per_magnitude * np.sqrt(power[..., 0] * left), self.least_gain)
        if self.pitch is None:
            periods = np.zeros((*filters.shape[:2], self.log_mel.hop), dtype=np.int32)
            voicing = np.zeros(filters.shape[:2], dtype=np.float32)
        else:
            of_pitch = frames[..., self.log_mel.n_mels :]
            periods, voicing = self.pitch.periods(of_pitch), self.pitch.voicing(of_pitch)
        return Prediction(
            coefficients=np.clip(np.rint(filters * (1 << SHIFT)), -LARGEST, LARGEST).astype(np.int32),
            gains=np.stack([gains, np.log(gains)], axis=-1).astype(np.float32),
            periods=periods,
            voicing=voicing,
        )

    def _autocorrelation(self, bands: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shapes: log-mel bands (..., n_mels) -> (..., order + 1)."""
        magnitudes = 10 ** (2.5 * (bands - 1)) @ self.to_bins
        autocorrelation: NDArray[np.float64] = np.square(magnitudes) @ self.to_lags
        autocorrelation *= self.lag_window
        autocorrelation[..., 0] = autocorrelation[..., 0] * (1 + NOISE) + LEAST_NOISE
        return autocorrelation

    @cached_property
    def to_bins(self) -> NDArray[np.float64]:
        """(n_mels, n_bins): the magnitude of every bin, on a line between the middles of the bands, pre-emphasised."""
        filters = self.log_mel.filters.astype(np.float64)  # (n_bins, n_mels)
        n_bins = len(filters)
        middles = (np.arange(n_bins) @ filters) / filters.sum(axis=0)
        lines = np.stack([np.interp(np.arange(n_bins), middles, row) for row in np.eye(len(middles))])
        angle = np.pi * np.arange(n_bins) / (n_bins - 1)
        emphasis = np.abs(1 - self.pre_emphasis * np.exp(-1j * angle))
        return lines / filters.sum(axis=0)[:, None] * emphasis

    @cached_property
    def to_lags(self) -> NDArray[np.float64]:
        """(n_bins, order + 1): the inverse Fourier transform of a power spectrum."""
        n_bins = self.log_mel.n_fft // 2 + 1
        angle = np.pi * np.arange(n_bins) / (n_bins - 1)
        weights = np.where((np.arange(n_bins) % (n_bins - 1)) == 0, 1.0, 2.0) / self.log_mel.n_fft
        return weights[:, None] * np.cos(angle[:, None] * np.arange(self.order + 1))

    @cached_property
    def lag_window(self) -> NDArray[np.float64]:
        """(order + 1,): what the autocorrelation is multiplied by."""
        lags = 2 * np.pi * LAG_WINDOW_HZ * np.arange(self.order + 1) / self.log_mel.sample_rate
        window: NDArray[np.float64] = np.exp(-0.5 * np.square(lags))
        return window

    @property
    def least_gain(self) -> float:
        """Two steps of the codes."""
        return 4 / (self.n_classes - 1)

    @property
    def per_magnitude(self) -> float:
        """The gain that a power of 1 in the spectrum leaves."""
        window = np.hanning(self.log_mel.n_fft + 1)[:-1]
        return float(EXCITATION * window.sum() / (2 * np.sqrt(np.square(window).sum())))


def levinson(autocorrelation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levinson and Durbin's recursion: the filter that predicts best, and the power that it leaves.

    Shapes: autocorrelation (..., order + 1), positive at 0 -> (..., order), the newest sample's first; (...).
    """
    order = autocorrelation.shape[-1] - 1
    filters = np.zeros((*autocorrelation.shape[:-1], order))
    error = autocorrelation[..., 0].copy()
    for k in range(order):
        explained = np.zeros_like(error)
        for index in range(k):
            explained += filters[..., index] * autocorrelation[..., k - index]
        reflection = (autocorrelation[..., k + 1] - explained) / error
        filters[..., :k] -= reflection[..., None] * filters[..., :k][..., ::-1].copy()
        filters[..., k] = reflection
        error *= 1 - np.square(reflection)
    return filters, error


class Companding(NamedTuple):
    """What whole numbers from -(n_classes - 1) to n_classes - 1 are at the input of a network, each at its place in a
    table.

    `values`: sign(x) ln(1 + 255 |x|) / ln 256 with x = 2 d / (n_classes - 1), on an axis of which codes span -1 to 1.
    `levels`: the same in 256 levels from 0, of which 128 is silence, for an embedding.
    """

    values: NDArray[np.float32]
    levels: NDArray[np.uint8]


def companding(n_classes: int) -> Companding:
    """The tables for a number of codes, (2 * n_classes - 1,) each; the entry of d is at d + n_classes - 1."""
    x = np.arange(-(n_classes - 1), n_classes) * (2 / (n_classes - 1))
    values = np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(MU)
    levels = np.clip(np.floor(127.5 * values + N_LEVELS // 2), 0, N_LEVELS - 1)
    return Companding(values.astype(np.float32), levels.astype(np.uint8))


def predict(coefficients: NDArray[np.integer], past: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """The predicted code less silence: the definition that every engine keeps to.

    Shapes: coefficients (..., order), past (..., order) codes less silence, the newest first -> (...).
    """
    silence = n_classes // 2
    whole = (coefficients.astype(np.int64) * past).sum(axis=-1)
    return np.clip((whole + (1 << (SHIFT - 1))) >> SHIFT, -silence, n_classes - 1 - silence)
