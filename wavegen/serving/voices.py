"""Live streams: what is heard of each, made a little ahead of whoever listens, and those of a core together."""

import logging
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError
from wavegen.generation.live import Performance
from wavegen.generation.scheduler import Handle, Scheduler
from wavegen.generation.session import StreamMaker
from wavegen.generation.sound_input import FedInput
from wavegen.generation.stream import BLOCKSIZE, Codes
from wavegen.player.native import Program, make_each
from wavegen.serving.capacity import Cost, PlayerCost
from wavegen.serving.counts import Counts
from wavegen.serving.models import ServedModel
from wavegen.serving.outlet import Outlet
from wavegen.serving.player_performance import PlayerPerformance
from wavegen.serving.problems import DroppedError

logger = logging.getLogger(__name__)

Samples = NDArray[np.float32]
PATIENCE_S = 20.0  # how long nobody may read from a stream that is being made
MOST_WAIT_S = 1.0  # for the first block, while others have little ahead
TOGETHER, MOST_TOGETHER_S = 0.25, 0.25  # of what is ahead of a listener, and s: what is sent at a time
MOST_BLOCKS = 16  # that are made before it is looked who is due
TICK_S = 0.25  # how often it is looked for those


class Voice:
    """A live stream: what is heard of it, made `ahead_s` ahead of who listens.

    They are taken to have begun with the first block and to listen at the model's rate, until they say how much was
    played (`n_played`); who has much ahead is sent several blocks together (`n_at_a_time`). `begins_again`: with the
    next seed, where the sound has ended. A copy of a `sound` that comes in ends with it. A `program` makes it by
    itself; without one it is a stream of its core's engine.
    """

    def __init__(
        self,
        model: ServedModel,
        maker: StreamMaker,
        outlet: Outlet,
        *,
        ahead_s: float,
        sound: FedInput | None = None,
        program: Program | None = None,
    ) -> None:
        self.model, self.outlet, self.sound = model, outlet, sound
        self.stream = maker.stream() if sound is None else maker.copy(sound)
        self.is_guided = maker.decoding.is_guided
        if program is None:
            blocksize = -(-BLOCKSIZE // model.hop) * model.hop
            self.performance = Performance(maker, [self.stream], blocksize, is_copy=sound is not None)
        else:
            self.performance = PlayerPerformance(maker, self.stream, program)
        self.begins_again = False
        self.n_played: int | None = None
        self.n_made = self.n_late = 0
        self.n_kept = 0  # blocks that are not sent yet
        self.needs_more = self.has_ended = False
        self._was_held = False  # by who reads or sends, since the last block
        self._was_silent = False
        self._beginning: tuple[int, int] | None = None  # take and seed
        self.made_at = time.monotonic()  # when the newest block was made
        self._began_at = 0.0
        self._blocks = self.performance.performance()
        self._n_needed_ahead = maker.input_delays()[0] if sound is not None else 0
        self._n_codes = 0
        self._rate = model.sample_rate
        self.block_s = self.performance.blocksize / self._rate
        self.ahead_s = ahead_s
        self.player = self.performance.player if isinstance(self.performance, PlayerPerformance) else None

    @property
    def n_places(self) -> int:
        """Streams of an engine that it takes."""
        return 2 if self.stream.needs_guided_engine else 1

    @property
    def ahead_s(self) -> float:
        return self._ahead_s

    @ahead_s.setter
    def ahead_s(self, seconds: float) -> None:
        self._ahead_s = seconds
        self.n_at_a_time = max(1, round(min(TOGETHER * seconds, MOST_TOGETHER_S) / self.block_s))
        self.due_below_s = max(seconds - self.n_at_a_time * self.block_s, seconds / 2)

    def lead_s(self, now: float) -> float:
        """How much is made that nobody can have heard yet."""
        if not self.n_made:
            return 0.0
        played_s = now - self._began_at if self.n_played is None else self.n_played / self._rate
        return self.n_made / self._rate - played_s

    def has_room(self, now: float) -> bool:
        """Whether a block of it may be made."""
        if self.has_ended or self.lead_s(now) >= self.ahead_s:
            return False
        has_room = not self.outlet.is_full and (self.sound is None or self._has_input(self.sound))
        self._was_held |= not has_room
        return has_room

    def is_due(self, now: float) -> bool:
        """Whether one is to be made now. Who follows the clock waits until there is room for all that are sent
        together; who says what was played is to have all that is to be ahead."""
        is_waiting = self.n_played is None and not self.n_kept
        return self.lead_s(now) < (self.due_below_s if is_waiting else self._ahead_s) and self.has_room(now)

    def go_on(self, now: float, made: Codes | Samples | None = None) -> None:
        """Give out what can be heard of its next codes, or of what its player made, until it needs more."""
        if made is not None:
            self._n_codes += len(made)
        block = next(self._blocks) if made is None else self._blocks.send(made[None])
        while block is not None:
            self._give(now, block[:, 0])
            if not self.has_room(now):
                self.needs_more = False
                return
            block = next(self._blocks)
        self.needs_more = True

    def end(self, error: Exception | None) -> None:
        """Give out nothing more."""
        if not self.has_ended:
            self.has_ended = True
            self.outlet.end(error)

    def _tell_of_beginnings(self) -> None:
        """Tell whether the sound of the block has just begun, or has ended; where it has it may begin again."""
        performance = self.performance
        beginning = (performance.heard.take, performance.heard.seed)
        if beginning != self._beginning:
            self._beginning = beginning
            self.outlet.tell({"type": "began", "take": beginning[0], "seed": beginning[1]})
        has_ended = performance.has_ended
        if has_ended and not self._was_silent:
            self.outlet.tell({"type": "silent"})
            if self.begins_again and not performance.controls.is_frozen:
                performance.restart((performance.controls.seed + 1) % 2**64)
        self._was_silent = has_ended

    def _has_input(self, sound: FedInput) -> bool:
        return sound.length is not None or sound.n_fed >= self._n_codes + self._n_needed_ahead + self.model.hop

    def _give(self, now: float, block: NDArray[np.float32]) -> None:
        if not self.n_made:
            self._began_at = now
        elif self.lead_s(now) <= 0:
            self.n_late += not self._was_held
            if self.n_played is None:
                self._began_at = now - self.n_made / self._rate
        self._was_held = False
        if self.sound is not None and self.sound.length is not None:
            block = block[: self.sound.length - self.n_made]
        self.n_made += len(block)
        self.made_at = now
        self._tell_of_beginnings()
        self.outlet.put(block)
        self.n_kept += 1
        lead_s = self.lead_s(now)
        is_all = self.n_kept >= self.n_at_a_time or lead_s >= self.ahead_s or self.outlet.is_full
        if is_all or lead_s < self.ahead_s / 2 or self.sound is not None:
            self.n_kept = 0
            self.outlet.flush()
        if self.sound is not None and self.n_made == self.sound.length:
            self.end(None)


class LiveLane:
    """The live streams of a model on a core."""

    def __init__(self, model: ServedModel, scheduler: Scheduler, cost: Cost, player_cost: PlayerCost | None) -> None:
        self.model, self._scheduler, self._cost, self._player_cost = model, scheduler, cost, player_cost
        self.counts = Counts()
        self._voices: dict[Voice, Handle | None] = {}  # the handle of what an engine makes
        self._has_left = False

    def load(self, more: Voice | None = None) -> float:
        """Seconds of work in a second of its streams, and of one more."""
        voices = [*self.voices(), *([] if more is None else [more])]
        side_by_side = [one.n_places for one in voices if one.player is None]
        load = sum(self._cost.of(n * side_by_side.count(n)) for n in (1, 2))
        if self._player_cost is not None:
            load += sum(self._player_cost.of(one.is_guided) for one in voices if one.player is not None)
        return load

    def room(self, seconds: float) -> int:
        """How many streams, as the model makes them unasked, so many seconds of work are enough for."""
        return self._cost.most(seconds) if self._player_cost is None else int(seconds / self.seconds_of_one())

    def seconds_of_one(self) -> float:
        """Seconds of work in a second of one stream, as the model makes it unasked."""
        if self._player_cost is None:
            return self._cost.of(1)
        return self._player_cost.of(self.model.maker(labels_follow=True).decoding.is_guided)

    def voices(self) -> list[Voice]:
        return list(self._voices)

    def add(self, voice: Voice) -> None:
        self._voices[voice] = self._scheduler.submit(voice.stream) if voice.player is None else None

    def remove(self, voice: Voice) -> None:
        """Free the place of a stream, at the next block."""
        handle = self._voices.pop(voice, None)
        if handle is not None:
            self._scheduler.cancel(handle)
            self._has_left = True

    def lead_s(self, now: float) -> float | None:
        """The least that one of its streams has ahead that are due; those that begin can wait. None if none is due."""
        leads = (
            voice.lead_s(now) if voice.n_made else voice.ahead_s / 2 for voice in self.voices() if voice.is_due(now)
        )
        return min(leads, default=None)

    def next_due_s(self, now: float) -> float:
        """How long it is until one is due, at most `TICK_S`; for one that waits for its client there will be a wake."""
        waits = [voice.lead_s(now) - voice.due_below_s for voice in self.voices()]
        return max(0.001, min([TICK_S, *(wait for wait in waits if wait > 0)]))

    def step(self, now: float) -> None:
        """Make a block of every stream that an engine makes and that has room, and of those that are played and most
        due all that are sent together."""
        chosen = self._next_voices(now)
        before = sum(voice.n_late for voice in chosen)
        played = sorted((voice for voice in chosen if voice.player is not None), key=lambda voice: voice.lead_s(now))
        self._run_engine([voice for voice in chosen if voice.player is None], now)
        if played:
            played = played[: max(1, MOST_BLOCKS // played[0].n_at_a_time)]
        while played:
            played = self._asking(played, now)
            self._play(played)
            played = [voice for voice in played if voice.n_kept]
        self.counts.n_late += sum(voice.n_late for voice in chosen) - before

    def _asking(self, voices: Sequence[Voice], now: float) -> list[Voice]:
        """Those that need something made for their next block, once what needs nothing is given out."""
        for voice in voices:
            if not voice.needs_more:
                self._guarded(voice, now, None)
        return [voice for voice in voices if voice.needs_more and voice.has_room(now)]

    def _run_engine(self, voices: Sequence[Voice], now: float) -> None:
        """Have the engine go on with streams that need it, and let go of those that have left."""
        by_engine = {handle: voice for voice in self._asking(voices, now) if (handle := self._voices.get(voice))}
        if not (by_engine or self._has_left):
            return
        self._has_left = False
        for handle, codes in self._scheduler.step(set(by_engine)).items():
            if handle not in by_engine:
                continue
            if handle.has_ended:
                self._end(by_engine[handle], handle.error)
                continue
            self._go_on(by_engine[handle], codes)

    def _next_voices(self, now: float) -> list[Voice]:
        """Streams that a block is made of. They begin one after the other, and for a while none as long as another
        has little ahead: of many who come at once each waits a little longer for its first block, and none has a block
        that is late."""
        with_room = [one for one in self.voices() if (one.has_room if one.player is None else one.is_due)(now)]
        begun = [voice for voice in with_room if voice.n_made]
        by_clock = [voice for voice in begun if voice.n_played is None and voice.sound is None]
        is_one_short = any(voice.lead_s(now) < voice.ahead_s / 2 for voice in by_clock)
        waiting = [voice for voice in with_room if not voice.n_made]
        can_wait = bool(waiting) and is_one_short and now - waiting[0].made_at < MOST_WAIT_S
        return begun if can_wait else [*begun, *waiting[:1]]

    def _play(self, voices: Sequence[Voice]) -> None:
        """Have players make a block each."""
        players = [voice.player for voice in voices if voice.player is not None]
        for voice, block in zip(voices, make_each(players, BLOCKSIZE), strict=True):
            self._go_on(voice, block)

    def _go_on(self, voice: Voice, made: Codes | Samples) -> None:
        self._guarded(voice, time.monotonic(), made)
        self.counts.n_blocks += 1
        self.counts.n_samples += len(made)

    def fail(self, error: Exception) -> None:
        """End every stream, for a fault that is of none of them."""
        for voice in self.voices():
            self._end(voice, error)

    def drop_unread(self, now: float) -> None:
        """End streams that nobody has read from for too long."""
        for voice in self.voices():
            is_held = voice.outlet.is_full or voice.sound is not None or voice.n_played is not None
            if is_held and now - voice.made_at > PATIENCE_S:
                what = "sent" if voice.sound is not None and not voice.outlet.is_full else "read"
                self._end(
                    voice, DroppedError(f"nothing was {what} for {PATIENCE_S:g} s; expected a client that goes on")
                )

    def _guarded(self, voice: Voice, now: float, made: Codes | Samples | None) -> None:
        try:
            voice.go_on(now, made)
        except Exception as error:  # of whatever kind, it is this stream's alone
            self._end(voice, error)
        if voice.has_ended:
            self.remove(voice)

    def _end(self, voice: Voice, error: Exception | None) -> None:
        if error is not None and not isinstance(error, InputError):
            logger.error("a live stream of %s failed", self.model.name, exc_info=error)
        voice.end(error)
        self.remove(voice)
