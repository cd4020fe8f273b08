"""Kill -9 whatever writes, at random moments, and see that everything loads afterwards.

    OMP_NUM_THREADS=1 python -m tools.kill --kills 100 --seed 0

In turn: two preparations of one corpus at once, of which one or both are killed; a sound that is generated over an
older one; a model that is exported over an older one; a run that is trained and resumed, whose model must in the end be
that of a run in peace, byte for byte. Processes are forked from this one, so that the moments fall into their work
instead of into imports. Prints what was done and what loaded; exits with 1 if something does not hold.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import soundfile

from tools.kill_and_resume import RECIPE
from wavegen import checkpoint, recipe
from wavegen.cli.main import main as wavegen
from wavegen.data import corpora, store
from wavegen.data.audio import SoundFormat
from wavegen.training import state

N_RECORDINGS, RATE = 400, 8000
STEPS = 30
SECONDS = 6.0  # of a generated sound
LIMIT_S = 120.0  # for a command that nobody kills
LONGER = 1.5  # moments than a command takes in peace: a machine is not always as fast


class FailedError(Exception):
    """What does not hold after a kill."""


class Task:
    """A command, or several at once, to be killed at random moments of the time that they take in peace."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()

    def commands(self) -> list[list[str]]:
        """What runs side by side."""
        raise NotImplementedError

    def check(self, is_complete: bool) -> str:
        """Say what loaded, after a kill or (`is_complete`) after all went well.

        Raises: FailedError, or whatever loading raises.
        """
        raise NotImplementedError


class Prepare(Task):
    name = "prepare"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        noise = np.random.default_rng(0)
        for number in range(N_RECORDINGS):
            soundfile.write(self.folder / f"{number}.wav", noise.uniform(-0.5, 0.5, RATE // 4), RATE)

    def commands(self) -> list[list[str]]:
        return [["data", "prepare", "folder", "--from", str(self.folder), "--sample-rate", str(RATE)]] * 2

    def check(self, is_complete: bool) -> str:
        n_complete = len(store.prepared("folder"))
        if is_complete and not n_complete:
            raise FailedError("one preparation was left alone, and there is no store")
        n_left = len(list(store.root().glob("*.partial")))
        path, _ = corpora.prepare("folder", self.folder, SoundFormat(RATE))
        if len(store.load(path).recordings) != N_RECORDINGS:
            raise FailedError("the store lacks recordings")
        if left := [one for one in store.root().glob("*.partial") if any(one.iterdir())]:
            raise FailedError(f"the next preparation leaves {left[0].name}")
        shutil.rmtree(store.root())
        return f"{n_complete} store and {n_left} abandoned; the next preparation made it whole and tidy"


class Generate(Task):
    name = "generate"

    def commands(self) -> list[list[str]]:
        return [["generate", "speech", "--seconds", str(SECONDS), "--seed", "1", "--out", str(self.folder / "x.wav")]]

    def check(self, is_complete: bool) -> str:
        return _check_file(self.folder, "x.wav", lambda path: soundfile.info(path).frames == SECONDS * 16000)


class Export(Task):
    name = "export"

    def commands(self) -> list[list[str]]:
        return [["export", "speech", "--to", "safetensors", str(self.folder / "x.safetensors")]]

    def check(self, is_complete: bool) -> str:
        return _check_file(self.folder, "x.safetensors", lambda path: checkpoint.load(path).description.step > 0)


class Train(Task):
    name = "train"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(RECIPE.replace("STEPS", str(STEPS)))
        self.peace, self.run = self.folder / "peace", self.folder / "killed"
        if _run(self._command(self.peace)) != 0:
            raise FailedError("training in peace fails")

    def _command(self, out: Path) -> list[str]:
        return ["train", str(self.recipe), "--out", str(out), "--resume"]

    def commands(self) -> list[list[str]]:
        return [self._command(self.run)]

    def check(self, is_complete: bool) -> str:
        saved = state.read(self.run, recipe.load(self.recipe)) if self.run.exists() else None
        if saved is None:
            return "nothing saved yet"
        has_model = (self.run / checkpoint.MODEL_FILE).exists()
        step = checkpoint.load(self.run).description.step if has_model else 0
        if saved["step"] == STEPS:  # what is left to do is little; begin anew
            if not is_complete and _run(self._command(self.run)) != 0:
                raise FailedError("the last resumption fails")
            same, other = ((one / checkpoint.MODEL_FILE).read_bytes() for one in (self.peace, self.run))
            shutil.rmtree(self.run)
            if same != other:
                raise FailedError("the resumed run has other weights than the one in peace")
            return "complete, and the model that of a run in peace"
        return f"state of step {saved['step']} and model of step {step}"


def _check_file(folder: Path, name: str, is_whole: Callable[[Path], bool]) -> str:
    n_left = sum(path.name != name for path in folder.iterdir())
    if n_left > 1:
        raise FailedError(f"{n_left} temporary files are there; expected one at most")
    if not (folder / name).exists():
        return f"nothing, and {n_left} temporary"
    if not is_whole(folder / name):
        raise FailedError(f"{name} is not whole")
    return f"a whole file, and {n_left} temporary"


def _start(words: Sequence[str]) -> BaseProcess:
    def run() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        sys.argv = ["wavegen", *words]
        wavegen()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def _run(words: Sequence[str]) -> int | None:
    process = _start(words)
    process.join(LIMIT_S)
    process.kill()
    return process.exitcode


def kill_some(task: Task, n_kills: int, moments: random.Random) -> Counter[str]:
    """Run a task until so many of its processes were killed; returns what loaded afterwards, and how often.

    Raises: FailedError, or whatever loading raises.
    """
    found: Counter[str] = Counter()
    took_s, n_killed = 0.0, 0
    while n_killed < n_kills:
        began = time.monotonic()
        processes = [_start(words) for words in task.commands()]
        if took_s:
            time.sleep(moments.random() * LONGER * took_s)
            for process in moments.sample(processes, moments.randint(1, len(processes))):
                if process.is_alive() and n_killed < n_kills:
                    process.kill()
                    process.join()
                    n_killed += process.exitcode == -9
        for process in processes:
            process.join(LIMIT_S)
            if process.exitcode not in (0, -9):
                raise FailedError(f"a process that nobody killed ends with {process.exitcode}")
        if all(process.exitcode == 0 for process in processes):  # the first time, imports are among it
            took_s = min(took_s or LIMIT_S, time.monotonic() - began)
        found[task.check(any(process.exitcode == 0 for process in processes))] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments, and of who is killed")
    known = {kind.name: kind for kind in (Prepare, Generate, Export, Train)}
    parser.add_argument("--task", action="append", choices=known, help="only this one; repeat for more")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    tasks = [known[name] for name in options.task or known]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["WAVEGEN_DATA"] = str(folder / "stores")
        for number, kind in enumerate(tasks):
            n_kills = options.kills * (number + 1) // len(tasks) - options.kills * number // len(tasks)
            try:
                found = kill_some(kind(folder), n_kills, moments)
            except Exception as error:
                print(f"{kind.name}: FAILED after a kill: {type(error).__name__}: {error}")
                return 1
            print(f"{kind.name}: {n_kills} processes killed; afterwards there was")
            for what, n in sorted(found.items()):
                print(f"  {n:3} x {what}")
    print(f"seed {options.seed}: {options.kills} kills, and everything loaded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
