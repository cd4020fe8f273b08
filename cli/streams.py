"""Standard streams that outlast whoever reads them, and hold what wavegen says only.

A closed terminal, a `head` that has seen enough or `2>&-` ends no training: what is written from then on goes nowhere.
"""

import codecs
import errno
import faulthandler
import io
import os
import sys
from typing import Any, TextIO

NAMES = "wavegen-names"  # the error handler of a stdout that programs read


class LastingFile(io.FileIO):
    """A file to write to whose reader may go: from then on it leads nowhere, and `has_reader` is False."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._was_terminal = self.isatty()
        self.has_reader = True

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            is_closed = error.errno == errno.EPIPE or (error.errno == errno.EIO and self._was_terminal)
            if not is_closed:
                raise
            self.has_reader = False
            lead_nowhere(self.fileno())
            return memoryview(data).nbytes


def lead_nowhere(number: int) -> None:
    """Let a file descriptor lead nowhere, whether or not it is open."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)


def has_reader(stream: TextIO) -> bool:
    """Whether anybody can still read what is written to a stream."""
    return bool(getattr(getattr(stream.buffer, "raw", None), "has_reader", True))


def make_lasting() -> None:
    """Put lasting streams in the place of this process's own, once, before anything is opened or said.

    Libraries in C, such as MP3 and sound card drivers, write notes to descriptor 2; it leads nowhere from now on, and
    what is fatal to Python is still told. Of characters that a stream's encoding does not have, the codes are written;
    the bytes of a name that is no text reach a program as they are.

    Streams that somebody has already put into the place of the process's own are left alone.
    """
    for number in (0, 1, 2):  # or the next file that is opened would be one of the three
        try:
            os.fstat(number)
        except OSError:
            lead_nowhere(number)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - as long as the process lasts
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    elif sys.stderr is sys.__stderr__:
        own = os.dup(2)
        sys.stderr = _replaced(sys.stderr, own, "backslashreplace")
        lead_nowhere(2)
        faulthandler.enable(own)
    if sys.stdout is not None and sys.stdout is sys.__stdout__:
        codecs.register_error(NAMES, _name_bytes)
        sys.stdout = _replaced(sys.stdout, 1, "backslashreplace" if os.isatty(1) else NAMES)


def give_stderr_to_children() -> None:
    """Let processes that are started from now on write to stderr, which `make_lasting` has taken from them."""
    if sys.stderr is not None and hasattr(sys.stderr, "buffer") and isinstance(sys.stderr.buffer, io.BufferedWriter):
        os.dup2(sys.stderr.fileno(), 2)


def _replaced(stream: Any, number: int, errors: str) -> TextIO:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(LastingFile(number)),
        stream.encoding,
        errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _name_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Characters that stand for bytes (surrogateescape) as these, all others as codes such as \\xfc."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    written = b"".join(
        bytes([ord(char) - 0xDC00]) if "\udc80" <= char <= "\udcff" else char.encode("ascii", "backslashreplace")
        for char in found
    )
    return written, error.end
