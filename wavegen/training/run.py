"""What a training run works with, set up from its recipe: the corpus, the network, windows, optimisers."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavegen import checkpoint
from wavegen.architectures import Architecture, RelativeHead
from wavegen.checkpoint import MODEL_FILE, Checkpoint, Description
from wavegen.codec import Codec, make_codec
from wavegen.data import astray, corpora, splits
from wavegen.data.astray import Astray
from wavegen.data.frame_store import FrameFormat, frames_of
from wavegen.data.store import Store
from wavegen.data.windows import Batch, Framer, Segment, WindowRule, Windows, rms_step
from wavegen.devices import has_compiler, multiplies_bfloat16
from wavegen.errors import InputError
from wavegen.evaluation.bits import make_framer
from wavegen.features.frame_codes import N_LEVELS
from wavegen.models.base import Model, TrainingBatch
from wavegen.models.build import build, load_weights
from wavegen.recipe import AudioData, ImageData, Recipe
from wavegen.training import state as saved_state
from wavegen.training.batches import Prepared, prefetch, to_tensors
from wavegen.training.folder import check_free
from wavegen.training.optimizers import make_optimizers
from wavegen.training.ranks import Ranks
from wavegen.training.state import State

logger = logging.getLogger(__name__)

Loss = Callable[[Model, TrainingBatch], Tensor]


@dataclass
class Run:
    """What a run works with, in one of its processes (`ranks`); of all this, steps change the `state` only.

    `precision` is that of the products, as the recipe and the machine allow it. `description` is that of the model
    file, without what is measured while it trains.
    """

    recipe: Recipe
    folder: Path
    device: torch.device
    precision: torch.dtype
    store: Store
    segments: Mapping[str, Sequence[Segment]]
    codec: Codec
    description: Description
    framer: Framer | None
    windows: Windows
    state: State
    loss: Loss
    ranks: Ranks

    @property
    def unit(self) -> str:
        """What a code is one of: a sample, or a dimension of an image."""
        return self.store.item_format.unit

    def feed(self) -> AbstractContextManager[Iterator[Prepared]]:
        """The batches from the present step on, the next one always in the making."""
        return closing(prefetch(self.batch, self.state.step * self.recipe.training.accumulate, self.device))

    def batch(self, number: int) -> Batch:
        """The rows that this process takes of a forward pass."""
        rows = self.ranks.rows(self.recipe.training.batch_size)
        return self.windows.batch(number, len(rows), rows.start)

    def autocast(self) -> torch.autocast:
        """Have products made in the run's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def save(self) -> None:
        """Write what is needed to go on, then the model that derives from it; rank 0 does."""
        if not self.ranks.is_first:
            return
        self.state.save(self.folder, self.recipe, self.store, getattr(self.description.head, "mean_scale", 1.0))
        self.export()

    def is_model_behind(self) -> bool:
        """Whether the model file is older than the state, such as after a kill between the two, or damaged.

        It is newer where a damaged state has made the run go back.
        """
        if not self.state.step:
            return False
        try:
            return checkpoint.load(self.folder).description.step < self.state.step
        except InputError:
            return True

    def export(self) -> None:
        """Write the model file."""
        state = self.state
        measured = replace(self.description, step=state.step, bits=state.bits, precision_costs=state.precision_costs)
        model = self.model_file(measured)
        checkpoint.save(self.folder / MODEL_FILE, model.description, model.weights, model.recipe, model.planner)

    def model_file(self, description: Description) -> Checkpoint:
        """The model as it is now: its averaged weights, and if it is a planner, the vocoder in front of it."""
        model = Checkpoint(description, self.state.weights, self.recipe.to_yaml(), self.folder / MODEL_FILE)
        return checkpoint.with_planner(self.recipe.vocoder_model, model) if self.recipe.is_planner else model


def set_up(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    resume: bool = False,
    start_from: Path | None = None,
    ranks: Ranks | None = None,
) -> Run:
    """Check the folder, open the corpus, build the network, and load what there is to go on from.

    `resume` and `start_from` are those of `loop.train`.

    Raises: InputError as `loop.train` does.
    """
    ranks = ranks or Ranks()
    recipe.check_sizes()
    ranks.rows(recipe.training.batch_size)
    saved, source = ranks.from_first(lambda: _begun(recipe, folder, resume, start_from))
    with ranks.one_before_the_others():
        run = _assembled(recipe, folder, device, saved, source, ranks)
        if resume and saved is None:
            logger.info(f"{folder} holds no run to resume, so this one starts afresh")
        _announce(run)
        wish = recipe.training.compile
        if (wish is True or (wish == "auto" and has_compiler(device))) and run.state.step < recipe.training.steps:
            run.loss = _compiled_loss(run)
    return run


def _begun(
    recipe: Recipe, folder: Path, resume: bool, start_from: Path | None
) -> tuple[dict[str, Any] | None, Checkpoint | None]:
    """What there is to go on from: the state of the run in the folder, or a model to start from.

    Raises: InputError if neither may be gone on from, or the folder holds another run.
    """
    saved = saved_state.read(folder, recipe) if resume else None
    if saved is None:
        check_free(folder, recipe)
    return saved, None if start_from is None or saved is not None else checkpoint.load(start_from).trained


def _assembled(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    saved: Mapping[str, Any] | None,
    source: Checkpoint | None,
    ranks: Ranks,
) -> Run:
    """A run that goes on from what was saved, or from a model, or from nothing."""
    settings = recipe.training
    store = _open_corpus(recipe)
    segments = splits.split(recipe.data, store.recordings)
    label_values = splits.label_values(segments["train"])
    codec = make_codec(recipe.data.codec, recipe.data.n_classes, recipe.pre_emphasis)
    if recipe.is_planner:
        store, segments = frames_of(store, segments, recipe.frame_codes, settings.speeds)
        codec = make_codec("levels", N_LEVELS)

    torch.manual_seed(settings.seed)
    is_relative = issubclass(recipe.head, RelativeHead) and not recipe.model.model_dump().get("prediction_order")
    mean_scale = _mean_scale(saved, source, store, segments["train"], codec) if is_relative else 1.0
    architecture = recipe.architecture({name: len(values) for name, values in label_values.items()}, mean_scale)
    architecture.check()  # before anything of such sizes is made
    model = build(architecture).to(device)
    description = _describe(recipe, architecture, store, codec, label_values)
    if source is not None:
        _check_same_sound(source, description)
        load_weights(model, source.weights, str(source.path))
    averaged: Model = copy.deepcopy(model).requires_grad_(False).eval()
    state = State(model, averaged, make_optimizers(model, settings), n_processes=ranks.size)
    try:
        checkpoint.validate(description, state.weights)
    except InputError as error:
        raise InputError(f"no model file can hold what this recipe describes: {error}") from error

    framer = make_framer(model, store, description)
    windows = _make_windows(recipe, model, store, segments, codec, label_values, framer)
    if saved is not None:
        state.restore(saved, folder, store)
    return Run(
        recipe=recipe,
        folder=folder,
        device=device,
        precision=_precision(recipe, device),
        store=store,
        segments=segments,
        codec=codec,
        description=description,
        framer=framer,
        windows=windows,
        state=state,
        loss=type(model).loss,
        ranks=ranks,
    )


def _open_corpus(recipe: Recipe) -> Store:
    store, report = corpora.open_corpus(recipe.data)
    for line in report.lines() if report is not None else []:
        logger.info(line)
    return store


def _mean_scale(
    saved: Mapping[str, Any] | None,
    source: Checkpoint | None,
    store: Store,
    segments: Sequence[Segment],
    codec: Codec,
) -> float:
    """The scale of a relative head: the one its weights were trained with, or that of the corpus."""
    if saved is not None:
        return float(saved["mean_scale"])
    if source is not None and isinstance(source.description.head, RelativeHead):
        return source.description.head.mean_scale
    return rms_step(store, segments, codec)


def _describe(
    recipe: Recipe,
    architecture: Architecture,
    store: Store,
    codec: Codec,
    label_values: Mapping[str, list[str]],
) -> Description:
    return Description(
        architecture=architecture,
        codec=codec.kind,
        n_classes=codec.n_classes,
        **store.item_format.description,
        labels=label_values,
        features=recipe.features,
        pre_emphasis=recipe.pre_emphasis,
        decoding=recipe.decoding.model_dump(),
        corpus=store.corpus,
        corpus_fingerprint=store.fingerprint,
        credit=recipe.credit,
        about=recipe.about,
        label_dropout=recipe.training.label_dropout,
    )


def _check_same_sound(source: Checkpoint, description: Description) -> None:
    """Raises: InputError if a model to start from was made for other codes, another rate or other labels."""
    for name in ("sample_rate", "shape", "codec", "n_classes", "labels", "features", "pre_emphasis"):
        theirs, ours = getattr(source.description, name), getattr(description, name)
        if theirs != ours:
            raise InputError(f"{source.path} was trained with {name} {theirs}; the recipe says {ours}")


def _make_windows(
    recipe: Recipe,
    model: Model,
    store: Store,
    segments: Mapping[str, Sequence[Segment]],
    codec: Codec,
    label_values: Mapping[str, Sequence[str]],
    framer: Framer | None,
) -> Windows:
    """Raises: InputError if no window, or nothing of the validation split, would hold a code that counts."""
    settings, data = recipe.training, recipe.data
    context = 0 if isinstance(data, ImageData) else model.receptive_field  # an image has no context before it
    prediction, lead_in = model.architecture.prediction, 0
    if prediction is not None and framer is not None:
        context -= prediction.reach
        lead_in = -(-prediction.reach // framer.hop) * framer.hop
    if recipe.context is not None:
        context = min(context, recipe.context)
    rule = WindowRule(
        recipe.window,
        context,
        settings.start_share,
        settings.learn_endings,
        settings.label_dropout,
        settings.balance,
        settings.input_noise,
        settings.seed,
        data.shape if isinstance(data, ImageData) and data.mirrored else None,
        settings.gain_db,
        lead_in,
        model.unit,
        store.item_format.silence if isinstance(store.item_format, FrameFormat) else (),
    )
    windows = Windows(
        store, segments["train"], codec, rule, label_values, framer, _astray(recipe, model, codec, label_values)
    )
    needed = 0 if isinstance(data, ImageData) else model.receptive_field
    if not any(segment.n_counted(needed) for segment in segments["validation"]):
        raise InputError(f"the validation split has no recording longer than the receptive field, {needed} samples")
    return windows


def _astray(recipe: Recipe, model: Model, codec: Codec, label_values: Mapping[str, Sequence[str]]) -> Astray | None:
    """What some windows begin with: as much as the network hears, and not more than half of a window.

    Raises: InputError as `astray.read`.
    """
    settings = recipe.training
    if settings.astray is None:
        return None
    assert isinstance(recipe.data, AudioData)  # the recipe has seen to it
    n_codes = min(model.receptive_field, recipe.window // 2)
    label = next(iter(label_values), None)
    values = () if label is None else label_values[label]
    return astray.read(settings.astray, settings.astray_share, n_codes, codec, recipe.data.sample_rate, label, values)


def _precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    precision = recipe.training.precision
    is_bfloat16 = precision == "bfloat16" or (precision == "auto" and multiplies_bfloat16(device))
    return torch.bfloat16 if is_bfloat16 else torch.float32


def _announce(run: Run) -> None:
    n_parameters = sum(parameter.numel() for parameter in run.state.model.parameters())
    field = run.state.model.receptive_field
    n_samples = {name: sum(segment.n_samples for segment in part) for name, part in run.segments.items()}
    item_format = run.store.item_format
    amounts = ", ".join(f"{item_format.amount(n)} {name}" for name, n in n_samples.items())
    precision = "bfloat16" if run.precision is torch.bfloat16 else "float32"
    logger.info(f"{run.store.corpus}, {item_format.title}: {amounts}")
    processes = f", {run.ranks.size} processes" if run.ranks.size > 1 else ""
    logger.info(
        f"{n_parameters:,} parameters, receptive field {item_format.extent(field)}, {precision} on "
        f"{run.device.type}{processes}, steps {run.state.step} to {run.recipe.training.steps}, into {run.folder}"
    )


def _compiled_loss(run: Run) -> Loss:
    """Fuse the loss and its gradient, and try both on a batch; if that fails, "auto" goes without and says so. Compiled
    code that was kept and does not load, as an interrupted compilation leaves it, is passed over and made anew.

    Raises: InputError if it fails and the recipe insists.
    """
    logger.info("Compiling (usually about a minute; longer on a busy machine)")
    try:
        try:
            return _tried(torch.compile(run.loss), run)
        except Exception as error:  # torch documents none; see below
            if not isinstance(getattr(error, "inner_exception", error), ImportError | OSError | EOFError):
                raise
            logger.warning(f"Code that torch.compile kept is damaged ({type(error).__name__}), so it compiles anew")
        from torch._inductor.utils import fresh_cache

        torch._dynamo.reset()
        with fresh_cache():
            return _tried(torch.compile(run.loss), run)
    except Exception as error:  # torch documents none; its code generator fails on some shapes in its own ways
        sentence = f"torch.compile fails on this network ({type(error).__name__})"
        if run.recipe.training.compile is True:
            raise InputError(f"{sentence}; set training.compile to false") from error
        logger.warning(f"{sentence}, so it trains uncompiled")
        return run.loss


def _tried(loss: Loss, run: Run) -> Loss:
    """A loss whose value and gradient have been taken once."""
    model = run.state.model
    tensors = to_tensors(run.batch(0), run.device)
    try:
        with run.autocast():
            value = loss(model, tensors)
        value.backward()
    finally:
        model.zero_grad()
    return loss
