"""Frames that are planned while their sound is made: what a vocoder with a planner (models/planner.py) is made under.

The planner runs ahead of the sound, `CHUNK` frames at a time, as far as the vocoder looks. Its temperature is that of
the detail of a frame: drawn less widely than learnt, loudness falls, from frame to frame, until there is silence. What
it draws is smoothed over time: frames of a recording overlap, so they never jump; what is drawn does, and is rough. How
far is a size of the planner: as much as suits read speech would blur the consonants of spoken digits.
Its codes are a stream like any other (stream.py): the same seed and number, labels, decoding and engines, and it may
continue a recording.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import PlannerArchitecture
from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Condition, Engine
from wavegen.features.frame_codes import FrameCodes
from wavegen.generation.conditioning import FrameConditioner, condition_of, guidance_pairs, known_labels
from wavegen.generation.stream import Changed, Changes, Codes, ConditionAt, Snapshot, Stream, StreamGroup
from wavegen.sampling import Decoding

CHUNK = 4  # frames that are planned at a time: 50 ms
KEPT = 1 << 12  # chunks of which the newest are kept: 3 minutes
NUMBERS = 1 << 63  # added to the number of a sound for that of its plan, so that the two draw by different numbers


class PlanSnapshot(NamedTuple):
    """Where a plan was at one instant."""

    codes: Snapshot
    chunks: list[NDArray[np.floating]]
    n_forgotten: int
    drawn: NDArray[np.floating]


class Plan:
    """The frames of one sound of a model, as they are asked for.

    `engine` makes one stream of the planner, or, with a guided decoding, a pair (engines/guided.py). `prime` (F,
    n_channels) are codes of the frames of a recording that it goes on from. `decoding`: of its codes. `transpose`: what
    every frame is put through.

    Raises: InputError for a label that the model does not know.
    """

    is_guided_itself = True

    def __init__(
        self,
        model: Checkpoint,
        engine: Engine,
        *,
        seed: int,
        number: int,
        decoding: Decoding,
        labels: Mapping[str, str | None],
        prime: Codes | None = None,
        transpose: Callable[[NDArray[np.floating]], NDArray[np.floating]] = lambda frames: frames,
    ) -> None:
        assert model.planner is not None  # whoever calls has seen to it
        features = model.description.make_features()
        assert features is not None  # it has a planner
        self._model, self._planner = model, model.planner
        self._architecture = architecture_of(model.planner)
        self._codes = FrameCodes(features, model.planner.description.n_classes)
        self._features, self._silent, self._transpose = features, features.silent, transpose
        self._is_guided = decoding.is_guided
        self._stream = Stream(
            seed=seed,
            number=number + NUMBERS,
            decoding=decoding,
            condition=self._condition_of(labels),
            prime=None if prime is None else prime.ravel(),
            labels=labels,
            condition_of=self._condition_of,
            model=model.planner,
        )
        self._group = StreamGroup(engine, [self._stream])
        self._primed = transpose(self._codes.decode(self._stream.prime.reshape(-1, self._codes.n_channels)))
        self._begin()

    def at(self, first: int, n: int) -> Condition:
        """The condition of n steps of the sound from step `first` on."""
        return self._conditioner.at(first, n)

    def frames(self, begin: int, end: int) -> NDArray[np.floating]:
        """Frames from number `begin` to before `end`, (n, n_features): planned if they are not yet; silence before
        the first."""
        n_primed = len(self._primed)
        while n_primed + CHUNK * (self._n_forgotten + len(self._chunks)) < end:
            self._plan()
        before = np.tile(self._silent, (max(0, min(end, 0) - begin), 1))
        primed = self._primed[max(0, begin) : max(0, end)]
        first, last = max(0, begin - n_primed), max(0, end - n_primed)
        numbers = range(first // CHUNK, -(-last // CHUNK))
        assert numbers.start >= self._n_forgotten or not numbers, "frames are asked for in their order"
        chunks = [self._chunks[number - self._n_forgotten] for number in numbers]
        offset = numbers.start * CHUNK
        planned = np.concatenate([before[:0], *chunks])[first - offset : last - offset]
        return np.concatenate([before, primed, planned])

    def restart(self, seed: int) -> None:
        """Plan anew from the beginning, with another seed or the same."""
        self._stream.restart(seed)
        self._begin()

    def changed(self, changes: Changes) -> Changed:
        """What its stream would be after the changes that concern it.

        Raises: as `Stream.change`.
        """
        own: Changes = {}
        if "guidance" in changes:
            own["guidance"] = changes["guidance"]
        if "seed" in changes:
            own["seed"] = changes["seed"]
        if "labels" in changes:
            own["labels"] = changes["labels"]
        if "temperature_frames" in changes:
            own["temperature"] = changes["temperature_frames"]
        return self._stream.changed(own)

    def become(self, changed: Changed) -> None:
        """Take on what `changed` found possible, from the next frame that is planned on."""
        relabelled = changed.labels != self._stream.labels
        self._stream.become(changed)
        if relabelled:
            self._condition()

    def snapshot(self) -> PlanSnapshot:
        return PlanSnapshot(self._group.snapshot(), list(self._chunks), self._n_forgotten, self._drawn)

    def restore(self, snapshot: PlanSnapshot) -> None:
        """Go back to where it was; seed, decoding and labels stay."""
        self._group.restore(snapshot.codes)
        self._go_on(snapshot.chunks, snapshot.n_forgotten, snapshot.drawn)

    def _begin(self) -> None:
        """Have no frames but those of what it continues."""
        self._go_on([], 0, self._newest(self._primed))

    def _go_on(self, chunks: Sequence[NDArray[np.floating]], n_forgotten: int, drawn: NDArray[np.floating]) -> None:
        """Have these chunks of frames, the newest that were planned, and those that were drawn last, unsmoothed."""
        self._chunks = deque(chunks, KEPT)
        self._n_forgotten, self._drawn = n_forgotten, drawn
        self._condition()

    def _condition(self) -> None:
        """Begin to condition anew, by the frames that there are and the labels of now."""
        labels = known_labels(self._model.description.labels, self._stream.labels)
        self._conditioner = FrameConditioner(self._model, [labels], lambda *part: self.frames(*part)[None], CHUNK)

    def _plan(self) -> None:
        """Plan the next frames, and forget those that are long past."""
        is_first, shape = not self._chunks and not self._n_forgotten, self._architecture
        n = CHUNK + (shape.n_ahead if is_first else 0)
        drawn = np.concatenate([self._drawn, self._transpose(self._codes.decode(self._draw(n)))])
        n_missing = CHUNK + 2 * shape.n_ahead - len(drawn)  # of the beginning, before which the first frame is held
        drawn = np.concatenate([drawn[:1]] * n_missing + [drawn])
        self._n_forgotten += len(self._chunks) == KEPT
        self._chunks.append(self._features.smoothed(drawn, shape.smoothing, shape.pitch_smoothing))
        self._drawn = self._newest(drawn)

    def _newest(self, drawn: NDArray[np.floating]) -> NDArray[np.floating]:
        """The last frames of those, which the next ones are smoothed with."""
        return drawn[max(0, len(drawn) - 2 * self._architecture.n_ahead) :]

    def _draw(self, n: int) -> Codes:
        """The codes of the next n frames, (n, n_channels): how loud and how high they are is drawn as it was learnt."""
        of_detail, parts = self._stream.decoding, []
        of_whole = replace(of_detail, temperature=1.0)
        for is_detail, channels in groupby(self._codes.is_detail * n):
            self._stream.decoding = of_detail if is_detail else of_whole
            parts.append(self._group.advance(len(list(channels)))[0])
        self._stream.decoding = of_detail
        return np.concatenate(parts).reshape(n, -1)

    def _condition_of(self, labels: Mapping[str, str | None]) -> ConditionAt:
        """What the planner is made under: the channel that comes next, and labels it knows."""
        of_channels = position_of(self._planner)
        known = [known_labels(self._planner.description.labels, labels)]
        of_labels = condition_of(self._planner, guidance_pairs(known) if self._is_guided else known)
        table = of_channels if of_labels is None else of_channels + of_labels
        n_channels = table.shape[1]

        def at(first: int, n: int) -> NDArray[np.float32]:
            return table[:, (first + np.arange(n)) % n_channels]

        return at


def architecture_of(planner: Checkpoint) -> PlannerArchitecture:
    """The sizes of a planner."""
    architecture = planner.description.architecture
    assert isinstance(architecture, PlannerArchitecture)  # checkpoint.with_planner
    return architecture


def position_of(planner: Checkpoint) -> NDArray[np.float32]:
    """What enters the layers of a planner at each channel of a frame, (1, n_channels, n_layers, condition_channels)."""
    shape = planner.description.architecture
    tensor = planner.tensor("position", shape.unit, shape.n_conditions, shape.condition_channels)
    return tensor[None]
