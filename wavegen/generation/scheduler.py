"""Streams of many users on one engine, which come and go while others are being made.

A stream that ends makes room for the next one at the next block, so that the engine stays busy (Yu et al., "Orca",
OSDI 2022, section 3.1, iteration-level scheduling).
"""

import threading
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Literal, Unpack

import numpy as np

from wavegen.engines.base import Engine
from wavegen.errors import InputError
from wavegen.generation.stream import BLOCKSIZE, Changes, Codes, Inputs, Stream, StreamGroup, check_blocksize
from wavegen.progress import Bar

NOTHING: Codes = np.empty(0, dtype=np.int64)

Status = Literal["waiting", "live", "done", "cancelled", "failed"]


class Handle:
    """A stream that was submitted; handles are told apart by identity.

    `status`: it waits for a free slot; is live; or has ended, since it was `done`, was `cancelled` or has `failed`,
    with `error` then. `n_made` counts the codes that were given out.
    """

    def __init__(self, stream: Stream, n_samples: int | None) -> None:
        self.stream, self.n_samples = stream, n_samples
        self.status: Status = "waiting"
        self.error: Exception | None = None
        self.n_made = 0

    @property
    def has_ended(self) -> bool:
        return self.status not in ("waiting", "live")

    @property
    def n_left(self) -> float:
        """Steps that it has to make, with those that feed what it continues; infinite if it is endless."""
        n_samples = np.inf if self.n_samples is None else self.n_samples
        return self.stream.n_to_feed + n_samples - self.n_made


class Scheduler:
    """Streams side by side on an engine, each with its own seed, decoding, labels, length, frames and beginning.

    `make_engine` is asked for an engine, once at most for streams without guidance and once for those with it, and only
    when the first of them comes: guidance changes the last bits of a stream's logits, so the two kinds never share one.
    An engine has as many slots as streams; what finds none waits, first come, first served. A slot without a stream
    costs nothing on an engine that `can_wait`, and as much as one with a stream on others.

    `submit`, `cancel`, `close` and the attributes of handles may be used by any thread, at any time; they wait for no
    block (the first stream that needs an engine waits for that to be made; `prepare` makes it before). `change` and
    `restart` wait for the block that is being made. `step` is called again and again, by one thread at a time (another
    waits), and takes as long as a block of all live streams, or of those that it is asked for: the others stay where
    they are. A stream is fed what it continues a block at a time too, in which the others go on.

    The codes of a stream are those that it makes alone, to the bit, whoever else is served. A fault of one stream, such
    as frames that cannot be read, ends that one; a fault of an engine ends those that it was making.

    `hop`: samples between the frames of streams that frames condition; blocks are multiples of it. `model`: what
    streams have to be of (`LoadedModel.new_stream`); None for whatever the engine can make.

    Raises: InputError for a blocksize below 1.

    >>> import wavegen
    >>> model = wavegen.load("music")
    >>> scheduler = model.scheduler(n_streams=2)
    >>> endless = scheduler.submit(model.new_stream(seed=1))
    >>> short = scheduler.submit(model.new_stream(seed=2, temperature=0.95), n_samples=300)
    >>> [[len(codes) for codes in scheduler.step().values()] for _ in range(3)]
    [[256, 256], [256, 44], [256]]
    >>> scheduler.cancel(endless)
    >>> [len(codes) for codes in scheduler.step().values()]
    [0]
    >>> endless.status, short.status, endless.n_made
    ('cancelled', 'done', 768)
    """

    def __init__(
        self,
        make_engine: Callable[[bool], Engine],
        *,
        hop: int = 1,
        blocksize: int = BLOCKSIZE,
        model: object | None = None,
    ) -> None:
        check_blocksize(blocksize)
        self._make_engine, self._model = make_engine, model
        self._blocksize = -(-blocksize // hop) * hop  # so that all streams are at a frame at once
        self._lanes: dict[bool, _Lane] = {}
        self._making = threading.Lock()  # of engines, which may take seconds, in which blocks go on
        self._stepping = threading.Lock()
        self._changed = threading.Condition()  # guards the lanes, the queues and the handles
        self._ended: list[Handle] = []  # that the next step has to tell of
        self._is_closed = False

    def prepare(self, is_guided: bool = False) -> None:
        """Make an engine before its first stream comes.

        Raises: whatever makes an engine does.
        """
        self._lane(is_guided)

    def submit(self, stream: Stream, n_samples: int | None = None) -> Handle:
        """Have a stream made, so many samples of it, or endlessly; it begins with the first block with a free slot.

        Raises: InputError for a stream that is being made already or of another model, a length that is no integer of
            at least 1, or a scheduler that is closed; whatever makes an engine does.
        """
        if n_samples is not None and not (isinstance(n_samples, int | np.integer) and n_samples >= 1):
            raise InputError(f"n_samples is {n_samples!r}; expected an integer of 1 or more, or None for no end")
        if self._model is not None and stream.model is not self._model:
            raise InputError("this stream is of another model; expected one of the scheduler's own")
        lane = self._lane(stream.needs_guided_engine)
        handle = Handle(stream, n_samples)
        with self._changed:
            if self._is_closed:
                raise InputError("this scheduler is closed; expected one that is open")
            is_waiting = any(one.stream is stream for one in lane.waiting)
            if stream.group is not None or stream.position or is_waiting:
                raise InputError("this stream is being made already; expected another one")
            lane.waiting.append(handle)
            self._changed.notify_all()
        return handle

    def cancel(self, handle: Handle) -> None:
        """End a stream: nothing more of it is given out, and its slot is free at the next block."""
        with self._changed:
            self._end(handle, "cancelled")
            for lane in self._lanes.values():
                if handle in lane.waiting:
                    lane.waiting.remove(handle)

    def close(self) -> None:
        """Cancel every stream, and take no more of them; who waits is woken."""
        with self._changed:
            self._is_closed = True
            for lane in self._lanes.values():
                for handle in [*lane.waiting, *(one for _, one in lane.live())]:
                    self._end(handle, "cancelled")
                lane.waiting.clear()
            self._changed.notify_all()

    def change(self, handle: Handle, **changes: Unpack[Changes]) -> None:
        """Change a stream from its next block on (`Stream.change`).

        Raises: InputError for what the model or the engine cannot do; nothing is changed then.
        """
        with self._stepping:
            handle.stream.change(**changes)

    def restart(self, handle: Handle, seed: int | None = None) -> None:
        """Have a stream begin anew with its next block, with another seed if one is given (`Stream.restart`).

        Raises: InputError for a seed outside [0, 2**64).
        """
        with self._stepping:
            handle.stream.restart(seed)

    def step(self, only: Container[Handle] | None = None) -> dict[Handle, Codes]:
        """Make one block of every live stream, or `only` of some: its codes (at most blocksize,), if there are any yet.

        A stream whose last codes these are is `done` when they are given out. One that was cancelled or has failed
        since the last call is among them once, with no codes.

        Raises: InputError if only some are to be made, by an engine that cannot have streams wait.
        """
        with self._stepping:
            with self._changed:
                lanes = list(self._lanes.values())
                for lane in lanes:
                    for handle, error in lane.fill_slots():
                        self._end(handle, "failed", error)
            blocks: dict[Handle, Codes] = {}
            for lane in lanes:
                blocks |= self._advance(lane, only)
            with self._changed:
                blocks |= dict.fromkeys(self._ended, NOTHING)
                self._ended.clear()
            return blocks

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until `step` has something to make or tell, so many seconds at most, or until it is closed; returns
        whether it has."""

        def has_work() -> bool:
            return self.n_waiting + self.n_live + len(self._ended) > 0

        with self._changed:
            self._changed.wait_for(lambda: has_work() or self._is_closed, timeout)
            return has_work()

    @property
    def n_live(self) -> int:
        """Streams that have a slot."""
        return sum(len(lane.live()) for lane in list(self._lanes.values()))

    @property
    def n_waiting(self) -> int:
        """Streams that wait for one."""
        return sum(len(lane.waiting) for lane in list(self._lanes.values()))

    def _lane(self, is_guided: bool) -> "_Lane":
        if (lane := self._lanes.get(is_guided)) is not None:
            return lane
        with self._making:
            if is_guided not in self._lanes:
                lane = _Lane(self._make_engine(is_guided))  # which may take seconds
                with self._changed:
                    self._lanes[is_guided] = lane
            return self._lanes[is_guided]

    def _advance(self, lane: "_Lane", only: Container[Handle] | None) -> dict[Handle, Codes]:
        running = lane.live()
        if only is not None:
            if not lane.can_wait:
                raise InputError("this engine moves all streams on at once; expected one that can have some wait")
            running = [(slot, handle) for slot, handle in running if handle in only]
        if not running:
            return {}
        n = int(min(self._blocksize, max(handle.n_left for _, handle in running)))
        inputs: list[Inputs | None] = [None] * len(lane.slots)
        n_to_feed = {}
        for slot, handle in running:
            n_to_feed[slot] = handle.stream.n_to_feed
            try:
                inputs[slot] = handle.stream.inputs(n)
            except Exception as error:  # of whatever kind, it is this stream's alone
                self._end(handle, "failed", error)
        if all(one is None for one in inputs):
            return {}
        try:
            made = lane.group.run(n, inputs)
        except Exception as error:  # which the handles tell
            for _, handle in running:
                self._end(handle, "failed", error)
            return {}
        blocks = {}
        with self._changed:
            for slot, handle in running:
                if handle.status != "live":
                    continue
                n_left = None if handle.n_samples is None else handle.n_samples - handle.n_made
                codes = made[slot, n_to_feed[slot] :][:n_left].copy()  # a view would keep every stream's
                handle.n_made += len(codes)
                if len(codes):
                    blocks[handle] = codes
                if handle.n_made == handle.n_samples:
                    handle.status = "done"
        return blocks

    def _end(self, handle: Handle, status: Status, error: Exception | None = None) -> None:
        """End a stream before its time; the next step tells of it."""
        with self._changed:
            if not handle.has_ended:
                handle.status, handle.error = status, error
                self._ended.append(handle)
                self._changed.notify_all()


class _Lane:
    """An engine, the streams in its slots, and those that wait for one."""

    def __init__(self, engine: Engine) -> None:
        self.slots: list[Handle | None] = [None] * engine.n_streams
        self.can_wait = engine.can_wait
        self.group = StreamGroup(engine, [None] * engine.n_streams)
        self.waiting: deque[Handle] = deque()

    def live(self) -> list[tuple[int, Handle]]:
        return [(slot, one) for slot, one in enumerate(self.slots) if one is not None and one.status == "live"]

    def fill_slots(self) -> list[tuple[Handle, Exception]]:
        """Free the slots of streams that have ended, and give free ones to those that wait; returns those that cannot
        have one, and why."""
        refused: list[tuple[Handle, Exception]] = []
        for slot, handle in enumerate(self.slots):
            if handle is not None and handle.has_ended:
                self.slots[slot] = None
                self.group.put(slot, None)
            while self.slots[slot] is None and self.waiting:
                following = self.waiting.popleft()
                try:
                    if following.stream.position:
                        raise InputError("this stream was made already; expected another one")
                    self.group.put(slot, following.stream)
                except InputError as error:  # since it was submitted it has begun elsewhere
                    refused.append((following, error))
                else:
                    self.slots[slot] = following
                    following.status = "live"
        return refused


def generate_blocks(
    engine: Engine, pieces: Iterable[tuple[Stream, int]], *, hop: int = 1, bar: Bar | None = None
) -> Iterator[tuple[int, Codes, bool]]:
    """Blocks of every piece, a stream and its length, as they are made: its number, codes (T,), and whether they are
    its last.

    The codes are those that the stream makes alone, whatever else is being made. A piece is asked for when a slot is
    free for it, which is between two blocks: a slot makes the rest of the block in which its sound ends for nothing.
    All are to be guided, on a guided engine, or none. `hop`: as in `Scheduler`.

    Raises: whatever making a stream does.
    """
    scheduler = Scheduler(lambda _: engine, hop=hop, blocksize=BLOCKSIZE)
    waiting = enumerate(pieces)
    numbers: dict[Handle, int] = {}
    n_made, n_complete = 0, 0
    while True:
        while len(numbers) < engine.n_streams and (following := next(waiting, None)) is not None:
            number, (stream, n_samples) = following
            numbers[scheduler.submit(stream, n_samples)] = number
        if not numbers:
            return
        for handle, codes in scheduler.step().items():
            if handle.error is not None:
                raise handle.error
            n_made, n_complete = n_made + len(codes), n_complete + handle.has_ended
            yield numbers[handle], codes, handle.has_ended
            if handle.has_ended:
                del numbers[handle]
        if bar is not None:
            bar.update(n_made, f"{n_complete} complete")


def generate_each(
    engine: Engine, pieces: Iterable[tuple[Stream, int]], *, hop: int = 1, bar: Bar | None = None
) -> Iterator[tuple[int, Codes]]:
    """The number and the codes (T,) of every piece, each as soon as it is complete; otherwise as `generate_blocks`."""
    made: dict[int, list[Codes]] = {}
    for number, codes, is_complete in generate_blocks(engine, pieces, hop=hop, bar=bar):
        made.setdefault(number, []).append(codes)
        if is_complete:
            yield number, np.concatenate(made.pop(number))
