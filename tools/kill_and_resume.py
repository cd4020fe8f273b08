"""Train once in peace and once under kill -9 at random moments; the weights must come out byte for byte the same.

    python -m tools.kill_and_resume --steps 300 --kills 10

After every kill the run folder must load. Exits with 0 if all holds.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wavegen import checkpoint

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
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    moments = random.Random(seed)
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("STEPS", str(options.steps)))

    in_peace = start(recipe, folder / "peace")
    wait_until_open(in_peace, folder / "peace")
    began = time.monotonic()
    failed = in_peace.wait()
    loop_s = time.monotonic() - began
    n_kills, steps = 0, []
    while not failed and n_kills < options.kills and steps[-1:] != [options.steps]:
        process = start(recipe, folder / "killed")
        # Start-up takes most of a short run, so aim behind it: the moments then fall into the loop and its saving.
        wait_until_open(process, folder / "killed")
        time.sleep(moments.random() * loop_s / options.kills)
        if process.poll() is None:
            process.kill()
            n_kills += 1
            process.wait()
        else:
            failed = process.returncode
        if (folder / "killed" / checkpoint.MODEL_FILE).exists():
            steps.append(checkpoint.load(folder / "killed").description.step)
    failed = failed or start(recipe, folder / "killed").wait()
    if failed:
        print(f"a run failed with exit code {failed}")
        return 1
    peace, killed = ((folder / name / checkpoint.MODEL_FILE).read_bytes() for name in ("peace", "killed"))
    same = peace == killed
    print(f"seed {seed}: {n_kills} kills; after each the model loaded, at steps {steps}; the whole loop {loop_s:.1f} s")
    print("identical weights" if same else "DIFFERENT weights")
    return 0 if same else 1


def start(recipe: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "wavegen.cli.main", "train", str(recipe), "--out", str(folder), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)


def wait_until_open(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until the run has opened its folder anew."""
    metrics, began = folder / "metrics.jsonl", time.time()
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime > began - 0.01):
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
