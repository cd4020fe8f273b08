"""A process that draws images, and the thread that feeds it.

Threads would wait for each other: what is above a row of images is many short products, between which each needs the
interpreter. A process ends when its connection is closed, or the process that began it has ended.
"""

import logging
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.generation.conditioning import Labels
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.serving.counts import Counts
from wavegen.serving.drawing import AT_ONCE, Drawing, DrawingQueue, Images
from wavegen.serving.models import ServedModel
from wavegen.serving.problems import Busy

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

logger = logging.getLogger(__name__)

NICENESS = 10  # live streams go before images
POLL_S = 0.25  # how often it is looked for whether anybody waits for what is being drawn
START_S = 120.0  # that a process may take to begin, in which kernels may be compiled
END_S = 5.0  # to end
RETRY_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before another one is begun; the last again and again


class Drawn(NamedTuple):
    """What a process answers: pixels (n, height, width, colours); or what is wrong with what was asked for, in a
    sentence, or a fault, with its traceback; or nothing of these where it was cancelled."""

    pixels: NDArray[np.uint8] | None = None
    sentence: str | None = None
    fault: str | None = None


class DrawingProcess(threading.Thread):
    """A process that draws images of all models, at a low priority, and the thread that feeds it, once it is started.

    Where the process dies, what it was drawing is answered Busy, and another one is begun.
    """

    def __init__(self, models: Sequence[ServedModel], queue: DrawingQueue) -> None:
        super().__init__(name="drawing", daemon=True)
        self._queue = queue
        self._models = {model.name: (model.loaded, _warm_ups(model)) for model in models}
        self.counts = {model.name: Counts() for model in models}
        self._process, self._connection = self._begun()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the process has begun.

        Raises: InputError if it could not.
        """
        try:
            text = self._connection.recv() if self._connection.poll(START_S) else f"no answer in {START_S:g} s"
        except (EOFError, OSError):
            self._process.join(END_S)
            text = f"exit code {self._process.exitcode}"
        if text is not None:
            raise InputError(
                f"the process that draws images could not begin ({text}); a program that serves needs "
                "if __name__ == '__main__' around it"
            )

    def run(self) -> None:
        try:
            while drawings := self._queue.take():
                began = time.monotonic()
                pixels, error = self._draw(drawings)
                counts = self.counts[drawings[0].model.name]
                counts.work_s += time.monotonic() - began
                counts.n_images += 0 if pixels is None else len(pixels)
                _settle(drawings, pixels, error)
                self._queue.complete(drawings)
                if not self._process.is_alive():
                    self._begin_again()
        finally:
            self.end()

    def end(self) -> None:
        """Have the process end."""
        self._connection.close()
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()

    def _begun(self) -> "tuple[SpawnProcess, Connection[Any, Any]]":
        """A process that begins, and the way to it."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._models), daemon=True)
        process.start()
        theirs.close()
        multiprocessing.util.Finalize(process, process.kill, exitpriority=0)  # before it would be waited for
        return process, ours

    def _begin_again(self) -> None:
        """Have another process, as soon as one can begin."""
        for wait_s in chain(RETRY_S, repeat(RETRY_S[-1])):
            if self._queue.wait_closed(wait_s):
                return
            self._connection.close()
            self._process, self._connection = self._begun()
            try:
                self.wait_ready()
            except InputError as error:
                logger.error("%s", error)
            else:
                return

    def _draw(self, drawings: Sequence[Drawing]) -> tuple[NDArray[np.uint8] | None, Exception | None]:
        """The pixels of all of them, or what went wrong; neither if nobody waits for them any more."""
        was_cancelled = False
        try:
            self._connection.send((drawings[0].model.name, [one.images for one in drawings]))
            while not self._connection.poll(POLL_S):
                if not was_cancelled and all(one.is_cancelled for one in drawings):
                    was_cancelled = True
                    self._connection.send(None)
            drawn: Drawn = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(END_S)
            logger.error("the process that draws images has died, exit code %s", self._process.exitcode)
            return None, Busy("the process that was drawing these images has died, and another one begins", 1)
        if drawn.fault is not None:
            logger.error("images of %s failed\n%s", drawings[0].model.name, drawn.fault)
            return None, RuntimeError("these images could not be drawn")
        return drawn.pixels, None if drawn.sentence is None else InputError(drawn.sentence)


def _settle(drawings: Sequence[Drawing], pixels: NDArray[np.uint8] | None, error: Exception | None) -> None:
    """Tell of every drawing how it went."""
    first = 0
    for one in drawings:
        n = len(one.images.labels)
        try:
            one.done(None if pixels is None else pixels[first : first + n], error)
        except Exception as raised:  # of whatever kind, others wait as well
            logger.error("nobody could be told of images of %s", one.model.name, exc_info=raised)
        first += n


def _warm_ups(model: ServedModel) -> list[tuple[Labels, float]]:
    """Labels and guidance of rows that are drawn at first, so that nobody has to wait for what is done once."""
    labels: Labels = {name: values[0] for name, values in model.labels.items()}
    return [(labels, guidance) for guidance in ((1.0, 2.0) if model.can_be_guided else (1.0,))]


def work(
    connection: "Connection[Any, Any]", models: Mapping[str, tuple[Checkpoint, Sequence[tuple[Labels, float]]]]
) -> None:
    """Draw what comes through a connection until it is closed; the first answer is None, or why it cannot be done."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # which a whole group of processes may get
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threadpool_limits(1)
    with suppress(EOFError, OSError):
        try:
            for loaded, warm_ups in models.values():
                for labels, guidance in warm_ups:
                    options = GenerationOptions(guidance=guidance, seed=0, n_threads=1)
                    next(ImageSession(loaded, [labels] * AT_ONCE, options).rows())
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}")
            return
        connection.send(None)
        while True:
            request = connection.recv()
            if request is None:  # what was cancelled was complete already
                continue
            model, images = request
            try:
                drawn = Drawn(_draw_together(models[model][0], images, connection))
            except InputError as error:
                drawn = Drawn(sentence=str(error))
            except Exception:
                drawn = Drawn(fault=traceback.format_exc())
            connection.send(drawn)


def _draw_together(
    loaded: Checkpoint, each: Sequence[Images], connection: "Connection[Any, Any]"
) -> NDArray[np.uint8] | None:
    """The pixels of images that are guided alike, or None if they are cancelled meanwhile."""
    decoding = each[0].decoding
    options = GenerationOptions(guidance=decoding.guidance if decoding.is_guided else 1.0, n_threads=1)
    session = ImageSession(loaded, [labels for images in each for labels in images.labels], options)
    given = None
    if any(images.given is not None for images in each):
        shape = (session.height, session.row_length)
        given = np.concatenate(
            [np.full((len(images.labels), *shape), -1) if images.given is None else images.given for images in each]
        )
    rows = []
    for row in session.rows(codes=given, streams=[stream for images in each for stream in images.streams]):
        rows.append(row)
        if connection.poll():
            connection.recv()
            return None
    return session.pixels(np.stack(rows, axis=1))
