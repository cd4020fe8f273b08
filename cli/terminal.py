"""Where commands speak: results on stdout; remarks, the library's log and progress bars on stderr.

Nothing else prints. What comes from outside (names of files, texts of models and recipes) is made printable here, and
stands for itself: neither markup nor the name of an emoji in it means anything.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from wavegen import progress
from wavegen.printable import printable

console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

GAP = "  "  # between the columns of a table where there is no terminal


class Table(rich.table.Table):
    """Rows of text, with lines around them on a terminal. Where there is none: a row a line, and nothing is cut."""

    def __init__(self, *headers: str, title: str | None = None, **options: Any) -> None:
        super().__init__(*headers, title=None if title is None else printable(title), **options)

    def add_column(self, header: Any = "", *arguments: Any, **options: Any) -> None:
        super().add_column("\n".join(map(printable, str(header).split("\n"))), *arguments, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Cells are texts, or of rich where they have a colour."""
        super().add_row(*(cell if isinstance(cell, Text) else printable(cell) for cell in cells), **options)

    def lines(self) -> list[str]:
        """The title, the heads of the columns and the rows, as lines with the columns below each other."""
        rows = [[str(cell) for cell in row] for row in zip(*(column.cells for column in self.columns), strict=True)]
        headers = [str(column.header).replace("\n", " ") for column in self.columns]
        if self.show_header and any(headers):
            rows.insert(0, headers)
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        lines = [] if self.title is None else [str(self.title)]
        for row in rows:
            padded = []
            for cell, width, column in zip(row, widths, self.columns, strict=True):
                space = " " * (width - cell_len(cell))
                padded.append(space + cell if column.justify == "right" else cell + space)
            lines.append(GAP.join(padded).rstrip())
        return lines


def has_terminal() -> bool:
    """Whether results are shown on a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def show_result(*results: object) -> None:
    """Results on stdout: tables, and whatever else as a line of text each."""
    for result in results:
        if not isinstance(result, Table):
            print(printable(result))
        elif has_terminal():
            Console(highlight=False, markup=False, emoji=False).print(result)
        else:
            print("\n".join(result.lines()))


def show_text(text: str) -> None:
    """A text of many lines, such as a file, on stdout."""
    for line in text.splitlines():
        print("\t".join(map(printable, line.split("\t"))))


def say(line: object) -> None:
    """One line for the user, on stderr; above the bar if there is one."""
    console.print(printable(line))


def text_lines(lines: Iterable[str]) -> list[Text]:
    """Lines for a picture that is drawn again and again, cut where the terminal ends."""
    return [Text(printable(line), no_wrap=True, overflow="crop") for line in lines]


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
    progress.show_bars(console)
    try:
        yield
    finally:
        progress.hide_bars()
        logger.setLevel(level)
        logger.removeHandler(remarks)
