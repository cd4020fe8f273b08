"""A model played like an instrument: what is asked of it takes effect with the next block, without a click."""

import math
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError
from wavegen.generation.session import Session, StreamMaker
from wavegen.generation.sound_input import SoundInput
from wavegen.generation.stream import Changes, Codes, Snapshot, Stream
from wavegen.sampling import DECODING, Decoding, probabilities

BLOCKSIZE = 256  # samples made at a time: 16 ms at 16 kHz, which is how soon a change is heard
TAKE_S = 600  # s of the newest sound that are kept
LOOP_S = 0.5  # s of sound that repeat while it is frozen
SILENCE = 1e-3  # of full scale: a sound that stays below it for as long as a loop has ended
MAX_GAIN = 4.0
SURPRISE_EVERY = 16  # one sample in so many is asked how much of a surprise it was


@dataclass(frozen=True)
class Controls:
    """What can be changed while it plays. `gain` is an amplitude; `take` counts beginnings, each with its `seed`."""

    decoding: Decoding
    seed: int
    gain: float = 1.0
    temperature_frames: float | None = None  # of the plan, where there is one
    labels: Mapping[str, str | None] = field(default_factory=dict)
    is_frozen: bool = False
    take: int = 0


@dataclass
class Meter:
    """What was just made."""

    times_real_time: float = 0.0
    # Bits per sample, under what it draws from (guidance included); None where the head lists no probabilities.
    surprise: float | None = None


class Performance:
    """Streams side by side as they are heard, and their controls, which any thread may change meanwhile.

    Whoever makes their codes goes on with `performance`. With no change it is the sound that `wavegen generate` makes
    of the same seed. A change of label, temperature, top-p or guidance bends the sound as the network goes on; gain, a
    new beginning and freezing are faded over one block. Where a sound has ended, as a word does, there is nothing to
    bend, and a change of label begins it anew, unless the streams are a copy of what comes in.
    """

    def __init__(self, maker: StreamMaker, streams: Sequence[Stream], blocksize: int, is_copy: bool = False) -> None:
        self.blocksize = blocksize
        self.controls = Controls(
            maker.decoding, maker.seed, temperature_frames=maker.temperature_frames, labels=maker.labels
        )
        self.heard = self.controls  # those of the newest block
        self._changing = threading.RLock()
        self._maker, self._members, self._is_copy = maker, streams, is_copy
        self._rate = maker.description.sample_rate
        self._recent = self._empty(LOOP_S)
        self._peaks: deque[float] = deque(maxlen=self._recent.maxlen)  # of those
        self._output = maker.output(streams)
        self._ready = np.zeros((len(streams), 0), dtype=np.float32)  # sound that is not in a block yet

    def change(self, **changes: Any) -> None:
        """Set fields of `controls`, or `temperature`, `top_k`, `top_p` and `guidance` of its decoding.

        Raises: InputError for what the model cannot do; nothing is changed then.
        """
        with self._changing:
            self.controls = replace(self.controls, **self._checked(changes))

    def _checked(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Fields of `controls` as `change` takes them, each known to be possible."""
        names = (*DECODING, "labels", "seed", "temperature_frames")
        of_streams = {name: changes.pop(name) for name in names if name in changes}
        if of_streams:
            asked: Any = {"decoding": self.controls.decoding, "seed": self.controls.seed, **of_streams}
            changed, *_ = [stream.changed(asked) for stream in self._members]
            kept: dict[str, Any] = {
                key: of_streams[key] for key in ("labels", "temperature_frames") if key in of_streams
            }
            changes |= {"decoding": changed.decoding, "seed": changed.seed, **kept}
        if "gain" in changes:
            if not math.isfinite(changes["gain"]):
                raise InputError(f"gain is {changes['gain']}; expected a number from 0 to {MAX_GAIN:g}")
            changes["gain"] = min(max(changes["gain"], 0.0), MAX_GAIN)
        return changes

    def restart(self, seed: int) -> None:
        """Begin anew with another seed; the take begins anew as well."""
        with self._changing:
            self.change(seed=seed, take=self.controls.take + 1, is_frozen=False)

    def performance(self) -> Generator[NDArray[np.float32] | None, NDArray[Any] | None, None]:
        """What is heard, from the beginning on: blocks (T, streams), endless; where it gives None, the next codes
        (streams, n) of its streams are to be sent."""
        now = self.controls
        self._begin(now.seed)
        loop: _Loop | None = None
        while True:
            coming = self.controls
            if coming.labels != now.labels:
                self._change(labels=coming.labels)
                self._relabelled()
                if not self._is_copy and self.has_ended:
                    self._begin(coming.seed)
            if coming.take != now.take:
                before = (yield from self._make(now)) if loop is None else loop.read()
                loop = None
                self._restarted()
                self._begin(coming.seed)
                block = _cross(before, (yield from self._make(coming)))
            elif coming.is_frozen and loop is None and self._recent:
                loop = _Loop(np.concatenate(self._recent), self.blocksize)
                block = _cross((yield from self._make(coming)), loop.read())
            elif loop is not None and not coming.is_frozen:
                block = _cross(loop.read(), (yield from self._make(coming)))
                loop = None
            else:
                block = (yield from self._make(coming)) if loop is None else loop.read()
            self._recent.append(block)
            self._peaks.append(float(np.abs(block).max()))
            if now.gain == coming.gain:
                block = block * np.float32(coming.gain)
            else:
                block = block * np.linspace(now.gain, coming.gain, len(block), dtype=np.float32)[:, None]
            now = self.heard = coming
            yield block

    def _empty(self, seconds: float) -> deque[NDArray[np.float32]]:
        """Room for the newest blocks of some seconds."""
        return deque(maxlen=max(1, round(seconds * self._rate / self.blocksize)))

    @property
    def has_ended(self) -> bool:
        """Whether the newest `LOOP_S` are silent."""
        return len(self._peaks) == self._peaks.maxlen and max(self._peaks) < SILENCE

    def _change(self, **changes: Unpack[Changes]) -> None:
        """Change every stream, which each of them can."""
        for stream in self._members:
            stream.change(**changes)

    def _begin(self, seed: int) -> None:
        """Put every stream where it begins."""
        for stream in self._members:
            stream.restart(seed)
        self._output = self._maker.output(self._members)
        self._ready = self._ready[:, :0]

    def _relabelled(self) -> None:
        """What is done where the labels were changed."""

    def _restarted(self) -> None:
        """What is done where a take begins."""

    def _make(self, controls: Controls) -> Generator[None, NDArray[Any], NDArray[np.float32]]:
        """The next block (blocksize, streams), of codes that are asked for."""
        changes: Changes = {"decoding": controls.decoding, "seed": controls.seed}
        if controls.temperature_frames is not None:
            changes["temperature_frames"] = controls.temperature_frames
        self._change(**changes)
        while self._ready.shape[1] < self.blocksize:  # what is matched to frames comes later, and a hop at a time
            self._ready = np.concatenate([self._ready, self._output.feed((yield))], axis=1)
        block, self._ready = self._ready[:, : self.blocksize].T, self._ready[:, self.blocksize :]
        return block


class Live(Performance):
    """Endless sound from a session, and its controls, which any thread may change while another asks for blocks.

    With a `sound` that comes in, of a session whose frames follow, it is the copy of that, and endless if that is.
    """

    def __init__(self, session: Session, sound: SoundInput | None = None) -> None:
        self._streams = session.streams(sound)
        members = [stream for stream in self._streams.streams if stream is not None]
        super().__init__(session, members, BLOCKSIZE if sound is None else session.input_blocksize, sound is not None)
        self.session, self.sound = session, sound
        self.meter = Meter()
        self._taken = self._empty(TAKE_S)
        self._primed: Snapshot | None = None

    def take(self) -> NDArray[np.float32]:
        """The sound since the last `restart`, (T, streams), of which the newest `TAKE_S` are kept."""
        blocks = self._taken.copy()  # in one go, for the engine's thread adds to it
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self._streams.streams)), dtype=np.float32)

    def newest(self, n: int) -> NDArray[np.float32]:
        """The newest n samples of the first stream as they are heard, or as many of the last `LOOP_S` as there are."""
        blocks = self._recent.copy()
        return np.concatenate(blocks)[-n:, 0] * self.controls.gain if blocks else np.zeros(0, dtype=np.float32)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Waveforms (T, streams), endless, or as long as the sound that comes in."""
        sound = self._blocks()
        return sound if self.sound is None else _as_long_as(self.sound, sound)

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        performance = self.performance()
        while True:
            began, waited_s, n_made = time.perf_counter(), self._waited_s, 0
            block = next(performance)
            while block is None:
                block = performance.send(self._codes())
                n_made += self.blocksize
            if n_made:
                factor = n_made / self._rate / (time.perf_counter() - began - (self._waited_s - waited_s))
                self.meter.times_real_time += (factor - self.meter.times_real_time) * (
                    0.05 if self.meter.times_real_time else 1
                )
            self._taken.append(block)
            yield block

    def _begin(self, seed: int) -> None:
        """Put every stream where it begins: after what it is to continue, if there is such a recording."""
        super()._begin(seed)
        if self._primed is not None:
            self._streams.restore(self._primed)
        elif self.session.prime is not None:
            self._streams.prime()
            self._primed = self._streams.snapshot()

    def _relabelled(self) -> None:
        self._primed = None  # which was fed under the labels before

    def _restarted(self) -> None:
        self._taken = self._empty(TAKE_S)

    @property
    def _waited_s(self) -> float:
        """How long it has waited for the sound that comes in."""
        return 0.0 if self.sound is None else self.sound.waited_s

    def _codes(self) -> Codes:
        """The next codes (streams, blocksize)."""
        description = self.session.description
        logits = None
        if description.head.lists_probabilities:
            n_streams = len(self._streams.streams)
            logits = np.empty((n_streams, self.blocksize, description.n_classes), dtype=np.float32)
        codes = self._streams.advance(self.blocksize, logits=logits)
        if logits is not None:
            asked = (slice(0, 1), slice(None, None, SURPRISE_EVERY))
            p = np.take_along_axis(probabilities(logits[asked], Decoding()), codes[asked][..., None], axis=-1)
            self.meter.surprise = float(np.log2(1 / np.maximum(p, 1e-30)).mean())
        return codes


class _Loop:
    """A stretch of sound (T, streams) that repeats without a seam: its end fades into what led to its beginning."""

    def __init__(self, sound: NDArray[np.float32], blocksize: int) -> None:
        n_fade = min(blocksize, len(sound) // 2)
        self._sound = sound[n_fade:].copy()
        self._sound[-n_fade:] = _cross(self._sound[-n_fade:], sound[:n_fade])
        self._position, self._steps = 0, np.arange(blocksize)

    def read(self) -> NDArray[np.float32]:
        positions = (self._position + self._steps) % len(self._sound)
        self._position = int(positions[-1]) + 1
        return self._sound[positions]


def _cross(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fade from one sound to another, whose powers add up: they have nothing to do with each other."""
    angle = np.linspace(0, np.pi / 2, len(before), dtype=np.float32)[:, None]
    return before * np.cos(angle) + after * np.sin(angle)


def _as_long_as(sound: SoundInput, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Blocks (T, streams) until there are as many samples as came in, which is known before the last ones are made."""
    n_made = 0
    for block in blocks:
        n_left = len(block) if sound.length is None else sound.length - n_made
        if n_left <= 0:
            return
        yield block[:n_left]
        n_made += len(block)
