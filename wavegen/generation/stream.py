"""One sound being made, and several that an engine makes in step. The same for files, the sound card and images."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import Condition, Engine
from wavegen.engines.context import EngineContext
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition, joined
from wavegen.generation.options import number
from wavegen.sampling import DECODING, Decoding, DecodingChanges, Decodings, check_seed, uniforms

Codes = NDArray[np.int64]
ConditionAt = Callable[[int, int], Condition]  # what n steps from the first given on are made under
BLOCKSIZE = 256  # samples
PRIME_CHUNK = 1 << 14  # codes of a priming recording given at once
DRAWN_AT_ONCE = 512  # random numbers, at least: a generator costs more than those of a row of an image


class Changes(DecodingChanges, total=False):
    """What can be changed about a stream."""

    decoding: Decoding
    labels: Mapping[str, str | None]
    seed: int
    temperature_frames: float


class Changed(NamedTuple):
    """What changes make of a stream, and of what plans its frames."""

    decoding: Decoding
    labels: Mapping[str, str | None]
    condition: NDArray[np.float32] | ConditionAt | None
    seed: int
    plan: Any = None


class Plan(Protocol):
    """What a stream is made under, where that is made with it (planning.py). `is_guided_itself`: the guidance of the
    stream's decoding is that of what is planned, and not of the sound."""

    is_guided_itself: bool

    def at(self, first: int, n: int) -> Condition:
        """As `ConditionAt`; `first` goes on from call to call, or back to 0 by `restart`, or as `restore` says."""
        ...

    def frames(self, begin: int, end: int) -> NDArray[np.floating]:
        """Frames from one number to before another, (n, n_features), of those that it was asked for lately."""
        ...

    def restart(self, seed: int) -> None: ...

    def changed(self, changes: Changes) -> Any:
        """What it would be after some changes. Raises: as `Stream.change`."""
        ...

    def become(self, changed: Any) -> None: ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...


class Inputs(NamedTuple):
    """What the next n steps of one stream are made of."""

    uniforms: NDArray[np.float64]  # (n,)
    codes: Codes | None  # (n,), -1 where one is to be drawn; None if all are
    condition: Condition | None  # (1, ...), or (2, ...) on a guided engine


class Stream:
    """One sound being made: its position, seed and number, decoding, labels, condition, and what it continues.

    The draw of a step is `uniforms(seed, number, step)`. Steps are counted from the beginning of time, those of `prime`
    included, codes (T,) that the network is fed before it makes its own. `condition` (1, 1, n_layers, channels) holds
    throughout, or is asked for by position; with a guided decoding it is that of two streams (engines/guided.py).
    `condition_of` makes that of other labels, and `check_decoding` raises for one that the model does not have, for
    `change`. A `plan` is what it is made under in place of a condition. `model` is what it is a stream of, by which a
    scheduler tells its own.

    With an `engine` of one stream it advances by itself; any number of streams may share it without disturbing each
    other. Without one it is put into a `StreamGroup`, or submitted to a `Scheduler`.

    Raises: InputError for a seed or number outside [0, 2**64).
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        seed: int = 0,
        number: int = 0,
        decoding: Decoding | None = None,
        condition: NDArray[np.float32] | ConditionAt | None = None,
        prime: Codes | None = None,
        labels: Mapping[str, str | None] | None = None,
        condition_of: Callable[[Mapping[str, str | None]], NDArray[np.float32] | ConditionAt | None] | None = None,
        check_decoding: Callable[[Decoding], None] | None = None,
        plan: Plan | None = None,
        model: object | None = None,
    ) -> None:
        check_seed(seed)
        check_seed(number, "stream")
        self.seed, self.number, self.position, self.model = seed, number, 0, model
        self.decoding = decoding or Decoding()
        self._is_guided_by_plan = plan is not None and plan.is_guided_itself
        self.needs_guided_engine = self.own_decoding.is_guided
        self.labels: Mapping[str, str | None] = dict(labels or {})
        self.prime = np.empty(0, dtype=np.int64) if prime is None else prime
        self.plan = plan
        self._condition, self._condition_of, self._check_decoding = condition, condition_of, check_decoding
        self._drawn = (seed, 0, np.empty(0))  # of which seed, from which step on, and the random numbers
        self._group: Callable[[], StreamGroup | None] = lambda: None  # a weak reference, once there is one
        self._own_group = None if engine is None else StreamGroup(engine, [self])

    @property
    def own_decoding(self) -> Decoding:
        """That of its codes: without the guidance that is its plan's."""
        return replace(self.decoding, guidance=1.0) if self._is_guided_by_plan else self.decoding

    @property
    def group(self) -> "StreamGroup | None":
        """Whose slot it has."""
        return self._group()

    def move(self, group: "StreamGroup | None") -> None:
        """Note whose slot it has from now on; for `StreamGroup.put`."""
        self._group = (lambda: None) if group is None else weakref.ref(group)

    @property
    def n_to_feed(self) -> int:
        """Codes of `prime` that the network has yet to be fed."""
        return max(0, len(self.prime) - self.position)

    def advance(self, n: int) -> Codes:
        """The next n codes (n,).

        Raises: InputError for a stream without an engine of its own.
        """
        if self._own_group is None:
            raise InputError("this stream has no engine of its own; expected to advance with its group or scheduler")
        return self._own_group.advance(n)[0]

    def restart(self, seed: int | None = None) -> None:
        """Go back to the beginning of time, before what it continues; with another seed if one is given.

        Raises: InputError for a seed outside [0, 2**64).
        """
        if seed is not None:
            self.change(seed=seed)
        self.position = 0
        if self.plan is not None:
            self.plan.restart(self.seed)
        if (group := self.group) is not None:
            group.begin(self)

    def change(self, **changes: Unpack[Changes]) -> None:
        """Change its decoding, whole or by field, its labels or its seed, from the next step on.

        Raises: InputError for what the model or the engine cannot do; nothing is changed then.
        """
        self.become(self.changed(changes))

    def become(self, changed: "Changed") -> None:
        """Take on what `changed` found possible."""
        self.decoding, self.labels, self._condition, self.seed, of_plan = changed
        if self.plan is not None:
            self.plan.become(of_plan)

    def changed(self, changes: Changes) -> "Changed":
        """What it would be after some changes.

        Raises: as `change`.
        """
        fields: dict[str, Any] = {name: value for name, value in changes.items() if name in DECODING}
        decoding = replace(changes.get("decoding", self.decoding), **fields)
        if self._check_decoding is not None:
            self._check_decoding(decoding)
        if self._is_guided_by_plan:
            changes = {**changes, "guidance": decoding.guidance}
        elif decoding.is_guided and not self.needs_guided_engine:
            raise InputError("guidance is off; restart with --guidance 1.5 (doubles the computation)")
        seed = changes.get("seed", self.seed)
        check_seed(seed)
        if "temperature_frames" in changes and self.plan is None:
            raise InputError("temperature_frames is of a plan, and this model has none; expected one with a planner")
        if self.plan is not None:
            return Changed(decoding, changes.get("labels", self.labels), None, seed, self.plan.changed(changes))
        if "labels" not in changes:
            return Changed(decoding, self.labels, self._condition, seed)
        if self._condition_of is None:
            raise InputError("the labels of this stream do not change; expected one that was made with labels")
        return Changed(decoding, changes["labels"], self._condition_of(changes["labels"]), seed)

    def inputs(self, n: int) -> Inputs:
        """What the next n steps are made of."""
        n_fed = min(n, self.n_to_feed)
        codes = None
        if n_fed:
            codes = np.full(n, -1, dtype=np.int64)
            codes[:n_fed] = self.prime[self.position : self.position + n_fed]
        condition: Condition | None
        if self.plan is not None:
            condition = self.plan.at(self.position, n)
        else:
            condition = self._condition(self.position, n) if callable(self._condition) else self._condition
        return Inputs(np.zeros(n) if n_fed == n else self._uniforms(n), codes, condition)

    def _uniforms(self, n: int) -> NDArray[np.float64]:
        seed, first, numbers = self._drawn
        offset = self.position - first
        if seed != self.seed or not 0 <= offset <= offset + n <= len(numbers):
            seed, first, offset = self.seed, self.position, 0
            numbers = uniforms(seed, self.number, first, max(n, DRAWN_AT_ONCE))
            self._drawn = (seed, first, numbers)
        return numbers[offset : offset + n]


class Snapshot(NamedTuple):
    """Where a group was at one instant."""

    state: Any  # of the engine
    positions: list[int]
    plans: list[Any]


class StreamGroup:
    """Streams in the slots of one engine, which all make their next steps in one call; None where a slot is free.

    `condition` is that of all of them together, and of no stream then; it is asked for by the position of the first.
    Groups that share an engine do not disturb each other, and may be advanced by a thread each; one group by one
    thread at a time.
    """

    def __init__(
        self,
        engine: Engine,
        streams: Sequence[Stream | None],
        condition: Condition | ConditionAt | None = None,
    ) -> None:
        if len(streams) != engine.n_streams:
            raise InputError(f"{len(streams)} streams are for an engine of {engine.n_streams}; expected as many")
        self.streams: list[Stream | None] = [None] * len(streams)
        self.condition = condition
        self._context = EngineContext(engine)
        self._fresh: set[int] = set()  # slots whose streams have not begun
        for slot, stream in enumerate(streams):
            self.put(slot, stream)

    def put(self, slot: int, stream: Stream | None) -> None:
        """Let a slot have another stream, or none.

        Raises: InputError for a stream that is in a group already.
        """
        if stream is not None and stream.group is not None:
            raise InputError("this stream is being made already; expected another one")
        before = self.streams[slot]
        if before is not None:
            before.move(None)
        self.streams[slot] = stream
        if stream is not None:
            stream.move(self)
            self._fresh.add(slot)

    def begin(self, stream: Stream) -> None:
        """Put the network at the beginning of time for a stream of this group."""
        self._fresh.add(self.streams.index(stream))

    def begin_all(self) -> None:
        """Put the network at the beginning of time for all; positions stay, as they do from row to row of an image."""
        self._fresh.update(range(len(self.streams)))

    def restart(self, seed: int | None = None) -> None:
        """Restart every stream, with another seed if one is given."""
        for stream in self._present():
            stream.restart(seed)

    def changed(self, **changes: Unpack[Changes]) -> Changed:
        """What the first stream would be after some changes, which every one can make.

        Raises: as `Stream.change`.
        """
        first, *_ = [stream.changed(changes) for stream in self._present()]
        return first

    def change(self, **changes: Unpack[Changes]) -> None:
        """Change every stream, or if one cannot, none."""
        for stream, changed in [(stream, stream.changed(changes)) for stream in self._present()]:
            stream.become(changed)

    def turn(self) -> AbstractContextManager[Engine]:
        """The engine as this group left it, for whoever steps it by hand (beam.py)."""
        return self._context.turn()

    def snapshot(self) -> Snapshot:
        with self.turn() as engine:
            state = engine.snapshot()
        plans = [None if one is None or one.plan is None else one.plan.snapshot() for one in self.streams]
        return Snapshot(state, [0 if one is None else one.position for one in self.streams], plans)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to where the group was; seeds, decodings and conditions stay."""
        with self.turn() as engine:
            engine.restore(snapshot.state)
        self._fresh.clear()
        for stream, position, plan in zip(self.streams, snapshot.positions, snapshot.plans, strict=True):
            if stream is not None:
                stream.position = position
                if stream.plan is not None:
                    stream.plan.restore(plan)

    def prime(self) -> None:
        """Feed the network what the streams continue.

        Raises: InputError if that is not equally long.
        """
        lengths = {stream.n_to_feed for stream in self._present()}
        if len(lengths) > 1:
            raise InputError(f"streams that advance together continue {sorted(lengths)} codes; expected equally many")
        left = max(lengths, default=0)
        while left:
            n = min(left, PRIME_CHUNK)
            self.step(n)
            left -= n

    def advance(self, n: int, codes: Codes | None = None, logits: NDArray[np.float32] | None = None) -> Codes:
        """The next n codes of every stream, (B, n), after what they continue.

        Where `codes` (B, n) is given and not -1 it is taken instead of drawn; `logits` is filled as the engine does.
        """
        self.prime()
        return self.step(n, codes, logits)

    def step(self, n: int, codes: Codes | None = None, logits: NDArray[np.float32] | None = None) -> Codes:
        """Make n steps, in which streams that continue something are fed it, (B, n)."""
        inputs = [None if stream is None else stream.inputs(n) for stream in self.streams]
        return self.run(n, inputs, codes, logits)

    def run(
        self,
        n: int,
        inputs: Sequence[Inputs | None],
        codes: Codes | None = None,
        logits: NDArray[np.float32] | None = None,
    ) -> Codes:
        """Make n steps of the inputs of each stream. One without stays where it is, on an engine that can have it wait;
        on others its steps are of no use."""
        draws = np.stack([np.zeros(n) if one is None else one.uniforms for one in inputs])
        if any(one is None or one.codes is not None for one in inputs):
            codes = np.full(draws.shape, -1, dtype=np.int64) if codes is None else codes.copy()
            for slot, one in enumerate(inputs):
                if one is None:
                    codes[slot] = 0
                elif one.codes is not None:
                    codes[slot] = np.where(codes[slot] < 0, one.codes, codes[slot])
        decoding = [Decoding() if stream is None else stream.own_decoding for stream in self.streams]
        all_alike = decoding[0] if all(one == decoding[0] for one in decoding) else decoding
        with self.turn() as engine:
            if self._fresh:
                engine.start(sorted(self._fresh) if len(self._fresh) < len(self.streams) else None)
                self._fresh.clear()
            moving = None
            if engine.can_wait and any(one is None for one in inputs):
                moving = [slot for slot, one in enumerate(inputs) if one is not None]
            made = engine.advance(draws, all_alike, codes, self._condition_at(inputs, n), logits, moving)
        for stream, one in zip(self.streams, inputs, strict=True):
            if stream is not None and one is not None:
                stream.position += n
        return made

    def _condition_at(self, inputs: Sequence[Inputs | None], n: int) -> Condition | None:
        if callable(self.condition):
            first = self.streams[0]
            return self.condition(0 if first is None else first.position, n)
        if self.condition is not None:
            return self.condition
        return _side_by_side([None if one is None else one.condition for one in inputs])

    def _present(self) -> list[Stream]:
        return [stream for stream in self.streams if stream is not None]


def generate(
    engine: Engine,
    n_samples: int | None,
    *,
    seed: int = 0,
    decoding: Decodings | None = None,
    condition: NDArray[np.float32] | ConditionAt | None = None,
    prime: Codes | None = None,
    blocksize: int = BLOCKSIZE,
) -> Iterator[Codes]:
    """Codes in blocks (engine.n_streams, at most blocksize) from the beginning of time; endless if n_samples is None.

    `condition` holds throughout, or is asked for block by block, its steps counted from the beginning of time. With
    `prime`, codes (T,) of a recording, every stream continues that. Draws are `uniforms(seed, stream, step)`, so the
    same seed gives the same sound whatever the blocksize and the number of streams.

    Raises: InputError for a blocksize below 1.
    """
    check_blocksize(blocksize)
    each = [decoding or Decoding()] * engine.n_streams if not isinstance(decoding, Sequence) else decoding
    streams = [Stream(seed=seed, number=n, decoding=one, prime=prime) for n, one in enumerate(each)]
    yield from blocks(StreamGroup(engine, streams, condition), n_samples, blocksize)


def blocks(group: StreamGroup, n_samples: int | None, blocksize: int) -> Iterator[Codes]:
    """The next codes of a group in blocks (B, at most blocksize); endless if n_samples is None."""
    check_blocksize(blocksize)
    n_left = n_samples
    while n_left is None or n_left > 0:
        n = blocksize if n_left is None else min(blocksize, n_left)
        yield group.advance(n)
        n_left = None if n_left is None else n_left - n


def check_blocksize(blocksize: int) -> None:
    """Raises: InputError for one below 1."""
    if blocksize < 1:
        raise InputError(f"blocksize is {blocksize}; expected 1 or more samples")


def n_samples(seconds: float, sample_rate: int) -> int:
    """How many samples some seconds are: at least one.

    Raises: InputError if seconds is not a positive, finite number.
    """
    if not 0 < number("seconds", seconds) < 1e9:
        raise InputError(f"seconds is {seconds}; expected a positive number")
    return max(1, round(seconds * sample_rate))


def _side_by_side(conditions: Sequence[Condition | None]) -> Condition | None:
    """The conditions of single streams as one; zeros for a stream that makes nothing."""
    if len(conditions) == 1:
        return conditions[0]
    example = next((one for one in conditions if one is not None), None)
    if example is None:
        return None
    if not isinstance(example, FrameCondition):
        return np.concatenate([np.zeros_like(example) if one is None else one for one in conditions])
    nothing = example.map(np.zeros_like)
    frames = [one if isinstance(one, FrameCondition) else nothing for one in conditions]
    assert len({(one.hop, one.phase) for one in frames}) <= 1, "blocks are multiples of the hop"
    return joined(frames, 0)
