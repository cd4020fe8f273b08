"""How fast this machine generates: every engine and precision, beside what somebody would use instead."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wavegen import checkpoint
from wavegen.bench import rivals
from wavegen.checkpoint import Checkpoint
from wavegen.engines import simd
from wavegen.engines.numba_cpu import PRECISIONS, NumbaEngine, missing_instructions
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.models.build import from_checkpoint
from wavegen.progress import Bar, say
from wavegen.sampling import Decoding, uniforms

ROUND_S = 0.005  # how long a contestant runs before it is the next one's turn: short, as a shared machine takes breaks
PRODUCTS = "products of "  # begins the name of what is timed only to be subtracted


class Speed(NamedTuple):
    """What one contestant needed, by the median of its rounds, on one core."""

    name: str
    n_streams: int
    samples_per_s: float  # of all streams
    times_real_time: float
    gmac_per_s: float
    us_per_sample: float
    us_beside_products: float | None  # of these, what is not products; None where they cannot be timed alone
    n_bytes: int | None  # weights and state


class Contestant(NamedTuple):
    """`run(n)` makes n steps."""

    name: str
    run: Callable[[int], object]
    n_bytes: int | None = None


def time_generation(model: Checkpoint, n_streams: Sequence[int], rounds: int, bar: Bar | None = None) -> list[Speed]:
    """Time a model, one core, for several numbers of streams; fastest first within each."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = []
        multiply_adds = checkpoint.measure(model).multiply_adds
        everyone = [(n, contestants(model, n)) for n in n_streams]
        for number, (n, each) in enumerate(everyone):
            seconds = interleave(each, rounds, number * rounds, bar)
            of_products = {name.removeprefix(PRODUCTS): s for name, s in seconds.items() if name.startswith(PRODUCTS)}
            for one in each:
                if one.name.startswith(PRODUCTS):
                    continue
                needed = seconds[one.name] / n
                products = of_products.get(one.name)
                speed = Speed(
                    name=one.name,
                    n_streams=n,
                    samples_per_s=1 / needed,
                    times_real_time=1 / needed / model.description.sample_rate,
                    gmac_per_s=multiply_adds / needed / 1e9,
                    us_per_sample=1e6 * needed,
                    us_beside_products=None if products is None else 1e6 * (needed - products / n),
                    n_bytes=one.n_bytes,
                )
                found.append(speed)
        return sorted(found, key=lambda speed: (speed.n_streams, speed.us_per_sample))
    finally:
        torch.set_num_threads(n_threads)


def contestants(model: Checkpoint, n_streams: int) -> list[Contestant]:
    """Everything that can run this model here."""
    weights = stack_weights(model)
    found = []
    for precision in PRECISIONS:
        if missing_instructions(precision):
            continue
        engine = NumbaEngine(weights, n_streams, precision, n_threads=1)
        name = f"numba, {precision}"
        found.append(Contestant(name, _advancing(engine.advance, n_streams), engine.n_bytes))
        found.append(Contestant(PRODUCTS + name, engine.run_products))
    reference = ReferenceEngine(from_checkpoint(model), n_streams)
    found.append(Contestant("reference", _advancing(reference.advance, n_streams)))
    for title, make in (("plain cached PyTorch step", rivals.CachedTorch), ("ONNX Runtime", rivals.Onnx)):
        try:
            found.append(Contestant(title, _drawing(make(weights, n_streams).advance, n_streams)))
        except InputError as error:
            say(f"left out: {error}")
    return found


def machine() -> str:
    """The CPU and what the kernel uses of it."""
    bits = 32 * simd.LANES
    byte_products = "multiplies bytes" if simd.can_multiply_bytes() else "does not multiply bytes"
    return f"{simd.CPU_NAME} as LLVM calls it, vectors of {bits} bits, {byte_products}"


def _advancing(advance: Callable[..., NDArray[np.int64]], n_streams: int) -> Callable[[int], object]:
    return lambda n: advance(_draws(n_streams, n), Decoding())


def _drawing(advance: Callable[..., NDArray[np.int64]], n_streams: int) -> Callable[[int], object]:
    return lambda n: advance(_draws(n_streams, n)[..., 0])


def _draws(n_streams: int, n: int) -> NDArray[np.float64]:
    return np.stack([uniforms(0, stream, 0, n) for stream in range(n_streams)])


def interleave(each: Sequence[Contestant], rounds: int, done: int, bar: Bar | None) -> dict[str, float]:
    """Seconds per step of everyone: medians over rounds in which each has its turn."""
    n_steps = {}
    for one in each:
        one.run(1)
        needed = min(_seconds(one.run, 1) for _ in range(5))
        n_steps[one.name] = max(1, round(ROUND_S / needed))
    seconds: dict[str, list[float]] = {one.name: [] for one in each}
    for number, one in itertools.product(range(rounds), each):
        n = n_steps[one.name]
        seconds[one.name].append(_seconds(one.run, n) / n)
        if bar is not None:
            bar.update(done + number + 1)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def _seconds(run: Callable[[int], object], n: int) -> float:
    began = time.perf_counter()
    run(n)
    return time.perf_counter() - began
