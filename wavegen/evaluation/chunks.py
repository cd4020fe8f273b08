"""Long recordings through a network in bounded memory: how many codes at once, and their bits a chunk at a time.

A chunk goes on from the state of the one before, so bits do not depend on where it is cut, but for rounding. What a
forward pass holds grows with the channels of all layers, so the number of codes is chosen by them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wavegen.data.windows import Segment
from wavegen.models.base import Condition, Model

BUDGET = 512 << 20  # bytes that one forward pass may take
STREAMS = 8  # recordings side by side, if they are long; of short ones more
MIN_CHUNK = 256  # codes of a recording, below which fewer recordings side by side are faster

Part = Callable[[int, int], tuple[Tensor, Condition | None]]


def bytes_per_code(model: Model) -> int:
    """What a forward pass without gradient takes for each code, in bytes, about.

    Twice what all layers make, in float32: the skip connections keep every layer's activations until they are joined,
    and a sum of two is a third. The head's probabilities are made in some more copies.
    """
    made = 0
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            made += weight.shape[-1 if isinstance(module, nn.Embedding) else -2]
    return 4 * (2 * made + 3 * model.head.n_parameters)


def codes_at_once(model: Model) -> int:
    """How many codes, of all recordings together, a forward pass may take."""
    return max(1, BUDGET // bytes_per_code(model))


def chunk_length(n_codes: int, n_streams: int, unit: int) -> int:
    """How many codes of each of some recordings a forward pass takes: a multiple of `unit`, and at least one."""
    return max(1, n_codes // n_streams // unit) * unit


def side_by_side(ordered: Sequence[Segment], n_codes: int) -> Iterator[Sequence[Segment]]:
    """Segments, shortest first, in groups for one forward pass after the other: short ones as many as fit in whole."""
    at_least = max(1, min(STREAMS, n_codes // MIN_CHUNK))
    first = 0
    while first < len(ordered):
        n = min(at_least, len(ordered) - first)
        while first + n < len(ordered) and (n + 1) * ordered[first + n].n_samples <= n_codes:
            n += 1
        yield ordered[first : first + n]
        first += n


@torch.inference_mode()
def bits_of_codes(model: Model, n_streams: int, length: int, part: Part, hop: int = 1) -> Iterator[tuple[int, Tensor]]:
    """-log2 p(code) of recordings (or images) side by side, each from its beginning, a chunk at a time.

    `part(first, n)` gives the codes (n_streams, n) from position `first` on, on the model's device, and what conditions
    them. Chunks are whole rows of images, and multiples of `hop`.

    Yields: the position of a chunk's first code, and the bits (n_streams, n).
    """
    chunk = chunk_length(codes_at_once(model), n_streams, math.lcm(model.unit, hop))
    state: Any = None
    for first in range(0, length, chunk):
        codes, condition = part(first, min(chunk, length - first))
        bits, state = _bits_of_chunk(model, codes, state, condition)
        yield first, bits


def _bits_of_chunk(model: Model, codes: Tensor, state: Any, condition: Condition | None) -> tuple[Tensor, Any]:
    """A function of its own, so that its tensors are freed before the next chunk's are made."""
    parameters, state = model(codes, state, condition)
    return model.head.bits(parameters, codes), state
