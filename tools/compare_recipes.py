"""Train variants of one recipe for the same time each, and compare their bits per sample on the test split.

    python -m tools.compare_recipes librispeech-small --minutes 4 --out runs/ablations \
        plain relu:model.activation=relu "no residual:model.residual=false" "no dilation:model.dilated=false"

A variant is NAME:KEY=VALUE,KEY=VALUE. Each first trains for a moment, which tells how many steps fit into the minutes
(the learning rate depends on their number), then afresh. docs/ablations.md and docs/exposure.md were made with this.
"""

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wavegen import checkpoint, recipe, recipes
from wavegen.data import corpora, splits
from wavegen.evaluation.bits import bits_per_sample
from wavegen.models.build import from_checkpoint
from wavegen.training import loop as training
from wavegen.training import metrics

TRIAL_STEPS = 60
SETTLED = 20  # steps of the trial after which speed is taken
SHORT_RUN = ("training.validate_every=1000000", "training.sample_every=1000000", "training.warm_up=50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("variant", nargs="+")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--start-from", type=Path, help="a model whose weights each begins with")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for variant in arguments.variant:
        name, _, changes = variant.partition(":")
        settings = [change for change in changes.split(",") if change]
        path, folder = recipes.find(arguments.recipe), folder_of(arguments.out, name)
        n_steps = steps_within(arguments.minutes, path, settings, folder, arguments.start_from)
        chosen = recipe.load(path, [*settings, *SHORT_RUN, f"training.steps={n_steps}"])
        began = time.monotonic()
        training.train(chosen, folder, start_from=arguments.start_from)
        minutes = (time.monotonic() - began) / 60
        rows.append(f"| {name} | {n_parameters(folder):,} | {n_steps} | {minutes:.1f} | {test_bits(folder):.3f} |")
        print(rows[-1], flush=True)
    print("| variant | parameters | steps | minutes in all | bits per sample, test split |\n|---|---|---|---|---|")
    print("\n".join(rows))


def folder_of(out: Path, name: str) -> Path:
    """Where the run of a variant lies."""
    return out / re.sub(r"\W+", "-", name)


def steps_within(
    minutes: float, path: Path, settings: Sequence[str], folder: Path, start_from: Path | None = None
) -> int:
    """How many steps of a recipe fit into some minutes, by a trial in a folder beside the run's."""
    is_sound = recipe.load(path, settings).architecture({}).makes == "sound"
    short = [f"training.steps={TRIAL_STEPS}", *(["training.sample_seconds=0.01"] if is_sound else [])]
    trial = recipe.load(path, [*settings, *SHORT_RUN, *short])
    tried = folder.with_name(f"{folder.name}-trial")
    training.train(trial, tried, start_from=start_from)
    lines = [line for line in metrics.read_metrics(tried) if line.get("samples_per_s") and line["step"] > SETTLED]
    speed = np.mean([line["samples_per_s"] for line in lines])
    codes_of_step = trial.window * trial.training.batch_size * trial.training.accumulate
    return max(1, round(60 * minutes * speed / codes_of_step))


def n_parameters(run: Path) -> int:
    return checkpoint.n_parameters(checkpoint.load(run))


def test_bits(run: Path) -> float:
    """Bits per sample on the whole test split, in float32."""
    loaded = checkpoint.load(run)
    data = recipe.parse(loaded.recipe, str(run)).data
    store, _ = corpora.open_corpus(data)
    segments = splits.split(data, store.recordings)["test"]
    description = loaded.description
    return bits_per_sample(from_checkpoint(loaded), store, segments, description.make_codec(), description.labels)


if __name__ == "__main__":
    main()
