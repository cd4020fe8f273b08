"""Waveform -> log-mel frames: what a vocoder is told of the sound that it makes. The only module with torchaudio.

    frame i = (log10 max(M |STFT of n_fft samples around sample i * hop|, 1e-5) + 2.5) / 2.5

with a Hann window and the STFT scaled so that a sine at full scale has magnitude 1; M are triangular filters of height
1, evenly spaced on the scale log(1 + f / break_frequency): with 700 Hz the mel scale as HTK and
`torchaudio.functional.melscale_fbanks` have it. Silence is -1, that sine about 1. A sound of T samples has
ceil(T / hop) frames, and so F frames make F * hop samples.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError

QUIETEST = 1e-5  # magnitude
SILENT = -1.0  # what a band of silence is
MEL_BREAK_HZ = 700.0  # of the mel scale
BREAK_RANGE = (100, 100_000)  # Hz
PLAUSIBLE = (-1.5, 3.0)  # what lies beyond was scaled in another way
RANGES = {"n_mels": (1, 512), "hop": (1, 65536), "n_fft": (16, 65536)}  # of bands, samples and samples


@dataclass(frozen=True)
class LogMel:
    """The parameters of the frames, which a recipe and a model file hold: see `recipe.LogMelFeatures` for each.

    Raises: InputError if frames would leave samples out, bands lie beyond half the rate, or one has no bin of the STFT.

    >>> log_mel = LogMel(sample_rate=16000, n_mels=80, hop=200)
    >>> log_mel.frames(np.zeros(16000)).shape  # 80 frames a second
    (80, 80)
    """

    sample_rate: int
    n_mels: int = 80
    hop: int = 200
    n_fft: int = 1024
    f_min: float = 0.0
    f_max: float | None = None
    break_frequency: float = MEL_BREAK_HZ

    def __post_init__(self) -> None:
        half = self.sample_rate / 2
        if self.hop > self.n_fft // 2:
            raise InputError(f"features.hop is {self.hop}; expected at most half of n_fft, {self.n_fft // 2} samples")
        if not 0 <= self.f_min < self._highest <= half:
            raise InputError(
                f"features span {self.f_min:g} to {self._highest:g} Hz; expected a rise, up to half the sample rate, "
                f"{half:g} Hz, at most"
            )
        edges = self._edges
        empty = np.searchsorted(self._bins, edges[2:], "left") <= np.searchsorted(self._bins, edges[:-2], "right")
        if empty.any():
            raise InputError(
                f"features.n_mels is {self.n_mels}, of which {empty.sum()} bands are narrower than a bin of the STFT; "
                f"expected fewer, or n_fft above {self.n_fft}"
            )

    @property
    def reach(self) -> int:
        """Samples that a frame sees behind the one that it is around."""
        return self.n_fft // 2

    def n_frames(self, n_samples: int) -> int:
        """How many frames a sound has."""
        return -(-n_samples // self.hop)

    def of(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """The frames of which all samples are there.

        Shapes: samples (B, n_fft + (F - 1) * hop) -> (B, F, n_mels), the first around sample n_fft // 2.
        """
        import torch

        window = torch.hann_window(self.n_fft)
        waveforms = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        with torch.autocast("cpu", enabled=False):  # training measures itself in bfloat16
            spectra = torch.stft(
                waveforms, self.n_fft, self.hop, window=window, center=False, return_complex=True
            ).abs()
            magnitudes = spectra.transpose(1, 2) @ torch.from_numpy(self.filters) * (2 / window.sum())
        frames: NDArray[np.float32] = (magnitudes.clamp(min=QUIETEST).log10() / 2.5 + 1).numpy()
        return frames

    def frames(self, waveform: NDArray[np.floating]) -> NDArray[np.float32]:
        """The frames of a whole sound, with silence before and after it.

        Shapes: waveform (T,) in [-1, 1] -> (ceil(T / hop), n_mels).
        """
        n = self.n_frames(len(waveform))
        padded = np.zeros(self.n_fft + (n - 1) * self.hop, dtype=np.float32)
        before = self.n_fft // 2
        inside = waveform[: len(padded) - before]
        padded[before : before + len(inside)] = inside
        return self.of(padded[None])[0]

    def invert(self, frames: NDArray[np.floating], n_samples: int) -> NDArray[np.float32]:
        """Sounds with about these frames, without a network: what a vocoder has to beat.

        Magnitudes by least squares, phases by Griffin and Lim, "Signal estimation from modified short-time Fourier
        transform" (IEEE Trans. ASSP, 1984), 32 rounds of torchaudio's.

        Shapes: frames (B, F, n_mels) -> (B, n_samples).
        """
        import torch

        audio = _torchaudio()
        window = torch.hann_window(self.n_fft)
        silence = np.full_like(frames[:, :1], SILENT)
        padded = np.concatenate([frames, silence], axis=1).astype(np.float32)  # one frame is around the end
        magnitudes = 10 ** (2.5 * (torch.from_numpy(padded).transpose(1, 2) - 1)) * (window.sum() / 2)
        to_bands = torch.from_numpy(self.filters.T)  # (n_mels, n_bins)
        spectra = torch.linalg.lstsq(to_bands[None], magnitudes, driver="gelsd").solution.relu()
        length = frames.shape[1] * self.hop
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the first phases
            waveforms = audio.functional.griffinlim(
                spectra, window, self.n_fft, self.hop, self.n_fft, 1.0, 32, 0.99, length, True
            )
        sounds: NDArray[np.float32] = waveforms.numpy()
        return sounds[:, :n_samples]

    @cached_property
    def filters(self) -> NDArray[np.float32]:
        """How much of each bin of the STFT a band takes, (n_fft // 2 + 1, n_mels)."""
        edges, bins = self._edges, self._bins[:, None]
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)

    @property
    def _edges(self) -> NDArray[np.float64]:
        """Hz where bands begin, are highest and end, (n_mels + 2,): each begins in the middle of the one before."""
        low, high = (np.log1p(frequency / self.break_frequency) for frequency in (self.f_min, self._highest))
        return self.break_frequency * np.expm1(np.linspace(low, high, self.n_mels + 2))

    @property
    def _bins(self) -> NDArray[np.float64]:
        """Hz of each bin of the STFT, (n_fft // 2 + 1,)."""
        return np.linspace(0, self.sample_rate / 2, self.n_fft // 2 + 1)

    @property
    def _highest(self) -> float:
        """Hz."""
        return self.sample_rate / 2 if self.f_max is None else self.f_max


def _torchaudio() -> Any:
    """Raises: InputError if it is not there, or was made for another torch."""
    try:
        import torchaudio
        import torchaudio.transforms
    except (ImportError, OSError) as error:
        raise InputError(
            f"log-mel frames need torchaudio, which does not load ({error}); pip install torch torchaudio, in one step"
        ) from error
    return torchaudio
