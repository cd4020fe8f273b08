"""An engine and a codec -> blocks of sound. The same for files and for the sound card."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import Condition, Engine
from wavegen.errors import InputError
from wavegen.sampling import Decoding, Decodings, uniforms

ConditionAt = Callable[[int, int], Condition]  # what n steps from the first given on are made under
BLOCKSIZE = 256  # samples
PRIME_CHUNK = 1 << 14  # codes of a priming recording given at once


def generate(
    engine: Engine,
    n_samples: int | None,
    *,
    seed: int = 0,
    decoding: Decodings | None = None,
    condition: NDArray[np.float32] | ConditionAt | None = None,
    prime: NDArray[np.int64] | None = None,
    blocksize: int = BLOCKSIZE,
) -> Iterator[NDArray[np.int64]]:
    """Codes in blocks (engine.n_streams, at most blocksize) from the beginning of time; endless if n_samples is None.

    `condition` holds throughout, or is asked for block by block, its steps counted from the beginning of time. With
    `prime`, codes (T,) of a recording, every stream first hears that and then continues it. Draws are
    `uniforms(seed, stream, step)` with the step counted from the beginning of time, so the same seed gives the same
    sound whatever the blocksize and the number of streams.

    Raises: InputError for a blocksize below 1.
    """
    if blocksize < 1:
        raise InputError(f"blocksize is {blocksize}; expected 1 or more samples")
    decoding = decoding or Decoding()
    engine.start()
    step = 0
    if prime is not None:
        hear(engine, prime, condition)
        step = len(prime)
    end = None if n_samples is None else step + n_samples
    while end is None or step < end:
        n = blocksize if end is None else min(blocksize, end - step)
        draws = np.stack([uniforms(seed, stream, step, n) for stream in range(engine.n_streams)])
        now = condition(step, n) if callable(condition) else condition
        yield engine.advance(draws, decoding, condition=now)
        step += n


def hear(engine: Engine, codes: NDArray[np.int64], condition: NDArray[np.float32] | ConditionAt | None = None) -> None:
    """Let every stream hear the codes (T,) of a recording."""
    for first in range(0, len(codes), PRIME_CHUNK):
        given = np.repeat(codes[None, first : first + PRIME_CHUNK], engine.n_streams, axis=0)
        now = condition(first, given.shape[1]) if callable(condition) else condition
        engine.advance(np.zeros(given.shape), Decoding(), given, now)


def n_samples(seconds: float, sample_rate: int) -> int:
    """How many samples some seconds are: at least one.

    Raises: InputError if seconds is not a positive, finite number.
    """
    if not 0 < seconds < 1e9:
        raise InputError(f"seconds is {seconds}; expected a positive number")
    return max(1, round(seconds * sample_rate))
