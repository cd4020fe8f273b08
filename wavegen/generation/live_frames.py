"""Frames of a sound that comes in while its copy is made: what a vocoder makes a voice again under, live.

A frame is there once the samples that it sees have come, and a vocoder looks some frames ahead. It is told the pitch of
those ahead as it seems to be by then, so that it waits for no more than their samples (`LiveFrames.delay`).
"""

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Condition
from wavegen.errors import InputError
from wavegen.features.frame_stream import FrameStream
from wavegen.generation.conditioning import FrameConditioner, guidance_pairs, label_indices
from wavegen.generation.sound_input import SoundInput
from wavegen.generation.stream import Changes

N_KEPT = 1 << 10  # frames of which the newest are kept: 13 s
N_HELD = 4  # frames that are repeated while the sound is late; then it is silent
SILENT = -1  # in place of the number of a frame


class LiveFrames:
    """The frames of a sound that comes in, as they are asked for; a plan as `stream.Plan` is one.

    `is_guided`: its condition is that of two streams (engines/guided.py). `transpose`: what every frame is put through.
    `n_behind`: frames by which what is heard is behind those that were asked for; a restart goes back by so many.

    Raises: InputError for a label that the model does not know, or a model that takes no frames.
    """

    is_guided_itself = False

    def __init__(
        self,
        model: Checkpoint,
        sound: SoundInput,
        *,
        labels: Mapping[str, str | None],
        is_guided: bool = False,
        transpose: Callable[[NDArray[np.floating]], NDArray[np.floating]] = lambda frames: frames,
        n_behind: int = 0,
    ) -> None:
        features = model.description.make_features()
        if features is None:
            raise InputError(f"{model.path} takes no frames; expected a vocoder")
        self._model, self._features, self._sound = model, features, sound
        self._labels, self._is_guided, self._transpose = dict(labels), is_guided, transpose
        self._n_behind = n_behind
        self._stream = FrameStream(features, 2 * N_KEPT)
        # Which frame of the stream each one is that was asked for; not one after the other where some were passed over
        # or repeated. They are counted from the first one that ever was, and those of a stream from `_begin` on.
        self._numbers: deque[int] = deque(maxlen=N_KEPT)
        self._n_numbers = self._begin = self._n_late = self._end = 0
        self._condition()

    def at(self, first: int, n: int) -> Condition:
        """The condition of n steps of the sound from step `first` on."""
        self._end = self._begin + (first + n) // self._features.hop
        return self._conditioner.at(first, n)

    def frames(self, begin: int, end: int) -> NDArray[np.floating]:
        """Frames from number `begin` to before `end`, (n, n_features), as they are known by now: waited for if they
        are not there yet; silence before the first."""
        while self._n_numbers < self._begin + end:
            self._numbers.append(self._next())
            self._n_numbers += 1
        oldest = self._n_numbers - len(self._numbers)
        rows = []
        for number in range(self._begin + begin, self._begin + end):
            own = SILENT if number < 0 else self._numbers[number - oldest]
            rows.append(self._features.silent if own == SILENT else self._stream.frame(own))
        return self._transpose(np.stack(rows)) if rows else np.zeros((0, self._features.n_features), dtype=np.float32)

    def restart(self, seed: int) -> None:
        """Begin anew, with what is heard now."""
        self._begin = max(self._begin, self._end - self._n_behind)
        self._condition()

    def changed(self, changes: Changes) -> Mapping[str, str | None]:
        """Its labels after some changes.

        Raises: as `Stream.change`.
        """
        if "temperature_frames" in changes:
            raise InputError("temperature_frames is of a plan, and these frames are of a sound that comes in")
        labels = changes.get("labels", self._labels)
        label_indices(self._model.description.labels, labels)
        return labels

    def become(self, labels: Mapping[str, str | None]) -> None:
        """Take on the labels that `changed` found possible."""
        if labels != self._labels:
            self._labels = dict(labels)
            self._condition()

    def snapshot(self) -> int:
        return self._begin

    def restore(self, snapshot: int) -> None:
        """Begin where it began then; what has come in since is not asked for again."""
        self._begin = snapshot
        self._condition()

    def _condition(self) -> None:
        """Begin to condition anew, by the labels of now."""
        rows = guidance_pairs([self._labels]) if self._is_guided else [self._labels]

        def frames(begin: int, end: int) -> NDArray[np.floating]:
            known = self.frames(begin, end)
            return np.broadcast_to(known, (len(rows), *known.shape))

        self._conditioner = FrameConditioner(self._model, rows, frames, chunk=1)

    def _next(self) -> int:
        """The number, in the stream, of the frame that comes next."""
        stream, hop = self._stream, self._features.hop
        n_wanted = hop if stream.n_frames else self._features.reach
        samples = self._sound.read(n_wanted)
        if samples is None:
            self._n_late += 1
            return self._numbers[-1] if self._n_late <= N_HELD and self._numbers else SILENT
        self._n_late = 0
        if len(samples) < n_wanted:
            samples = np.concatenate([samples, np.zeros(n_wanted - len(samples))])
        stream.feed(samples)
        length = self._sound.length
        is_over = length is not None and stream.n_frames > self._features.n_frames(length)
        return SILENT if is_over else stream.n_frames - 1


def delay(model: Checkpoint, blocksize: int) -> int:
    """Samples that come in between the first of a block, a whole number of hops long, and the last that is needed to
    make it."""
    architecture, features = model.description.architecture, model.description.make_features()
    assert architecture.frames is not None and features is not None  # whoever calls has seen to it
    side = max(1, architecture.frames.look_ahead)
    return blocksize + side * features.hop + features.reach
