"""Where commands speak to people: remarks, the library's log and progress bars, all on stderr."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType

from wavegen import progress

console = Console(stderr=True, highlight=False, soft_wrap=True)


def show_result(*results: RenderableType) -> None:
    """Results, such as tables, on stdout."""
    Console(markup=False).print(*results)


def say(line: str) -> None:
    """One line for the user, on stderr; above the bar if there is one."""
    console.print(line, markup=False, emoji=False)


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
