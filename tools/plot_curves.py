"""Draw how the bits of some runs fell, each over the minutes that its training took.

    python -m tools.plot_curves docs/images/curves.png runs/digits runs/music runs/mnist

A run's minutes are what its steps take at the median speed of its log. docs/training.md shows what this draws.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wavegen import files, recipe
from wavegen.training import metrics

COLUMNS = 3
SMOOTHED = 15  # lines of a log, of which the mean is drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("run", nargs="+", type=Path)
    arguments = parser.parse_args()
    n_rows = -(-len(arguments.run) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.6 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, COLUMNS, squeeze=False).ravel()
    for run, axis in zip(arguments.run, axes, strict=False):
        draw(axis, run)
    for axis in axes[len(arguments.run) :]:
        axis.set_axis_off()
    encoded = io.BytesIO()
    figure.savefig(encoded, dpi=100, format="png")
    files.write(arguments.out, encoded.getvalue())


def draw(axis: Axes, run: Path) -> None:
    """One run's training and validation bits."""
    chosen = recipe.load(run / "recipe.yaml")
    codes_of_step = chosen.window * chosen.training.batch_size * chosen.training.accumulate
    lines = metrics.read_metrics(run)
    trained = [line for line in lines if "bits" in line]
    minutes_of_step = codes_of_step / np.median([line["samples_per_s"] for line in trained]) / 60
    n = max(1, min(SMOOTHED, len(trained) // 10))
    bits = np.convolve([line["bits"] for line in trained], np.ones(n) / n, mode="valid")
    at = np.convolve([line["step"] for line in trained], np.ones(n) / n, mode="valid") * minutes_of_step
    axis.plot(at, bits, linewidth=1, label="training")
    validated = [
        (line["step"] * minutes_of_step, line["validation_bits"]) for line in lines if "validation_bits" in line
    ]
    if validated:
        axis.plot(*zip(*validated, strict=True), "o-", markersize=3, label="validation")
    values = [value for _, value in validated]
    lowest, highest = min([bits.min(), *values]), max([np.percentile(bits, 97), *values[len(values) // 4 :]])
    margin = 0.05 * (highest - lowest)
    axis.set_ylim(lowest - margin, highest + margin)
    axis.set(title=run.name, xlabel="minutes", ylabel="bits")
    axis.grid(alpha=0.3)
    axis.legend()


if __name__ == "__main__":
    main()
