"""Sounds of different lengths, as many at once as an engine has streams.

A stream whose sound has ended begins the next one at once, so that the engine stays busy to the end (Yu et al., "Orca",
OSDI 2022, section 3.1, iteration-level scheduling).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import Condition, Engine
from wavegen.features.frame_condition import FrameCondition
from wavegen.generation.stream import BLOCKSIZE, ConditionAt
from wavegen.progress import Bar
from wavegen.sampling import Decoding, uniforms


class Piece(NamedTuple):
    """A sound to make: its length, what conditions it (of one stream), whose draws it gets, codes (T,) to continue."""

    n_samples: int
    condition: NDArray[np.float32] | ConditionAt | None = None
    stream: int = 0
    prime: NDArray[np.int64] | None = None


class _Running:
    """A piece that a stream is making. Steps count from the beginning of time, with the codes that it continues."""

    def __init__(self, number: int, piece: Piece) -> None:
        self.number, self.piece = number, piece
        self.prime = np.empty(0, dtype=np.int64) if piece.prime is None else piece.prime
        self.step = 0
        self.blocks: list[NDArray[np.int64]] = []

    @property
    def n_left(self) -> int:
        return len(self.prime) + self.piece.n_samples - self.step

    def condition(self, n: int) -> Condition | None:
        given = self.piece.condition
        return given(self.step, n) if callable(given) else given

    def take(self, codes: NDArray[np.int64]) -> int:
        """Keep what belongs to the sound of the next codes (n,); returns how many."""
        kept = codes[max(0, len(self.prime) - self.step) : self.n_left].copy()  # a view would keep every stream's
        self.blocks.append(kept)
        self.step += len(codes)
        return len(kept)


def generate_each(
    engine: Engine,
    pieces: Iterable[Piece],
    *,
    seed: int = 0,
    decoding: Decoding | None = None,
    hop: int = 1,
    bar: Bar | None = None,
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The number and the codes (T,) of every piece, each as soon as it is complete.

    The codes are those that `generation.generate` would make of the piece alone, whatever else is being made. A piece
    is asked for when a stream is free for it, which is between two blocks: a stream makes the rest of the block in
    which its sound ends for nothing. `hop`: samples between the frames of pieces that frames condition.
    """
    waiting = enumerate(pieces)
    streams: list[_Running | None] = [None] * engine.n_streams
    blocksize = -(-BLOCKSIZE // hop) * hop  # so that all streams are at a frame at once
    n_made, n_complete = 0, 0
    while True:
        beginning = []
        for place, running in enumerate(streams):
            if running is None and (following := next(waiting, None)) is not None:
                streams[place] = _Running(*following)
                beginning.append(place)
        if not any(streams):
            return
        if beginning:
            engine.start(beginning)
        n = min(blocksize, max(running.n_left for running in streams if running is not None))
        draws, given = np.zeros((len(streams), n)), np.zeros((len(streams), n), dtype=np.int64)
        for place, running in enumerate(streams):
            if running is not None:
                draws[place] = uniforms(seed, running.piece.stream, running.step, n)
                heard = running.prime[running.step : running.step + n]
                given[place, : len(heard)] = heard
                given[place, len(heard) :] = -1
        condition = _side_by_side([None if running is None else running.condition(n) for running in streams])
        codes = engine.advance(draws, decoding or Decoding(), given, condition)
        for place, running in enumerate(streams):
            if running is None:
                continue
            n_made += running.take(codes[place])
            if running.n_left <= 0:
                streams[place] = None
                n_complete += 1
                yield running.number, np.concatenate(running.blocks)
        if bar is not None:
            bar.update(n_made, f"{n_complete} complete")


def _side_by_side(conditions: Sequence[Condition | None]) -> Condition | None:
    """The conditions of single streams as one; zeros for a stream that makes nothing."""
    arrays = [one.values if isinstance(one, FrameCondition) else one for one in conditions]
    example = next((array for array in arrays if array is not None), None)
    if example is None:
        return None
    values = np.concatenate([np.zeros_like(example) if array is None else array for array in arrays])
    slow = [one for one in conditions if isinstance(one, FrameCondition)]
    assert len({(one.hop, one.phase) for one in slow}) <= 1, "blocks are multiples of the hop"
    return slow[0]._replace(values=values) if slow else values
