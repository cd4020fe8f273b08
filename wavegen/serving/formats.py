"""Sound as the bytes of a file, block by block: 16 bits, one channel."""

import io
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from wavegen.data.audio import as_int16
from wavegen.errors import InputError

UNKNOWN = 0xFFFFFFFF  # the size of a WAV file that is not known when it begins
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz


class Encoder(Protocol):
    """Blocks (T,) of a sound to bytes, which one after the other are a file."""

    def encode(self, block: NDArray[np.float32]) -> bytes: ...

    def finish(self) -> bytes: ...


class PcmEncoder:
    """Samples of 16 bits, signed, little-endian, without a header."""

    def encode(self, block: NDArray[np.float32]) -> bytes:
        return as_int16(block).astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""


class WavEncoder(PcmEncoder):
    """The same behind one header, which tells the size where that is known (None: it is not)."""

    def __init__(self, sample_rate: int, n_samples: int | None) -> None:
        self._header = wav_header(sample_rate, n_samples)

    def encode(self, block: NDArray[np.float32]) -> bytes:
        header, self._header = self._header, b""
        return header + super().encode(block)


class LibsndfileEncoder:
    """A format of libsndfile. Where the number of samples is known, the file comes at once, with its sizes."""

    def __init__(self, sample_rate: int, kind: str, subtype: str, n_samples: int | None) -> None:
        self._pipe = _Pipe() if n_samples is None else _Whole()
        self._file = soundfile.SoundFile(self._pipe, "w", sample_rate, 1, subtype, format=kind)

    def encode(self, block: NDArray[np.float32]) -> bytes:
        self._file.write(as_int16(block))
        return self._pipe.take()

    def finish(self) -> bytes:
        self._file.close()
        self._pipe.complete()
        return self._pipe.take()


class _Whole(io.BytesIO):
    """A file that is taken when it is complete."""

    def __init__(self) -> None:
        super().__init__()
        self._is_complete = False

    def take(self) -> bytes:
        return self.getvalue() if self._is_complete else b""

    def complete(self) -> None:
        self._is_complete = True


class _Pipe:
    """A file to write to whose bytes are taken as they come; what is written over later, such as sizes, is left."""

    def __init__(self) -> None:
        self._bytes, self._taken, self._at, self._end = bytearray(), 0, 0, 0

    def write(self, data: bytes) -> int:
        data = bytes(data)
        begin = max(self._at, self._taken)
        fresh = data[begin - self._at :]
        offset = begin - self._taken
        self._bytes[offset : offset + len(fresh)] = fresh
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, n: int = -1) -> bytes:
        return b""

    def complete(self) -> None:
        """Nothing more is written."""

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._taken += len(taken)
        self._bytes.clear()
        return taken


class SoundFormat(NamedTuple):
    """A format that sounds can be asked for in. `make` takes the rate and the number of samples, None if unknown."""

    suffix: str
    media_type: Callable[[int], str]
    make: Callable[[int, int | None], Encoder]


FORMATS = {
    "wav": SoundFormat(".wav", lambda rate: "audio/wav", WavEncoder),
    "flac": SoundFormat(
        ".flac", lambda rate: "audio/flac", lambda rate, n: LibsndfileEncoder(rate, "FLAC", "PCM_16", n)
    ),
    "pcm": SoundFormat(
        ".pcm", lambda rate: f"audio/pcm; rate={rate}; channels=1; encoding=s16le", lambda rate, n: PcmEncoder()
    ),
    "opus": SoundFormat(".opus", lambda rate: "audio/ogg", lambda rate, n: LibsndfileEncoder(rate, "OGG", "OPUS", n)),
}


def check_format(name: str, sample_rate: int) -> SoundFormat:
    """The format of a name.

    Raises: InputError for one that there is not, or that has no such rate.
    """
    if name not in FORMATS:
        raise InputError(f"format is {name!r}; expected one of {', '.join(FORMATS)}")
    if name == "opus":
        if "OPUS" not in soundfile.available_subtypes("OGG"):
            raise InputError("format is 'opus', which the libsndfile of this service does not write; expected flac")
        if sample_rate not in OPUS_RATES:
            raise InputError(f"format is 'opus', which has no rate of {sample_rate} Hz; expected flac")
    return FORMATS[name]


def wav_header(sample_rate: int, n_samples: int | None) -> bytes:
    """What stands before the samples of a WAV file; of one without an end the largest size that there is."""
    n_bytes = UNKNOWN if n_samples is None else 2 * n_samples
    whole = UNKNOWN if n_samples is None else n_bytes + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", whole, b"WAVE", b"fmt ", 16),
        *(1, 1, sample_rate, 2 * sample_rate, 2, 16),
        *(b"data", n_bytes),
    )


def encoded(waveform: NDArray[np.float32], sample_rate: int, form: SoundFormat) -> bytes:
    """A whole sound (T,) as a file."""
    encoder = form.make(sample_rate, len(waveform))
    return encoder.encode(waveform) + encoder.finish()
