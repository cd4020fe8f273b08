"""wavegen evaluate"""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.progress import bar, say

from .options import MAX_SECONDS, Device, Model, Settings


def evaluate(
    model: Model,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=MAX_SECONDS, help="hear about this much of the split (default: all of it)"),
    ] = None,
    settings: Settings = None,
    device: Device = "auto",
) -> None:
    """Measure bits per sample on a split of the model's corpus, beside what simple histograms get on the same data.

    Fewer is better; a WaveNet that has learnt anything is below the order-1 histogram.

    Examples:
        wavegen evaluate runs/speech
        wavegen evaluate speech.safetensors --split validation --set data.source=~/LibriSpeech
    """
    from wavegen import recipe
    from wavegen.data import corpora
    from wavegen.devices import choose_device
    from wavegen.evaluation import bits_per_sample, histogram_bits
    from wavegen.models.build import build, load_weights

    if split not in corpora.SPLITS:
        raise InputError(f"unknown split {split!r}; expected one of {', '.join(corpora.SPLITS)}")
    loaded = checkpoint.load(model)
    described = loaded.description
    data = recipe.parse(loaded.recipe, f"the recipe in {loaded.path}", settings).data
    store, _ = corpora.open_corpus(data)
    if (data.sample_rate, data.codec, data.n_classes) != (described.sample_rate, described.codec, described.n_classes):
        raise InputError(
            f"{loaded.path} takes {described.sample_rate} Hz and {described.n_classes} {described.codec} classes; "
            f"the data are asked for at {data.sample_rate} Hz with {data.n_classes} {data.codec} classes"
        )
    if store.fingerprint != described.corpus_fingerprint:
        if not settings:
            raise InputError(
                f"the corpus {store.corpus} here is not the one that {loaded.path} was trained on, so its {split} "
                "split may hold what it has heard; name an unheard corpus with --set data.source=..."
            )
        say("This is not the corpus of the training: whether the model has heard it is for you to know")
    segments = corpora.split(data, store.recordings)
    chosen = segments[split]
    if not chosen:
        raise InputError(f"the {split} split of {store.corpus} is empty here")
    network = build(described.kind, described.architecture)
    load_weights(network, loaded.weights, str(loaded.path))
    codec = described.make_codec()
    total = sum(segment.n_samples for segment in chosen)
    say(f"{split} split of {store.corpus}: {len(chosen)} recordings, {total / store.sample_rate / 60:.1f} min")
    with bar("Evaluating", min(total, (seconds or float("inf")) * store.sample_rate)) as running:
        bits = bits_per_sample(
            network.to(choose_device(device)), store, chosen, codec, described.labels, seconds, running
        )
    order_0, order_1 = histogram_bits(store, segments["train"], chosen, codec)

    table = Table("", "bits per sample", title=f"{loaded.path}, step {described.step}, {split} split")
    table.add_row("this model", f"{bits:.3f}")
    table.add_row("order-1 histogram (knows the sample before)", "-" if order_1 is None else f"{order_1:.3f}")
    table.add_row("order-0 histogram", f"{order_0:.3f}")
    Console(markup=False).print(table)
