"""The cores of a machine, each with a thread that makes blocks: live streams when they are due, other work in between.

On a core the streams of a model share an engine, and come and go between two blocks (generation/scheduler.py). A live
stream is made a little ahead of whoever listens, and no further; the one that has least ahead is made first, and with
it all of its model that have room. Requests for files take turns, a sound at a time, and make use of what live streams
leave: at most a block of theirs comes between two of a live stream.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wavegen.engines import make_engine
from wavegen.engines.base import n_cores
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.generation.live import Performance
from wavegen.generation.scheduler import Handle, Scheduler
from wavegen.generation.session import Output, StreamMaker
from wavegen.generation.sound_input import FedInput
from wavegen.generation.stream import BLOCKSIZE, Codes, Stream
from wavegen.serving.capacity import Cost, measure
from wavegen.serving.counts import Counts
from wavegen.serving.drawing import Drawing, ImageLane
from wavegen.serving.models import ServedModel, ServedModels

logger = logging.getLogger(__name__)

LIVE_SHARE = 0.85  # of a core that live streams may take
LIVE_SLOTS = 64  # of a model, on a core
FILES_AT_ONCE = 8  # of a model, on a core: as many as one pass over the weights serves
MOST_REQUESTS = 64  # for files, at a time; each finds a slot, and they take turns at the blocks
PATIENCE_S = 20.0  # how long nobody may read from a stream that is being made
TICK_S = 0.25  # how often it is looked for those
RETRY_S = 5  # when somebody who finds no place for a live stream may ask again


Event = dict[str, Any]


class Busy(Exception):  # noqa: N818 - it is no error of anybody's
    """There is no room for more; `retry_s` says when to ask again."""

    def __init__(self, sentence: str, retry_s: int) -> None:
        super().__init__(sentence)
        self.retry_s = retry_s


class DroppedError(InputError):
    """A stream that was ended, since nobody read it or the service is ending."""


class Outlet(Protocol):
    """Where the blocks of a stream go. A thread of a core calls it, and waits for nothing.

    `is_full`: whether the stream is to wait until somebody has read.
    """

    @property
    def is_full(self) -> bool: ...

    def put(self, block: NDArray[np.float32]) -> None: ...

    def tell(self, event: Event) -> None:
        """Something about the blocks that follow."""
        ...

    def end(self, error: Exception | None) -> None: ...


class Voice:
    """A live stream: what is heard of it, made `ahead_s` ahead of who listens.

    They are taken to have begun with the first block and to listen at the model's rate, until they say how much was
    played (`n_played`). `begins_again`: with the next seed, where the sound has ended. A copy of a `sound` that comes
    in ends with it.
    """

    def __init__(
        self,
        model: ServedModel,
        maker: StreamMaker,
        outlet: Outlet,
        *,
        ahead_s: float,
        sound: FedInput | None = None,
    ) -> None:
        self.model, self.outlet, self.ahead_s, self.sound = model, outlet, ahead_s, sound
        self.stream = maker.stream() if sound is None else maker.copy(sound)
        blocksize = -(-BLOCKSIZE // model.hop) * model.hop
        self.performance = Performance(maker, [self.stream], blocksize, is_copy=sound is not None)
        self.begins_again = False
        self.n_played: int | None = None
        self.n_made = self.n_late = 0
        self.needs_codes = self.has_ended = False
        self._was_held = False  # by who reads or sends, since the last block
        self._was_silent = False
        self._beginning: tuple[int, int] | None = None  # take and seed
        self.made_at = time.monotonic()  # when the newest block was made
        self._began_at = 0.0
        self._blocks = self.performance.performance()
        self._n_needed_ahead = maker.input_delays()[0] if sound is not None else 0
        self._n_codes = 0

    @property
    def n_places(self) -> int:
        """Streams of an engine that it takes."""
        return 2 if self.stream.needs_guided_engine else 1

    @property
    def block_s(self) -> float:
        return self.performance.blocksize / self.model.sample_rate

    def lead_s(self, now: float) -> float:
        """How much is made that nobody can have heard yet."""
        if not self.n_made:
            return 0.0
        played_s = now - self._began_at if self.n_played is None else self.n_played / self.model.sample_rate
        return self.n_made / self.model.sample_rate - played_s

    def has_room(self, now: float) -> bool:
        """Whether a block of it may be made."""
        if self.has_ended or self.lead_s(now) >= self.ahead_s:
            return False
        has_room = not self.outlet.is_full and (self.sound is None or self._has_input(self.sound))
        self._was_held |= not has_room
        return has_room

    def is_due(self, now: float) -> bool:
        """Whether one is to be made now. Who follows the clock waits for a whole block, by which time others have room
        as well; who says what was played is to have all that is to be ahead."""
        least = self.ahead_s - self.block_s if self.n_played is None else self.ahead_s
        return self.has_room(now) and self.lead_s(now) < max(least, self.ahead_s / 2)

    def go_on(self, now: float, codes: Codes | None = None) -> None:
        """Give out what can be heard of its next codes, until it needs others."""
        if codes is not None:
            self._n_codes += len(codes)
        block = next(self._blocks) if codes is None else self._blocks.send(codes[None])
        while block is not None:
            self._give(now, block[:, 0])
            if not self.has_room(now):
                self.needs_codes = False
                return
            block = next(self._blocks)
        self.needs_codes = True

    def end(self, error: Exception | None) -> None:
        """Give out nothing more."""
        if not self.has_ended:
            self.has_ended = True
            self.outlet.end(error)

    def _tell_of_beginnings(self) -> None:
        """Tell whether the sound of the block has just begun, or has ended; where it has it may begin again."""
        performance = self.performance
        beginning = (performance.heard.take, performance.heard.seed)
        if beginning != self._beginning:
            self._beginning = beginning
            self.outlet.tell({"type": "began", "take": beginning[0], "seed": beginning[1]})
        has_ended = performance.has_ended
        if has_ended and not self._was_silent:
            self.outlet.tell({"type": "silent"})
            if self.begins_again and not performance.controls.is_frozen:
                performance.restart((performance.controls.seed + 1) % 2**64)
        self._was_silent = has_ended

    def _has_input(self, sound: FedInput) -> bool:
        return sound.length is not None or sound.n_fed >= self._n_codes + self._n_needed_ahead + self.model.hop

    def _give(self, now: float, block: NDArray[np.float32]) -> None:
        if not self.n_made:
            self._began_at = now
        elif self.lead_s(now) <= 0:
            self.n_late += not self._was_held
            if self.n_played is None:
                self._began_at = now - self.n_made / self.model.sample_rate
        self._was_held = False
        if self.sound is not None and self.sound.length is not None:
            block = block[: self.sound.length - self.n_made]
        self.n_made += len(block)
        self.made_at = now
        self._tell_of_beginnings()
        self.outlet.put(block)
        if self.sound is not None and self.n_made == self.sound.length:
            self.end(None)


class LiveLane:
    """The live streams of a model on a core."""

    def __init__(self, model: ServedModel, scheduler: Scheduler, cost: Cost) -> None:
        self.model, self._scheduler, self.cost = model, scheduler, cost
        self.counts = Counts()
        self._voices: dict[Handle, Voice] = {}
        self._has_left = False

    def load(self, more: Voice | None = None) -> float:
        """Seconds of work in a second of its streams, and of one more."""
        voices = [*self.voices(), *([] if more is None else [more])]
        return sum(self.cost.of(n * sum(one.n_places == n for one in voices)) for n in (1, 2))

    def voices(self) -> list[Voice]:
        return list(self._voices.values())

    def add(self, voice: Voice) -> None:
        self._voices[self._scheduler.submit(voice.stream)] = voice

    def remove(self, voice: Voice) -> None:
        """Free the place of a stream, at the next block."""
        for handle, one in list(self._voices.items()):
            if one is voice:
                self._scheduler.cancel(handle)
                self._voices.pop(handle, None)
                self._has_left = True

    def lead_s(self, now: float) -> float | None:
        """The least that one of its streams, which are due, has ahead; None where none is."""
        return min((voice.lead_s(now) for voice in self.voices() if voice.is_due(now)), default=None)

    def next_due_s(self, now: float) -> float:
        """How long it is until one is due, at most `TICK_S`."""
        leads = [voice.lead_s(now) - voice.ahead_s + voice.block_s for voice in self.voices()]
        return max(0.001, min([TICK_S, *leads]))

    def step(self, now: float) -> None:
        """Make a block of every stream that has room."""
        with_room = {handle: voice for handle, voice in list(self._voices.items()) if voice.has_room(now)}
        before = sum(voice.n_late for voice in with_room.values())
        for voice in with_room.values():
            if not voice.needs_codes:
                self._guarded(voice, now, None)
        due = {handle for handle, voice in with_room.items() if voice.needs_codes and voice.has_room(now)}
        if due or self._has_left:
            self._has_left = False
            for handle, codes in self._scheduler.step(due).items():
                if handle not in with_room:
                    continue
                if handle.has_ended:
                    self._end(with_room[handle], handle.error)
                    continue
                self._guarded(with_room[handle], time.monotonic(), codes)
                self.counts.n_blocks += 1
                self.counts.n_samples += len(codes)
        self.counts.n_late += sum(voice.n_late for voice in with_room.values()) - before

    def drop_unread(self, now: float) -> None:
        """End streams that nobody has read from for too long."""
        for voice in self.voices():
            if now - voice.made_at > PATIENCE_S:
                what = "sent" if voice.sound is not None and not voice.outlet.is_full else "read"
                self._end(
                    voice, DroppedError(f"nothing was {what} for {PATIENCE_S:g} s; expected a client that goes on")
                )

    def _guarded(self, voice: Voice, now: float, codes: Codes | None) -> None:
        try:
            voice.go_on(now, codes)
        except Exception as error:  # of whatever kind, it is this stream's alone
            self._end(voice, error)
        if voice.has_ended:
            self.remove(voice)

    def _end(self, voice: Voice, error: Exception | None) -> None:
        if error is not None and not isinstance(error, InputError):
            logger.error("a live stream of %s failed", self.model.name, exc_info=error)
        voice.end(error)
        self.remove(voice)


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
            one = self._making[handle]
            error = handle.error
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


class Core(threading.Thread):
    """The thread of a core: what is due first, then who of the others has had least of its time."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"core-{number}", daemon=True)
        self.live: dict[str, LiveLane] = {}
        self.others: dict[str, FileLane | ImageLane] = {}
        self._used_s: dict[int, float] = {}  # by lanes, of this core, at least as much as they wait for
        self._newest_s = 0.0  # of the lane that had it last
        self._changed = threading.Condition()
        self._is_woken = self._is_closed = False

    def load(self) -> float:
        """Seconds of work in a second of its live streams."""
        return sum(lane.load() for lane in self.live.values())

    def wake(self) -> None:
        """Say that there may be something to do."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def close(self) -> None:
        """End with the block that is being made."""
        self._is_closed = True
        self.wake()
        self.join()

    def run(self) -> None:
        looked_at = 0.0
        while not self._is_closed:
            now = time.monotonic()
            if now - looked_at > TICK_S:
                looked_at = now
                for lane in (*self.live.values(), *self.others.values()):
                    lane.drop_unread(now)
            if self._turn(now):
                continue
            wait_s = min([TICK_S, *(lane.next_due_s(now) for lane in self.live.values() if lane.voices())])
            with self._changed:
                if not self._is_woken:
                    self._changed.wait(wait_s)
                self._is_woken = False

    def _turn(self, now: float) -> bool:
        """Make one block of a lane; returns whether there was one to make."""
        leads = {name: lead for name, lane in self.live.items() if (lead := lane.lead_s(now)) is not None}
        if leads:
            first = self.live[min(leads, key=lambda name: leads[name])]
            first.step(now)
            first.counts.work_s += time.monotonic() - now
            return True
        waiting = [lane for lane in self.others.values() if lane.has_work(now)]
        for lane in self.others.values():
            if lane not in waiting:  # it saves up nothing
                self._used_s[id(lane)] = max(self._used_s.get(id(lane), 0.0), self._newest_s)
        if not waiting:
            return False
        next_one = min(waiting, key=lambda lane: self._used_s.get(id(lane), 0.0))
        next_one.step(now)
        elapsed = time.monotonic() - now
        next_one.counts.work_s += elapsed
        self._newest_s = self._used_s.get(id(next_one), 0.0)
        self._used_s[id(next_one)] = self._newest_s + elapsed
        return True


class Pool:
    """The cores of this machine at work for the models of a service.

    `max_streams`: live streams at a time, at most; None for as many as were measured to be possible. What is in its
    attributes may be read, and its methods called, by any thread.

    Raises: InputError for a model that no engine here can run.
    """

    def __init__(self, models: ServedModels, n_threads: int | None = None, max_streams: int | None = None) -> None:
        self.models, self._max_streams = models, max_streams
        self._placing = threading.Lock()
        self._backlogs = {model.name: Backlog() for model in models}
        self._requests: set[Request] = set()
        self._drawings = {model.name: deque[Drawing]() for model in models}
        self._is_draining = False
        self.cores = [Core(number) for number in range(n_threads or n_cores())]
        self.costs = self._measure()
        for core in self.cores:
            core.start()

    def _measure(self) -> dict[str, Cost]:
        """Make every core's engines, and time live streams on all of them at once."""
        costs: dict[str, list[Cost]] = {}

        def of_core(core: Core) -> None:
            for model in self.models:
                if model.draws:
                    core.others[model.name] = ImageLane(model, self._drawings[model.name])
                    continue
                live = _scheduler(model, LIVE_SLOTS)
                cost = measure(model, live)
                costs.setdefault(model.name, []).append(cost)
                core.live[model.name] = LiveLane(model, live, cost)
                files = _scheduler(model, MOST_REQUESTS + FILES_AT_ONCE)
                core.others[model.name] = FileLane(model, files, self._backlogs[model.name], self._finish)

        failures: list[BaseException] = []

        def guarded(core: Core) -> None:
            try:
                of_core(core)
            except BaseException as error:
                failures.append(error)

        for model in self.models:  # what is compiled or packed once is so before several ask for it
            if not model.draws:
                _scheduler(model, LIVE_SLOTS)
                _scheduler(model, MOST_REQUESTS + FILES_AT_ONCE)
        threads = [threading.Thread(target=guarded, args=(core,)) for core in self.cores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return {name: max(each, key=lambda cost: cost.seconds[-1]) for name, each in costs.items()}

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    @property
    def n_voices(self) -> int:
        return sum(len(lane.voices()) for core in self.cores for lane in core.live.values())

    @property
    def n_requests(self) -> int:
        """Requests for files that are not complete."""
        return len(self._requests) + sum(len(drawings) for drawings in self._drawings.values())

    def room(self, model: ServedModel) -> int:
        """How many live streams of a model would be admitted if it had the machine to itself."""
        n = len(self.cores) * self.costs[model.name].most(LIVE_SHARE)
        return n if self._max_streams is None else min(n, self._max_streams)

    def admit(self, voice: Voice) -> None:
        """Begin a live stream, on the core with most room.

        Raises: Busy if none has enough.
        """
        name = voice.model.name
        with self._placing:
            self._check_open()
            n = self.n_voices
            if self._max_streams is not None and n >= self._max_streams:
                raise Busy(f"{n} live streams are being made, which is as many as --max-streams allows", RETRY_S)
            core = min(self.cores, key=lambda core: core.load())
            lane = core.live[name]
            if core.load() - lane.load() + lane.load(voice) > LIVE_SHARE:
                raise Busy(f"this machine is full with {n} live streams", RETRY_S)
            lane.add(voice)
        core.wake()

    def leave(self, voice: Voice, error: Exception | None = None) -> None:
        """End a live stream; its place is free at the next block."""
        voice.end(error)
        for core in self.cores:
            core.live[voice.model.name].remove(voice)
            core.wake()

    def make(self, model: ServedModel, pieces: Iterable[Piece]) -> Request:
        """Begin a request for sounds.

        Raises: Busy if too many are being made.
        """
        request = Request(model, deque(pieces))
        request.n_left = len(request.pieces)
        with self._placing:
            self._check_open()
            self._check_requests()
            self._requests.add(request)
        self._backlogs[model.name].add(request)
        self.wake()
        return request

    def extend(self, request: Request, piece: Piece) -> None:
        """Add a sound to a request."""
        request.n_left += 1
        request.pieces.append(piece)
        self._requests.add(request)
        self._backlogs[request.model.name].add(request)
        self.wake()

    def draw(self, drawing: Drawing) -> None:
        """Begin images.

        Raises: Busy if too many requests are waiting.
        """
        with self._placing:
            self._check_open()
            self._check_requests()
            self._drawings[drawing.model.name].append(drawing)
        self.wake()

    def cancel(self, request: Request) -> None:
        """Make no more of a request; what is in a slot leaves it at the next block."""
        self._backlogs[request.model.name].remove(request)
        n_waiting = len(request.pieces)
        request.pieces.clear()
        request.n_left -= n_waiting
        for piece in list(request.live):
            piece.is_cancelled = True
        if request.n_left <= 0:
            self._finish(request)
        self.wake()

    def wake(self) -> None:
        for core in self.cores:
            core.wake()

    def drain(self, reason: str) -> None:
        """Begin nothing more, and end live streams; requests for files go on."""
        self._is_draining = True
        for core in self.cores:
            for lane in core.live.values():
                for voice in lane.voices():
                    self.leave(voice, DroppedError(reason))

    def close(self) -> None:
        self.drain("the service has ended")
        for core in self.cores:
            core.close()

    def _finish(self, request: Request) -> None:
        self._requests.discard(request)

    def _check_open(self) -> None:
        if self._is_draining:
            raise Busy("the service is ending; expected another one", RETRY_S)

    def _check_requests(self) -> None:
        n = self.n_requests
        if n >= MOST_REQUESTS:
            raise Busy(f"{n} requests are being made; expected fewer than {MOST_REQUESTS} at a time", RETRY_S)


def _scheduler(model: ServedModel, n_slots: int) -> Scheduler:
    """A scheduler of a model's streams on one core."""
    options = EngineOptions(n_threads=1)
    scheduler = Scheduler(
        lambda is_guided: make_engine(model.loaded, n_slots, options, is_guided)[1],
        hop=model.hop,
        model=model.loaded,
    )
    scheduler.prepare()
    return scheduler


def lower_priority() -> None:
    """Let the thread that calls make way for the cores', where the system knows priorities of threads."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
