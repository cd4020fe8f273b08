"""What the streams of a model cost this machine, measured: what live ones are admitted by."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from wavegen.generation.scheduler import Handle, Scheduler
from wavegen.generation.session import Output, StreamMaker
from wavegen.generation.sound_input import FedInput
from wavegen.generation.stream import BLOCKSIZE, Stream
from wavegen.player.native import Program
from wavegen.serving.models import ServedModel
from wavegen.serving.player_performance import PlayerPerformance

AT_ONCE = (1, 2, 4, 8)  # streams that are timed; beyond, each costs what the last ones did on average
TRIAL_S = 0.15  # how long each is timed, at least
N_BLOCKS = 12  # that are timed, at least: planners work for several blocks at a time
N_FIRST = 4  # blocks that are not, for they begin
COPIED_S = 30  # of noise that a vocoder is given, at most


class Cost(NamedTuple):
    """Seconds of work, on one core, in a second of so many streams side by side."""

    n_streams: Sequence[int]
    seconds: Sequence[float]

    def of(self, n: int) -> float:
        """That of n streams."""
        if n <= self.n_streams[-1]:
            return float(np.interp(n, [0, *self.n_streams], [0.0, *self.seconds]))
        return n * self.seconds[-1] / self.n_streams[-1]

    def most(self, seconds: float) -> int:
        """How many streams so many seconds of work are enough for."""
        n = 0
        while self.of(n + 1) <= seconds:
            n += 1
        return n


class PlayerCost(NamedTuple):
    """Seconds of work, on one core, in a second of a stream that is played by itself; and with guidance."""

    seconds: float
    guided_seconds: float

    def of(self, is_guided: bool) -> float:
        return self.guided_seconds if is_guided else self.seconds


def measure_player(model: ServedModel, program: Program) -> PlayerCost:
    """Time a stream of a model that is played by itself."""
    plain, *guided = [
        _seconds_played(model, program, guidance) for guidance in ((1.0, 2.0) if program.can_be_guided else (1.0,))
    ]
    return PlayerCost(plain, max([plain, *guided]))


def _seconds_played(model: ServedModel, program: Program, guidance: float) -> float:
    maker = model.maker({"seed": 0, "guidance": guidance}, labels_follow=True)
    performance = PlayerPerformance(maker, maker.stream(), program)
    blocks = performance.performance()

    def make_block() -> int:
        block = next(blocks)
        while block is None:
            block = blocks.send(performance.player.make(BLOCKSIZE)[None])
        return len(block)

    return _seconds_of_sample(make_block) * model.sample_rate


def _seconds_of_sample(make_blocks: Callable[[], int]) -> float:
    """How long a sample takes what makes some at a time and returns how many, once it has begun."""
    n_made, n_blocks, began = 0, -N_FIRST, time.perf_counter()
    while n_blocks < N_BLOCKS or time.perf_counter() - began < TRIAL_S:
        if n_blocks == 0:
            n_made, began = 0, time.perf_counter()
        n_made += make_blocks()
        n_blocks += 1
    return (time.perf_counter() - began) / n_made


def measure(model: ServedModel, scheduler: Scheduler) -> Cost:
    """Time streams of a model that makes sound, side by side on a scheduler with enough slots."""
    return Cost(AT_ONCE, [_seconds(model, scheduler, n) for n in AT_ONCE])


def _seconds(model: ServedModel, scheduler: Scheduler, n: int) -> float:
    outputs: dict[Handle, Output] = {}
    for number in range(n):
        maker, stream = trial_stream(model, number)
        outputs[scheduler.submit(stream)] = maker.output([stream])

    def make_blocks() -> int:
        codes_of = scheduler.step()
        for handle, codes in codes_of.items():
            outputs[handle].feed(codes[None])
        return sum(map(len, codes_of.values()))

    of_sample = _seconds_of_sample(make_blocks)
    for handle in outputs:
        scheduler.cancel(handle)
    scheduler.step()
    return of_sample * n * model.sample_rate


def trial_stream(model: ServedModel, number: int) -> tuple[StreamMaker, Stream]:
    """A stream of a model, as dear as they are; of a vocoder alone the copy of noise."""
    if model.speaks:
        maker = model.maker({"seed": 0})
        return maker, maker.stream(number)
    maker, sound = model.maker({"seed": 0}, frames_follow=True), FedInput()
    sound.feed(0.1 * np.random.default_rng(number).standard_normal(COPIED_S * model.sample_rate))
    return maker, maker.copy(sound)
