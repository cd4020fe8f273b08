"""What a job makes: files of sounds, some of which a worker makes at a time. Nothing here knows of a cluster."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.engines import most_at_once, on_one_core
from wavegen.engines.base import n_cores
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, Session
from wavegen.generation.sound_file import picture_of, write_each


@dataclass(frozen=True)
class Piece:
    """One sound of a job: its number, where it is written to, and what it is made of, if that is a file."""

    number: int
    path: Path
    source: Path | None = None


@dataclass
class Made:
    """What has come of some pieces: the numbers of those that are there, sentences about those that cannot be made,
    seconds of sound, and what ended the work, if something did."""

    written: list[int] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0
    failure: str | None = None


@dataclass(frozen=True)
class Work(ABC):
    """How the pieces of a job are made, by any process that sees the same files.

    `model`: as `cluster.portable` says; `checksum`: of its file. `plot`: also draw each sound.
    """

    model: Path
    checksum: str
    options: GenerationOptions
    plot: bool

    def is_made(self, piece: Piece) -> bool:
        """Whether all files of a piece are there."""
        return piece.path.exists() and (not self.plot or picture_of(piece.path).exists())

    def make(self, pieces: Sequence[Piece]) -> Made:
        """Make those of some pieces that are not there yet."""
        made, paths = Made(), {piece.number: piece.path for piece in pieces}
        numbers = {path: number for number, path in paths.items()}

        def note(path: Path) -> None:
            if path in numbers:  # and no picture
                made.written.append(numbers[path])

        made.written = [piece.number for piece in pieces if self.is_made(piece)]  # by a worker that died at a later one
        missing = [piece for piece in pieces if piece.number not in set(made.written)]
        try:
            loaded = _load(self.model, self.checksum)
            rate, n_samples = loaded.description.sample_rate, 0
            sounds = self.sounds(loaded, missing, made.left_out)
            for n, _ in write_each(sounds, paths.__getitem__, rate, self.plot, note):
                n_samples += n
            made.seconds = n_samples / rate
        except (InputError, OSError, MemoryError) as error:
            made.failure = str(error)
            made.written = [piece.number for piece in pieces if self.is_made(piece)]
        return made

    def session(self, loaded: Checkpoint, n: int, *, frames_follow: bool = False) -> Session:
        """What makes n sounds, on one core or one GPU."""
        options = on_one_core(loaded, self.options.engine_options)
        most = most_at_once(loaded, options)
        if options.n_threads is not None:
            most = math.ceil(most / n_cores())
        at_once = math.ceil(n / math.ceil(n / most))
        given = replace(self.options, n=at_once, n_threads=options.n_threads)
        return Session(loaded, given, frames_follow=frames_follow)

    @abstractmethod
    def sounds(
        self, loaded: Checkpoint, pieces: Sequence[Piece], left_out: list[str]
    ) -> Iterator[tuple[int, NDArray[np.float32], bool]]:
        """Blocks (T,) of the sounds of pieces: its number, the block, and whether it is the last. `left_out` gets a
        sentence for each that cannot be made."""
        ...


@dataclass(frozen=True)
class Generating(Work):
    """Sounds of one length in samples, of a model that makes them of itself."""

    length: int

    def sounds(
        self, loaded: Checkpoint, pieces: Sequence[Piece], left_out: list[str]
    ) -> Iterator[tuple[int, NDArray[np.float32], bool]]:
        if pieces:
            session = self.session(loaded, len(pieces))
            yield from session.blocks_of_each([piece.number for piece in pieces], self.length)


@dataclass(frozen=True)
class Vocoding(Work):
    """Recordings, or files of frames, made again."""

    def sounds(
        self, loaded: Checkpoint, pieces: Sequence[Piece], left_out: list[str]
    ) -> Iterator[tuple[int, NDArray[np.float32], bool]]:
        if not pieces:
            return
        reader, session = LoadedModel(loaded), self.session(loaded, len(pieces), frames_follow=True)
        numbers = []  # of those that could be read, in the order in which they are begun

        def readable() -> Iterator[tuple[NDArray[np.floating], int]]:
            for piece in pieces:
                assert piece.source is not None  # whoever made the pieces has seen to it
                try:
                    read = reader.frames_of(piece.source)
                except InputError as error:
                    left_out.append(str(error))
                else:
                    numbers.append(piece.number)
                    yield read

        for index, waveform in session.vocode_each(readable()):
            yield numbers[index], waveform, True


def checksum(path: Path) -> str:
    """The SHA-256 of a file.

    Raises: InputError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


@lru_cache(maxsize=1)  # a worker makes many pieces of one job
def _load(model: Path, expected: str) -> Checkpoint:
    """Raises: InputError if it is another model by now, or on this machine."""
    if checksum(checkpoint.find(model)) != expected:
        raise InputError(f"{model} is not the model that the job began with; expected the same file on all machines")
    return checkpoint.load(model)
