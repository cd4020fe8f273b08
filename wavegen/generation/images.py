"""Images from a PixelCNN, row by row, on any engine. numpy only."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen import files
from wavegen.checkpoint import Checkpoint
from wavegen.data import images
from wavegen.data.windows import pixel_table
from wavegen.engines import make_engine, make_vertical_stack
from wavegen.errors import InputError
from wavegen.generation import conditioning
from wavegen.generation.conditioning import Labels
from wavegen.sampling import uniforms

ROWS_DRAWN = 16  # rows whose random numbers are drawn at once: a generator costs more than a row's numbers


class ImageSession:
    """Images that grow together, one for each of some labels.

    `labels` holds a mapping of names to values for each image; a label left out is "unknown". `wanted`: fields of
    `sampling.Decoding` that are not to be the model's own. Engine, device, precision and number of threads as in
    `engines.make_engine`; numpy's products take the threads that BLAS does.

    Raises: InputError if the model draws no images, for labels that it does not know, or for what an engine refuses.
    """

    def __init__(
        self,
        model: Checkpoint,
        labels: Sequence[Labels],
        wanted: Mapping[str, float | int | None] | None = None,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        described = model.description
        if described.kind != "pixelcnn":
            raise InputError(f"{model.path} is a {described.kind}, which makes sound; expected a pixelcnn")
        if not labels:
            raise InputError("0 images are wanted; expected 1 or more")
        self.decoding = conditioning.decoding_for(model, labels, wanted or {})
        is_guided = self.decoding.is_guided
        streams = conditioning.guidance_pairs(labels) if is_guided else labels
        condition = conditioning.condition_of(model, streams)
        self._codec = described.make_codec()
        self.n = len(labels)
        self.height, self.width, self.n_colours = described.shape
        self.engine_title, self._engine = make_engine(engine, model, self.n, device, precision, n_threads, is_guided)
        self._streams_of_an_image = len(streams) // self.n
        self._above = make_vertical_stack(engine, model, len(streams), device, condition)

    @property
    def row_length(self) -> int:
        """Codes in a row."""
        return self.width * self.n_colours

    def rows(self, seed: int, given: NDArray[np.int64] | None = None) -> Iterator[NDArray[np.int64]]:
        """Codes (n, row_length), a row of every image at a time, from the top.

        Draws are `uniforms(seed, image, place in the image)`. Where `given` (n, height, row_length) is not -1, it is
        taken instead of drawn.
        """
        self._above.start()
        n = self.row_length
        for number in range(self.height):
            self._engine.start()
            place = number % ROWS_DRAWN
            if place == 0:
                n_draws = min(ROWS_DRAWN, self.height - number) * n
                coming = np.stack([uniforms(seed, image, number * n, n_draws) for image in range(self.n)])
            draws = coming[:, place * n : (place + 1) * n]
            held = None if given is None else given[:, number]
            row = self._engine.advance(draws, self.decoding, held, self._above.look())
            self._observe(row)
            yield row

    def logits(self, codes: NDArray[np.int64]) -> NDArray[np.floating]:
        """What the network expects of every code of given images, unguided, code by code along the cached path.

        Shapes: codes (n, height, row_length) -> (n, height, row_length, parameters).
        """
        self._above.start()
        found = []
        for row in np.moveaxis(codes, 1, 0):
            self._engine.start()
            found.append(self._engine.logits(row, self._above.look()))
            self._observe(row)
        return np.stack(found, axis=1)

    def _observe(self, row: NDArray[np.int64]) -> None:
        self._above.observe(np.repeat(row, self._streams_of_an_image, axis=0))

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
            place * (size + gap) + gap for place, size in zip(divmod(number, n_columns), (height, width), strict=True)
        )
        whole[top : top + height, left : left + width] = image
    return whole


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels (height, width, colours) as a PNG file; it appears whole or not at all."""
    files.write(path, images.encode_png(pixels))
