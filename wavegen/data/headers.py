"""How much sound a file holds, where its header does not say it truly.

A program that writes to a pipe does not know how long its sound will be, and one that is killed never comes back to the
header. Both leave a number there that means nothing: 0, or a size near 2^31 or 2^32 bytes. Such files are read to
their end. Which sizes are taken for what:

* what is there, and whole chunks (or padding, or a tag) behind it: true;
* 0, or within 64 KiB of 2^31, below 2^32 by up to 64 KiB, or SoX's 0x7F000000, and not there: a placeholder;
* more than is there, but no more than the file is long: a writer that counted its header with the sound;
* less than is there, and what follows is no chunk: a writer that was killed after it had last brought its header up to
  date; the sound goes on to the end of the file;
* anything else that is more than what is there: a file that was cut short, which is refused.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from wavegen.errors import InputError

# How the bytes of a number are ordered in files that begin so, and which of their chunks is the sound.
SOUND_CHUNKS = {
    b"RIFF": ("<", b"data"),
    b"RF64": ("<", b"data"),
    b"BW64": ("<", b"data"),
    b"RIFX": (">", b"data"),
    b"FORM": (">", b"SSND"),
}
IN_DS64 = 0xFFFFFFFF  # the size of a chunk of RF64 that the chunk ds64 tells instead, in 64 bits
NEAR = 1 << 16  # bytes that a placeholder may be off a round number, for the header that it counts or not
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")  # that programs put behind the last chunk


class Header(NamedTuple):
    """What is to be read in place of some bytes of a file, and what there is to say of it."""

    patches: tuple[tuple[int, bytes], ...] = ()
    remark: str | None = None


class MendedFile(io.RawIOBase):
    """A file to be read, some bytes of which are read as others."""

    def __init__(self, file: IO[bytes], patches: tuple[tuple[int, bytes], ...]) -> None:
        self._file, self._patches = file, patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # typeshed's Buffer is not there at run time
        at = self._file.tell()
        block = bytearray(self._file.read(len(buffer)))
        for offset, patch in self._patches:
            first, last = max(offset, at), min(offset + len(patch), at + len(block))
            if first < last:
                block[first - at : last - at] = patch[first - offset : last - offset]
        buffer[: len(block)] = block
        return len(block)


@contextmanager
def mended(file: Path | IO[bytes]) -> Iterator[tuple[Path | IO[bytes] | MendedFile, str | None]]:
    """Yield the file as it is to be read, from its beginning, and what there is to say of its header.

    Raises: InputError for a WAV, AIFF or RF64 file that was cut short, with the bytes promised and found; OSError if
        it cannot be read.
    """
    opened = file.open("rb") if isinstance(file, Path) else file
    try:
        opened.seek(0)
        header = _read(opened)
        opened.seek(0)
        yield (MendedFile(opened, header.patches) if header.patches else file), header.remark
    finally:
        if isinstance(file, Path):
            opened.close()


def _read(file: IO[bytes]) -> Header:
    begin = file.read(12)
    if begin[:4] == b"caff":
        return _read_caf(file)
    if begin[:4] not in SOUND_CHUNKS:
        return Header()
    order, sound_chunk = SOUND_CHUNKS[begin[:4]]
    patches = [(0, b"RF64")] if begin[:4] == b"BW64" else []  # the same, by another name, which libsndfile knows not
    end = file.seek(0, io.SEEK_END)
    at, ds64 = 12, None
    while at + 8 <= end:
        name, size = _chunk(file, at, order)
        if name == b"ds64" and at + 24 <= end:
            ds64 = at + 16  # where the size of the sound stands
        if name != sound_chunk:
            at += 8 + size + size % 2
            continue
        place, form = at + 4, order + "I"
        if ds64 is not None and size == IN_DS64:
            place, form = ds64, order + "Q"
            file.seek(ds64)
            (size,) = struct.unpack(form, file.read(8))
        there = end - at - 8
        if _is_true(file, order, at + 8, size, there):
            break
        if size > there and not _is_placeholder(size) and size > end:
            raise InputError(f"it is cut short: {there:,} of {size:,} bytes of sound are there")
        remark = f"its header claims {size:,} bytes of sound; all {there:,} that are there were read"
        return Header((*patches, (place, struct.pack(form, there))) if there else tuple(patches), remark)
    return Header(tuple(patches))


def _chunk(file: IO[bytes], at: int, order: str) -> tuple[bytes, int]:
    file.seek(at)
    name, size = struct.unpack(f"{order}4sI", file.read(8))
    return name, size


def _is_placeholder(size: int) -> bool:
    return any(
        first <= size <= last
        for first, last in (
            (0, 0),
            (0x7F000000, 0x7F000000 + NEAR),
            (0x80000000 - NEAR, 0x80000000 + NEAR),
            (0xFFFFFFFF - NEAR, 0xFFFFFFFF),
            ((1 << 63) - NEAR, (1 << 64) - 1),
        )
    )


def _is_true(file: IO[bytes], order: str, at: int, size: int, there: int) -> bool:
    """Whether the sound that begins at a place ends where its size says: with the file, or before other chunks."""
    if size >= there:
        return size == there
    end = at + there
    if any(_are_chunks(file, order, at + size + pad, end) for pad in (size % 2, 0)):
        return True
    if size == 0:
        return False
    file.seek(at + size)
    tail = file.read(NEAR)
    return tail.startswith(TAGS) or (len(tail) < NEAR and not any(tail))


def _are_chunks(file: IO[bytes], order: str, at: int, end: int) -> bool:
    """Whether nothing but whole chunks lies between two places."""
    while at + 8 <= end:
        name, size = _chunk(file, at, order)
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        at += 8 + size + size % 2
    return end <= at <= end + 1  # of the last chunk the byte that pads it may be missing


def _read_caf(file: IO[bytes]) -> Header:
    """A CAF file may leave the size of its last chunk open, as -1, which libsndfile does not know."""
    end = file.seek(0, io.SEEK_END)
    at = 8
    while at + 12 <= end:
        file.seek(at)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"data" and size == -1:
            return Header(((at + 4, struct.pack(">q", end - at - 12)),))
        if size < 0:
            break
        at += 12 + size
    return Header()
