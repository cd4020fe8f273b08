"""What is made once of an object, such as the packed weights of a model, and forgotten with it."""

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class OncePer:
    """Values made of objects, each once for an object and a key, whichever thread asks first.

    Objects are told apart by identity, and held weakly: what was made of one goes when it does. What is changed within
    an object is not noticed.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._made: dict[int, dict[Hashable, Any]] = {}

    def get(self, owner: object, key: Hashable, make: Callable[[], T]) -> T:
        """The value of an object and a key; `make` makes it, and must not return what holds the object."""
        with self._lock:
            if id(owner) not in self._made:
                self._made[id(owner)] = {}
                weakref.finalize(owner, self._made.pop, id(owner))
            values = self._made[id(owner)]
            if key not in values:
                values[key] = make()
            value: T = values[key]
            return value
