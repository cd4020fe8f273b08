"""Train once in peace and once under kill -9 at random moments; the weights must come out byte for byte the same.

    python -m tools.kill_and_resume --steps 300 --kills 10
    python -m tools.kill_and_resume --steps 400 --kills 10 --processes 2

Of several processes one is killed, and the others must end by themselves within 10 s. After every kill the run folder
must load. Exits with 0 if all holds.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wavegen import checkpoint
from wavegen.training.metrics import read_metrics

OTHERS_S = 10.0  # in which the processes that were not killed must end
RECIPE = """
data: {corpus: sine, sample_rate: 8000, frequencies: [400], noise_db: -30, seconds: 0.5, n_recordings: 6}
model: {kind: wavenet, n_blocks: 1, layers_per_block: 6, residual_channels: 16, gate_channels: 16, skip_channels: 32,
  head_channels: 32}
training: {steps: STEPS, batch_size: 2, window: 1000, learning_rate: 1.0e-2, validate_every: 5,
  validation_seconds: 0.2, sample_seconds: 0.01}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    moments = random.Random(seed)
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("STEPS", str(options.steps)))

    n_processes = options.processes
    in_peace = start(recipe, folder / "peace", n_processes)
    wait_until_open(in_peace, folder / "peace")
    began = time.monotonic()
    failed = in_peace.wait()
    loop_s = time.monotonic() - began
    n_kills, steps, slowest_s = 0, [], 0.0
    while not failed and n_kills < options.kills and steps[-1:] != [options.steps]:
        process = start(recipe, folder / "killed", n_processes)
        # Start-up takes most of a short run, so aim behind it: the moments then fall into the loop and its saving.
        wait_until_open(process, folder / "killed")
        if n_processes > 1:  # they take longer to their first step
            wait_until_logged(process, folder / "killed")
        time.sleep(moments.random() * loop_s / options.kills)
        if process.poll() is None:
            pid = pid_of_rank(process.pid, moments.randrange(n_processes)) if n_processes > 1 else process.pid
            os.kill(pid, signal.SIGKILL)
            n_kills += 1
            killed_at = time.monotonic()
            process.wait()
            slowest_s = max(slowest_s, time.monotonic() - killed_at)
        else:
            failed = process.returncode
        if (folder / "killed" / checkpoint.MODEL_FILE).exists():
            steps.append(checkpoint.load(folder / "killed").description.step)
    failed = failed or start(recipe, folder / "killed", n_processes).wait()
    if failed:
        print(f"a run failed with exit code {failed}")
        return 1
    if slowest_s > OTHERS_S:
        print(f"what was not killed took {slowest_s:.1f} s to end")
        return 1
    peace, killed = ((folder / name / checkpoint.MODEL_FILE).read_bytes() for name in ("peace", "killed"))
    same = peace == killed
    print(f"seed {seed}: {n_kills} kills; after each the model loaded, at steps {steps}; the whole loop {loop_s:.1f} s")
    print(f"the last process ended within {slowest_s:.2f} s of each kill")
    print("identical weights" if same else "DIFFERENT weights")
    return 0 if same else 1


def start(recipe: Path, folder: Path, n_processes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "wavegen.cli.main", "train", str(recipe), "--out", str(folder), "--resume"]
    command += ["--processes", str(n_processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)


def pid_of_rank(launcher: int, rank: int) -> int:
    """The process id of one of the processes that a launcher has started. (Of Linux.)"""
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise ProcessLookupError(f"process {launcher} has no rank {rank}")


def wait_until_open(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until the run has opened its folder anew."""
    metrics, began = folder / "metrics.jsonl", time.time()
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime > began - 0.01):
        time.sleep(0.01)


def wait_until_logged(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until a run has added a line to its log."""
    n_lines = len(read_metrics(folder))
    while process.poll() is None and len(read_metrics(folder)) <= n_lines:
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
