"""Time training in two processes of one thread beside one process of two threads, on the same batches, in turn.

    python -m tools.compare_processes librispeech-small --rounds 3

The corpus is a tone, so that nothing has to be prepared; sizes, windows and batches are those of the recipe.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wavegen.training import metrics

TONE = "data={corpus: sine, sample_rate: 16000, frequencies: [440], noise_db: -30, seconds: 20, n_recordings: 8}"
WAYS = {"1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=3, help="of the log, of ten steps each, behind a first one")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, as of wavegen train")
    options = parser.parse_args()
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way, (processes, threads) in WAYS.items():
            speeds[way].append(samples_per_s(options.recipe, options.set, processes, threads, options.lines))
            print(f"round {number + 1}, {way}: {speeds[way][-1]:,.0f} samples/s", flush=True)
    one, two = (statistics.median(speeds[way]) for way in WAYS)
    print(f"medians: {one:,.0f} and {two:,.0f} samples/s; two processes make {two / one:.2f} times as many steps")


def samples_per_s(recipe: str, settings: list[str], processes: int, threads: int, n_lines: int) -> float:
    """The median of some lines of a run's log, behind the first."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "wavegen", "train", recipe, "--out", folder, "--processes", str(processes)]
        for setting in (TONE, "training.steps=100000", "training.validate_every=100000", *settings):
            words += ["--set", setting]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL, env=environment)
        lines: list[dict[str, float]] = []
        while len(lines) <= n_lines and process.poll() is None:
            time.sleep(0.1)
            lines = metrics.read_metrics(Path(folder))
        if process.poll() is not None:
            sys.exit(f"the training ended with exit code {process.returncode}")
        process.send_signal(signal.SIGTERM)
        process.wait()
    return statistics.median(line["samples_per_s"] for line in lines[1:])


if __name__ == "__main__":
    main()
