"""wavegen evaluate"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.data.windows import Coder, Segment, evenly_spaced
from wavegen.engines.cpu.packing import REDUCED
from wavegen.errors import InputError
from wavegen.features.log_mel import LogMel
from wavegen.generation.stream import n_samples
from wavegen.progress import bar

from .corpus import bits_table, open_split
from .options import MAX_SECONDS, Device, Model, Settings
from .terminal import say

if TYPE_CHECKING:
    from wavegen.data.store import Store
    from wavegen.evaluation.bits import Drift

N_BINS = 8  # stretches of the free-running comparison
N_STREAMS = 16  # recordings and sounds in it


def evaluate(
    model: Model,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=MAX_SECONDS, help="hear about this much of the split (default: all of it)"),
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
    from wavegen.devices import choose_device
    from wavegen.evaluation.bits import bits_per_sample, drift, label_rows, make_framer, precision_costs
    from wavegen.models.build import from_checkpoint

    loaded = checkpoint.load(model)
    described = loaded.description
    if described.shape:
        raise InputError(f"{loaded.path} draws images; `wavegen image evaluate` measures it")
    if precisions:
        if checkpoint.PRETRAINED in loaded.path.parents:
            raise InputError(f"{loaded.path} ships with wavegen and stays as it is; expected a model of yours")
        files.check_writable(loaded.path.absolute().parent)
    opened = open_split(loaded, split, settings)
    store, _, chosen = opened
    rate = described.sample_rate
    n_free = 0 if free_running is None else n_samples(free_running, rate)
    examples = _long_enough(chosen, n_free) if n_free else []
    network = from_checkpoint(loaded)
    codec, features = described.make_codec(), described.make_features()
    framer = make_framer(network, store, features)
    total = sum(segment.n_samples for segment in chosen)
    say(f"{split} split of {store.corpus}: {len(chosen)} recordings, {store.item_format.amount(total)}")
    n_most = total if seconds is None else round(seconds * rate)
    with bar("Evaluating", min(total, n_most)) as running:
        bits = bits_per_sample(
            network.to(choose_device(device)), store, chosen, codec, described.labels, n_most, running, framer
        )
    Console(markup=False).print(bits_table(loaded, split, opened, bits))
    if precisions:
        with bar("Rounding", len(REDUCED)) as running:
            costs = precision_costs(network, store, chosen, codec, described.labels, bar=running, framer=framer)
        table = Table("precision", "bits per sample more than float32", title="what the CPU engine's precisions cost")
        for precision, cost in costs.items():
            table.add_row(precision, f"{cost:+.4f}")
        Console(markup=False).print(table)
        checkpoint.save(loaded.path, replace(described, precision_costs=costs), loaded.weights, loaded.recipe)
        say(f"{loaded.path} holds these now, and --precision auto goes by them")
    if examples:
        coder = Coder(store, codec)
        recorded = np.stack([coder.codes(segment.start, n_free) for segment in examples])
        rows = label_rows(examples, described.labels, network.device)
        frames = None if framer is None else framer.frames([(segment, 0) for segment in examples], n_free)
        with bar("Running free", n_free) as running:
            decoding = described.make_decoding(guidance=1.0)
            found = drift(network, recorded, rows, decoding, N_BINS, bar=running, frames=frames)
        Console(markup=False).print(_drift_table(found, len(examples), n_free / rate))
    if features is not None:
        try:
            Console(markup=False).print(_resynthesis_table(loaded, features, store, chosen))
        except InputError as error:
            say(f"No recordings were made again: {error}")


def _resynthesis_table(loaded: Checkpoint, features: LogMel, store: "Store", segments: Sequence[Segment]) -> Table:
    """Raises: InputError if there are not two stretches of recordings that are long enough."""
    from wavegen.evaluation import resynthesis

    recorded, labels = resynthesis.stretches(loaded, store, segments)
    n, length = recorded.shape
    with bar("Making again", 2 * length) as running:
        found = resynthesis.measure(loaded, features, recorded, labels, bar=running)
    seconds = length / loaded.description.sample_rate
    title = f"{n} stretches of {seconds:.3g} s made again from their frames: how far from it they are"
    table = Table("", "log-mel, dB", "spectral", title=title)
    rows = ("this model", "this model, each from the frames of another", "Griffin-Lim from the same frames")
    for name, distance in zip(rows, found, strict=True):
        table.add_row(name, f"{distance.log_mel_db:.2f}", f"{distance.spectral:.3f}")
    return table


def _drift_table(found: "Drift", n_sounds: int, seconds: float) -> Table:
    table = Table("from, s", "recorded", "generated", title=f"bits per sample, mean of {n_sounds}")
    for number, (recorded, generated) in enumerate(zip(found.recorded, found.generated, strict=True)):
        table.add_row(f"{number * seconds / N_BINS:.2f}", f"{recorded:.3f}", f"{generated:.3f}")
    return table


def _long_enough(segments: Sequence[Segment], n_samples: int) -> list[Segment]:
    """Some segments of at least this length, evenly spaced through the list.

    Raises: InputError if there are none.
    """
    chosen = [segment for segment in segments if segment.n_samples >= n_samples]
    if not chosen:
        longest = max(segment.n_samples for segment in segments)
        raise InputError(f"no recording is {n_samples} samples long; the longest has {longest}, so run free for less")
    return evenly_spaced(chosen, N_STREAMS)
