"""Sounds for files: requests take turns at the blocks that a core has left, whatever they ask for."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from wavegen.errors import InputError
from wavegen.generation.scheduler import Handle, Scheduler
from wavegen.generation.session import Output, StreamMaker
from wavegen.generation.sound_input import FedInput
from wavegen.generation.stream import Codes, Stream
from wavegen.serving.counts import Counts
from wavegen.serving.models import ServedModel
from wavegen.serving.outlet import Outlet
from wavegen.serving.problems import DroppedError
from wavegen.serving.voices import PATIENCE_S

logger = logging.getLogger(__name__)

FILES_AT_ONCE = 8  # of a model, on a core: as many as one pass over the weights serves


@dataclass(eq=False)
class Piece:
    """One sound of a request for files: its stream, made when there is a slot for it, and how many samples of it.

    A copy of a `sound` that comes in is as long as that.
    """

    maker: StreamMaker
    make: Callable[[], Stream]
    outlet: Outlet
    n_samples: int | None
    sound: FedInput | None = None
    n_needed_ahead: int = 0
    is_cancelled: bool = False


@dataclass(eq=False)
class Request:
    """Sounds of one model that were asked for together.

    `used`: blocks that were made of it, and at first as many as of the one that has fewest: who comes waits for none,
    and nobody waits for who came.
    """

    model: ServedModel
    pieces: deque[Piece]
    n_left: int = 0
    live: list[Piece] = field(default_factory=list)
    used: int = 0


class Backlog:
    """The requests for sounds of a model, which take turns at the slots that become free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque()

    def add(self, request: Request) -> None:
        with self._lock:
            if request not in self._requests:
                self._requests.append(request)

    def remove(self, request: Request) -> None:
        with self._lock, suppress(ValueError):
            self._requests.remove(request)

    def next(self, is_full: bool) -> tuple[Request, Piece] | None:
        """The next sound that is to be made, of whoever's turn it is; where it `is_full`, of who has none yet."""
        with self._lock:
            for _ in range(len(self._requests)):
                request = self._requests.popleft()
                if not request.pieces:
                    continue
                if is_full and request.live:
                    self._requests.append(request)
                    continue
                piece = request.pieces.popleft()
                request.live.append(piece)
                self._requests.append(request)
                return request, piece
            return None

    def has_some(self, is_full: bool) -> bool:
        """Whether `next` has one."""
        with self._lock:
            return any(request.pieces and not (is_full and request.live) for request in self._requests)


class _Making:
    """A sound of a request while it is made."""

    def __init__(self, request: Request, piece: Piece, output: Output) -> None:
        self.request, self.piece, self.output = request, piece, output
        self.n_codes = self.n_given = 0
        self.read_at = time.monotonic()

    def has_room(self, now: float, hop: int) -> bool:
        """Whether a block of it may be made: somebody reads, and what it copies has come."""
        piece = self.piece
        if piece.outlet.is_full:
            return False
        sound, needed = piece.sound, self.n_codes + piece.n_needed_ahead + hop
        if sound is not None and sound.length is None and sound.n_fed < needed:
            return False
        self.read_at = now
        return True

    def take(self, codes: Codes, is_last: bool) -> bool:
        """Give out the sound of some codes; returns whether it is complete."""
        self.n_codes += len(codes)
        sound = self.output.feed(codes[None])[0]
        if is_last:
            sound = np.concatenate([sound, self.output.finish()[0]])
        length = None if self.piece.sound is None else self.piece.sound.length
        if length is not None:
            sound = sound[: length - self.n_given]
        self.n_given += len(sound)
        if len(sound):
            self.piece.outlet.put(sound)
            self.piece.outlet.flush()
        return is_last or self.n_given == length


class FileLane:
    """The sounds for files of a model on a core: a block of eight at a time, of whose requests had fewest."""

    def __init__(self, model: ServedModel, scheduler: Scheduler, backlog: Backlog, done: Callable[[Request], None]):
        self.model, self._scheduler, self._backlog, self._done = model, scheduler, backlog, done
        self.counts = Counts()
        self._making: dict[Handle, _Making] = {}

    @property
    def n_live(self) -> int:
        return len(self._making)

    @property
    def _is_full(self) -> bool:
        return len(self._making) >= FILES_AT_ONCE

    def has_work(self, now: float) -> bool:
        """Whether there is something to make now."""
        if self._backlog.has_some(self._is_full):
            return True
        return any(one.piece.is_cancelled or one.has_room(now, self.model.hop) for one in self._making.values())

    def step(self, now: float) -> None:
        """Make a block of every sound that has room."""
        self._begin()
        for handle, one in self._making.items():
            if one.piece.is_cancelled:
                self._scheduler.cancel(handle)
        due = [handle for handle, one in self._making.items() if one.has_room(now, self.model.hop)]
        for handle, codes in self._scheduler.step(self._chosen(due)).items():
            if handle not in self._making:  # it was ended before
                continue
            one, error = self._making[handle], handle.error
            is_over = handle.has_ended
            if error is None and handle.status != "cancelled":
                try:
                    is_over = one.take(codes, handle.status == "done")
                except Exception as raised:  # of whatever kind, it is this sound's alone
                    error, is_over = raised, True
                self.counts.n_blocks += 1
                self.counts.n_samples += len(codes)
            if is_over:
                self._end(handle, error)

    def _chosen(self, due: list[Handle]) -> set[Handle]:
        """Those of some sounds that have a block made now."""
        chosen: set[Handle] = set()
        while len(chosen) < min(FILES_AT_ONCE, len(due)):
            left = [handle for handle in due if handle not in chosen]
            first = min(left, key=lambda handle: self._making[handle].request.used)
            self._making[first].request.used += 1
            chosen.add(first)
        return chosen

    def fail(self, error: Exception) -> None:
        """End every sound, for a fault that is of none of them."""
        for handle in list(self._making):
            self._end(handle, error)

    def drop_unread(self, now: float) -> None:
        """End sounds that nobody has read from for too long."""
        for handle, one in list(self._making.items()):
            if not one.has_room(now, self.model.hop) and now - one.read_at > PATIENCE_S:
                what = "read" if one.piece.outlet.is_full else "sent"
                self._end(
                    handle, DroppedError(f"nothing was {what} for {PATIENCE_S:g} s; expected a client that goes on")
                )

    def _begin(self) -> None:
        """Give free slots to what waits."""
        while (following := self._backlog.next(self._is_full)) is not None:
            request, piece = following
            if len(request.live) == 1:
                others = [one.request.used for one in self._making.values() if one.request is not request]
                request.used = max(request.used, min(others, default=0))
            if piece.is_cancelled:
                self._leave(request, piece)
                continue
            try:
                stream = piece.make()
                handle = self._scheduler.submit(stream, piece.n_samples)
                self._making[handle] = _Making(request, piece, piece.maker.output([stream]))
            except Exception as error:
                piece.outlet.end(error)
                self._leave(request, piece)

    def _end(self, handle: Handle, error: Exception | None) -> None:
        self._scheduler.cancel(handle)
        one = self._making.pop(handle)
        if error is not None and not isinstance(error, InputError):
            logger.error("a sound of %s failed", self.model.name, exc_info=error)
        one.piece.outlet.end(error)
        self._leave(one.request, one.piece)

    def _leave(self, request: Request, piece: Piece) -> None:
        request.live.remove(piece)
        request.n_left -= 1
        if request.n_left == 0:
            self._done(request)
