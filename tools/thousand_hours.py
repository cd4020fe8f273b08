"""Prepare a thousand hours and train on them, watching how much memory that takes.

    python -m tools.thousand_hours [--hours 1000] [--folder FOLDER]

The corpus is 100,000 names of a few recordings at 1 kHz (hard links, so that it takes no space); what is prepared from
it, 7 GB, is real. Prints the resident size of both commands over time: memory of their own, and pages of the mapped
store, which the system takes back when it needs them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 1000  # Hz
SECONDS = 36  # of each recording
PER_FOLDER = 1000
RECIPE = """
data: {corpus: folder, source: "SOURCE", sample_rate: 1000}
model: {kind: wavenet, n_blocks: 1, layers_per_block: 6, residual_channels: 16, gate_channels: 16, skip_channels: 16,
        head_channels: 16}
training: {steps: 3000, batch_size: 4, window: 2000, learning_rate: 5.0e-3, validate_every: 1000, sample_seconds: 0.1}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1000)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        n = round(arguments.hours * 3600 / SECONDS)
        write_corpus(folder / "corpus", n)
        (folder / "recipe.yaml").write_text(RECIPE.replace("SOURCE", str(folder / "corpus")))
        print(f"{n:,} recordings, {n * SECONDS / 3600:,.0f} hours", flush=True)
        watch(folder, "data", "prepare", "folder", "--from", folder / "corpus", "--sample-rate", RATE)
        watch(folder, "train", folder / "recipe.yaml", "--out", folder / "run")


def write_corpus(folder: Path, n: int) -> None:
    """Noise that swells and fades, each recording of it under many names."""
    original = None
    for number in range(n):
        path = folder / f"{number // PER_FOLDER:04d}" / f"{number % PER_FOLDER:04d}.flac"
        if number % (20 * PER_FOLDER) == 0:  # file systems allow some 65,000 links to a file
            path.parent.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(number)
            swell = np.abs(np.sin(np.arange(RATE * SECONDS) / 700))
            soundfile.write(path, 0.2 * swell * random.standard_normal(RATE * SECONDS).clip(-3, 3), RATE)
            original = path
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        assert original is not None
        path.hardlink_to(original)


def watch(folder: Path, *words: object) -> None:
    """Run a command of wavegen; print its memory as it goes."""
    command = [sys.executable, "-m", "wavegen.cli.main", *map(str, words)]
    print("wavegen", *words[:3], flush=True)
    print(f"{'s':>6} {'own MB':>8} {'mapped MB':>10}", flush=True)
    environment = {**os.environ, "WAVEGEN_DATA": str(folder / "stores")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    began, due, peak = time.monotonic(), 0.0, 0.0
    while process.poll() is None:
        own, mapped = resident_mb(process.pid)
        peak = max(peak, own + mapped)
        if time.monotonic() - began >= due:
            print(f"{time.monotonic() - began:6.0f} {own:8.0f} {mapped:10.0f}", flush=True)
            due = 1.5 * due + 1
        time.sleep(0.1)
    print(f"peak {peak:.0f} MB, {time.monotonic() - began:.0f} s, exit code {process.returncode}", flush=True)
    if process.returncode:
        sys.exit(1)


def resident_mb(process: int) -> tuple[float, float]:
    """Resident memory of a process: its own, and of mapped files."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    kilobytes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return int(kilobytes.get("RssAnon", 0)) / 1000, int(kilobytes.get("RssFile", 0)) / 1000


if __name__ == "__main__":
    main()
