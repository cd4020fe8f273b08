"""Files -> mono 16-bit samples at one rate, in blocks, whatever libsndfile can read."""

import io
import logging
import math
import os
import struct
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from wavegen import files
from wavegen.data.item_format import Notes, Source
from wavegen.errors import DiskError, InputError

logger = logging.getLogger(__name__)

MAX_FRAMES = 1 << 36  # that a FLAC header can state; more stands for "not known"
BAND_DB = 6  # of the histogram of levels
MAX_OFFSET = 0.02  # of a recording's mean, beyond which the report names it
BLOCK = 1 << 18  # frames decoded at a time; bounds memory for recordings of any length

MAX_WAV = (0xFFFFFFFF - 36) // 2  # 16-bit samples of one channel, whose bytes a WAV file can count

RATES = (1000, 1_000_000)  # Hz that a header may claim; a lower one would swell enormously when resampled

# How the bytes of a number are ordered in files that begin so, and which of their chunks is the sound.
SOUND_CHUNKS = {b"RIFF": ("<", b"data"), b"RIFX": (">", b"data"), b"FORM": (">", b"SSND")}

# Names that libsndfile can read; other files in a corpus (transcripts, licences) are not recordings at all.
SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
        ".voc",
        ".sph",
        ".nist",
        ".avr",
        ".iff",
        ".svx",
    ]
)


@dataclass
class Facts:
    """What was found while decoding one recording."""

    sample_rate: int = 0
    n_channels: int = 0
    n_samples: int = 0
    n_clipped: int = 0
    sum: float = 0.0
    sum_of_squares: float = 0.0


def decode(file: Path | IO[bytes], sample_rate: int, facts: Facts) -> Iterator[NDArray[np.int16]]:
    """Decode a recording in blocks: channels averaged, resampled (soxr), clipped, as int16 (1.0 is 32768).

    16-bit mono files at the wanted rate pass through unchanged. `facts` is filled in while the blocks are taken.

    Raises: InputError if libsndfile cannot read it, it is empty or cut short, or it holds NaN or infinity.
    """
    try:
        _check_whole(file)
        sound = soundfile.SoundFile(os.fsencode(file) if isinstance(file, Path) else file)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"libsndfile cannot read it ({_reason(error)})") from error
    except TypeError as error:  # soundfile's word for a name that ends in .raw
        raise InputError("samples without a header do not tell their rate; expected a format such as WAV") from error
    with sound:
        facts.sample_rate, facts.n_channels = sound.samplerate, sound.channels
        if not RATES[0] <= sound.samplerate <= RATES[1]:
            raise InputError(f"its sample rate is {sound.samplerate} Hz; expected {RATES[0]} to {RATES[1]}")
        resampler = None
        if sound.samplerate != sample_rate:
            resampler = soxr.ResampleStream(sound.samplerate, sample_rate, 1, dtype="float32")
        ended, n_frames = False, 0
        while not ended:
            try:
                frames = sound.read(max(1, BLOCK // sound.channels), dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise InputError(f"libsndfile cannot decode it ({_reason(error)})") from error
            ended = len(frames) == 0
            n_frames += len(frames)
            mono = frames.mean(axis=1) if sound.channels > 1 else frames[:, 0]
            if not np.isfinite(mono).all():
                raise InputError("it holds NaN or infinity")
            if resampler is not None:
                mono = resampler.resample_chunk(mono, last=ended)
            scaled = np.rint(mono * 32768.0)
            block = _clipped(scaled)
            facts.n_samples += len(block)
            facts.sum += float(block.sum(dtype=np.float64))
            facts.sum_of_squares += float(np.square(block, dtype=np.float64).sum())
            facts.n_clipped += int(np.count_nonzero((scaled < -32768) | (scaled > 32768)))
            if len(block):
                yield block
        if facts.n_samples == 0:
            raise InputError("it holds no samples")
        # Of other formats libsndfile's count is an estimate, or what it has read; of a streamed FLAC it is enormous.
        if sound.format == "FLAC" and n_frames < sound.frames < MAX_FRAMES:
            raise InputError(f"it is cut short: {n_frames:,} of {sound.frames:,} frames are there")


@dataclass(frozen=True)
class SoundFormat:
    """The format (item_format.py) of a corpus of recordings: mono, 16 bits, `sample_rate` in Hz."""

    sample_rate: int
    file = "samples.i16"
    dtype = np.dtype("<i2")
    items = "recordings"
    unit = "sample"
    suffixes = SUFFIXES
    changes = ("resampled", "mixed down to mono")

    @property
    def name(self) -> str:
        return str(self.sample_rate)

    @property
    def title(self) -> str:
        return f"{self.sample_rate} Hz"

    @property
    def facts(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate}

    @property
    def description(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate}

    def decode(self, name: str, file: Source, notes: Notes) -> Iterator[NDArray[np.int16]]:
        """See `decode` below, and item_format.py."""
        assert not isinstance(file, np.ndarray)
        facts = Facts()
        yield from decode(file, self.sample_rate, facts)
        changed = (facts.sample_rate != self.sample_rate, facts.n_channels > 1)
        notes.changes = [change for change, is_done in zip(self.changes, changed, strict=True) if is_done]
        notes.n_values, notes.n_clipped, notes.band = facts.n_samples, facts.n_clipped, _band(facts)
        offset = facts.sum / facts.n_samples / 32768
        notes.offset = offset if abs(offset) > MAX_OFFSET else 0.0

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


def read(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """A whole recording as a waveform (T,) in [-1, 1], mono, at the given rate.

    Raises: InputError naming the file and what is wrong with it.

    >>> write(Path("hello.wav"), np.zeros((44100, 2), dtype=np.float32), sample_rate=44100)
    >>> read(Path("hello.wav"), sample_rate=16000).shape
    (16000,)
    """
    try:
        blocks = list(decode(path, sample_rate, Facts()))
    except InputError as error:
        raise InputError(f"cannot read the recording {path}: {error}") from error
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


def _check_whole(file: Path | IO[bytes]) -> None:
    """Find a WAV or AIFF file that ends before its samples do, which libsndfile reads without a word.

    Raises: InputError with the bytes promised and found. A length that a streaming program left open (all ones) and
        files of other formats pass.
    """
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened:
        try:
            header = opened.read(12)
            order, sound_chunk = SOUND_CHUNKS.get(header[:4], ("", b""))
            if not order:
                return
            end = opened.seek(0, io.SEEK_END)
            at = 12
            while at + 8 <= end:
                opened.seek(at)
                name, size = struct.unpack(f"{order}4sI", opened.read(8))
                if name == sound_chunk:
                    if 0 < size < 0xFFFFFF00 and at + 8 + size > end:
                        raise InputError(f"it is cut short: {end - at - 8:,} of {size:,} bytes of sound are there")
                    return
                at += 8 + size + size % 2
        finally:
            if not isinstance(file, Path):
                opened.seek(0)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    reason = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
    return "its header gives no sample rate" if reason == "SF_INFO struct incomplete" else reason
