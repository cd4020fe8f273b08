"""Where commands speak: results on stdout; remarks, the library's log and progress bars on stderr.

Nothing else prints. What comes from outside (names of files, texts of models and recipes) is made printable here, and
stands for itself: neither markup nor the name of an emoji in it means anything.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from wavegen import progress
from wavegen.printable import printable


def has_terminal() -> bool:
    """Whether results are shown on a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def show_result(result: object) -> None:
    """A result on stdout, as a line of text; see also `tables.Table.show`."""
    print(printable(result))


def show_text(text: str) -> None:
    """A text of many lines, such as a file, on stdout."""
    for line in text.splitlines():
        print("\t".join(map(printable, line.split("\t"))))


def say(line: object) -> None:
    """One line for the user, on stderr; above the bar if there is one, for rich puts itself there."""
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


class _Remarks(logging.Handler):
    """Says what the library logs, without time, level or name."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def library_on_stderr() -> Iterator[None]:
    """Say what the library logs at INFO and above, and draw its progress bars, while the block runs."""
    logger, remarks = logging.getLogger("wavegen"), _Remarks()
    level = logger.level
    logger.addHandler(remarks)
    logger.setLevel(logging.INFO)
    progress.show_bars()
    try:
        yield
    finally:
        progress.hide_bars()
        logger.setLevel(level)
        logger.removeHandler(remarks)
