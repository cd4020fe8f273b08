"""The folder of a run: what may not be in it or written over, and what it holds while the run is open.

model.safetensors     averaged weights: what is shared and played
training.pt           everything needed to go on: raw and averaged weights, optimiser, step
training.previous.pt  the same as it was saved before that, in case a disk damages the newest
metrics.jsonl         a line per logged step
recipe.yaml           the recipe as run, every default written out
sample.wav, .png      the newest free-running sound (or images), beside a recording of the validation split
loss.png              the loss curve
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wavegen import files
from wavegen.checkpoint import MODEL_FILE, RECIPE_FILE
from wavegen.errors import DiskError, InputError
from wavegen.paths import is_within, user_path
from wavegen.recipe import Recipe
from wavegen.training import metrics, preview
from wavegen.training.metrics import METRICS_FILE, Metrics
from wavegen.training.state import STATE_FILE, is_saved


def check_apart(folder: Path, source: Path | None) -> None:
    """Raises: InputError if a run would write its sounds to where its recordings are read from."""
    if source is not None and is_within(folder, user_path(source)):
        raise InputError(
            f"the run folder {folder} lies in data.source, {source}, and what it writes would join the corpus; choose "
            "a folder outside with --out"
        )


def check_free(folder: Path, recipe: Recipe) -> None:
    """Raises: InputError if a new run in this folder would write over something."""
    if is_saved(folder):
        raise InputError(f"{folder} already holds a run; go on with --resume, or choose another folder with --out")
    for name in (MODEL_FILE, preview.SOUND, preview.PICTURE):
        if (folder / name).exists():
            raise InputError(
                f"{folder} holds a {name}, which a run would write over, and no {STATE_FILE} to go on from; choose "
                "another folder with --out"
            )
    mine = folder / RECIPE_FILE
    if mine.exists() and mine.read_bytes() != recipe.to_yaml().encode():
        raise InputError(f"{mine} is there and says something else; choose another folder with --out")


@contextmanager
def opened(folder: Path, recipe: Recipe, step: int) -> Iterator[Metrics]:
    """Write the recipe, and have the log open: a new one at step 0, or the old one cut back to the step.

    If the run ends before it has saved anything, its recipe and its log are removed again, so that another recipe can
    be trained into the folder.
    """
    path = folder / RECIPE_FILE
    is_new = not path.exists()
    files.write(path, recipe.to_yaml().encode())
    try:
        with metrics.writing(folder, step) as log:
            yield log
    finally:
        if is_new and not is_saved(folder):
            for written in (path, folder / METRICS_FILE):
                written.unlink(missing_ok=True)


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Add to the news that something cannot be written what was saved before."""
    try:
        yield
    except DiskError as error:
        kept = "keeps its last checkpoint, from which --resume goes on" if is_saved(folder) else "holds nothing yet"
        raise InputError(f"{error}; {folder} {kept}") from error
