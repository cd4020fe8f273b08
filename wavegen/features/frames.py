"""The feature frames of a model: log-mel bands, pitch, or both side by side, taken of a sound or read from a file."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from wavegen.errors import InputError
from wavegen.features.log_mel import PLAUSIBLE, SILENT, LogMel
from wavegen.features.pitch import Pitch

QUIET = -0.3  # what some band of all but loud noise lies below (34 recordings: -0.70 or less), if it lasts
ENOUGH_S = 0.5  # so long

logger = logging.getLogger(__name__)

FRAME_SUFFIXES = (".npy", ".safetensors")  # of files of frames


@dataclass(frozen=True)
class Features:
    """What frames are made of: log-mel bands (log_mel.py), then pitch (pitch.py); either may be left out.

    Both have the same hop, and a frame i around sample i * hop, so F frames make F * hop samples.

    >>> features = Features(LogMel(16000), Pitch(16000))
    >>> features.frames(np.zeros(16000)).shape  # 80 bands, and 4 numbers of the pitch
    (80, 84)
    """

    log_mel: LogMel | None = None
    pitch: Pitch | None = None

    @property
    def hop(self) -> int:
        """Samples from a frame to the next."""
        return self._any.hop

    @property
    def n_mels(self) -> int:
        """Log-mel bands, the first numbers of a frame."""
        return 0 if self.log_mel is None else self.log_mel.n_mels

    @property
    def n_features(self) -> int:
        """Numbers in a frame."""
        return self.n_mels + (0 if self.pitch is None else self.pitch.N_FEATURES)

    @property
    def reach(self) -> int:
        """Samples that a frame sees behind the one that it is around."""
        return max(part.reach for part in (self.log_mel, self.pitch) if part is not None)

    @property
    def periods(self) -> tuple[int, int] | None:
        """Samples of the shortest and of the longest period that the pitch can have; None without pitch."""
        return None if self.pitch is None else (self.pitch.shortest_period, self.pitch.longest_period)

    @cached_property
    def silent(self) -> NDArray[np.float32]:
        """A frame of silence, (n_features,)."""
        of_pitch = np.zeros(0, dtype=np.float32) if self.pitch is None else self.pitch.silent
        return np.concatenate([np.full(self.n_mels, SILENT, dtype=np.float32), of_pitch])

    def n_frames(self, n_samples: int) -> int:
        """How many frames a sound has."""
        return self._any.n_frames(n_samples)

    def frames(self, waveform: NDArray[np.floating]) -> NDArray[np.float32]:
        """The frames of a whole sound, with silence before and after it.

        Shapes: waveform (T,) in [-1, 1] -> (ceil(T / hop), n_features).
        """
        parts = [part.frames(waveform) for part in (self.log_mel, self.pitch) if part is not None]
        return np.concatenate(parts, axis=1)

    def transposed(self, frames: NDArray[np.float32], semitones: float) -> NDArray[np.float32]:
        """The frames of a voice that is higher by some semitones and says the same: the bands stay as they are.

        Shapes: (..., n_features) -> (..., n_features).
        Raises: InputError for features without a pitch.
        """
        if self.pitch is None:
            raise InputError("to be transposed, frames need a pitch; expected a model trained with data.features.pitch")
        bands, rest = frames[..., : self.n_mels], frames[..., self.n_mels :]
        return np.concatenate([bands, self.pitch.transposed(rest, semitones)], axis=-1)

    def smoothed(self, frames: NDArray[np.float32], side: int, pitch_side: int) -> NDArray[np.float32]:
        """Each frame as a mean of itself and `side` neighbours to either side, with binomial weights, and its pitch
        with `pitch_side`; the voicing stays, and pitch is a mean of voiced frames only.

        Shapes: frames (F, n_features) -> (F - 2 * n, n_features), where n is the larger of both.
        """
        farthest = max(side, pitch_side)
        n = len(frames) - 2 * farthest

        def mean(values: NDArray[np.floating], side: int) -> NDArray[np.floating]:
            first = farthest - side
            total: Any = sum(weight * values[first + tap :][:n] for tap, weight in enumerate(binomial_weights(side)))
            return np.asarray(total)

        frames = frames.astype(np.float64)
        result = mean(frames, side)
        if self.pitch is not None:
            f0, voicing = self.n_mels, self.n_mels + 1
            is_voiced = frames[:, voicing] > 0
            own = is_voiced[farthest : farthest + n]
            shares = np.where(own, mean(is_voiced.astype(np.float64), pitch_side), 1.0)
            pitch = mean(np.where(is_voiced, frames[:, f0], 0.0), pitch_side) / shares
            result[:, f0] = np.where(own, pitch, 0.0)
            result[:, voicing] = frames[farthest : farthest + n, voicing]
        return result.astype(np.float32)

    def check(self, frames: NDArray[Any], name: str) -> NDArray[np.float32]:
        """Frames as float32, (F, n_features). Those with the bands alone are given the pitch of the sound that they
        make by themselves (`LogMel.invert`).

        Raises: InputError for another shape, or numbers that cannot be such frames.
        """
        if frames.ndim != 2 or frames.shape[1] not in (self.n_features, self.n_mels) or not frames.size:
            either = f", or (frames, {self.n_mels})" if 0 < self.n_mels < self.n_features else ""
            raise InputError(
                f"{name} holds frames of shape {frames.shape}; the model reads (frames, {self.n_features}){either}"
            )
        if frames.dtype.kind != "f":
            raise InputError(f"{name} holds {frames.dtype}; expected floating point numbers")
        if not np.isfinite(frames).all():
            raise InputError(f"{name} holds NaN or infinity")
        bands, rest = frames[:, : self.n_mels].astype(np.float32), frames[:, self.n_mels :]
        if bands.size and (bands.min() < PLAUSIBLE[0] or bands.max() > PLAUSIBLE[1]):
            raise InputError(
                f"{name} spans {bands.min():g} to {bands.max():g}; expected log-mel frames whose silence is {SILENT:g} "
                "and whose loudest bands are about 1 (docs/vocoder.md)"
            )
        if self.pitch is None:
            return bands
        if rest.size:
            return np.concatenate([bands, self.pitch.check(rest, name)], axis=1)
        assert self.log_mel is not None  # there is something in a frame
        sound = self.log_mel.invert(bands[None], len(bands) * self.hop)[0]
        return np.concatenate([bands, self.pitch.frames(sound)], axis=1)

    def check_foreign(self, frames: NDArray[Any], name: str) -> NDArray[np.float32]:
        """`check` of frames that somebody else made. Those that seem to be on another scale are remarked on.

        They are not refused: a loud noise has no quiet band.
        """
        checked = self.check(frames, name)
        bands = checked[:, : self.n_mels]
        seconds = 0.0 if self.log_mel is None else len(bands) * self.hop / self.log_mel.sample_rate
        if seconds >= ENOUGH_S and bands.min() > QUIET:
            logger.warning(
                f"{name} spans {bands.min():g} to {bands.max():g}, and silence is {SILENT:g}: "
                "these frames are of a loud noise, or on another scale, perhaps 0 to 1"
            )
        return checked

    def read(self, path: Path) -> NDArray[np.float32]:
        """Frames from a file, (F, n_features): an array in .npy, or the only tensor, or the one named `frames`, of a
        .safetensors file.

        Raises: InputError if it cannot be read, and as `check`.
        """
        frames = _read_npy(path) if path.suffix.lower() == ".npy" else _read_safetensors(path)
        return self.check_foreign(frames, str(path))

    @property
    def _any(self) -> LogMel | Pitch:
        """Raises: InputError where there is nothing in a frame."""
        part = self.log_mel or self.pitch
        if part is None:
            raise InputError("features has no bands and no pitch; expected n_mels of 1 or more, or pitch")
        return part


def binomial_weights(side: int) -> list[float]:
    """The 2 * side + 1 weights of a mean over `side` neighbours to either side, which sum to 1."""
    order = 2 * side
    return [math.comb(order, tap) / 2**order for tap in range(order + 1)]


def make_features(sample_rate: int, parameters: Mapping[str, Any]) -> Features:
    """The features of a recipe's section `data.features`, or of a model file, at a sample rate in Hz.

    Raises: InputError for parameters that contradict each other.
    """
    own = dict(parameters)
    pitch = own.pop("pitch", None)
    made = Features(
        LogMel(sample_rate, **own) if own.get("n_mels", 1) else None,
        None if pitch is None else Pitch(sample_rate, own["hop"], **pitch),
    )
    made.n_frames(0)  # is there anything?
    return made


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] | Mapping[str, Any] = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy documents some; a damaged header raises whatever its parser meets
        raise InputError(f"cannot read the frames {path}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"cannot read the frames {path}: it is an archive of arrays; expected one array")
    return array


def _read_safetensors(path: Path) -> NDArray[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) != 1 and "frames" not in names:
                raise InputError(f"{path} holds {', '.join(names) or 'nothing'}; expected one tensor, or one `frames`")
            name = "frames" if "frames" in names else names[0]
            if file.get_slice(name).get_dtype() == "BF16":  # which numpy does not have
                return _read_bfloat16(path, name)
            array: NDArray[Any] = file.get_tensor(name)
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read the frames {path}: {error}") from error
    return array


def _read_bfloat16(path: Path, name: str) -> NDArray[np.float32]:
    with safe_open(path, framework="pt") as file:
        array: NDArray[np.float32] = file.get_tensor(name).float().numpy()
    return array
