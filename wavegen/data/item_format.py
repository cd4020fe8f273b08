"""What everything in a corpus is brought to before it is stored: samples at one rate, or pixels of one size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

HIDDEN = "hidden"  # why a file is passed over that is counted only
Source = Path | IO[bytes] | NDArray[np.uint8]  # where an item can be read, or what has been read of it already


@dataclass
class Notes:
    """What was found, and done to it, while one item was decoded."""

    n_values: int = 0
    changes: list[str] = field(default_factory=list)
    n_clipped: int = 0
    peak: float = 0.0  # of a recording before it was clipped, full scale is 1
    offset: float = 0.0  # of a recording that swings around another value than 0
    band: str | None = None  # of its level, such as "-24 to -18"
    remarks: dict[str, str] = field(default_factory=dict)  # what is odd about it: a sentence, by its kind


class Values(Protocol):
    """What the values of a store are: an `ItemFormat`, or that of a corpus as codes of frames (frame_store.py)."""

    @property
    def title(self) -> str:
        """For people: 16000 Hz, 28 x 28 pixels, grey, or 16000 Hz, 80 frames a second."""
        ...

    @property
    def items(self) -> str:
        """What items are called: recordings or images."""
        ...

    @property
    def unit(self) -> str:
        """What one value is called, in "bits per sample" or "bits per dimension"."""
        ...

    @property
    def description(self) -> dict[str, Any]:
        """The fields of a model's description (checkpoint.py) that tell of it."""
        ...

    def amount(self, n_values: int) -> str:
        """So many values, for people: 1.25 h, or 60,000 images."""
        ...

    def extent(self, n_values: int) -> str:
        """A stretch of so many values, for people: 1021 samples (64 ms), or 9 rows."""
        ...

    def n_values(self, amount: float) -> int:
        """How many values some seconds of sound are, or some images."""
        ...


class ItemFormat(Values, Protocol):
    """`SoundFormat` (audio.py) or `ImageFormat` (images.py). Equal formats make the same of every item."""

    @property
    def name(self) -> str:
        """In the names of folders: 16000, or 28x28x1."""
        ...

    @property
    def file(self) -> str:
        """The name of the file of values in a store: samples.i16 or pixels.u8."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values in that file."""
        ...

    @property
    def suffixes(self) -> frozenset[str]:
        """How the names of files end that may be items; others in a corpus (transcripts, licences) are passed over."""
        ...

    @property
    def unread_suffixes(self) -> frozenset[str]:
        """How the names of files end that are items, too, but of formats that cannot be read; the report names them."""
        ...

    @property
    def changes(self) -> tuple[str, ...]:
        """Everything that decoding may do to an item, for the report."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What store.json says of it; `store.item_format_of` reads it."""
        ...

    def decode(self, name: str, file: Source, notes: Notes) -> Iterator[NDArray[Any]]:
        """An item's values in blocks, flat.

        Raises: InputError if it cannot be used; the sentence says why.
        """
        ...
