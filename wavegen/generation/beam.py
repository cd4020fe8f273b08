"""Beam search: a probable sequence instead of a drawn one, for short sequences.

At every step each of B candidates is continued by every code; the B most probable of all continuations go on. It finds
more probable sequences than greedy decoding, and they are duller still: a probable sound is a quiet, steady one.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import Engine
from wavegen.errors import InputError
from wavegen.generation.stream import Stream, StreamGroup
from wavegen.sampling import Decoding, probabilities

MAX_STEPS = 1 << 20  # candidates are kept whole until the end


def beam_search(
    engine: Engine,
    n_samples: int,
    temperature: float = 1.0,
    condition: NDArray[np.float32] | None = None,
    prime: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """The most probable sequence found with as many candidates as the engine has streams.

    Yields blocks (1, any length) of codes as soon as all candidates agree on them, so that progress can be shown.
    Temperature (above 0) changes which sequence is the most probable, because it changes how steps weigh against each
    other.

    Raises: InputError if the sequence is longer than 2^20 steps. The head must be categorical.
    """
    width = engine.n_streams
    if n_samples > MAX_STEPS:
        raise InputError(f"beam search over {n_samples:,} samples is too long; expected at most {MAX_STEPS:,}")
    group = StreamGroup(engine, [Stream(prime=prime) for _ in range(width)], condition)
    group.prime()
    decoding = Decoding(temperature)
    score = np.full(width, -np.inf)
    score[0] = 0.0  # all candidates are alike at first, so only one may continue
    candidates = np.zeros((width, 0), dtype=np.int64)
    for _ in range(n_samples):
        with group.turn() as network:
            before = network.snapshot()
            parameters = network.logits(np.zeros((width, 1), dtype=np.int64), condition)[:, 0]
            with np.errstate(divide="ignore"):
                total = score[:, None] + np.log(probabilities(parameters, decoding))
            best = np.argsort(-total, axis=None, kind="stable")[:width]
            parents, codes = np.unravel_index(best, total.shape)
            network.restore(before, list(parents))
            network.advance(np.zeros((width, 1)), decoding, codes[:, None], condition)
        score = total[parents, codes]
        score -= score[0]
        candidates = np.concatenate([candidates[parents], codes[:, None]], axis=1)
        agreed = _n_agreed(candidates)
        if agreed:
            yield candidates[:1, :agreed]
            candidates = candidates[:, agreed:]
    if candidates.shape[1]:
        yield candidates[:1]


def _n_agreed(candidates: NDArray[np.int64]) -> int:
    """How many codes at the beginning all candidates share."""
    same = (candidates == candidates[:1]).all(axis=0)
    return len(same) if same.all() else int(same.argmin())
