"""The one training loop: codes in, logits out, bits per code to bring down.

Everything that decides the result is a function of the recipe and the step: the windows, the learning rate, the hidden
labels. So a run that was killed goes on to the same bits, on the same machine with the same number of threads.

run.py sets up what the loop works with, state.py writes what it changes, folder.py says what a run folder holds.
"""

import logging
import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wavegen import files
from wavegen.checkpoint import MODEL_FILE, RECIPE_FILE
from wavegen.devices import choose_device, keep_freed_memory
from wavegen.engines.rounded import precisions_of
from wavegen.errors import InputError
from wavegen.evaluation.bits import bits_per_sample, precision_costs
from wavegen.models.base import TrainingBatch
from wavegen.progress import Bar, bar
from wavegen.recipe import Recipe
from wavegen.training import metrics, preview
from wavegen.training.batches import Prepared
from wavegen.training.folder import check_apart, full_disk_explained, opened
from wavegen.training.interrupts import Interrupts, interrupts
from wavegen.training.metrics import Metrics, Update
from wavegen.training.optimizers import learning_rate, set_learning_rate
from wavegen.training.run import Run, set_up
from wavegen.training.scheduled_sampling import scheduled_sampling
from wavegen.training.state import State, is_saved

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 120.0  # however rare the validations, no more than this is lost to a power cut


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    start_from: Path | None = None,
    device: str = "auto",
) -> bool:
    """Train by a recipe into a run folder, until its last step or Ctrl-C, either of which leaves it complete.

    `resume` goes on where the folder's run stopped; in an empty folder it starts afresh and says so. `start_from` is a
    model whose weights to begin with.

    Returns whether SIGUSR1 ended it: the run is to be started again, with `resume`.

    Raises: InputError if the folder holds another run, the corpus is missing, the model does not fit, or the loss is
    no longer finite; what was saved last stays as it is.
    """
    n_steps = recipe.training.steps
    check_apart(folder, getattr(recipe.data, "source", None))
    keep_freed_memory()
    busy = f"another process is training in {folder}; choose another folder with --out"
    with files.locked(folder, busy), full_disk_explained(folder):
        run = set_up(recipe, folder, choose_device(device), resume, start_from)
        if run.is_model_behind():
            run.export()
        with (
            opened(folder, recipe, run.state.step) as log,
            interrupts() as noted,
            bar("Training", n_steps, run.state.step) as running,
            run.feed() as batches,
        ):
            _loop(run, batches, log, running, noted)
    logger.info(f"{folder} holds step {run.state.step} of {n_steps}: {MODEL_FILE} is the model")
    return noted.is_preempted


def _loop(run: Run, batches: Iterator[Prepared], log: Metrics, running: Bar, noted: Interrupts) -> None:
    """Step until the last one or Ctrl-C, with validations, saves and samples in between.

    Ctrl-C lets a step end, and leaves measurements and samples undone, which --resume makes up for.
    """
    settings, folder, state = run.recipe.training, run.folder, run.state
    saved_at = time.monotonic()
    if state.step and measure(run, log, noted):
        run.save()
    while state.step < settings.steps and not noted.came:
        step = update(run, batches)
        is_last = state.step == settings.steps
        log.add(state.step, step, is_last)
        running.update(state.step, f"{step.bits:.3f} bits per {run.unit}")
        is_sample_due = is_last or is_due(state.step, settings.sample_every)
        if measure(run, log, noted) or is_sample_due or time.monotonic() - saved_at > SAVE_EVERY_S:
            run.save()
            saved_at = time.monotonic()
        if is_sample_due:
            noted.attempt(lambda: write_sample(run, log))
    if state.step < settings.steps:
        run.save()
        undone = [f"steps {state.step + 1} to {settings.steps}"]
    else:
        undone = [name for name, _ in due_measurements(run, log)]
        if not preview.is_newest(folder, run.store):  # a kill between the last save and the last sample
            undone += [] if noted.attempt(lambda: write_sample(run, log)) else ["the last sample"]
    if undone:
        quoted = shlex.quote(str(folder / RECIPE_FILE)), shlex.quote(str(folder))
        logger.info(f"Not done: {', '.join(undone)}")
        logger.info(f"To go on: wavegen train {quoted[0]} --out {quoted[1]} --resume")


def due_measurements(run: Run, log: Metrics) -> list[tuple[str, Callable[[], None]]]:
    """What is to be measured after the present step and was not yet: its name for people, and what does it."""
    settings, state = run.recipe.training, run.state
    is_last = state.step == settings.steps
    due: list[tuple[str, Callable[[], None]]] = []
    if (is_last or is_due(state.step, settings.validate_every)) and not is_validated(run):
        due.append((f"the validation of step {state.step}", lambda: validate(run, log)))
    if is_last and not state.precision_costs and precisions_of(state.averaged):
        due.append(("what the engine's precisions cost", lambda: measure_precisions(run)))
    return due


def measure(run: Run, log: Metrics, noted: Interrupts) -> bool:
    """Measure what is due, or until Ctrl-C; returns whether anything was."""
    due = due_measurements(run, log)
    for _, task in due:
        noted.attempt(task)
    return bool(due)


def is_validated(run: Run) -> bool:
    """Whether the bits that the state holds are those of the present step, as the log has them."""
    logged = [line for line in metrics.read_metrics(run.folder) if "validation_bits" in line]
    mine = {"step": run.state.step, "validation_bits": round(run.state.bits.get("validation", -1.0), 5)}
    return bool(logged) and logged[-1] == mine


def update(run: Run, batches: Iterator[Prepared]) -> Update:
    """One step: the gradient of some batches, the new weights, and their average."""
    settings, state = run.recipe.training, run.state
    torch.manual_seed(settings.seed + state.step)  # so that a resumed run drops out what this one would have
    bits, n_samples, waited_s, origins = 0.0, 0, 0.0, []
    for number in range(settings.accumulate):
        prepared = next(batches)
        tensors = scheduled_sampling(run, prepared.tensors, number)
        loss = mean_bits(run, tensors) / settings.accumulate
        loss.backward()
        bits += loss.item()
        n_samples += tensors.codes.numel()
        waited_s += prepared.waited_s
        origins += prepared.batch.origins
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_norm).item()
    check_finite(run, bits, norm, origins)
    rate = learning_rate(settings, state.step)
    set_learning_rate(state.optimizers, rate)
    for optimizer in state.optimizers:
        optimizer.step()
    state.model.zero_grad()
    average_weights(state, settings.average)
    state.step += 1
    return Update(bits, norm, rate, n_samples, waited_s)


def is_due(step: int, every: int | None) -> bool:
    """Whether what is done every so many steps, or never, is to be done after this one."""
    return every is not None and step % every == 0


def mean_bits(run: Run, tensors: TrainingBatch) -> Tensor:
    """Bits per counted code of a batch, the loss."""
    with run.autocast():
        return run.loss(run.state.model, tensors)


def check_finite(run: Run, bits: float, norm: float, origins: Sequence[str]) -> None:
    """Stop before a loss that is NaN or infinite reaches the weights.

    Raises: InputError that names the step and its batch.
    """
    if not (math.isfinite(bits) and math.isfinite(norm)):
        has_state = is_saved(run.folder)
        kept = f"{run.folder} keeps its last checkpoint" if has_state else "nothing was saved yet"
        anew = "begin a new run, --from the last one" if has_state else "begin anew"
        raise InputError(
            f"the loss is {bits} and the gradient {norm} at step {run.state.step + 1}, in the batch "
            f"{'; '.join(origins)}; {kept}; lower training.learning_rate and {anew}"
        )


@torch.no_grad()
def average_weights(state: State, decay: float) -> None:
    """Exponential moving average, over fewer steps while there are few (Polyak and Juditsky, 1992)."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for average, newest in zip(state.averaged.parameters(), state.model.parameters(), strict=True):
        average.lerp_(newest, 1 - decay)


def validate(run: Run, log: Metrics) -> None:
    """Measure the averaged weights on the validation split; draw the loss curve."""
    state, labels = run.state, run.description.labels
    n = run.store.item_format.n_values(run.recipe.validation_amount)
    with run.autocast():
        bits = bits_per_sample(
            state.averaged, run.store, run.segments["validation"], run.codec, labels, n, framer=run.framer
        )
    state.bits["validation"] = bits
    log.write({"step": state.step, "validation_bits": round(bits, 5)})
    recent = metrics.read_metrics(run.folder)
    trained = [line["bits"] for line in recent if "bits" in line][-20:]
    speed = [line["samples_per_s"] for line in recent if "samples_per_s" in line][-20:]
    mean = f"{np.mean(trained):.3f}" if trained else "?"
    logger.info(
        f"step {state.step}/{run.recipe.training.steps}  training {mean}  validation "
        f"{bits:.3f} bits per {run.unit}  {np.mean(speed or [0]):,.0f} {run.unit}s/s"
    )
    metrics.plot_losses(run.folder, run.unit)
    log.restart_clock()


def measure_precisions(run: Run) -> None:
    """Measure what the CPU engine's reduced precisions cost the averaged weights, so that it can choose one."""
    run.state.precision_costs = precision_costs(
        run.state.averaged,
        run.store,
        run.segments["validation"],
        run.codec,
        run.description.labels,
        framer=run.framer,
    )


def write_sample(run: Run, log: Metrics) -> None:
    """Let the averaged weights run free; write the sound or the images, and a picture of them beside real ones."""
    model = run.model_file(run.description)
    seconds = run.recipe.training.sample_seconds
    preview.write(run.folder, model, run.store, run.segments, seconds, run.state.step)
    log.restart_clock()
