"""The one training loop: codes in, logits out, bits per code to bring down.

Everything that decides the result is a function of the recipe and the step: the windows, the learning rate, the hidden
labels. So a run that was killed goes on to the same bits, on the same machine with the same number of threads.

A run folder holds
    model.safetensors   averaged weights: what is shared and played
    training.pt         everything needed to go on: raw and averaged weights, optimiser, step
    metrics.jsonl       a line per logged step
    recipe.yaml         the recipe as run, every default written out
    sample.wav, .png    the newest free-running sound (or images), beside a recording of the validation split
    loss.png            the loss curve
"""

import copy
import io
import itertools
import math
import shlex
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wavegen import checkpoint, files, migrations
from wavegen.architectures import RelativeHead
from wavegen.checkpoint import MODEL_FILE, RECIPE_FILE, Checkpoint, Description
from wavegen.codec import Codec, make_codec
from wavegen.data import corpora, splits
from wavegen.data.windows import Batch, WindowRule, Windows, rms_step
from wavegen.devices import choose_device, has_compiler, keep_freed_memory, multiplies_bfloat16
from wavegen.errors import DiskError, InputError
from wavegen.evaluation.bits import bits_per_sample, make_framer, precision_costs
from wavegen.models.base import Model, TrainingBatch
from wavegen.models.build import build, load_weights
from wavegen.progress import Bar, bar, say
from wavegen.recipe import ImageData, Recipe, Training
from wavegen.recipe import parse as parse_recipe
from wavegen.sampling import Decoding, uniform_rows
from wavegen.training import metrics, preview
from wavegen.training.metrics import Metrics
from wavegen.training.optimizers import Muon

STATE_FILE = "training.pt"
STATE_PARTS = frozenset(["step", "recipe", "corpus", "model", "averaged", "optimizers", "bits"])
STATE_FORMAT = 3  # 2: see migrations.py
LOG_EVERY = 10  # steps
SAVE_EVERY_S = 120.0  # however rare the validations, no more than this is lost to a power cut


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    start_from: Path | None = None,
    device: str = "auto",
) -> None:
    """Train by a recipe into a run folder, until its last step or Ctrl-C, either of which leaves it complete.

    `resume` goes on where the folder's run stopped; in an empty folder it starts afresh and says so. `start_from` is a
    model whose weights to begin with.

    Raises: InputError if the folder holds another run, the corpus is missing, the model does not fit, or the loss is
    no longer finite; what was saved last stays as it is.
    """
    settings = recipe.training
    _check_apart(folder, getattr(recipe.data, "source", None))
    keep_freed_memory()
    busy = f"another process is training in {folder}; choose another folder with --out"
    with files.locked(folder, busy), _full_disk_explained(folder):
        run = Run(recipe, folder, choose_device(device), resume, start_from)
        with (
            run.logging(),
            _interrupts() as is_interrupted,
            bar("Training", settings.steps, run.step) as running,
            run.feed() as batches,
        ):
            _loop(run, batches, running, is_interrupted)
    say(f"{folder} holds step {run.step} of {settings.steps}: {MODEL_FILE} is the model")


def _loop(run: "Run", batches: Iterator["Prepared"], running: Bar, is_interrupted: Callable[[], bool]) -> None:
    """Step until the last one or Ctrl-C, with validations, saves and sounds in between."""
    settings, folder = run.recipe.training, run.folder
    saved_at = time.monotonic()
    while run.step < settings.steps and not is_interrupted():
        bits = run.update(batches)
        running.update(run.step, f"{bits:.3f} bits per {run.store.item_format.unit}")
        is_last = run.step == settings.steps
        is_validated = is_last or is_due(run.step, settings.validate_every)
        is_heard = is_last or is_due(run.step, settings.sample_every)
        if is_validated:
            run.validate()
        if is_last:
            run.measure_precisions()
        if is_validated or is_heard or time.monotonic() - saved_at > SAVE_EVERY_S:
            run.save()
            saved_at = time.monotonic()
        if is_heard:
            run.write_sample()
    if run.step < settings.steps:
        run.save()
        quoted = shlex.quote(str(folder / RECIPE_FILE)), shlex.quote(str(folder))
        say(f"To go on: wavegen train {quoted[0]} --out {quoted[1]} --resume")
    elif not preview.is_newest(folder, run.store):  # a kill between the last save and the last sound
        run.write_sample()


@contextmanager
def _full_disk_explained(folder: Path) -> Iterator[None]:
    """Add to the news that something cannot be written what was saved before."""
    try:
        yield
    except DiskError as error:
        is_saved = (folder / STATE_FILE).exists()
        kept = "keeps its last checkpoint, from which --resume goes on" if is_saved else "holds nothing yet"
        raise InputError(f"{error}; {folder} {kept}") from error


def learning_rate(settings: Training, step: int) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate` of the peak at the last step."""
    warm = min(1.0, (step + 1) / max(1, settings.warm_up))
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    final = settings.final_learning_rate
    return settings.learning_rate * warm * (final + (1 - final) * cosine)


def make_optimizers(model: Model, settings: Training) -> list[torch.optim.Optimizer]:
    """What the recipe asks for; between them they hold every parameter once."""
    hidden = model.hidden_matrices() if settings.optimizer == "muon" else []
    held = {id(parameter) for parameter in hidden}
    others = [parameter for parameter in model.parameters() if id(parameter) not in held]
    rate, decay = settings.learning_rate, settings.weight_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, rate, betas=settings.betas, weight_decay=decay, foreach=True)
    ]
    if hidden:
        optimizers.append(Muon(hidden, rate, settings.momentum, decay))
    return optimizers


def is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


class Prepared(NamedTuple):
    """A batch, as tensors on the device too, and how long the loop waited for it."""

    batch: Batch
    tensors: TrainingBatch
    waited_s: float


class Speed:
    """Samples trained on and time waited for data, since the last report."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.began, self.n_samples, self.waited_s = time.monotonic(), 0, 0.0


class Run:
    """Everything that one training run holds. `train` above says what happens to it, in which order."""

    def __init__(
        self, recipe: Recipe, folder: Path, device: torch.device, resume: bool = False, start_from: Path | None = None
    ) -> None:
        """Check the folder, open the corpus, build the network, and load what there is to go on from."""
        self.recipe, self.folder, self.device = recipe, folder, device
        self.step = 0
        self.speed = Speed()
        self._metrics: Metrics
        self.unlogged_bits: list[float] = []
        self.bits: dict[str, float] = {}
        self.precision_costs: dict[str, float] = {}
        self.codec: Codec = make_codec(recipe.data.codec, recipe.data.n_classes)
        is_bfloat16 = recipe.training.precision == "bfloat16" or (
            recipe.training.precision == "auto" and multiplies_bfloat16(device)
        )
        self.precision = torch.bfloat16 if is_bfloat16 else torch.float32
        state = _load_state(folder, recipe) if resume else None
        if state is None:
            _check_free(folder, recipe)
        self.store, report = corpora.open_corpus(recipe.data)
        for line in report.lines() if report is not None else []:
            say(line)
        self.segments = splits.split(recipe.data, self.store.recordings)
        self.label_values = splits.label_values(self.segments["train"])

        settings = self.recipe.training
        torch.manual_seed(settings.seed)
        source = None if start_from is None or state is not None else checkpoint.load(start_from)
        n_values = {name: len(values) for name, values in self.label_values.items()}
        mean_scale = self._mean_scale(state, source) if issubclass(recipe.head, RelativeHead) else 1.0
        architecture = recipe.architecture(n_values, mean_scale)
        self.model = build(architecture).to(self.device)
        self.description = Description(
            architecture=architecture,
            codec=self.codec.kind,
            n_classes=self.codec.n_classes,
            **self.store.item_format.described,
            labels=self.label_values,
            features=recipe.features,
            decoding=self.recipe.decoding.model_dump(),
            corpus=self.store.corpus,
            corpus_fingerprint=self.store.fingerprint,
            credit=self.recipe.credit,
            about=self.recipe.about,
            label_dropout=self.recipe.training.label_dropout,
        )
        if source is not None:
            _check_same_sound(source, self.description)
            load_weights(self.model, source.weights, str(source.path))
        weights = {name: tensor.numpy(force=True) for name, tensor in self.model.state_dict().items()}
        try:
            checkpoint.validate(self.description, weights)
        except InputError as error:
            raise InputError(f"no model file can hold what this recipe describes: {error}") from error
        self.averaged: Model = copy.deepcopy(self.model).requires_grad_(False).eval()
        is_image = isinstance(recipe.data, ImageData)
        field = 0 if is_image else self.model.receptive_field  # an image has no context before it
        rule = WindowRule(
            recipe.window,
            field,
            settings.start_share,
            settings.learn_endings,
            settings.label_dropout,
            settings.balance,
            settings.input_noise,
            settings.seed,
            recipe.data.shape if isinstance(recipe.data, ImageData) and recipe.data.mirrored else None,
        )
        self.framer = make_framer(self.model, self.store, self.description.make_features())
        self.windows = Windows(self.store, self.segments["train"], self.codec, rule, self.label_values, self.framer)
        if not any(segment.n_counted(field) for segment in self.segments["validation"]):
            raise InputError(f"the validation split has no recording longer than the receptive field, {field} samples")
        self.optimizers = make_optimizers(self.model, settings)
        if state is not None:
            self._restore(state)
        self._loss = type(self.model).loss
        self._announce(resume, state is not None)
        is_compiled = settings.compile is True or (settings.compile == "auto" and has_compiler(device))
        if is_compiled and self.step < settings.steps:
            self._compile()

    def _mean_scale(self, state: dict[str, Any] | None, source: Checkpoint | None) -> float:
        """The scale of a relative head: the one its weights were trained with, or that of the corpus."""
        if state is not None:
            return float(state["mean_scale"])
        if source is not None and isinstance(source.description.head, RelativeHead):
            return source.description.head.mean_scale
        return rms_step(self.store, self.segments["train"], self.codec)

    def feed(self) -> AbstractContextManager[Iterator[Prepared]]:
        """The batches from the present step on, the next one always in the making."""
        size, first = self.recipe.training.batch_size, self.step * self.recipe.training.accumulate
        return closing(_prefetch(lambda number: self.windows.batch(number, size), first, self.device))

    def update(self, batches: Iterator[Prepared]) -> float:
        """One update of the weights; returns the bits per sample that it saw."""
        settings = self.recipe.training
        torch.manual_seed(settings.seed + self.step)  # so that a resumed run drops out what this one would have
        rate = learning_rate(settings, self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        bits, origins = 0.0, []
        for number in range(settings.accumulate):
            prepared = next(batches)
            origins += prepared.batch.origins
            tensors = self.let_hear_itself(prepared.tensors, number)
            loss = self.mean_bits(tensors) / settings.accumulate
            loss.backward()
            bits += loss.item()
            self.speed.waited_s += prepared.waited_s
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm).item()
        self.check_finite(bits, norm, origins)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad()
        self.average_weights()
        self.step += 1
        self.log(bits, norm, rate)
        return bits

    @torch.no_grad()
    def let_hear_itself(self, tensors: TrainingBatch, number: int) -> TrainingBatch:
        """Put the network's own draws in place of some codes of the step's batch `number`, if the recipe wants that.

        Two passes, as in Mihaylova and Martins, "Scheduled sampling for transformers" (arXiv:1906.07651): the first,
        without gradient, predicts every code from the true ones, and draws.
        """
        settings = self.recipe.training
        share = settings.scheduled_sampling * self.step / settings.steps
        if share == 0:
            return tensors
        heard = tensors.inputs
        with self.autocast():
            parameters, _ = self.model(heard, None, self.model.condition(tensors.labels, tensors.frames))
        draws = uniform_rows(settings.seed, number, self.step * heard.numel(), heard.numel(), 2)
        is_own = torch.from_numpy(draws[:, 0] < share).view(heard.shape).to(heard.device)
        own = self.model.head.draw(parameters[is_own].float().cpu().numpy(), draws[draws[:, 0] < share, 1], Decoding())
        heard = heard.clone()
        heard[is_own] = torch.from_numpy(own).to(heard.device)
        return tensors._replace(inputs=heard)

    def mean_bits(self, tensors: TrainingBatch) -> Tensor:
        """Bits per counted code of a batch, the loss."""
        self.speed.n_samples += tensors.codes.numel()
        with self.autocast():
            return self._loss(self.model, tensors)

    def autocast(self) -> torch.autocast:
        """The precision of the products, as the recipe and the machine allow it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16)

    @torch.no_grad()
    def average_weights(self) -> None:
        """Exponential moving average, over fewer steps while there are few (Polyak and Juditsky, 1992)."""
        decay = min(self.recipe.training.average, (1 + self.step) / (10 + self.step))
        for average, newest in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            average.lerp_(newest, 1 - decay)

    def check_finite(self, bits: float, norm: float, origins: Sequence[str]) -> None:
        """Stop before a loss that is NaN or infinite reaches the weights."""
        if not (math.isfinite(bits) and math.isfinite(norm)):
            is_saved = (self.folder / STATE_FILE).exists()
            kept = f"{self.folder} keeps its last checkpoint" if is_saved else "nothing was saved yet"
            anew = "begin a new run, --from the last one" if is_saved else "begin anew"
            raise InputError(
                f"the loss is {bits} and the gradient {norm} at step {self.step + 1}, in the batch "
                f"{'; '.join(origins)}; {kept}; lower training.learning_rate and {anew}"
            )

    def log(self, bits: float, norm: float, rate: float) -> None:
        """Note the mean of the last steps, every few steps."""
        self.unlogged_bits.append(bits)
        if self.step % LOG_EVERY and self.step != self.recipe.training.steps:
            return
        elapsed_s = time.monotonic() - self.speed.began
        self._metrics.write(
            {
                "step": self.step,
                "bits": round(sum(self.unlogged_bits) / len(self.unlogged_bits), 5),
                "learning_rate": rate,
                "gradient_norm": round(norm, 5),
                "samples_per_s": round(self.speed.n_samples / elapsed_s),
                "waiting": round(self.speed.waited_s / elapsed_s, 5),
            }
        )
        self.unlogged_bits.clear()
        self.speed.reset()

    def validate(self) -> None:
        """Measure the averaged weights on the validation split; draw the loss curve."""
        n = self.store.item_format.n_values(self.recipe.validation_amount)
        with self.autocast():
            self.bits["validation"] = bits_per_sample(
                self.averaged,
                self.store,
                self.segments["validation"],
                self.codec,
                self.label_values,
                n,
                framer=self.framer,
            )
        self._metrics.write({"step": self.step, "validation_bits": round(self.bits["validation"], 5)})
        recent = metrics.read_metrics(self.folder)
        trained = [line["bits"] for line in recent if "bits" in line][-20:]
        speed = [line["samples_per_s"] for line in recent if "samples_per_s" in line][-20:]
        unit = self.store.item_format.unit
        mean = f"{np.mean(trained):.3f}" if trained else "?"
        say(
            f"step {self.step}/{self.recipe.training.steps}  training {mean}  validation "
            f"{self.bits['validation']:.3f} bits per {unit}  {np.mean(speed or [0]):,.0f} {unit}s/s"
        )
        metrics.plot_losses(self.folder, unit)
        self.speed.reset()

    def measure_precisions(self) -> None:
        """Measure what the CPU engine's reduced precisions cost the averaged weights, so that it can choose one."""
        self.precision_costs = precision_costs(
            self.averaged,
            self.store,
            self.segments["validation"],
            self.codec,
            self.label_values,
            framer=self.framer,
        )

    def write_sample(self) -> None:
        """Let the averaged weights run free; write the sound or the images, and a picture of them beside real ones."""
        model = Checkpoint(self.description, self._weights(), "", self.folder / MODEL_FILE)
        preview.write(self.folder, model, self.store, self.segments, self.recipe.training.sample_seconds, self.step)
        self.speed.reset()

    def save(self) -> None:
        """Write what is needed to go on, then the model that derives from it."""
        state = {
            "format": STATE_FORMAT,
            "step": self.step,
            "recipe": self.recipe.to_yaml(),
            "mean_scale": getattr(self.description.head, "mean_scale", 1.0),
            "corpus": self.store.fingerprint,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "bits": self.bits,
            "precision_costs": self.precision_costs,
        }
        encoded = io.BytesIO()
        torch.save(state, encoded)
        files.write(self.folder / STATE_FILE, encoded.getvalue())
        self._export()

    def _export(self) -> None:
        described = {**vars(self.description), "step": self.step, "bits": self.bits}
        described["precision_costs"] = self.precision_costs
        checkpoint.save(self.folder / MODEL_FILE, Description(**described), self._weights(), self.recipe.to_yaml())

    def _weights(self) -> dict[str, np.ndarray]:
        """The averaged weights as the arrays of a model file."""
        return {name: tensor.cpu().numpy() for name, tensor in self.averaged.state_dict().items()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["corpus"] != self.store.fingerprint:
            raise InputError(
                f"the corpus {self.store.corpus} has changed since {self.folder} was trained; "
                "start a new run, with --from to keep its weights"
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.bits = state["step"], dict(state["bits"])
        self.precision_costs = dict(state.get("precision_costs", {}))

    def _compile(self) -> None:
        """Fuse the loss and its gradient, and try both on a batch; if that fails, "auto" goes without and says so."""
        say("Compiling, about a minute")
        self._loss = torch.compile(type(self.model).loss)
        batch = self.windows.batch(0, self.recipe.training.batch_size)
        try:
            self.mean_bits(_tensors(batch, self.device)).backward()
        except Exception as error:  # torch documents none; its code generator fails on some shapes in its own ways
            sentence = f"torch.compile fails on this network ({type(error).__name__})"
            if self.recipe.training.compile is True:
                raise InputError(f"{sentence}; set training.compile to false") from error
            say(f"{sentence}, so it trains uncompiled")
            self._loss = type(self.model).loss
        self.model.zero_grad()
        self.speed.reset()

    def _announce(self, resume: bool, is_resumed: bool) -> None:
        if resume and not is_resumed:
            say(f"{self.folder} holds no run to resume, so this one starts afresh")
        n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        field = self.model.receptive_field
        n_samples = {name: sum(s.n_samples for s in part) for name, part in self.segments.items()}
        item_format = self.store.item_format
        amounts = ", ".join(f"{item_format.amount(n)} {name}" for name, n in n_samples.items())
        precision = "bfloat16" if self.precision is torch.bfloat16 else "float32"
        say(f"{self.store.corpus}, {item_format.title}: {amounts}")
        say(
            f"{n_parameters:,} parameters, receptive field {item_format.extent(field)}, {precision} on "
            f"{self.device.type}, steps {self.step} to {self.recipe.training.steps}, into {self.folder}"
        )

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Write the recipe, bring the model up to the saved step, and have the log open."""
        described = self.folder / RECIPE_FILE
        is_new = not described.exists()
        files.write(described, self.recipe.to_yaml().encode())
        if self.step:
            self._export()  # a kill between training.pt and the model leaves the model behind
        try:
            with metrics.writing(self.folder, self.step) as self._metrics:
                yield
        finally:
            if is_new and not (self.folder / STATE_FILE).exists():  # a run that never was is in nobody's way
                for path in (described, self.folder / metrics.METRICS_FILE):
                    path.unlink(missing_ok=True)


def _load_state(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """What to go on from, or None in a folder without a run; refuses another recipe's run."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    stored = path.read_bytes()
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        if state["format"] == 2:
            state = {**migrations.state_of_format_2(state), "format": STATE_FORMAT}
        found = state["format"]
        if found == STATE_FORMAT and (missing := STATE_PARTS - state.keys()):
            raise KeyError(*missing)
    except Exception as error:  # torch documents none; a damaged file raises whatever its pickle reader meets
        raise InputError(
            f"{path} is damaged, or no training state; begin a new run in another folder, --from {folder} to keep its "
            "weights"
        ) from error
    if found != STATE_FORMAT:
        raise InputError(f"{path} has format {found}; this wavegen reads {STATE_FORMAT}")
    before = parse_recipe(state["recipe"], str(path))
    for section in ("data", "model", "training"):
        old, new = getattr(before, section).model_dump(), getattr(recipe, section).model_dump()
        for key in new:
            if key != "source" and old.get(key) != new[key]:  # the corpus is known by its fingerprint
                raise InputError(
                    f"{folder} was trained with {section}.{key} = {old.get(key)}, the recipe now says {new[key]}; "
                    "resume with the same recipe, or start a new run with --from"
                )
    return state


def _check_free(folder: Path, recipe: Recipe) -> None:
    """Raises: InputError if a new run in this folder would write over something."""
    if (folder / STATE_FILE).exists():
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


def _check_apart(folder: Path, source: Path | None) -> None:
    """Raises: InputError if a run would write its sounds to where its recordings are read from."""
    if source is not None and folder.resolve().is_relative_to(source.expanduser().resolve()):
        raise InputError(
            f"the run folder {folder} lies in data.source, {source}, and what it writes would join the corpus; choose "
            "a folder outside with --out"
        )


def _check_same_sound(source: Checkpoint, description: Description) -> None:
    """Raises: InputError if a model to start from was made for other codes, another rate or other labels."""
    for name in ("sample_rate", "shape", "codec", "n_classes", "labels", "features"):
        theirs, ours = getattr(source.description, name), getattr(description, name)
        if theirs != ours:
            raise InputError(f"{source.path} was trained with {name} {theirs}; the recipe says {ours}")


def _prefetch(make: Callable[[int], Batch], first: int, device: torch.device) -> Generator[Prepared, None, None]:
    """Batches from number `first` on, made on a thread of their own."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(make, first)
        for number in itertools.count(first + 1):
            began = time.monotonic()
            batch = coming.result()
            waited_s = time.monotonic() - began
            coming = worker.submit(make, number)
            yield Prepared(batch, _tensors(batch, device), waited_s)


def _tensors(batch: Batch, device: torch.device) -> TrainingBatch:
    def move(array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        # From pinned memory it goes to a GPU without the loop waiting for what is queued there.
        return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

    codes = move(batch.codes)
    # The same object where nothing differs would be one input to torch.compile, and two where something does.
    heard = move(batch.codes.copy() if batch.heard is None else batch.heard)
    labels = {name: move(rows) for name, rows in batch.labels.items()}
    frames = None if batch.frames is None else move(batch.frames)
    return TrainingBatch(codes, heard, move(batch.counted), labels, frames)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question the loop asks after each step; a second Ctrl-C stops at once."""
    received = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if received:
            raise KeyboardInterrupt
        received = True
        say("Finishing this step, then saving (Ctrl-C again to stop without saving)")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
