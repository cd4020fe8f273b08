"""Progress of work that takes long: a rich bar where somebody asked for it, a line in the log now and then elsewhere.

The library draws nothing by itself. `show_bars()` makes it draw, on stderr, as the `wavegen` command does; without it,
and where stderr is no terminal, progress goes to the logger `wavegen.progress` at INFO.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wavegen.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LOGGED_EVERY_S = 15.0

logger = logging.getLogger(__name__)
_is_drawn = False
_console: "Console | None" = None  # where bars are drawn, once there has been one


def show_bars(console: "Console | None" = None) -> None:
    """Draw progress bars on stderr from now on, or on a console of your own; `hide_bars` ends it.

    >>> import wavegen.progress
    >>> wavegen.progress.show_bars()
    >>> wavegen.progress.hide_bars()
    """
    global _is_drawn, _console
    _is_drawn, _console = True, console


def hide_bars() -> None:
    """Draw no progress bars from now on, as from the start."""
    global _is_drawn, _console
    _is_drawn, _console = False, None


class Bar:
    """One running task, which goes to the log. `update` is cheap enough to call every step."""

    def __init__(self, title: str, total: float) -> None:
        self._title, self._total = title, total
        self._logged_at = time.monotonic()

    def update(self, done: float, note: str = "") -> None:
        """Say how much of the total is done."""
        if time.monotonic() - self._logged_at >= LOGGED_EVERY_S:
            self._logged_at = time.monotonic()
            share = f" {done / self._total:.0%}" if self._total else ""
            logger.info(f"{self._title}:{share} {note}".rstrip())


class _DrawnBar(Bar):
    """A task whose bar is drawn."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=printable(note))


@contextmanager
def bar(title: str, total: float, done: float = 0) -> Iterator[Bar]:
    """Show a task's progress while the block runs; `total` (0: not known) and `done` are in any one unit."""
    if not _is_drawn or sys.stderr is None or not sys.stderr.isatty():
        yield Bar(title, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    global _console
    _console = _console or Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # Names that are printed to a pipe meanwhile must stay there, and on a terminal appear above the bar.
    redirected = sys.stdout is not None and sys.stdout.isatty()
    with Progress(*columns, console=_console, transient=True, redirect_stdout=redirected) as progress:
        running = _DrawnBar(progress, progress.add_task(printable(title), total=total or None, note=""))
        running.update(done)
        yield running
