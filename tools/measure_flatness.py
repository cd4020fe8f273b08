"""Measure whether a step of the CPU engine costs the same whatever the dilations, and whether its memory grows.

    python -m tools.measure_flatness --samples 10000000

Full size, random weights, int8x8: the quickest tenth of many short rounds for dilations up to 1, 4, 16 and 512, in
turn. Then one stream makes all the samples, and the process's memory is printed along the way.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from wavegen import recipes
from wavegen.engines.cpu.engine import NumbaEngine
from wavegen.engines.weights import stack_weights
from wavegen.models.build import with_random_weights
from wavegen.recipe import load
from wavegen.sampling import Decoding, uniforms

ROUNDS, STEPS = 200, 64
CHUNK = 100_000  # samples between two looks at the memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--precision", default="int8x8")
    arguments = parser.parse_args()
    times: dict[int, list[float]] = {layers: [] for layers in (1, 3, 5, 10)}
    engines = {layers: full_size(layers, arguments.precision) for layers in times}
    draws = uniforms(0, 0, 0, STEPS)[None]
    for _ in range(ROUNDS):
        for layers, engine in engines.items():
            engine.advance(draws, Decoding())  # its weights into the cache
            began = time.perf_counter()
            engine.advance(draws, Decoding())
            times[layers].append((time.perf_counter() - began) / STEPS)
    for layers, seconds in times.items():
        print(f"dilations up to {2 ** (layers - 1)}: {1e6 * np.quantile(seconds, 0.1):.1f} µs a sample")
    engine, made = engines[10], 0
    while made < arguments.samples:
        engine.advance(uniforms(0, 0, made, CHUNK)[None], Decoding())
        made += CHUNK
        if made % (arguments.samples // 10) < CHUNK:
            print(f"{made:,} samples: {resident_mb():.1f} MB")


def full_size(layers_per_block: int, precision: str) -> NumbaEngine:
    """Thirty layers, whose dilations double that often before they begin anew."""
    settings = [f"model.layers_per_block={layers_per_block}", f"model.n_blocks={30 // layers_per_block}"]
    chosen = load(recipes.find("librispeech"), settings)
    model = with_random_weights(chosen.architecture({}), chosen.data.sample_rate)
    return NumbaEngine(stack_weights(model), 1, precision, n_threads=1)


def resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
