"""Images from a PixelCNN, row by row, on any engine. numpy only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen import files
from wavegen.architectures import FAMILIES
from wavegen.checkpoint import Checkpoint
from wavegen.data import images
from wavegen.data.windows import pixel_table
from wavegen.engines import make_engine, make_vertical_stack
from wavegen.engines.base import VerticalStack
from wavegen.engines.context import EngineContext
from wavegen.errors import InputError
from wavegen.generation import conditioning
from wavegen.generation.conditioning import Labels
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import Stream, StreamGroup
from wavegen.sampling import fresh_seed

SOUND_ONLY = ("prime", "frames", "beam", "temperature_frames", "transpose")


class ImageSession:
    """Images that grow together, one for each of some labels.

    `labels` holds a mapping of names to values for each image; a label left out is "unknown". `options` say how they
    are drawn; numpy's products take the threads that BLAS does. What iterators of one session draw at the same time
    does not disturb each other.

    Raises: InputError if the model draws no images, for labels that it does not know, or for what an engine refuses.
    """

    def __init__(self, model: Checkpoint, labels: Sequence[Labels], options: GenerationOptions | None = None) -> None:
        description = model.description
        if description.architecture.makes != "images":
            expected = " or ".join(family.kind for family in FAMILIES.values() if family.makes == "images")
            raise InputError(f"{model.path} is a {description.kind}, which makes sound; expected a {expected}")
        if not labels:
            raise InputError("0 images are wanted; expected 1 or more")
        options = options or GenerationOptions()
        for name in SOUND_ONLY:
            if getattr(options, name) != getattr(GenerationOptions, name):
                raise InputError(f"{name} is for sound; expected it left out with a model that draws images")
        self.decoding = conditioning.decoding_for(model, labels, options.decoding)
        self.seed = fresh_seed() if options.seed is None else options.seed
        is_guided = self.decoding.is_guided
        rows = conditioning.guidance_pairs(labels) if is_guided else labels
        condition = conditioning.condition_of(model, rows)
        self._codec = description.make_codec()
        self.n = len(labels)
        self.height, self.width, self.n_colours = description.shape
        engine = options.engine_options
        self.engine_title, self._engine = make_engine(model, self.n, engine, is_guided)
        self._streams_of_an_image = len(rows) // self.n
        self._make_stack = lambda: make_vertical_stack(model, len(rows), engine, condition)
        self._idle_stacks = [self._make_stack()]

    @property
    def row_length(self) -> int:
        """Codes in a row."""
        return self.width * self.n_colours

    def rows(
        self,
        seed: int | None = None,
        codes: NDArray[np.int64] | None = None,
        streams: Sequence[Stream] | None = None,
    ) -> Iterator[NDArray[np.int64]]:
        """Codes (n, row_length), a row of every image at a time, from the top; `seed` is that of the options.

        An image is a stream whose steps are the colours of its pixels; `streams` are those of images that are not of
        one seed and decoding. Where `codes` (n, height, row_length) is given and not -1, it is taken instead of drawn.
        """
        if streams is None:
            seed = self.seed if seed is None else seed
            streams = [Stream(seed=seed, number=number, decoding=self.decoding) for number in range(self.n)]
        with self._stack() as stack:
            images = StreamGroup(self._engine, streams)
            for number in range(self.height):
                images.begin_all()
                images.condition = stack.condition()
                row = images.step(self.row_length, None if codes is None else codes[:, number])
                stack.feed(np.repeat(row, self._streams_of_an_image, axis=0))
                yield row

    def logits(self, codes: NDArray[np.int64]) -> NDArray[np.floating]:
        """What the network expects of every code of given images, unguided, code by code along the cached path.

        Shapes: codes (n, height, row_length) -> (n, height, row_length, parameters).
        """
        logits = []
        with self._stack() as stack:
            for row in np.moveaxis(codes, 1, 0):
                with EngineContext(self._engine).turn() as engine:
                    logits.append(engine.logits(row, stack.condition()))
                stack.feed(np.repeat(row, self._streams_of_an_image, axis=0))
        return np.stack(logits, axis=1)

    @contextmanager
    def _stack(self) -> Iterator[VerticalStack]:
        """A vertical stack at the first row, which nobody else feeds meanwhile."""
        try:
            stack = self._idle_stacks.pop()
        except IndexError:
            stack = self._make_stack()
        stack.start()
        try:
            yield stack
        finally:
            self._idle_stacks.append(stack)

    def pixels(self, codes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Codes (..., row_length) as brightnesses (..., width, colours)."""
        brightness = np.rint((self._codec.decode(codes) + 1) * 127.5).astype(np.uint8)
        return brightness.reshape(*codes.shape[:-1], self.width, self.n_colours)

    def codes(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The way back: (..., width, colours) -> (..., row_length)."""
        codes = pixel_table(self._codec)[pixels]
        return codes.reshape(*pixels.shape[:-2], self.row_length)


def grid(pixels: NDArray[np.uint8], n_columns: int, gap: int = 2) -> NDArray[np.uint8]:
    """Images (n, height, width, colours) side by side and below each other, on grey."""
    n, height, width, n_colours = pixels.shape
    n_rows = -(-n // n_columns)
    whole = np.full((n_rows * (height + gap) + gap, n_columns * (width + gap) + gap, n_colours), 96, dtype=np.uint8)
    for number, image in enumerate(pixels):
        top, left = (
            index * (size + gap) + gap for index, size in zip(divmod(number, n_columns), (height, width), strict=True)
        )
        whole[top : top + height, left : left + width] = image
    return whole


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels (height, width, colours) as a PNG file; it appears whole or not at all."""
    files.write(path, images.encode_png(pixels))
