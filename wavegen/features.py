"""Waveform -> log-mel frames: what a vocoder is told of the sound that it makes. The only module with torchaudio.

    frame i = (log10 max(M |STFT of n_fft samples around sample i * hop|, 1e-5) + 2.5) / 2.5

with a Hann window and the STFT scaled so that a sine at full scale has magnitude 1; M are the triangular filters of
`torchaudio.functional.melscale_fbanks` (HTK's mel scale, filters of height 1). Silence is -1, that sine about 1. A
sound of T samples has ceil(T / hop) frames, and so F frames make F * hop samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from wavegen.errors import InputError

QUIETEST = 1e-5  # magnitude
SILENT = -1.0  # what a band of silence is
MAX_MAGNITUDE = 10.0  # a frame from elsewhere beyond this was scaled in another way


@dataclass(frozen=True)
class LogMel:
    """The parameters of the frames, which a recipe and a model file hold: see `recipe.LogMelFeatures` for each."""

    sample_rate: int
    n_mels: int = 80
    hop: int = 200
    n_fft: int = 1024
    f_min: float = 0.0
    f_max: float | None = None

    def n_frames(self, n_samples: int) -> int:
        """How many frames a sound has."""
        return -(-n_samples // self.hop)

    def of(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """The frames of which all samples are there.

        Shapes: samples (B, n_fft + (F - 1) * hop) -> (B, F, n_mels), the first around sample n_fft // 2.
        """
        import torch
        from torchaudio.functional import melscale_fbanks

        window = torch.hann_window(self.n_fft)
        given = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        spectra = torch.stft(given, self.n_fft, self.hop, window=window, center=False, return_complex=True).abs()
        filters = melscale_fbanks(self.n_fft // 2 + 1, self.f_min, self._highest, self.n_mels, self.sample_rate)
        magnitudes = spectra.transpose(1, 2) @ filters * (2 / window.sum())
        frames: NDArray[np.float32] = (magnitudes.clamp(min=QUIETEST).log10() / 2.5 + 1).numpy()
        return frames

    def frames(self, waveform: NDArray[np.floating]) -> NDArray[np.float32]:
        """The frames of a whole sound, with silence before and after it.

        Shapes: waveform (T,) in [-1, 1] -> (ceil(T / hop), n_mels).
        """
        n = self.n_frames(len(waveform))
        padded = np.zeros(self.n_fft + (n - 1) * self.hop, dtype=np.float32)
        before = self.n_fft // 2
        heard = waveform[: len(padded) - before]
        padded[before : before + len(heard)] = heard
        return self.of(padded[None])[0]

    def invert(self, frames: NDArray[np.floating], n_samples: int) -> NDArray[np.float32]:
        """Sounds with about these frames, without a network: what a vocoder has to beat.

        Magnitudes by least squares, phases by Griffin and Lim, "Signal estimation from modified short-time Fourier
        transform" (IEEE Trans. ASSP, 1984), 32 rounds of torchaudio's.

        Shapes: frames (B, F, n_mels) -> (B, n_samples).
        """
        import torch
        from torchaudio.functional import griffinlim
        from torchaudio.transforms import InverseMelScale

        window = torch.hann_window(self.n_fft)
        silence = np.full_like(frames[:, :1], SILENT)
        given = np.concatenate([frames, silence], axis=1).astype(np.float32)  # one frame is around the end
        magnitudes = 10 ** (2.5 * (torch.from_numpy(given).transpose(1, 2) - 1)) * (window.sum() / 2)
        n_bins = self.n_fft // 2 + 1
        to_bins = InverseMelScale(n_bins, self.n_mels, self.sample_rate, self.f_min, self._highest, driver="gelsd")
        spectra = to_bins(magnitudes)
        torch.manual_seed(0)  # of the first phases
        length = frames.shape[1] * self.hop
        sounds: NDArray[np.float32] = griffinlim(
            spectra, window, self.n_fft, self.hop, self.n_fft, 1.0, 32, 0.99, length, True
        ).numpy()
        return sounds[:, :n_samples]

    @property
    def _highest(self) -> float:
        """Hz."""
        return self.sample_rate / 2 if self.f_max is None else self.f_max


def features_of(sample_rate: int, described: Mapping[str, Any]) -> LogMel | None:
    """The features that a model's description tells of, or None if it has none.

    Raises: InputError for parameters that this wavegen does not know.
    """
    if not described:
        return None
    try:
        return LogMel(sample_rate, **described)
    except TypeError as error:
        raise InputError(f"the description of the features does not fit this wavegen: {error}") from error


def read_frames(path: Path, n_features: int) -> NDArray[np.float32]:
    """Frames from a file, (F, n_features): an array in .npy, or the only tensor, or the one named `frames`, of a
    .safetensors file.

    Raises: InputError if it cannot be read, or for another shape, or numbers that cannot be log-mel frames.
    """
    found = _read_npy(path) if path.suffix == ".npy" else _read_safetensors(path)
    if found.ndim != 2 or found.shape[1] != n_features or not len(found):
        raise InputError(f"{path} holds frames of shape {found.shape}; the model reads (frames, {n_features})")
    if found.dtype.kind != "f" or not np.isfinite(found).all():
        raise InputError(f"{path} holds {found.dtype} with NaN or infinity; expected floating point numbers")
    frames = found.astype(np.float32)
    if np.abs(frames).max() > MAX_MAGNITUDE:
        raise InputError(
            f"{path} spans {frames.min():g} to {frames.max():g}; expected log-mel frames, whose silence is {SILENT:g}"
        )
    return frames


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read the frames {path}: {error}") from error
    return array


def _read_safetensors(path: Path) -> NDArray[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) != 1 and "frames" not in names:
                raise InputError(f"{path} holds {', '.join(names) or 'nothing'}; expected one tensor, or one `frames`")
            array: NDArray[Any] = file.get_tensor("frames" if "frames" in names else names[0])
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read the frames {path}: {error}") from error
    return array
