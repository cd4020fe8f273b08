"""Images for many: requests that come close together are drawn side by side, each image as it is drawn alone."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from wavegen.checkpoint import Checkpoint
from wavegen.generation import conditioning
from wavegen.generation.conditioning import Labels
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import Stream
from wavegen.sampling import Decoding, fresh_seed
from wavegen.serving.counts import Counts
from wavegen.serving.models import ServedModel
from wavegen.serving.problems import Busy

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

logger = logging.getLogger(__name__)

Job = tuple[Sequence[Labels], Decoding, int, int, NDArray[np.int64] | None]  # of a drawing
NICENESS = 10  # live streams go before images
LOOKS_EVERY_S = 0.25  # for whether anybody waits for what is being drawn
AT_ONCE = 16  # images that are drawn side by side, unless one request alone is for more


@dataclass(eq=False)
class Drawing:
    """Images that were asked for together: the labels of each, and how they are drawn.

    `given` (n, height, row_length): codes that are there already, -1 where one is to be drawn. `done` is called once,
    by a thread of a core, with the pixels (n, height, width, colours) or what went wrong.
    """

    model: ServedModel
    labels: Sequence[Labels]
    decoding: Decoding
    seed: int
    first: int
    given: NDArray[np.int64] | None
    done: Callable[[NDArray[np.uint8] | None, Exception | None], None]
    is_cancelled: bool = False

    @property
    def streams(self) -> list[Stream]:
        numbers = range(self.first, self.first + len(self.labels))
        return [Stream(seed=self.seed, number=number, decoding=self.decoding) for number in numbers]


def make_drawing(
    model: ServedModel,
    labels: Sequence[Labels],
    options: dict[str, Any],
    done: Callable[[NDArray[np.uint8] | None, Exception | None], None],
    first: int = 0,
    given: NDArray[np.int64] | None = None,
) -> Drawing:
    """A drawing by the options of a request, fields of `GenerationOptions`.

    Raises: InputError for what does not fit the model.
    """
    made = GenerationOptions(**options)
    for one in labels:
        conditioning.label_indices(model.loaded.description.labels, one)
    decoding = conditioning.decoding_for(model.loaded, labels, made.decoding)
    seed = fresh_seed() if made.seed is None else made.seed
    drawing = Drawing(model, labels, decoding, seed, first, given, done)
    _ = drawing.streams  # are seed and numbers possible?
    return drawing


class Easel(threading.Thread):
    """A process of its own that draws images, of all models and at a low priority, and the thread that feeds it.

    Threads would wait for each other: what is above a row of images is many short products, between which each needs
    the interpreter. Where the process dies what it was drawing fails, and another one is started.
    """

    def __init__(self, models: Sequence[ServedModel], waiting: "Waiting") -> None:
        super().__init__(name="easel", daemon=True)
        self._loaded = {model.name: model.loaded for model in models}
        self._waiting = waiting
        self.counts = {model.name: Counts() for model in models}
        self._process, self._connection = self._new_process()

    def run(self) -> None:
        while drawings := self._waiting.take():
            began = time.monotonic()
            pixels, error = self._drawn(drawings)
            counts = self.counts[drawings[0].model.name]
            counts.work_s += time.monotonic() - began
            counts.n_images += 0 if pixels is None else len(pixels)
            _settle(drawings, pixels, error)
        self._connection.close()  # by which the process ends
        self._process.join()

    def _new_process(self) -> "tuple[SpawnProcess, Connection[Any, Any]]":
        """A process that is ready, and the way to it."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=draw_for, args=(theirs, self._loaded), daemon=True)
        process.start()
        theirs.close()
        ours.recv()
        return process, ours

    def _drawn(self, drawings: Sequence[Drawing]) -> tuple[NDArray[np.uint8] | None, Exception | None]:
        """The pixels of all of them, or what went wrong; neither if nobody waits for them any more."""
        jobs = [(one.labels, one.decoding, one.seed, one.first, one.given) for one in drawings]
        was_cancelled = False
        try:
            self._connection.send((drawings[0].model.name, jobs))
            while not self._connection.poll(LOOKS_EVERY_S):
                if not was_cancelled and all(one.is_cancelled for one in drawings):
                    was_cancelled = True
                    self._connection.send(None)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            logger.error("the process that draws images has died", exc_info=error)
            self._process, self._connection = self._new_process()
            return None, Busy("the process that was drawing these images has died, and there is another one", 0)


def _settle(drawings: Sequence[Drawing], pixels: NDArray[np.uint8] | None, error: Exception | None) -> None:
    first = 0
    for one in drawings:
        one.done(None if pixels is None else pixels[first : first + len(one.labels)], error)
        first += len(one.labels)


def draw_for(connection: "Connection[Any, Any]", models: Mapping[str, Checkpoint]) -> None:
    """Draw what comes through a connection until it is closed; the first answer says that everything is ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which all of a terminal's processes get; it ends with the connection
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threadpool_limits(1)
    for loaded in models.values():
        session = ImageSession(loaded, [{}] * AT_ONCE, GenerationOptions(guidance=1.0, seed=0, n_threads=1))
        next(session.rows())
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            asked = connection.recv()
            if asked is None:  # it was cancelled when it was drawn already
                continue
            name, jobs = asked
            drawn: tuple[NDArray[np.uint8] | None, Exception | None]
            try:
                drawn = _draw(models[name], jobs, connection), None
            except Exception as error:  # of whatever kind, it is that of these images
                drawn = None, error
            connection.send(drawn)


def _draw(loaded: Checkpoint, jobs: Sequence[Job], connection: "Connection[Any, Any]") -> NDArray[np.uint8] | None:
    """The pixels of all images of some jobs, or None if they are cancelled meanwhile."""
    decoding = jobs[0][1]
    options = GenerationOptions(guidance=decoding.guidance if decoding.is_guided else 1.0, n_threads=1)
    session = ImageSession(loaded, [one for labels, *_ in jobs for one in labels], options)
    streams = [
        Stream(seed=seed, number=first + number, decoding=own)
        for labels, own, seed, first, _ in jobs
        for number in range(len(labels))
    ]
    given = None
    if any(codes is not None for *_, codes in jobs):
        shape = (session.height, session.row_length)
        given = np.concatenate(
            [np.full((len(labels), *shape), -1) if codes is None else codes for labels, *_, codes in jobs]
        )
    drawn = []
    for row in session.rows(codes=given, streams=streams):
        drawn.append(row)
        if connection.poll():
            connection.recv()
            return None
    return session.pixels(np.stack(drawn, axis=1))


class Waiting:
    """Drawings that nobody has begun: models take turns, and of one model those go together that are guided alike."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._by_model: dict[str, deque[Drawing]] = {}
        self._is_closed = False

    def __len__(self) -> int:
        with self._changed:
            return sum(len(each) for each in self._by_model.values())

    def add(self, drawing: Drawing) -> None:
        with self._changed:
            self._by_model.setdefault(drawing.model.name, deque()).append(drawing)
            self._changed.notify()

    def close(self) -> None:
        """Let everybody who waits for drawings go."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def take(self) -> list[Drawing]:
        """What is drawn next, together; waits for it, and is empty only when all is closed."""
        with self._changed:
            while not self._is_closed:
                for name in list(self._by_model):
                    waiting = self._by_model.pop(name)
                    taken = take(waiting)
                    if waiting:
                        self._by_model[name] = waiting  # behind the others
                    if taken:
                        return taken
                self._changed.wait()
            return []


def take(waiting: deque[Drawing]) -> list[Drawing]:
    """The drawings that are begun together: the first, and those behind it that are guided as it is, to `AT_ONCE`."""
    taken: list[Drawing] = []
    n = 0
    while waiting:
        following = waiting.popleft()
        if following.is_cancelled:
            continue
        is_alike = not taken or following.decoding.is_guided == taken[0].decoding.is_guided
        if taken and not (is_alike and n + len(following.labels) <= AT_ONCE):
            waiting.appendleft(following)
            break
        taken.append(following)
        n += len(following.labels)
    return taken
