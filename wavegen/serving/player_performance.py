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
        self._options: dict[str, float | None] = {}  # that the player has been told
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
        options = {name: getattr(controls.decoding, name) for name in DECODING}
        if controls.temperature_frames is not None:
            options["temperature_frames"] = controls.temperature_frames
        for name, value in options.items():
            if name not in self._options or self._options[name] != value:
                self.player.change(name, value)
                self._options[name] = value
        return (yield).T
