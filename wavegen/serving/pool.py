"""The cores of a machine, each with a thread that makes blocks: live streams when they are due, other work in between.

Live streams are played by compiled code (player_performance.py) or, as sounds for files, share an engine with others of
their model on a core, and come and go between two blocks (generation/scheduler.py). A live stream is made a little
ahead of whoever listens, and no further; the one that has least ahead is made first, and with it all of its model that
have room. Requests for files take turns, a sound at a time, and make use of what live streams leave: at most a block of
theirs comes between two of a live stream. Images are drawn beside, by processes of their own (drawing_process.py).
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from wavegen.engines import make_engine
from wavegen.engines.base import n_cores
from wavegen.engines.options import EngineOptions
from wavegen.generation.scheduler import Scheduler
from wavegen.serving.capacity import measure, measure_player
from wavegen.serving.drawing import Drawing, DrawingQueue
from wavegen.serving.drawing_process import DrawingProcess
from wavegen.serving.file_lane import FILES_AT_ONCE, Backlog, FileLane, Piece, Request
from wavegen.serving.models import ServedModel, ServedModels
from wavegen.serving.problems import Busy, DroppedError
from wavegen.serving.voices import TICK_S, LiveLane, Voice

logger = logging.getLogger(__name__)

LIVE_SHARE = 0.8  # of a core that live streams may take; connections and the system need the rest
LIVE_SLOTS = 64  # of a model, on a core
MOST_REQUESTS = 64  # for files, at a time; each finds a slot, and they take turns at the blocks
RETRY_S = 5  # when somebody who finds no place for a live stream may ask again


class Core(threading.Thread):
    """The thread of a core: what is due first, then who of the others has had least of its time."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"core-{number}", daemon=True)
        self.live: dict[str, LiveLane] = {}
        self.files: dict[str, FileLane] = {}  # of sounds
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
                lanes: list[LiveLane | FileLane] = [*self.live.values(), *self.files.values()]
                for lane in lanes:
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
            self._step(self.live[min(leads, key=lambda name: leads[name])], now)
            return True
        waiting = [lane for lane in self.files.values() if lane.has_work(now)]
        for lane in self.files.values():
            if lane not in waiting:  # it saves up nothing
                self._used_s[id(lane)] = max(self._used_s.get(id(lane), 0.0), self._newest_s)
        if not waiting:
            return False
        next_one = min(waiting, key=lambda lane: self._used_s.get(id(lane), 0.0))
        self._newest_s = self._used_s.get(id(next_one), 0.0)
        self._used_s[id(next_one)] = self._newest_s + self._step(next_one, now)
        return True

    def _step(self, lane: LiveLane | FileLane, now: float) -> float:
        """Make one block of a lane, whose streams end if that fails; returns how long it took, s."""
        try:
            lane.step(now)
        except Exception as error:  # of whatever kind: a core goes on
            logger.error("a block of %s failed", lane.model.name, exc_info=error)
            lane.fail(error)
        elapsed = time.monotonic() - now
        lane.counts.work_s += elapsed
        return elapsed


class Pool:
    """The cores of this machine at work for the models of a service.

    `max_streams`: live streams at a time, at most; None for as many as were measured to be possible at the start. What
    is in its attributes may be read, and its methods called, by any thread.

    Raises: InputError for a model that no engine here can run.
    """

    def __init__(self, models: ServedModels, n_threads: int | None = None, max_streams: int | None = None) -> None:
        self.models, self._max_streams = models, max_streams
        self._placing = threading.Lock()
        self._backlogs = {model.name: Backlog() for model in models}
        self._requests: set[Request] = set()
        self._drawings = DrawingQueue()
        self._is_draining = False
        self.cores = [Core(number) for number in range(n_threads or n_cores())]
        drawing = [model for model in models if model.draws]
        self.processes = [DrawingProcess(drawing, self._drawings) for _ in self.cores] if drawing else []
        try:
            for process in self.processes:
                process.wait_ready()
            self._measure()
        except BaseException:
            for process in self.processes:
                process.end()
            raise
        for process in self.processes:
            process.start()
        for core in self.cores:
            core.start()

    def _measure(self) -> None:
        """Make every core's engines, and time live streams on all of them at once."""

        def of_core(core: Core) -> None:
            for model in self.models:
                if model.draws:
                    continue
                live = _scheduler(model, LIVE_SLOTS)
                if model.is_guided_live:
                    live.prepare(is_guided=True)
                program = model.program
                player_cost = None if program is None else measure_player(model, program)
                core.live[model.name] = LiveLane(model, live, measure(model, live), player_cost)
                files = _scheduler(model, MOST_REQUESTS + FILES_AT_ONCE)
                core.files[model.name] = FileLane(model, files, self._backlogs[model.name], self._finish)

        failures: list[BaseException] = []

        def guarded(core: Core) -> None:
            try:
                of_core(core)
            except BaseException as error:
                failures.append(error)

        for model in self.models:  # what is compiled or packed once is so before several ask for it
            if not model.draws:
                _ = model.program, _scheduler(model, LIVE_SLOTS)
                _scheduler(model, MOST_REQUESTS + FILES_AT_ONCE)
        threads = [threading.Thread(target=guarded, args=(core,)) for core in self.cores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    @property
    def n_voices(self) -> int:
        return sum(len(lane.voices()) for core in self.cores for lane in core.live.values())

    @property
    def n_requests(self) -> int:
        """Requests for files that are not complete."""
        return len(self._requests) + len(self._drawings)

    def room(self, model: ServedModel) -> int:
        """How many live streams of a model would be admitted if it had the machine to itself."""
        if self._max_streams is not None:
            return self._max_streams
        return sum(core.live[model.name].room(LIVE_SHARE) for core in self.cores)

    def times_real_time(self, model: ServedModel) -> float:
        """How fast one live stream of a model could be made here."""
        return 1 / max(core.live[model.name].seconds_of_one() for core in self.cores)

    def admit(self, voice: Voice) -> None:
        """Begin a live stream, on the core with most room.

        Raises: Busy if none has enough.
        """
        name = voice.model.name
        with self._placing:
            self._check_open()
            n = self.n_voices
            core = min(self.cores, key=lambda core: core.load())
            lane = core.live[name]
            if self._max_streams is not None and n >= self._max_streams:
                raise Busy(f"{n} live streams are being made, which is as many as --max-streams allows", RETRY_S)
            if self._max_streams is None and core.load() - lane.load() + lane.load(voice) > LIVE_SHARE:
                full = f"full with {n} live streams" if n else f"too slow, or too busy, for a live stream of {name}"
                raise Busy(f"this machine is {full}", RETRY_S)
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
            self._drawings.add(drawing)

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
        self._drawings.close()
        for process in self.processes:
            process.join()

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
