"""Files -> mono 16-bit samples at one rate, in blocks, whatever libsndfile can read."""

import io
import logging
import math
import os
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from wavegen import files
from wavegen.data.cleaning import AS_IT_IS, Cleaning
from wavegen.data.headers import mended
from wavegen.data.item_format import Notes, Source
from wavegen.errors import DiskError, InputError

logger = logging.getLogger(__name__)

MAX_FRAMES = 1 << 36  # that a FLAC header can state; more stands for "not known"
BAND_DB = 6  # of the histogram of levels
MAX_OFFSETS = (0.02, 0.002)  # of a recording's mean, beyond which the report names it; where it exceeds its sound
OPPOSITE = 0.01  # of the power of two channels is left in their mean, below which they are in opposite phase
INTEGER_PEAK = 256  # that only floats on the scale of integers reach, and
INTEGER_SHARE = 0.1  # of their samples is beyond full scale
BLOCK = 1 << 18  # frames decoded at a time; bounds memory for recordings of any length

MAX_WAV = (0xFFFFFFFF - 36) // 2  # 16-bit samples of one channel, whose bytes a WAV file can count
REASONS = {  # what libsndfile says, and means
    "SF_INFO struct incomplete": "its header gives no sample rate",
    "File does not exist or is not a regular file (possibly a pipe?)": "it holds no sound in any format that it knows",
}
RATES = (1000, 1_000_000)  # Hz that a header may claim; a lower one would swell enormously when resampled

# Names that libsndfile can read; other files in a corpus (transcripts, licences) are not recordings at all,
SUFFIXES = frozenset(
    ".wav .wave .bwf .bw64 .rf64 .w64 .flac .ogg .oga .opus .mp3 .mp2 .aif .aiff .aifc .au .snd .caf .voc .sph "  # noqa: SIM905
    ".nist .avr .iff .svx".split()
)
# but for these, which it cannot read.
UNREAD_SUFFIXES = frozenset(
    ".m4a .m4b .mp4 .aac .wma .webm .mka .ape .wv .tta .amr .3gp .ac3 .dsf .dff .ra .spx .shn".split()  # noqa: SIM905
)


@dataclass
class Facts:
    """What was found while decoding one recording. `remarks` say by kind what is odd about it."""

    sample_rate: int = 0
    n_channels: int = 0
    n_samples: int = 0
    n_clipped: int = 0
    peak: float = 0.0  # before it was clipped, full scale is 1
    sum: float = 0.0
    sum_of_squares: float = 0.0
    remarks: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


class _InOrder(soundfile.SoundFile):
    """A recording that is read from its beginning to its end.

    soundfile seeks to where it is after every block, which fails in FLAC of unknown length.
    """

    def seekable(self) -> bool:
        return False


def decode(
    file: Path | IO[bytes], sample_rate: int, facts: Facts, cleaning: Cleaning = AS_IT_IS
) -> Iterator[NDArray[np.int16]]:
    """Decode a recording in blocks: channels averaged, resampled (soxr), cleaned, clipped, as int16 (1.0 is 32768).

    16-bit mono files at the wanted rate pass through unchanged. Of two channels in opposite phase, which would cancel
    each other, the first is taken. `facts` is filled in while the blocks are taken.

    Raises: InputError if libsndfile cannot read it, it is empty or cut short, or it holds NaN or infinity, or floats
        on the scale of integers.
    """
    for mono in cleaning.clean(lambda: _samples(file, sample_rate, facts), sample_rate, facts.changes):
        with np.errstate(over="ignore"):  # infinity is clipped as well
            scaled = np.rint(mono * 32768.0)
        block = _clipped(scaled)
        facts.n_samples += len(block)
        facts.sum += float(block.sum(dtype=np.float64))
        facts.sum_of_squares += float(np.square(block, dtype=np.float64).sum())
        facts.n_clipped += int(np.count_nonzero((scaled < -32768) | (scaled > 32768)))
        if len(block):
            facts.peak = max(facts.peak, float(np.abs(mono).max()))
            yield block
    if facts.n_samples == 0:
        raise InputError("it holds no samples")
    if facts.peak > INTEGER_PEAK and facts.n_clipped > INTEGER_SHARE * facts.n_samples:
        raise InputError(
            f"its samples reach {facts.peak:,.10g} where full scale is 1: floats on the scale of integers; "
            "data.normalize: peak in a recipe brings them to full scale"
        )


def _samples(file: Path | IO[bytes], sample_rate: int, facts: Facts) -> Iterator[NDArray[np.float32]]:
    """A recording from its beginning on, in blocks: mono, at a rate. Raises as `decode`."""
    facts.remarks.clear()
    with ExitStack() as opened:
        try:
            whole, remark = opened.enter_context(mended(file))
            sound = opened.enter_context(_InOrder(os.fsencode(whole) if isinstance(whole, Path) else whole))
        except (soundfile.LibsndfileError, OSError) as error:
            raise InputError(f"libsndfile cannot read it ({_reason(error)})") from error
        except TypeError as error:  # soundfile's word for a name that ends in .raw
            raise InputError(
                "samples without a header do not tell their rate; expected a format such as WAV"
            ) from error
        if remark is not None:
            facts.remarks["of untold length"] = remark
        yield from _resampled(sound, sample_rate, facts)


def _resampled(sound: soundfile.SoundFile, sample_rate: int, facts: Facts) -> Iterator[NDArray[np.float32]]:
    facts.sample_rate, facts.n_channels = sound.samplerate, sound.channels
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise InputError(f"its sample rate is {sound.samplerate} Hz; expected {RATES[0]} to {RATES[1]}")
    resampler = None
    if sound.samplerate != sample_rate:
        resampler = soxr.ResampleStream(sound.samplerate, sample_rate, 1, dtype="float32")
    ended, n_frames, mix = False, 0, _Mix(facts)
    while not ended:
        try:
            frames = sound.read(max(1, BLOCK // sound.channels), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"libsndfile cannot decode it ({_reason(error)})") from error
        ended = len(frames) == 0
        n_frames += len(frames)
        mono = mix.of(frames)
        if not np.isfinite(mono).all():
            raise InputError("it holds NaN or infinity")
        if resampler is not None:
            mono = resampler.resample_chunk(mono, last=ended)
            if not np.isfinite(mono).all():
                raise InputError("it holds samples too large to be resampled")
        if len(mono):
            yield mono
    # Of other formats libsndfile's count is an estimate, or what it has read; of a streamed FLAC it is enormous.
    if sound.format == "FLAC" and n_frames < sound.frames < MAX_FRAMES:
        raise InputError(f"it is cut short: {n_frames:,} of {sound.frames:,} frames are there")


class _Mix:
    """Brings channels together, block by block: their mean.

    Where the first block that is not silent shows two channels that cancel each other, it is the first one from there
    on.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._is_decided = facts.n_channels != 2
        self._takes_first = facts.n_channels == 1

    def of(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (n, channels) as mono samples (n,)."""
        mono: NDArray[np.float32] = frames[:, 0] if self._takes_first else frames.mean(axis=1)
        if self._is_decided or not frames.any():
            return mono
        self._is_decided = True
        power = np.square(frames, dtype=np.float64).mean()
        if np.square(mono, dtype=np.float64).mean() >= OPPOSITE * power:
            return mono
        self._takes_first = True
        self._facts.remarks["in opposite phase"] = (
            "its two channels are in opposite phase and would cancel each other; the first was taken"
        )
        return frames[:, 0]


@dataclass(frozen=True)
class SoundFormat:
    """The format (item_format.py) of a corpus of recordings: mono, 16 bits, `sample_rate` in Hz, cleaned or not."""

    sample_rate: int
    cleaning: Cleaning = AS_IT_IS
    file = "samples.i16"
    dtype = np.dtype("<i2")
    items = "recordings"
    unit = "sample"
    suffixes = SUFFIXES
    unread_suffixes = UNREAD_SUFFIXES

    @property
    def name(self) -> str:
        return f"{self.sample_rate}{self.cleaning.name}"

    @property
    def title(self) -> str:
        chosen = ", ".join(f"{name} {value}" for name, value in self.cleaning.chosen.items())
        return f"{self.sample_rate} Hz" + (f" ({chosen})" if chosen else "")

    @property
    def changes(self) -> tuple[str, ...]:
        return "resampled", "mixed down to mono", *self.cleaning.changes

    @property
    def facts(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate, **self.cleaning.chosen}

    @property
    def description(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate}

    def decode(self, name: str, file: Source, notes: Notes) -> Iterator[NDArray[np.int16]]:
        """See `decode` below, and item_format.py."""
        assert not isinstance(file, np.ndarray)
        facts = Facts()
        yield from decode(file, self.sample_rate, facts, self.cleaning)
        changed = (facts.sample_rate != self.sample_rate, facts.n_channels > 1)
        notes.changes = [change for change, is_done in zip(self.changes, changed, strict=False) if is_done]
        notes.changes += facts.changes
        notes.n_values, notes.n_clipped, notes.peak, notes.band = (
            facts.n_samples,
            facts.n_clipped,
            facts.peak,
            _band(facts),
        )
        notes.offset, notes.remarks = _offset(facts), facts.remarks

    def amount(self, n_values: int) -> str:
        minutes = n_values / self.sample_rate / 60
        return f"{minutes / 60:.2f} h" if minutes >= 60 else f"{minutes:.1f} min"

    def extent(self, n_values: int) -> str:
        return f"{n_values} samples ({1000 * n_values / self.sample_rate:.0f} ms)"

    def n_values(self, amount: float) -> int:
        return round(amount * self.sample_rate)


def _band(facts: Facts) -> str:
    """The band of levels (RMS, dB of full scale) that a recording falls into."""
    power = facts.sum_of_squares / facts.n_samples / 32768**2
    if power == 0:
        return "silent"
    band = BAND_DB * math.floor(10 * math.log10(power) / BAND_DB)
    return f"{band} to {band + BAND_DB}"


def _offset(facts: Facts) -> float:
    """What a recording swings around, where that is worth a word: it is large, or larger than the sound itself."""
    mean = facts.sum / facts.n_samples / 32768
    power = facts.sum_of_squares / facts.n_samples / 32768**2 - mean**2
    large, compared = MAX_OFFSETS
    return mean if abs(mean) > large or (abs(mean) > compared and mean**2 > power) else 0.0


def read(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """A whole recording as a waveform (T,) in [-1, 1], mono, at the given rate.

    Raises: InputError naming the file and what is wrong with it.

    >>> write(Path("hello.wav"), np.zeros((44100, 2), dtype=np.float32), sample_rate=44100)
    >>> read(Path("hello.wav"), sample_rate=16000).shape
    (16000,)
    """
    facts = Facts()
    try:
        blocks = list(decode(path, sample_rate, facts))
    except InputError as error:
        raise InputError(f"cannot read the recording {path}: {error}") from error
    for remark in facts.remarks.values():
        logger.info(f"{path}: {remark}")
    return to_waveform(np.concatenate(blocks))


def resample(waveform: NDArray[np.floating], rate: int, to_rate: int) -> NDArray[np.floating]:
    """The same sound (T,) at another rate (Hz), by soxr's high quality; as it is where the rates are one."""
    resampled: NDArray[np.floating] = waveform if rate == to_rate else soxr.resample(waveform, rate, to_rate)
    return resampled


def to_waveform(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit samples as floats in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(32768)


def as_int16(waveform: NDArray[np.floating]) -> NDArray[np.int16]:
    """The nearest 16-bit samples, clipped. libsndfile's own conversion cuts off instead of rounding."""
    return _clipped(np.rint(waveform * 32768))


def _clipped(scaled: NDArray[np.floating]) -> NDArray[np.int16]:
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def write(path: Path, waveform: NDArray[np.float32], sample_rate: int) -> None:
    """Write a waveform (T,) or (T, channels) as a 16-bit WAV file; it appears whole or not at all.

    Raises: InputError if the folder cannot be written to.
    """
    encoded = io.BytesIO()
    soundfile.write(encoded, as_int16(waveform), sample_rate, subtype="PCM_16", format="WAV")
    files.write(path, encoded.getvalue())


@contextmanager
def writing(path: Path, sample_rate: int) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Yield what writes blocks (T,) to a 16-bit mono WAV file, of at most `MAX_WAV` samples together.

    It appears whole at the end of the block, or not at all. It is written through Python's own file: see `files.write`.

    Raises: InputError if the folder cannot be written to, DiskError if the disk is full.
    """
    with files.atomic(path) as partial, partial.open("wb") as file, wave.open(file, "wb") as sound:
        sound.setparams((1, 2, sample_rate, 0, "NONE", ""))
        yield lambda block: sound.writeframesraw(as_int16(block).tobytes())


@contextmanager
def recording(path: Path, sample_rate: int, n_channels: int) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Yield what writes blocks (T, channels) to a 16-bit WAV file; however the block ends, what was written is kept.

    Raises: InputError if the folder cannot be written to, or for what no WAV file can hold; DiskError if the disk is
        full.
    """
    failure: BaseException | None = None
    with files.atomic(path) as partial:
        try:
            opened = soundfile.SoundFile(partial, "w", sample_rate, n_channels, "PCM_16", format="WAV")
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"cannot write {path} as a WAV file of {n_channels} channels at {sample_rate} Hz: {error}"
            ) from error
        try:
            with opened as file:
                yield lambda samples: file.write(as_int16(samples))
        except soundfile.LibsndfileError as error:
            failure = DiskError(f"cannot write on to {path} ({error}); it holds what was written before")
        except BaseException as error:
            failure = error
    logger.info(f"Wrote {path}")
    if failure is not None:
        raise failure


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    reason = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
    return REASONS.get(reason, reason)
