"""What ails a run: symptoms, each found by measurement, with its remedy. docs/training.md tells of causes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen import checkpoint, recipe
from wavegen.checkpoint import Checkpoint
from wavegen.codec import Codec
from wavegen.data import corpora, splits
from wavegen.data.audio import SoundFormat
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Segment, evenly_spaced
from wavegen.doctor.machine import Finding
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.evaluation.bits import label_rows, make_framer
from wavegen.evaluation.drift import for_engine, surprise
from wavegen.features.frame_condition import Frames
from wavegen.generation.conditioning import known_labels
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import generate
from wavegen.models.base import Model, frames_on
from wavegen.models.build import from_checkpoint
from wavegen.progress import Bar
from wavegen.training import metrics

N_EXAMPLES = 8  # recordings (or images) that the network hears, and sounds that it makes
EXAMPLE_S = 0.5  # of each, behind the receptive field
N_LOOKED_AT = 200  # recordings of the corpus, each for at most 10 s
LOOK_S = 10.0
MIN_LINES = 10  # of the log, to judge a course by

MAX_RISE = 0.3  # bits that training may have risen from its lowest; the mean of five lines of the log
MAX_OVERFITTING = 0.05  # bits that validation may have risen from its lowest
MAX_CLIPPED = 0.001  # share of samples at full scale
MAX_SILENT = 0.1  # share of recordings below -60 dB of full scale, or of images of one colour
SILENT_LEVEL = 33  # of 32768
CONSTANT = 0.95  # share of the most common code, from which a sound is one value
ALIKE = 0.98  # share of equal codes, from which two images are the same
LOUDER_DB, QUIETER_DB = 12.0, -30.0  # than recordings
NOISIER = 1.0  # bits that the network may be more surprised by its own sound than by recordings
PLAINER = 0.4  # share of the bits of recordings below which its own sound is too plain
UNLEARNT = 0.95  # share of the bits of a uniform guess
LEAK = 1e-3  # change of a logit by a code that it must not know
VANISHED = 1e-4  # gradient of a layer relative to the median layer's
DEAD = 1e-3  # standard deviation of a gated activation, which lies in (-1, 1)
MAX_DEAD = 0.1  # share of such channels
NO_LAYERS = "not looked at: this kind of network has no gated layers"


class Examples(NamedTuple):
    """What the network hears, or has made: codes (B, T), their labels as values and rows, and a vocoder's frames."""

    codes: NDArray[np.int64]
    labels: list[dict[str, str | None]]
    rows: Mapping[str, Tensor]
    frames: Frames[NDArray] | None

    def first(self, n: int) -> "Examples":
        """The first n of them."""
        rows = {name: rows[:n] for name, rows in self.rows.items()}
        return Examples(
            self.codes[:n],
            self.labels[:n],
            rows,
            None if self.frames is None else self.frames.map(lambda array: array[:n]),
        )


def diagnose(run: Path, bar: Bar) -> list[Finding]:
    """Look for what ails the model of a run folder (or a model file), in a minute or so.

    Raises: InputError if there is no such model.
    """
    loaded = checkpoint.load(run)
    settings = recipe.parse(loaded.recipe, f"the recipe in {loaded.path}")
    log = metrics.read_metrics(run) if run.is_dir() else []
    findings = [_progress(loaded, settings), *_course(log, settings)]
    bar.update(1, "corpus")
    model = from_checkpoint(loaded)
    try:
        store = _corpus(loaded, settings)
        segments = splits.split(settings.data, store.recordings)
    except InputError as error:
        findings.append(Finding("data", None, f"not looked at, and the network not compared with it: {error}"))
        examples = None
        if loaded.description.features:
            return [*findings, Finding("network", None, "not looked into: a vocoder needs recordings to make again")]
    else:
        findings.append(_data(store, segments["train"]))
        examples = _examples(loaded, model, store, segments["validation"])
    bar.update(2, "running free")
    made = _run_free(loaded, model, examples)
    findings += _sound(loaded, model, examples, made)
    bar.update(3, "looking into the network")
    shown = examples or made
    findings += [_leak(model, shown.first(2)), _gradients(model, shown.first(2)), _gates(model, shown)]
    bar.update(4)
    return findings


def _corpus(loaded: Checkpoint, settings: recipe.Recipe) -> Store:
    """Raises: InputError if it is not prepared here, or another than the one that the model was trained on."""
    store, _ = corpora.open_corpus(settings.data, may_prepare=False)
    if store.fingerprint != loaded.description.corpus_fingerprint:
        raise InputError(f"the corpus {store.corpus} here is not the one of the training")
    return store


def _progress(loaded: Checkpoint, settings: recipe.Recipe) -> Finding:
    step, n_steps = loaded.description.step, settings.training.steps
    if step >= n_steps:
        return Finding("training", True, f"finished, {step:,} steps")
    return Finding("training", None, f"step {step:,} of {n_steps:,}: what follows may pass; go on with --resume")


def _course(lines: Sequence[Mapping[str, Any]], settings: recipe.Recipe) -> list[Finding]:
    """How the losses went."""
    trained = [line for line in lines if "bits" in line]
    if len(trained) < MIN_LINES:
        return [Finding("learning rate", None, f"the log has {len(trained)} lines, too few to judge by")]
    findings = []
    bits = np.array([line["bits"] for line in trained])
    smooth = np.convolve(bits, np.ones(5) / 5, mode="valid")
    best = int(smooth.argmin())
    norms = np.array([line["gradient_norm"] for line in trained])
    cut = float(np.mean(norms > 10 * settings.training.clip_norm))
    rise = float(smooth[-1] - smooth[best])
    if rise > MAX_RISE and not settings.training.scheduled_sampling:
        detail = f"training fell to {smooth[best]:.2f} bits at step {trained[best + 2]['step']}, and rose by {rise:.2f}"
        findings.append(_bad("learning rate", detail, "lower training.learning_rate, or raise training.warm_up"))
    elif cut > 0.5:
        detail = f"the gradient exceeds training.clip_norm tenfold in {cut:.0%} of the steps"
        findings.append(_bad("learning rate", detail, "lower training.learning_rate"))
    else:
        detail = f"training went from {smooth[0]:.2f} to {smooth[-1]:.2f} bits"
        findings.append(Finding("learning rate", True, detail))
    validated = [(line["step"], line["validation_bits"]) for line in lines if "validation_bits" in line]
    if len(validated) > 1:
        step, lowest = min(validated, key=lambda one: one[1])
        rise = validated[-1][1] - lowest
        if rise > MAX_OVERFITTING and smooth[-1] < lowest:
            detail = f"validation was best at step {step}, {lowest:.3f} bits, and has risen by {rise:.3f}"
            findings.append(_bad("overfitting", detail, "take fewer steps, more data, or model.dropout"))
        else:
            detail = f"validation is at {validated[-1][1]:.3f} bits, {lowest:.3f} at best"
            findings.append(Finding("overfitting", True, detail))
    return findings


def _data(store: Store, segments: Sequence[Segment]) -> Finding:
    """Whether the corpus is worth learning from."""
    looked_at = evenly_spaced(segments, N_LOOKED_AT)
    n_most = (
        store.item_format.n_values(LOOK_S) if isinstance(store.item_format, SoundFormat) else looked_at[0].n_samples
    )
    pieces = [np.asarray(store.samples[one.start : one.start + min(one.n_samples, n_most)]) for one in looked_at]
    what = f"{len(pieces)} {store.item_format.items} of the training split"
    if not isinstance(store.item_format, SoundFormat):
        plain = np.mean([piece.min() == piece.max() for piece in pieces])
        if plain > MAX_SILENT:
            return _bad("data", f"{plain:.0%} of {what} are of one colour", "leave those out")
        return Finding("data", True, f"{what} have something on them")
    levels = [np.abs(piece.astype(np.int32)) for piece in pieces]
    clipped = sum(int((level >= 32767).sum()) for level in levels) / sum(len(level) for level in levels)
    silent = float(np.mean([level.max() < SILENT_LEVEL for level in levels]))
    if clipped > MAX_CLIPPED:
        return _bad("data", f"{clipped:.1%} of the samples are at full scale", "take recordings that are not clipped")
    if silent > MAX_SILENT:
        return _bad("data", f"{silent:.0%} of {what} are silent", "leave those out")
    return Finding("data", True, f"{what}: {clipped:.2%} of the samples at full scale, {silent:.0%} silent")


def _examples(loaded: Checkpoint, model: Model, store: Store, segments: Sequence[Segment]) -> Examples:
    """Recordings of equal length, each from its beginning, or images."""
    description = loaded.description
    longest = max(segment.n_samples for segment in segments)
    needed = longest if description.shape else model.receptive_field + round(EXAMPLE_S * description.sample_rate)
    n = min(longest, needed)
    chosen = evenly_spaced([segment for segment in segments if segment.n_samples >= n], N_EXAMPLES)
    coder = Coder(store, description.make_codec())
    framer = make_framer(model, store, description)
    return Examples(
        codes=np.stack([coder.codes(segment.start, n) for segment in chosen]),
        labels=[known_labels(description.labels, segment.labels) for segment in chosen],
        rows=label_rows(chosen, description.labels, model.device),
        frames=None if framer is None else framer.frames([(segment, 0) for segment in chosen], n),
    )


def _run_free(loaded: Checkpoint, model: Model, examples: Examples | None) -> Examples:
    """What the network makes by itself, as many and as long as the examples, with their labels and frames."""
    description = loaded.description
    decoding = description.make_decoding(guidance=1.0)
    labels = examples.labels if examples else [dict.fromkeys(description.labels) for _ in range(N_EXAMPLES)]
    n = examples.codes.shape[1] if examples else round(EXAMPLE_S * description.sample_rate)
    unknown = {name: torch.full((len(labels),), len(values)) for name, values in description.labels.items()}
    made = Examples(np.empty((len(labels), 0), dtype=np.int64), labels, unknown, None) if examples is None else examples
    if description.shape:
        rows = ImageSession(loaded, labels, GenerationOptions(guidance=1.0)).rows(seed=0)
        return made._replace(codes=np.concatenate(list(rows), axis=1))
    with torch.inference_mode():
        condition = for_engine(_condition(model, made))
    _, engine = make_engine(loaded, len(labels), EngineOptions(precision="float32"))
    blocks = list(generate(engine, n, seed=0, decoding=decoding, condition=condition))
    return made._replace(codes=np.concatenate(blocks, axis=1))


def _sound(loaded: Checkpoint, model: Model, examples: Examples | None, made: Examples) -> list[Finding]:
    """What the network makes by itself, beside what it was shown."""
    description = loaded.description
    codec = description.make_codec()
    share, code = _most_common(made.codes)
    usual = _most_common(examples.codes)[0] if examples else 0.0
    findings = []
    if share > max(CONSTANT, usual + 0.02):
        value = "silence" if not description.shape and code == codec.silence else f"one value, {codec.decode(code):.3f}"
        detail = f"{share:.0%} of what it makes is {value} (code {code})"
        findings.append(_bad("free-running", detail, "train longer, raise --temperature, or look at the data"))
    elif description.shape:
        findings.append(_variety(made.codes, examples))
    else:
        findings.append(_loudness(codec, made.codes, examples))
    bits_made = _bits(model, made)
    if examples is None:
        return [*findings, Finding("surprise", None, f"{bits_made:.2f} bits by its own sound")]
    bits = _bits(model, examples)
    detail = f"{bits:.2f} bits by what was recorded, {bits_made:.2f} by its own"
    most = float(np.log2(description.n_classes))
    if bits > UNLEARNT * most:
        remedy = "train longer, and look at the data and the learning rate"
        findings.append(_bad("surprise", f"{detail}: it has learnt nothing yet (a guess takes {most:.2f})", remedy))
    elif bits_made > bits + NOISIER:
        remedy = "lower --temperature; see docs/exposure.md for training.input_noise"
        findings.append(_bad("surprise", f"{detail}: it drifts into noise", remedy))
    elif bits_made < PLAINER * bits:
        findings.append(_bad("surprise", f"{detail}: it drifts into something plainer", "raise --temperature"))
    else:
        findings.append(Finding("surprise", True, detail))
    return findings


def _loudness(codec: Codec, codes: NDArray[np.int64], examples: Examples | None) -> Finding:
    level = _level_db(codec, codes)
    if examples is None:
        return Finding("free-running", True, f"level {level:.0f} dB of full scale")
    recorded = _level_db(codec, examples.codes)
    detail = f"level {level:.0f} dB of full scale, recordings {recorded:.0f} dB"
    if level - recorded > LOUDER_DB:
        return _bad("free-running", f"{detail}: it runs away", "lower --temperature, or train longer")
    if level - recorded < QUIETER_DB:
        return _bad("free-running", f"{detail}: it falls silent", "raise --temperature, or train longer")
    return Finding("free-running", True, detail)


def _variety(codes: NDArray[np.int64], examples: Examples | None) -> Finding:
    alike = _share_alike(codes)
    usual = _share_alike(examples.codes) if examples else 0.0
    detail = f"two images agree in {alike:.0%} of their codes, real ones in {usual:.0%}"
    if alike > max(ALIKE, usual + 0.01):
        return _bad("free-running", f"{detail}: they are all the same", "raise --temperature, or train longer")
    return Finding("free-running", True, detail)


def _leak(model: Model, examples: Examples) -> Finding:
    """Whether a prediction knows the code that it predicts, or one behind it."""
    codes = torch.from_numpy(examples.codes).to(model.device)
    cut = codes.shape[1] // 2
    changed = codes.clone()
    changed[:, cut:] = (changed[:, cut:] + model.head.n_classes // 2) % model.head.n_classes
    with torch.inference_mode():
        condition = _condition(model, examples)
        before, after = (model(one, None, condition)[0][:, : cut + 1] for one in (codes, changed))
    most = float((before - after).abs().max())
    if most > LEAK:
        detail = f"changing codes from {cut} on changes predictions up to there by {most:.3g}"
        return _bad("leak of the future", detail, "its bits mean nothing; look for what was changed in nn/ or models/")
    return Finding("leak of the future", True, "predictions depend on earlier codes only")


def _gradients(model: Model, examples: Examples) -> Finding:
    """Whether the loss reaches every layer."""
    layers = model.gated_layers()
    if not layers:
        return Finding("gradients", None, NO_LAYERS)
    codes = torch.from_numpy(examples.codes).to(model.device)
    logits, _ = model(codes, None, _condition(model, examples))
    model.head.bits(logits, codes).mean().backward()
    sizes = np.array(
        [0.0 if (g := layer.conv.weight.grad) is None else float(g.square().mean().sqrt()) for layer in layers]
    )
    model.zero_grad()
    vanished = np.flatnonzero(sizes <= VANISHED * np.median(sizes))
    if not np.isfinite(sizes).all():
        return _bad("gradients", "they are not finite", "begin anew with a lower training.learning_rate")
    if len(vanished):
        detail = f"none reaches layer {', '.join(map(str, vanished[:8]))} of {len(layers)}"
        return _bad("gradients", detail, "keep model.residual, take fewer layers, or begin anew")
    spread = f"within a factor {sizes.max() / sizes.min():.0f} of each other"
    return Finding("gradients", True, f"reach all {len(layers)} layers, {spread}")


def _gates(model: Model, examples: Examples) -> Finding:
    """Whether gated activations say anything."""
    layers = model.gated_layers()
    if not layers:
        return Finding("dead gates", None, NO_LAYERS)
    deviations: list[Tensor] = []

    def note(_: object, __: object, made: tuple[Tensor, Tensor, Tensor]) -> None:
        z = made[1]
        deviations.append(z.reshape(-1, z.shape[-1]).std(dim=0))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.inference_mode():
        model(torch.from_numpy(examples.codes).to(model.device), None, _condition(model, examples))
    for hook in hooks:
        hook.remove()
    dead = np.array([float((deviation < DEAD).double().mean()) for deviation in deviations])
    detail = f"{dead.mean():.1%} of the channels never change, {dead.max():.0%} of the worst layer's"
    if dead.mean() > MAX_DEAD:
        return _bad("dead gates", detail, "take fewer channels, a lower training.learning_rate, or more data")
    return Finding("dead gates", True, detail)


def _bad(what: str, detail: str, remedy: str) -> Finding:
    return Finding(what, False, f"{detail}; {remedy}")


def _condition(model: Model, examples: Examples) -> Any:
    return model.condition(examples.rows, frames_on(model.device, examples.frames))


def _bits(model: Model, examples: Examples) -> float:
    with torch.inference_mode():
        return float(surprise(model, examples.codes, _condition(model, examples)).mean())


def _most_common(codes: NDArray[np.int64]) -> tuple[float, int]:
    """The share of the most common code, and that code."""
    values, counts = np.unique(codes, return_counts=True)
    return float(counts.max() / codes.size), int(values[counts.argmax()])


def _share_alike(codes: NDArray[np.int64]) -> float:
    """The mean share of codes in which neighbours of (B, T) agree."""
    return float((codes[1:] == codes[:-1]).mean()) if len(codes) > 1 else 0.0


def _level_db(codec: Codec, codes: NDArray[np.int64]) -> float:
    """RMS relative to full scale, without what is constant."""
    waveform = codec.decode(codes)
    return float(20 * np.log10(max(1e-6, float((waveform - waveform.mean()).std()))))
