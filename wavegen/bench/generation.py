"""How fast this machine generates: every engine and precision, beside what somebody would use instead."""

import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from wavegen.bench import rivals
from wavegen.bench.subjects import frames_for
from wavegen.checkpoint import Checkpoint
from wavegen.devices import choose_device
from wavegen.engines.base import Engine, n_cores
from wavegen.engines.cpu import host
from wavegen.engines.cpu.engine import PRECISIONS, NumbaEngine, missing_instructions
from wavegen.engines.cpu.packing import Precision
from wavegen.engines.gpu.cuda_graph import CudaGraphEngine
from wavegen.engines.memory import check_memory
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.models.build import from_checkpoint
from wavegen.player import player_file
from wavegen.player.native import NativePlayer, Program, make_each
from wavegen.progress import Bar
from wavegen.sampling import Decoding, uniforms

logger = logging.getLogger(__name__)

# How long a contestant runs before it is the next one's turn: short, as a shared machine takes breaks; but long enough
# on a card that what a call costs, over all its steps, is little.
ROUND_S = {"cpu": 0.002, "cuda": 0.1}
STREAMS = {"cpu": (1, 8), "cuda": (1, 16, 256, 2048)}  # what is timed unless somebody says otherwise
ROUNDS = {"cpu": 100, "cuda": 10}
PLAYED_ROUNDS, PLAYED_ROUND_S = 6, 0.05  # s for each stream of whole sounds, whose frames are planned some at a time
K = TypeVar("K", bound=Hashable)
MOST_CONTESTANTS = 8  # engines of each number of streams that are in memory at once, on a CPU
QUICKEST = 0.1  # the share of the rounds whose slowest counts: what others take from a shared machine only ever adds


class Speed(NamedTuple):
    """What one contestant needed, by the quickest tenth of its rounds."""

    name: str
    n_streams: int
    samples_per_s: float  # of all streams
    times_real_time: float
    gmac_per_s: float
    us_per_sample: float
    us_at_least: float | None  # what bounds it: on a CPU its products alone, on a GPU reading the weights alone
    n_bytes: int | None  # weights and state


class Contestant(NamedTuple):
    """`run(n)` makes n steps; `bound(n)` does only what they cannot be faster than."""

    name: str
    run: Callable[[int], object]
    n_bytes: int | None = None
    bound: Callable[[int], object] | None = None


def time_generation(
    model: Checkpoint, n_streams: Sequence[int], rounds: int, bar: Bar | None = None, device: str = "cpu"
) -> list[Speed]:
    """Time a model, on one core or on a GPU, for several numbers of streams; fastest first within each.

    Raises: InputError for device "cuda" without a GPU, or more streams than there is memory for.
    """
    check_memory(model, sum(n_streams), MOST_CONTESTANTS if device == "cpu" else 1, device)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        speeds = []
        multiply_adds = model.description.architecture.multiply_adds
        contestants = cpu_contestants if device == "cpu" else gpu_contestants
        everyone = [(n, contestants(model, n)) for n in n_streams]
        for number, (n, each) in enumerate(everyone):
            timed = {(one.name, "whole"): one.run for one in each}
            timed |= {(one.name, "bound"): one.bound for one in each if one.bound is not None}
            seconds = interleave(timed, rounds, number * rounds, bar, ROUND_S[device])
            for one in each:
                needed = seconds[one.name, "whole"] / n
                at_least = seconds.get((one.name, "bound"))
                speed = Speed(
                    name=one.name,
                    n_streams=n,
                    samples_per_s=1 / needed,
                    times_real_time=1 / needed / model.description.code_rate,
                    gmac_per_s=multiply_adds / needed / 1e9,
                    us_per_sample=1e6 * needed,
                    us_at_least=None if at_least is None else 1e6 * at_least / n,
                    n_bytes=one.n_bytes,
                )
                speeds.append(speed)
        return sorted(speeds, key=lambda speed: (speed.n_streams, speed.us_per_sample))
    finally:
        torch.set_num_threads(n_threads)


def time_playing(model: Checkpoint, n_streams: Sequence[int], bar: Bar | None = None) -> list[Speed]:
    """Time whole sounds, with planner and matching, as players make them (`wavegen serve`, pages and libraries): so
    many streams on one core, and as many on each of all cores at once; fastest first within each number of streams, and
    none of a model that no player plays."""
    try:
        player_file.check_playable(model)
    except InputError:
        return []
    rate, speeds = model.description.code_rate, []
    multiply_adds = 0.0
    for one in (model, model.planner):
        if one is not None:
            passes = 2 if one.description.make_decoding().is_guided else 1
            own = one.description.architecture.multiply_adds
            multiply_adds += passes * own * one.description.code_rate / rate
    programs = {name: Program(model, name) for name in player_file.ASKED_FOR if not missing_instructions(name)}
    n_threads = n_cores()
    with ThreadPoolExecutor(n_threads) as threads:
        for number, n in enumerate(n_streams):
            runs: dict[tuple[Precision, int], Callable[[int], object]] = {}
            for name, program in programs.items():
                each = [[NativePlayer(program, seed) for seed in range(n)] for _ in range(n_threads)]
                runs[name, 1] = partial(make_each, each[0])
                if n_threads > 1:
                    runs[name, n_threads] = partial(_make_on_threads, threads, each)
            seconds = interleave(runs, PLAYED_ROUNDS, number * PLAYED_ROUNDS, bar, n * PLAYED_ROUND_S)
            for (name, n_at_work), of_step in seconds.items():
                n_all = n * n_at_work
                needed = of_step / n_all
                speed = Speed(
                    name=f"player, {name}" + (f", {n_at_work} cores" if n_at_work > 1 else ""),
                    n_streams=n_all,
                    samples_per_s=1 / needed,
                    times_real_time=1 / needed / rate,
                    gmac_per_s=multiply_adds / needed / 1e9,
                    us_per_sample=1e6 * needed,
                    us_at_least=None,
                    n_bytes=n_all * programs[name].n_room,
                )
                speeds.append(speed)
    return sorted(speeds, key=lambda speed: (speed.n_streams, speed.us_per_sample))


def _make_on_threads(threads: ThreadPoolExecutor, each: Sequence[Sequence[NativePlayer]], n: int) -> None:
    """Have every thread make the next n samples of its players."""
    for making in [threads.submit(make_each, players, n) for players in each]:
        making.result()


def cpu_contestants(model: Checkpoint, n_streams: int) -> list[Contestant]:
    """Everything that can run this model on a core."""
    weights = stack_weights(model)
    contestants = []
    for precision in PRECISIONS:
        if missing_instructions(precision):
            continue
        engine = NumbaEngine(weights, n_streams, precision, n_threads=1)
        run = _advancing(engine, model)
        contestants.append(Contestant(f"numba, {precision}", run, engine.n_bytes, engine.run_products))
    reference = ReferenceEngine(from_checkpoint(model), n_streams)
    contestants.append(Contestant("reference", _advancing(reference, model)))
    for title, make in (("cached PyTorch", rivals.CachedTorch), ("ONNX Runtime", rivals.Onnx)):
        try:
            contestants.append(Contestant(title, _drawing(make(weights, n_streams).advance, n_streams)))
        except InputError as error:
            logger.warning(f"left out: {error}")
    return contestants


def gpu_contestants(model: Checkpoint, n_streams: int) -> list[Contestant]:
    """Everything that can run this model on a GPU.

    Raises: InputError without one.
    """
    device = choose_device("cuda")
    network = from_checkpoint(model).to(device)
    return [
        *_triton_contestants(model, n_streams),
        Contestant("cuda-graph", _advancing(CudaGraphEngine(network, n_streams), model)),
        Contestant("reference", _advancing(ReferenceEngine(network, n_streams), model)),
    ]


def _triton_contestants(model: Checkpoint, n_streams: int) -> list[Contestant]:
    try:
        from wavegen.engines.gpu import triton_gpu
    except ImportError as error:
        logger.warning(f"left out: the engine triton needs Triton ({error})")
        return []
    contestants = []
    for precision in triton_gpu.PRECISIONS:
        try:
            engine = triton_gpu.TritonEngine(stack_weights(model), n_streams, precision)
        except InputError as error:
            logger.warning(f"left out in {precision}: {error}")
            continue
        run = _advancing(engine, model)
        contestants.append(Contestant(f"triton, {precision}", run, engine.n_bytes, engine.read_weights))
    return contestants


def machine(device: str = "cpu") -> str:
    """The CPU and what the kernel uses of it, or the GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    bits = 32 * host.LANES
    byte_products = "multiplies bytes" if host.can_multiply_bytes() else "does not multiply bytes"
    return f"{host.CPU_NAME} as LLVM calls it, vectors of {bits} bits, {byte_products}"


def _advancing(engine: Engine, model: Checkpoint) -> Callable[[int], object]:
    """Makes steps of an engine, of a vocoder with the frames of as many."""
    architecture, n_streams = model.description.architecture, engine.n_streams
    frames = cache(lambda n: frames_for(architecture, n_streams, n))
    return lambda n: engine.advance(_draws(n_streams, n), Decoding(), condition=frames(n))


def _drawing(advance: Callable[..., NDArray[np.int64]], n_streams: int) -> Callable[[int], object]:
    return lambda n: advance(_draws(n_streams, n))


def _draws(n_streams: int, n: int) -> NDArray[np.float64]:
    return np.stack([uniforms(0, stream, 0, n) for stream in range(n_streams)])


def interleave(
    each: Mapping[K, Callable[[int], object]], rounds: int, done: int, bar: Bar | None, round_s: float = ROUND_S["cpu"]
) -> dict[K, float]:
    """Seconds per step of everyone, by the quickest tenth of the rounds in which each has its turn."""
    return interleave_seconds({name: seconds_of(run) for name, run in each.items()}, rounds, done, bar, round_s)


def interleave_seconds(
    each: Mapping[K, Callable[[int], float]], rounds: int, done: int, bar: Bar | None, round_s: float
) -> dict[K, float]:
    """The same of those who return the seconds that their steps took."""
    n_steps = {name: _steps_in(run, round_s) for name, run in each.items()}
    seconds: dict[K, list[float]] = {name: [] for name in each}
    for number in range(rounds):
        for name, run in each.items():
            run(n_steps[name])  # brings back what the others drove from the caches
            seconds[name].append(run(n_steps[name]) / n_steps[name])
        if bar is not None:
            bar.update(done + number + 1)
    return {name: float(np.quantile(times, QUICKEST)) for name, times in seconds.items()}


def _steps_in(run: Callable[[int], float], round_s: float) -> int:
    """The number of steps that one call makes in a round; found with many, as a call has costs of its own."""
    n = 1
    run(n)
    while (needed := min(run(n) for _ in range(3))) < round_s / 2:
        n *= 2
    return max(1, round(n * round_s / needed))


def seconds_of(run: Callable[[int], object]) -> Callable[[int], float]:
    """The same, which returns the seconds that it took."""

    def timed(n: int) -> float:
        began = time.perf_counter()
        run(n)
        return time.perf_counter() - began

    return timed
