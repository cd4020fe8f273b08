"""wavegen evaluate"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from rich.table import Table

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.codec import Codec
from wavegen.data.windows import Framer, Segment
from wavegen.engines.cpu.packing import REDUCED
from wavegen.errors import InputError
from wavegen.generation.stream import n_samples
from wavegen.progress import bar

from .corpus import bits_table, open_split
from .options import MAX_SECONDS, Device, Model, Settings, SplitName
from .terminal import say, show_result

if TYPE_CHECKING:
    from wavegen.data.store import Store
    from wavegen.models.base import Model as Network


def evaluate(
    model: Model,
    split: SplitName = "test",
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1, max=MAX_SECONDS, help="evaluate only about this many seconds of the split (default: all of it)"
        ),
    ] = None,
    free_running: Annotated[
        float | None,
        typer.Option(min=0.1, max=600, help="also let it run free this long, s, and show how far it drifts"),
    ] = None,
    precisions: Annotated[
        bool,
        typer.Option(
            "--precisions", help="also measure what the CPU engine's precisions cost, and keep it in the model"
        ),
    ] = False,
    settings: Settings = None,
    device: Device = "auto",
) -> None:
    """Measure bits per sample on a split of the model's corpus, beside what simple histograms get on the same data.

    Fewer is better; a WaveNet that has learnt anything is below the order-1 histogram. A vocoder also makes some
    recordings of the split again, to tell how near it comes.

    Examples:
        wavegen evaluate runs/speech
        wavegen evaluate runs/speech --free-running 4
        wavegen evaluate runs/speech --precisions
        wavegen evaluate speech.safetensors --split validation --set data.source=~/LibriSpeech
    """
    from wavegen.evaluation.bits import bits_per_sample
    from wavegen.evaluation.drift import long_enough

    loaded = checkpoint.load(model)
    description = loaded.description
    if description.shape:
        raise InputError(f"{loaded.path} draws images; `wavegen image evaluate` measures it")
    if precisions:
        _check_writable(loaded)
    opened = open_split(loaded, split, settings)
    n_free = 0 if free_running is None else n_samples(free_running, description.sample_rate)
    examples = long_enough(opened.chosen, n_free) if n_free else []
    measured = _measured(loaded, opened.store, device)
    total = sum(segment.n_samples for segment in opened.chosen)
    amount = opened.store.item_format.amount(total)
    say(f"{split} split of {opened.store.corpus}: {len(opened.chosen)} recordings, {amount}")
    n_most = total if seconds is None else round(seconds * description.sample_rate)
    with bar("Evaluating", min(total, n_most)) as running:
        bits = bits_per_sample(**measured, segments=opened.chosen, max_codes=n_most, bar=running)
    _print(bits_table(loaded, split, opened, bits))
    if precisions:
        _print(_keep_precision_costs(loaded, measured, opened.chosen))
    if examples:
        _print(_drift_table(loaded, measured, examples, n_free))
    if description.features:
        try:
            _print(_resynthesis_table(loaded, opened.store, opened.chosen))
        except InputError as error:
            say(f"No recordings were made again: {error}")


class _Measured(TypedDict):
    """What is measured, as every function of wavegen/evaluation takes it."""

    model: "Network"
    store: "Store"
    codec: Codec
    label_values: Mapping[str, Sequence[str]]
    framer: Framer | None


def _measured(loaded: Checkpoint, store: "Store", device: str) -> _Measured:
    from wavegen.devices import choose_device
    from wavegen.evaluation.bits import make_framer
    from wavegen.models.build import from_checkpoint

    description = loaded.description
    network = from_checkpoint(loaded).to(choose_device(device))
    framer = make_framer(network, store, description)
    return _Measured(
        model=network, store=store, codec=description.make_codec(), label_values=description.labels, framer=framer
    )


def _check_writable(loaded: Checkpoint) -> None:
    """Raises: InputError if nothing can be kept in the model file."""
    if checkpoint.PRETRAINED in loaded.path.parents:
        raise InputError(f"{loaded.path} ships with wavegen and stays as it is; expected a model of yours")
    files.check_writable(loaded.path.absolute().parent)


def _print(table: Table) -> None:
    show_result(table)


def _keep_precision_costs(loaded: Checkpoint, measured: _Measured, segments: Sequence[Segment]) -> Table:
    """Measure what reduced precisions cost, and write it into the model file."""
    from wavegen.evaluation.bits import precision_costs

    with bar("Rounding", len(REDUCED)) as running:
        costs = precision_costs(**measured, segments=segments, bar=running)
    description = replace(loaded.description, precision_costs=costs)
    checkpoint.save(loaded.path, description, loaded.weights, loaded.recipe)
    say(f"{loaded.path} holds these now, and --precision auto goes by them")
    table = Table("precision", "bits per sample more than float32", title="what the CPU engine's precisions cost")
    for precision, cost in costs.items():
        table.add_row(precision, f"{cost:+.4f}")
    return table


def _drift_table(loaded: Checkpoint, measured: _Measured, segments: Sequence[Segment], n_samples: int) -> Table:
    from wavegen.evaluation.drift import N_BINS, drift_from_recordings

    decoding = loaded.description.make_decoding(guidance=1.0)
    with bar("Running free", n_samples) as running:
        drift = drift_from_recordings(
            **measured, segments=segments, decoding=decoding, n_samples=n_samples, bar=running
        )
    seconds = n_samples / loaded.description.sample_rate
    table = Table("from, s", "recorded", "generated", title=f"bits per sample, mean of {len(segments)}")
    for number, (recorded, generated) in enumerate(zip(drift.recorded, drift.generated, strict=True)):
        table.add_row(f"{number * seconds / N_BINS:.2f}", f"{recorded:.3f}", f"{generated:.3f}")
    return table


def _resynthesis_table(loaded: Checkpoint, store: "Store", segments: Sequence[Segment]) -> Table:
    """Raises: InputError if there are not two stretches of recordings that are long enough."""
    from wavegen.evaluation import resynthesis

    features = loaded.description.make_features()
    assert features is not None
    recorded, labels = resynthesis.stretches(loaded, store, segments)
    n, length = recorded.shape
    with bar("Making again", 2 * length) as running:
        comparison = resynthesis.measure(loaded, features, recorded, labels, bar=running)
    seconds = length / loaded.description.sample_rate
    title = f"{n} stretches of {seconds:.3g} s made again from their frames: how far from it they are"
    table = Table("", "log-mel, dB", "spectral", title=title)
    rows = ("this model", "this model, each from the frames of another", "Griffin-Lim from the same frames")
    for name, distance in zip(rows, comparison, strict=True):
        table.add_row(name, f"{distance.log_mel_db:.2f}", f"{distance.spectral:.3f}")
    return table
