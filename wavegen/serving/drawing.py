"""Images for many: requests that come close together are drawn side by side, each image as it is drawn alone."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen.generation import conditioning
from wavegen.generation.conditioning import Labels
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import Stream
from wavegen.sampling import Decoding, fresh_seed
from wavegen.serving.counts import Counts
from wavegen.serving.models import ServedModel

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


class ImageLane:
    """The images of a model on a core, a row of all of them at a time."""

    def __init__(self, model: ServedModel, waiting: deque[Drawing]) -> None:
        self.model, self._waiting = model, waiting
        self.counts = Counts()
        self._drawings: list[Drawing] = []
        self._rows: Iterator[NDArray[np.int64]] | None = None
        self._drawn: list[NDArray[np.int64]] = []
        self._session: ImageSession | None = None

    def warm_up(self) -> None:
        """Draw a row, so that what is done once is done before somebody waits for it."""
        for guidance in (1.0, 2.0) if self.model.can_be_guided else (1.0,):
            labels = {name: values[0] for name, values in self.model.labels.items()}
            session = ImageSession(
                self.model.loaded, [labels] * AT_ONCE, GenerationOptions(guidance=guidance, seed=0, n_threads=1)
            )
            next(session.rows())

    def has_work(self, now: float) -> bool:
        return self._rows is not None or bool(self._waiting)

    def drop_unread(self, now: float) -> None:
        """Nobody reads from what is drawn before it is complete."""

    def step(self, now: float) -> None:
        """Draw a row of the images that are being drawn, or begin some."""
        try:
            if self._rows is None:
                self._begin()
            if self._rows is None or self._session is None:
                return
            self._drawn.append(next(self._rows))
            if len(self._drawn) == self._session.height or all(one.is_cancelled for one in self._drawings):
                self._finish(self._session)
        except Exception as error:  # of whatever kind, it is that of these images
            self.fail(error)

    def _begin(self) -> None:
        self._drawings = take(self._waiting)
        if not self._drawings:
            return
        labels = [one for drawing in self._drawings for one in drawing.labels]
        is_guided = self._drawings[0].decoding.is_guided
        options = GenerationOptions(guidance=self._drawings[0].decoding.guidance if is_guided else 1.0, n_threads=1)
        self._session = ImageSession(self.model.loaded, labels, options)
        streams = [stream for drawing in self._drawings for stream in drawing.streams]
        self._rows = self._session.rows(codes=self._given(self._session), streams=streams)
        self._drawn = []

    def _given(self, session: ImageSession) -> NDArray[np.int64] | None:
        if all(drawing.given is None for drawing in self._drawings):
            return None
        shape = (session.height, session.row_length)
        nothing = [np.full((len(one.labels), *shape), -1) for one in self._drawings]
        return np.concatenate(
            [free if one.given is None else one.given for free, one in zip(nothing, self._drawings, strict=True)]
        )

    def _finish(self, session: ImageSession) -> None:
        if len(self._drawn) == session.height:
            pixels = session.pixels(np.stack(self._drawn, axis=1))
            first = 0
            for drawing in self._drawings:
                drawing.done(pixels[first : first + len(drawing.labels)], None)
                first += len(drawing.labels)
            self.counts.n_images += first
        self._rows = None
        self._drawings = []

    def fail(self, error: Exception) -> None:
        """End the images that are being drawn."""
        for drawing in self._drawings:
            drawing.done(None, error)
        self._rows = None
        self._drawings = []


def take(waiting: deque[Drawing]) -> list[Drawing]:
    """The drawings that are begun together: the first, and those behind it that are guided as it is, to `AT_ONCE`."""
    taken: list[Drawing] = []
    n = 0
    while waiting:
        try:
            following = waiting.popleft()
        except IndexError:  # another core was quicker
            break
        if following.is_cancelled:
            continue
        is_alike = not taken or following.decoding.is_guided == taken[0].decoding.is_guided
        if taken and not (is_alike and n + len(following.labels) <= AT_ONCE):
            waiting.appendleft(following)
            break
        taken.append(following)
        n += len(following.labels)
    return taken
