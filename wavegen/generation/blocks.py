"""Blocks of waveforms on their way from a session to a card or a file: timed, mixed, cut and recorded."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Blocks = Iterator[NDArray[np.float32]]
TRIAL_S = 0.15  # of sound whose making is timed


def timed(blocks: Blocks, sample_rate: int) -> tuple[float | None, Blocks]:
    """Seconds of sound made per second of work, measured at the beginning of blocks (T, channels), and the same blocks.

    The first one does not count, for much happens only once; None where it is the only one.

    >>> factor, blocks = timed(iter([np.zeros((40, 1)), np.zeros((10, 1))]), 100)
    >>> factor > 0, [len(block) for block in blocks]
    (True, [40, 10])
    """
    beginning = list(itertools.islice(blocks, 1))
    n_samples, began = 0, time.perf_counter()
    for block in blocks:
        beginning.append(block)
        n_samples += len(block)
        if n_samples >= TRIAL_S * sample_rate:
            break
    factor = n_samples / sample_rate / (time.perf_counter() - began)
    return factor if n_samples else None, itertools.chain(beginning, blocks)


def mixed(blocks: Blocks) -> Blocks:
    """(T, voices) -> (T, 1): their sum, at the loudness of one.

    >>> [block.tolist() for block in mixed(iter([np.full((2, 4), 0.5)]))]
    [[[1.0], [1.0]]]
    """
    for block in blocks:
        yield block.sum(axis=1, keepdims=True) / np.sqrt(block.shape[1], dtype=np.float32)


def first(blocks: Blocks, n_samples: int) -> Blocks:
    """The first n_samples of blocks (T, channels).

    >>> [len(block) for block in first(iter([np.zeros((4, 1)), np.zeros((4, 1)), np.zeros((4, 1))]), 6)]
    [4, 2]
    """
    for block in blocks:
        yield block[:n_samples]
        n_samples -= len(block)
        if n_samples <= 0:
            return


def recorded(blocks: Blocks, write: Callable[[NDArray[np.float32]], None]) -> Blocks:
    """The blocks as they are, each also handed to `write`, such as `data.audio.recording` yields."""
    for block in blocks:
        write(block)
        yield block
