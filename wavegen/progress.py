"""Progress on stderr: a rich bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY_S = 15.0

console = Console(stderr=True, highlight=False, soft_wrap=True)


class Bar:
    """One running task. `update` is cheap enough to call every step."""

    def __init__(self, title: str, total: float, progress: Progress | None) -> None:
        self._title, self._total, self._progress = title, total, progress
        self._task = progress.add_task(title, total=total or None, note="") if progress else None
        self._last_plain = time.monotonic()

    def update(self, done: float, note: str = "") -> None:
        """Say how much of the total is done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            share = f" {done / self._total:.0%}" if self._total else ""
            say(f"{self._title}:{share} {note}".rstrip())


@contextmanager
def bar(title: str, total: float, done: float = 0) -> Iterator[Bar]:
    """Show a task's progress while the block runs; `total` (0: not known) and `done` are in any one unit."""
    if not sys.stderr.isatty():
        yield Bar(title, total, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # Names that are printed to a pipe meanwhile must stay there, and on a terminal appear above the bar.
    redirected = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=redirected) as progress:
        running = Bar(title, total, progress)
        running.update(done)
        yield running


def say(line: str) -> None:
    """One line for the user, on stderr; above the bar if there is one."""
    console.print(line, markup=False, emoji=False)
