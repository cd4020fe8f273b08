"""Signals that end a run: a question that the loop asks after each step, and the end of what may be left undone."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

logger = logging.getLogger(__name__)

REQUEUE = 75  # exit code of a run that is to be started again: EX_TEMPFAIL of sysexits.h


class _LeftUndoneError(KeyboardInterrupt):
    """Ends what is being attempted."""


class Interrupts:
    """Whether the run is to end, `came`, and to be started again elsewhere; `interrupts` makes one."""

    def __init__(self) -> None:
        self.came = self.is_preempted = False
        self._is_attempting = False

    def attempt(self, task: Callable[[], None]) -> bool:
        """Do what may be left undone at any moment, unless the run is to end; returns whether it is done."""
        if self.came:
            return False
        try:
            self._is_attempting = True
            task()
            self._is_attempting = False
        except _LeftUndoneError:
            return False
        finally:
            self._is_attempting = False
        return True

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals. A closing terminal sends several; a second Ctrl-C is somebody's wish."""
        if self.came:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.came, self.is_preempted = True, number == signal.SIGUSR1
        with suppress(RuntimeError):  # it came in the midst of writing to the same stream
            logger.info("Saving, then ending (Ctrl-C again to stop without saving)")
        if self._is_attempting:
            raise _LeftUndoneError


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Note Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 while the block runs, but for those that the process ignores. SIGUSR1 is
    what SLURM can be told to send before it takes the machine away.

    Outside the main thread, which alone gets signals, nothing is noted.
    """
    noted = Interrupts()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, noted.note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
