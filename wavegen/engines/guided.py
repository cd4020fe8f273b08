"""Streams that heed their labels more than they learnt to, on an engine that runs each of them twice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import Condition, Engine
from wavegen.sampling import Decoding, Decodings


class GuidedEngine:
    """An engine (engines/base.py) of B streams on one of 2 * B, which was made for guidance (`sampling.Decoding`).

    Stream i is streams 2 * i, with its labels, and 2 * i + 1, without; both are fed the same codes. Conditions come for
    both, (2 * B, ...), in that order (`conditioning.guidance_pairs`).
    """

    def __init__(self, pairs: Engine) -> None:
        self._pairs = pairs
        self.n_streams, self.can_wait = pairs.n_streams // 2, pairs.can_wait

    def start(self, streams: Sequence[int] | None = None) -> None:
        self._pairs.start(_both(streams))

    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decodings,
        codes: NDArray[np.int64] | None = None,
        condition: Condition | None = None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        each = decoding if isinstance(decoding, Decoding) else [one for one in decoding for _ in range(2)]
        of_pairs = None if logits is None else np.empty((2 * len(logits), *logits.shape[1:]), dtype=np.float32)
        pairs = None if codes is None else _twice(codes)
        pairs = self._pairs.advance(_twice(uniforms), each, pairs, condition, of_pairs, _both(streams))
        if logits is not None and of_pairs is not None:
            logits[:] = of_pairs[::2]
        return pairs[::2]

    def logits(self, codes: NDArray[np.int64], condition: Condition | None = None) -> NDArray[np.floating]:
        """As the network has them with its labels: guidance belongs to a decoding, which only `advance` is given."""
        return self._pairs.logits(_twice(codes), condition)[::2]

    def snapshot(self) -> Any:
        return self._pairs.snapshot()

    def restore(self, state: Any, streams: Sequence[int] | None = None) -> None:
        self._pairs.restore(state, _both(streams))


def _both(streams: Sequence[int] | None) -> list[int] | None:
    return None if streams is None else [row for stream in streams for row in (2 * stream, 2 * stream + 1)]


def _twice(array: NDArray) -> NDArray:
    return np.repeat(array, 2, axis=0)
