"""What every engine offers: numpy at its boundary, continuing where its last call stopped."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wavegen.sampling import Decoding


class Engine(Protocol):
    """A network that remembers B streams. B is fixed when it is built; all streams advance together.

    Axes: B streams, n steps, C codes per step (1 for sound). `condition` is (B, 1 or n, n_layers, channels), already
    projected (conditioning.py): one frame that holds throughout, or one per step.
    """

    n_streams: int

    def start(self, streams: Sequence[int] | None = None) -> None:
        """Put these streams (all by default) at the beginning of time."""
        ...

    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decoding | Sequence[Decoding],
        codes: NDArray[np.int64] | None = None,
        condition: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Make n steps: uniforms (B, n, draws) -> codes (B, n, C).

        Where `codes` (B, n, C) is given and not -1 it is taken instead of drawn: priming, correcting a stream.
        """
        ...

    def logits(self, codes: NDArray[np.int64], condition: NDArray[np.float32] | None = None) -> NDArray[np.floating]:
        """Run given codes (B, n, C) along the cached path -> (B, n, C, parameters): what tests compare."""
        ...

    def snapshot(self) -> Any:
        """The state of all streams, for `restore`."""
        ...

    def restore(self, state: Any, streams: Sequence[int] | None = None) -> None:
        """Go back to a snapshot of this engine; stream i as stream `streams[i]` was, or as it was itself."""
        ...
