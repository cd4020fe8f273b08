"""Blocks on their way from the thread of a core to the event loop of a connection."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Event = dict[str, Any]


class Outlet(Protocol):
    """Where the blocks of a stream go. A thread of a core calls it, and waits for nothing.

    `is_full`: whether the stream is to wait until somebody has read.
    """

    @property
    def is_full(self) -> bool: ...

    def put(self, block: NDArray[np.float32]) -> None:
        """The next block, which need not be read before `flush`."""
        ...

    def flush(self) -> None: ...

    def tell(self, event: Event) -> None:
        """Something about the blocks that follow."""
        ...

    def end(self, error: Exception | None) -> None: ...


class LoopOutlet:
    """Where a stream goes that a connection reads: at most `limit` samples wait, and then the stream does.

    `has_room` is called when somebody has read and it is no longer full. `loop`: that of the connection, by default the
    one that runs.
    """

    def __init__(self, limit: int, has_room: Callable[[], None], loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._limit, self._has_room = limit, has_room
        self._loop = asyncio.get_running_loop() if loop is None else loop
        self._lock = threading.Lock()
        self._items: deque[NDArray[np.float32] | Event] = deque()
        self._n_waiting = 0
        self._is_there = asyncio.Event()
        self._is_over = False
        self._error: Exception | None = None

    @property
    def is_full(self) -> bool:
        return self._n_waiting >= self._limit

    def put(self, block: NDArray[np.float32]) -> None:
        with self._lock:
            self._items.append(block)
            self._n_waiting += len(block)

    def tell(self, event: Event) -> None:
        with self._lock:
            self._items.append(event)

    def end(self, error: Exception | None) -> None:
        with self._lock:
            self._is_over, self._error = True, error
        self.flush()

    async def blocks(self) -> AsyncGenerator[NDArray[np.float32], None]:
        """Blocks (T,) as they come.

        Raises: what the stream was ended by.
        """
        async for item in self.items():
            if not isinstance(item, dict):
                yield item

    async def items(self) -> AsyncGenerator[NDArray[np.float32] | Event, None]:
        """The same, and what is told of them, before those that it is about.

        Raises: what the stream was ended by.
        """
        while True:
            await self._is_there.wait()
            self._is_there.clear()
            with self._lock:
                items, was_full, is_over = list(self._items), self.is_full, self._is_over
                self._items.clear()
                self._n_waiting = 0
            if was_full:
                self._has_room()
            for is_event, some in groupby(items, lambda item: isinstance(item, dict)):
                if is_event:
                    for event in some:
                        yield event
                else:
                    yield np.concatenate(list(some))  # one message takes less than several
            if is_over:
                if self._error is not None:
                    raise self._error
                return

    def flush(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._is_there.set)
