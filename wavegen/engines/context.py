"""Several users of one engine, who take turns without disturbing each other."""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wavegen.engines.base import Engine


class EngineContext:
    """What one user of an engine has made of its streams, as a thread's registers are what it made of a core's.

    An engine remembers one state. A user that comes to its turn while another's state is in the engine has that one put
    aside (`Engine.snapshot`) and its own put back (`Engine.restore`); alone it copies nothing. Any thread may take a
    turn; one of another user's waits until it ends. A context that nobody holds any more is not put aside.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._desk = _desk_of(engine)
        self._aside: Any = None
        self._has_begun = False

    @contextmanager
    def turn(self) -> Iterator[Engine]:
        """The engine with this user's streams in it, at the beginning of time at the first turn."""
        with self._desk.lock:
            other = self._desk.user()
            if other is not self:
                if other is not None:
                    other._aside = self.engine.snapshot()
                self._desk.user = weakref.ref(self)
                if self._has_begun:
                    self.engine.restore(self._aside)
                    self._aside = None
                else:
                    self.engine.start()
                    self._has_begun = True
            yield self.engine


class _Desk:
    """Who used an engine last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.user: Callable[[], EngineContext | None] = lambda: None  # a weak reference, once there was one


_desks: "weakref.WeakKeyDictionary[Engine, _Desk]" = weakref.WeakKeyDictionary()
_desks_lock = threading.Lock()


def _desk_of(engine: Engine) -> _Desk:
    with _desks_lock:
        return _desks.setdefault(engine, _Desk())
