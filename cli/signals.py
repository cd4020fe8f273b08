"""Signals that end a command as Ctrl-C does: a request of the system (SIGTERM), a terminal that closes (SIGHUP)."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from wavegen.training.interrupts import REQUEUE


@contextmanager
def ending_as_ctrl_c() -> Iterator[Callable[[], int]]:
    """While the block runs, SIGTERM and SIGHUP raise KeyboardInterrupt; yields what tells the signal that came.

    One that was ignored from the beginning, as nohup has it, stays ignored. A closing terminal can send both, several
    times: all but the first change nothing, so that they break off no saving.
    """
    came = signal.SIGINT

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came == signal.SIGINT:
            came = signal.Signals(number)
            raise KeyboardInterrupt

    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def requeueing() -> Iterator[None]:
    """While the block runs, SIGUSR1 ends the command with the exit code that asks for another start, REQUEUE."""
    has_come = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal has_come
        has_come = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, end)
    try:
        yield
    except KeyboardInterrupt:
        if has_come:
            raise typer.Exit(REQUEUE) from None
        raise
    finally:
        signal.signal(signal.SIGUSR1, before)
