"""The log of a training run: metrics.jsonl, a line per logged step, and TensorBoard where it is installed."""

import importlib.util
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wavegen import files

METRICS_FILE = "metrics.jsonl"
LOG_EVERY = 10  # steps


class Update(NamedTuple):
    """What one step was: bits per code that it saw, the norm of its gradient, codes that it took, s that it waited for
    them."""

    bits: float
    gradient_norm: float
    learning_rate: float
    n_samples: int
    waited_s: float


class Metrics:
    """A log being written; `writing` opens one."""

    def __init__(self, folder: Path, board: Any) -> None:
        self._path, self._board = folder / METRICS_FILE, board
        self._bits: list[float] = []  # of the steps since the last line
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the speed, which is that of training alone."""
        self._began, self._n_samples, self._waited_s = time.monotonic(), 0, 0.0

    def add(self, step: int, update: Update, is_last: bool) -> None:
        """Note a step; every few steps, and after the last, their mean becomes a line."""
        self._bits.append(update.bits)
        self._n_samples += update.n_samples
        self._waited_s += update.waited_s
        if step % LOG_EVERY and not is_last:
            return
        elapsed_s = time.monotonic() - self._began
        self.write(
            {
                "step": step,
                "bits": round(sum(self._bits) / len(self._bits), 5),
                "learning_rate": update.learning_rate,
                "gradient_norm": round(update.gradient_norm, 5),
                "samples_per_s": round(self._n_samples / elapsed_s),
                "waiting": round(self._waited_s / elapsed_s, 5),
            }
        )
        self._bits.clear()
        self.restart_clock()

    def write(self, line: dict[str, Any]) -> None:
        """Add a line; it holds a `step`, and numbers by name."""
        files.append(self._path, json.dumps(line))
        if self._board is not None:
            for name, value in line.items():
                if name != "step":
                    self._board.add_scalar(name, value, line["step"])


class Unwritten(Metrics):
    """The log of a process that writes none."""

    def __init__(self) -> None:
        super().__init__(Path(), None)

    def write(self, line: dict[str, Any]) -> None:
        """Forget it."""


@contextmanager
def writing(folder: Path, step: int) -> Iterator[Metrics]:
    """Have a run folder's log open: a new one at step 0, or the old one cut back to the step that was saved."""
    kept = [line for line in read_metrics(folder) if line["step"] <= step] if step else []
    files.write(folder / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in kept).encode())
    if importlib.util.find_spec("tensorboard") is None:
        yield Metrics(folder, None)
        return
    from torch.utils.tensorboard import SummaryWriter

    with closing(SummaryWriter(str(folder), purge_step=step + 1)) as board:
        yield Metrics(folder, board)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, up to the first that is none, such as a last one that a kill cut short."""
    lines = []
    try:
        text = (folder / METRICS_FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            break
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            break
        lines.append(values)
    return lines


def plot_losses(folder: Path, unit: str) -> None:
    """Draw a run's log to its loss.png, as bits per `unit`."""
    from wavegen import plots

    lines = read_metrics(folder)
    curves = {
        name: [(line["step"], line[key]) for line in lines if key in line]
        for name, key in (("training", "bits"), ("validation", "validation_bits"))
    }
    plots.losses(folder / "loss.png", curves, unit)
