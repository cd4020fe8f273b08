"""The log of a training run: metrics.jsonl, a line per logged step, and TensorBoard where it is installed."""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wavegen import files

METRICS_FILE = "metrics.jsonl"


class Metrics:
    """A log being written; `writing` opens one."""

    def __init__(self, folder: Path, board: Any) -> None:
        self._path, self._board = folder / METRICS_FILE, board

    def write(self, line: dict[str, Any]) -> None:
        """Add a line; it holds a `step`, and numbers by name."""
        files.append(self._path, json.dumps(line))
        if self._board is not None:
            for name, value in line.items():
                if name != "step":
                    self._board.add_scalar(name, value, line["step"])


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
