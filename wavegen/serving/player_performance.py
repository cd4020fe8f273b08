"""Live streams that compiled code makes by itself: no interpreter's lock keeps the threads of cores from each other."""

from collections.abc import Generator
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from wavegen.generation.conditioning import known_labels
from wavegen.generation.live import Controls, Performance
from wavegen.generation.session import StreamMaker
from wavegen.generation.stream import BLOCKSIZE, Changes, Stream
from wavegen.player.native import NativePlayer, Program
from wavegen.sampling import DECODING


class PlayerPerformance(Performance):
    """A performance whose sound is made by a program: it asks for the next block of its `player` where others ask for
    codes, and sounds as they do.

    The `stream` makes none of it, and knows what the model can do.
    """

    def __init__(self, maker: StreamMaker, stream: Stream, program: Program) -> None:
        super().__init__(maker, [stream], BLOCKSIZE)
        self._program, self.player = program, NativePlayer(program, maker.seed)
        self._told: Controls | None = None  # what the player has been told last
        self._change(labels=maker.labels)

    def _change(self, **changes: Unpack[Changes]) -> None:
        super()._change(**changes)
        if "labels" in changes:
            for label, value in known_labels(self._program.labels, changes["labels"]).items():
                self.player.set_label(label, value)

    def _begin(self, seed: int) -> None:
        super()._begin(seed)
        self.player.restart(seed)

    def _make(self, controls: Controls) -> Generator[None, NDArray[Any], NDArray[np.float32]]:
        if controls is not self._told:
            self._tell(controls)
        return (yield).T

    def _tell(self, controls: Controls) -> None:
        """Tell the player of options that have changed."""
        before, self._told = self._told, controls
        for name in DECODING:
            value = getattr(controls.decoding, name)
            if before is None or value != getattr(before.decoding, name):
                self.player.change(name, value)
        of_frames = controls.temperature_frames
        if of_frames is not None and (before is None or of_frames != before.temperature_frames):
            self.player.change("temperature_frames", of_frames)
