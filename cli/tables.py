"""Tables, as results on stdout."""

from typing import Any

import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from wavegen.printable import printable

from .terminal import has_terminal

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

    def show(self) -> None:
        """Print it on stdout."""
        if has_terminal():
            Console(highlight=False, markup=False, emoji=False).print(self)
        else:
            print("\n".join(self.lines()))
