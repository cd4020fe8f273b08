"""Images for many: requests that come close together are drawn side by side, each image as it is drawn alone."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.generation import conditioning
from wavegen.generation.conditioning import Labels
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import Stream
from wavegen.sampling import Decoding, fresh_seed
from wavegen.serving.models import ServedModel

AT_ONCE = 16  # images that are drawn side by side, unless one request alone is for more


class Images(NamedTuple):
    """What is to be drawn: the labels of each image, how codes are chosen, and the number of the first.

    `given` (n, height, row_length): codes that are there already, -1 where one is to be drawn.
    """

    labels: Sequence[Labels]
    decoding: Decoding
    seed: int
    first: int
    given: NDArray[np.int64] | None

    @property
    def streams(self) -> list[Stream]:
        """Raises: InputError for a seed or numbers that no stream has."""
        numbers = range(self.first, self.first + len(self.labels))
        return [Stream(seed=self.seed, number=number, decoding=self.decoding) for number in numbers]


@dataclass(eq=False)
class Drawing:
    """Images of a model that were asked for together.

    `done` is called once, by a thread of drawing_process.py, with the pixels (n, height, width, colours), or what went
    wrong, or neither if it was cancelled.
    """

    model: ServedModel
    images: Images
    done: Callable[[NDArray[np.uint8] | None, Exception | None], None]
    is_cancelled: bool = False


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
    images = Images(labels, decoding, seed, first, given)
    _ = images.streams  # are seed and numbers possible?
    return Drawing(model, images, done)


class DrawingQueue:
    """Drawings that wait: models take turns, and of one model those are drawn together that are guided alike."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._by_model: dict[str, deque[Drawing]] = {}
        self._n_begun = 0
        self.is_closed = False

    def __len__(self) -> int:
        """Drawings that are not complete."""
        with self._changed:
            return self._n_begun + sum(len(each) for each in self._by_model.values())

    def add(self, drawing: Drawing) -> None:
        with self._changed:
            self._by_model.setdefault(drawing.model.name, deque()).append(drawing)
            self._changed.notify()

    def close(self) -> None:
        """Let everybody who waits for drawings go."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def take(self) -> list[Drawing]:
        """What is drawn next, together, and is to be `complete`; waits for it, and is empty only when all is closed."""
        with self._changed:
            while not self.is_closed:
                for name in list(self._by_model):
                    waiting = self._by_model.pop(name)
                    taken = take(waiting)
                    if waiting:
                        self._by_model[name] = waiting  # behind the others
                    if taken:
                        self._n_begun += len(taken)
                        return taken
                self._changed.wait()
            return []

    def complete(self, drawings: Sequence[Drawing]) -> None:
        """Count drawings as complete."""
        with self._changed:
            self._n_begun -= len(drawings)

    def wait_closed(self, timeout: float) -> bool:
        """Wait until it is closed; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_closed, timeout)


def take(waiting: deque[Drawing]) -> list[Drawing]:
    """The drawings that are begun together: the first, and those behind it that are guided as it is, to `AT_ONCE`."""
    taken: list[Drawing] = []
    n = 0
    while waiting:
        following = waiting.popleft()
        if following.is_cancelled:
            continue
        is_alike = not taken or following.images.decoding.is_guided == taken[0].images.decoding.is_guided
        if taken and not (is_alike and n + len(following.images.labels) <= AT_ONCE):
            waiting.appendleft(following)
            break
        taken.append(following)
        n += len(following.images.labels)
    return taken
