"""The one training loop: codes in, logits out, bits per code to bring down.

Everything that decides the result is a function of the recipe and the step: the windows, the learning rate, the hidden
labels. So a run that was killed goes on to the same bits, on the same machine with the same number of threads and
processes.

run.py sets up what the loop works with, state.py writes what it changes, folder.py says what a run folder holds.
"""

import logging
import math
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wavegen import files
from wavegen.checkpoint import MODEL_FILE, RECIPE_FILE
from wavegen.devices import choose_device, keep_freed_memory
from wavegen.engines.rounded import precisions_of
from wavegen.errors import InputError
from wavegen.evaluation.bits import precision_costs, shortest_first, summed_bits
from wavegen.models.base import TrainingBatch
from wavegen.progress import Bar, bar
from wavegen.recipe import Recipe
from wavegen.training import metrics, preview
from wavegen.training.batches import Prepared
from wavegen.training.folder import check_apart, full_disk_explained, opened
from wavegen.training.interrupts import Interrupts, interrupts
from wavegen.training.metrics import Metrics, Unwritten, Update
from wavegen.training.optimizers import learning_rate, set_learning_rate
from wavegen.training.ranks import PeerLostError, joined
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
    model whose weights to begin with. Where torchrun started several processes, all call this and train together.

    Returns whether SIGUSR1 ended it: the run is to be started again, with `resume`.

    Raises: InputError if the folder holds another run, the corpus is missing, the model does not fit, another process
    of the run is lost, or the loss is no longer finite; what was saved last stays as it is.
    """
    n_steps = recipe.training.steps
    keep_freed_memory()
    busy = f"another process is training in {folder}; choose another folder with --out"
    with joined() as ranks:
        check_apart(folder, getattr(recipe.data, "source", None))
        with files.locked(folder, busy) if ranks.is_first else nullcontext(), full_disk_explained(folder):
            own = ranks.own_device(choose_device(device))
            run = set_up(recipe, folder, own, resume or ranks.is_restart, start_from, ranks)
            if ranks.is_first and run.is_model_behind():
                run.export()
            with (
                opened(folder, recipe, run.state.step) if ranks.is_first else nullcontext(Unwritten()) as log,
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

    Raises: PeerLostError, after saving, if another process of the run is lost.
    """
    try:
        _steps(run, batches, log, running, noted)
        undone = _undone(run, log, noted)
    except PeerLostError:
        run.save()
        _say_undone(run, [_steps_left(run) or "what follows the last step"])
        raise
    if undone:
        _say_undone(run, undone)


def _steps(run: Run, batches: Iterator[Prepared], log: Metrics, running: Bar, noted: Interrupts) -> None:
    settings, state = run.recipe.training, run.state
    saved_at = time.monotonic()
    if state.step and measure(run, log, noted):
        run.save()
    while state.step < settings.steps and not run.ranks.any(noted.came or run.ranks.is_orphan):
        step = update(run, batches)
        is_last = state.step == settings.steps
        log.add(state.step, step, is_last)
        running.update(state.step, f"{step.bits:.3f} bits per {run.unit}")
        is_sample_due = is_last or is_due(state.step, settings.sample_every)
        if measure(run, log, noted) or is_sample_due or time.monotonic() - saved_at > SAVE_EVERY_S:
            run.save()
            saved_at = time.monotonic()
        if is_sample_due and run.ranks.is_first:
            noted.attempt(lambda: write_sample(run, log))


def _undone(run: Run, log: Metrics, noted: Interrupts) -> list[str]:
    """What the run leaves undone, for people; those before the steps that are left are saved."""
    if left := _steps_left(run):
        run.save()
        return [left]
    undone = [name for name, _ in due_measurements(run, log, noted)]
    if run.ranks.is_first and not preview.is_newest(run.folder, run.store):
        # a kill came between the last save and the last sample
        undone += [] if noted.attempt(lambda: write_sample(run, log)) else ["the last sample"]
    return undone


def _steps_left(run: Run) -> str:
    n_steps = run.recipe.training.steps
    return f"steps {run.state.step + 1} to {n_steps}" if run.state.step < n_steps else ""


def _say_undone(run: Run, undone: list[str]) -> None:
    """Say what is left undone, and the command that does it."""
    words = ["wavegen", "train", str(run.folder / RECIPE_FILE), "--out", str(run.folder), "--resume"]
    if run.ranks.size > 1:
        words += ["--processes", str(run.ranks.n_local)]
    logger.info(f"Not done: {', '.join(undone)}")
    logger.info(f"To go on: {shlex.join(words)}")


def due_measurements(run: Run, log: Metrics, noted: Interrupts) -> list[tuple[str, Callable[[], object]]]:
    """What is to be measured after the present step and was not yet: its name for people, and what does it, or does
    not end it where Ctrl-C comes."""
    settings, state = run.recipe.training, run.state
    is_last = state.step == settings.steps
    due: list[tuple[str, Callable[[], object]]] = []
    is_to_validate = is_last or is_due(state.step, settings.validate_every)
    if is_to_validate and not run.ranks.from_first(lambda: is_validated(run)):
        due.append((f"the validation of step {state.step}", lambda: validate(run, log, noted)))
    if is_last and run.ranks.is_first and not state.precision_costs and precisions_of(state.averaged):
        due.append(("what the engine's precisions cost", lambda: noted.attempt(lambda: measure_precisions(run))))
    return due


def measure(run: Run, log: Metrics, noted: Interrupts) -> bool:
    """Measure what is due, or until Ctrl-C; returns whether anything was."""
    due = due_measurements(run, log, noted)
    for _, task in due:
        task()
    return bool(due)


def is_validated(run: Run) -> bool:
    """Whether the bits that the state holds are those of the present step, as the log has them."""
    logged = [line for line in metrics.read_metrics(run.folder) if "validation_bits" in line]
    mine = {"step": run.state.step, "validation_bits": round(run.state.bits.get("validation", -1.0), 5)}
    return bool(logged) and logged[-1] == mine


def update(run: Run, batches: Iterator[Prepared]) -> Update:
    """One step: the gradient of some batches, the new weights, and their average.

    The mean over the codes of a batch is the mean over those of each process, weighted by how many it has of them.
    """
    settings, state, ranks = run.recipe.training, run.state, run.ranks
    # so that a resumed run drops out what this one would have, and every process something else
    torch.manual_seed(settings.seed + state.step + (ranks.rank << 40))
    bits, n_samples, waited_s = 0.0, 0, 0.0
    for number in range(settings.accumulate):
        prepared = next(batches)
        tensors = scheduled_sampling(run, prepared.tensors, number)
        n_counted = int(prepared.batch.counted.sum())
        share = n_counted / max(1.0, ranks.sum(n_counted))
        loss = mean_bits(run, tensors) * share / settings.accumulate
        loss.backward()
        bits += loss.item()
        n_samples += tensors.codes.numel() * ranks.size
        waited_s += prepared.waited_s
    bits = ranks.sum_gradients_(state.model.parameters(), bits)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_norm).item()
    check_finite(run, bits, norm)
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


def check_finite(run: Run, bits: float, norm: float) -> None:
    """Stop before a loss that is NaN or infinite reaches the weights.

    Raises: InputError that names the step and its batch.
    """
    if not (math.isfinite(bits) and math.isfinite(norm)):
        settings, first = run.recipe.training, run.state.step * run.recipe.training.accumulate
        batches = [run.windows.batch(first + number, settings.batch_size) for number in range(settings.accumulate)]
        origins = [origin for batch in batches for origin in batch.origins]
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


def validate(run: Run, log: Metrics, noted: Interrupts) -> None:
    """Measure the averaged weights on the validation split, in parts if there are several processes; draw the loss
    curve. It is left undone where Ctrl-C comes to one of them."""
    parts: list[tuple[float, int]] = []
    is_done = noted.attempt(lambda: parts.append(validation_bits(run)))
    if run.ranks.any(not is_done):
        return
    [(bits, n_codes)] = parts
    note_validation(run, log, run.ranks.sum(bits) / run.ranks.sum(n_codes))


def validation_bits(run: Run) -> tuple[float, int]:
    """The bits of this process's part of the validation split, and of how many codes they are."""
    model, ranks = run.state.averaged, run.ranks
    n = run.store.item_format.n_values(run.recipe.validation_amount)
    own = shortest_first(model, run.segments["validation"], n)[ranks.rank :: ranks.size]
    with run.autocast():
        return summed_bits(model, run.store, own, run.codec, run.description.labels, framer=run.framer)


def note_validation(run: Run, log: Metrics, bits: float) -> None:
    """Write the bits of the validation split to the log, say them, and draw the loss curve."""
    state = run.state
    state.bits["validation"] = bits
    if not run.ranks.is_first:
        return
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
