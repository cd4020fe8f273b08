"""wavegen evaluate"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.codec import Codec
from wavegen.data.windows import Framer, Segment, excerpt
from wavegen.engines.cpu.packing import REDUCED
from wavegen.errors import InputError
from wavegen.generation.stream import n_samples
from wavegen.progress import bar

from .corpus import Split, bits_table, open_split
from .options import MAX_SECONDS, Device, Model, Settings, SplitName
from .tables import Table
from .terminal import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wavegen.data.store import Store
    from wavegen.evaluation.listen import Spread
    from wavegen.models.base import Model as Network

app = typer.Typer()

N_UTTERANCES = 8  # recordings that --listen resynthesises


@app.command("evaluate")
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
    listen: Annotated[
        bool,
        typer.Option(
            "--listen", help="of a vocoder: PESQ, STOI, spectra and pitch of recordings that it resynthesises"
        ),
    ] = False,
    utterances: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"recordings that --listen resynthesises, 6 s of each at most (default: {N_UTTERANCES})"
        ),
    ] = None,
    settings: Settings = None,
    device: Device = "auto",
) -> None:
    """Measure bits per sample on a split of the model's corpus, beside what simple histograms get on the same data.

    Fewer is better; a WaveNet that has learnt anything is below the order-1 histogram. A vocoder also makes some
    recordings of the split again, to tell how near it comes; with --listen, by the figures that speech is judged by.

    Examples:
        wavegen evaluate runs/speech
        wavegen evaluate runs/speech --free-running 4
        wavegen evaluate runs/speech --precisions
        wavegen evaluate runs/vocoder --listen --seconds 60
        wavegen evaluate speech.safetensors --split validation --set data.source=~/LibriSpeech
    """
    from wavegen.evaluation.bits import bits_per_sample
    from wavegen.evaluation.drift import long_enough

    loaded = checkpoint.load(model)
    description = loaded.description
    if description.shape:
        raise InputError(f"{loaded.path} draws images; `wavegen image evaluate` measures it")
    if utterances is not None and not listen:
        raise InputError("--utterances counts the recordings of --listen, which is not given; expected both or neither")
    if listen and not description.features:
        raise InputError(
            f"{loaded.path} is no vocoder: --listen compares what a vocoder makes of recordings with these; "
            "`--free-running 4` tells how far another model drifts from its recordings"
        )
    if loaded.planner is not None and (listen or free_running is not None):
        raise InputError(
            f"{loaded.path} plans its frames, and what is measured is the bits of these; --listen and --free-running "
            "are for the vocoder by itself, or a model that plans none"
        )
    if precisions:
        _check_writable(loaded)
    trained = loaded.trained
    opened = open_split(trained, split, settings)
    n_free = 0 if free_running is None else n_samples(free_running, description.sample_rate)
    examples = long_enough(opened.chosen, n_free) if n_free else []
    recordings = _choose_recordings(opened, utterances or N_UTTERANCES, description.sample_rate) if listen else []
    measured = _measured(trained, opened.store, device)
    total = sum(segment.n_samples for segment in opened.chosen)
    amount = opened.store.item_format.amount(total)
    say(f"{split} split of {opened.store.corpus}: {len(opened.chosen)} recordings, {amount}")
    field = measured["model"].receptive_field
    n_most = total if seconds is None else opened.store.item_format.n_values(seconds)
    taken = excerpt(opened.chosen, n_most, field, measured["model"].unit)
    with bar("Evaluating", sum(segment.n_counted(field) for segment in taken)) as running:
        bits = bits_per_sample(**measured, segments=taken, bar=running)
    bits_table(trained, split, opened, bits).show()
    if precisions:
        _keep_precision_costs(loaded, measured, opened.chosen).show()
    if examples:
        _drift_table(loaded, measured, examples, n_free).show()
    if recordings:
        _listen_table(loaded, recordings, split, device).show()
    elif description.features and loaded.planner is None:
        try:
            _resynthesis_table(loaded, opened.store, opened.chosen).show()
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


def _keep_precision_costs(loaded: Checkpoint, measured: _Measured, segments: Sequence[Segment]) -> Table:
    """Measure what reduced precisions cost, and write it into the model file."""
    from wavegen.evaluation.bits import precision_costs

    with bar("Rounding", len(REDUCED)) as running:
        costs = precision_costs(**measured, segments=segments, bar=running)
    measured_now = replace(loaded.trained, description=replace(loaded.trained.description, precision_costs=costs))
    kept = measured_now if loaded.planner is None else replace(loaded, planner=measured_now)
    checkpoint.save(loaded.path, kept.description, kept.weights, kept.recipe, kept.planner)
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


def _choose_recordings(opened: Split, n: int, sample_rate: int) -> "Sequence[NDArray[np.float32]]":
    """Raises: InputError if all are too short."""
    from wavegen.evaluation import listen

    return listen.choose_recordings(opened.store, opened.chosen, n, sample_rate)


def _listen_table(loaded: Checkpoint, recorded: "Sequence[NDArray[np.float32]]", split: str, device: str) -> Table:
    """Figures of opinion, intelligibility, spectra and pitch, without those whose packages are missing."""
    from wavegen.evaluation import listen

    features = loaded.description.make_features()
    if features is None or features.log_mel is None:
        raise InputError(f"{loaded.path} has frames without log-mel bands, which --listen compares")
    missing = listen.missing_packages()
    figures = [figure for figure in listen.FIGURES if figure.package not in missing]
    if missing:
        say(f'Rows that need {" and ".join(missing)} are left out; to install: pip install "wavegen[evaluate]"')
    total = sum(map(len, recorded))
    with bar("Resynthesising", total) as running:
        made = listen.resynthesise(loaded, recorded, device, bar=running)
    with bar("Measuring", len(recorded)) as running:
        rows = listen.compare(features.log_mel, recorded, made, figures, bar=running)
    seconds = total / loaded.description.sample_rate
    title = f"{len(recorded)} recordings of the {split} split, {seconds:.3g} s: mean and standard deviation"
    table = Table("", title=title)
    for column in listen.COLUMNS:
        table.add_column(column, justify="right")
    for figure, row in zip(figures, rows, strict=True):
        table.add_row(
            figure.title, *(_spread(row[column], figure.decimals, len(recorded)) for column in listen.COLUMNS)
        )
    return table


def _spread(spread: "Spread", decimals: int, n: int) -> str:
    """A cell, such as 2.94 ±0.20; of fewer recordings than there are it says so."""
    if not spread.n:
        return "-"
    fewer = "" if spread.n == n else f" of {spread.n}"
    return f"{spread.mean:.{decimals}f} ±{spread.deviation:.{decimals}f}{fewer}"
