"""The corpus that a model was trained on, for commands that measure it there."""

from typing import TYPE_CHECKING, NamedTuple

from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.features.frame_codes import FrameCodes

from .tables import Table
from .terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wavegen.data.store import Store
    from wavegen.data.windows import Segment


class Split(NamedTuple):
    """A store, what of it trained, and the split that was asked for."""

    store: "Store"
    train: "Sequence[Segment]"
    chosen: "Sequence[Segment]"


def bits_table(loaded: Checkpoint, name: str, split: Split, bits: float) -> Table:
    """A model's bits on the split of that name, beside those of histograms counted on what it was trained on."""
    from wavegen.evaluation.bits import histogram_bits

    description = loaded.description
    order_0, order_1 = histogram_bits(split.store, split.train, split.chosen, description.make_codec())
    title = f"{loaded.path}, step {description.step}, {name} split"
    table = Table("", f"bits per {split.store.item_format.unit}", title=title)
    table.add_row("this model", f"{bits:.3f}")
    table.add_row("order-1 histogram (given the previous sample)", "-" if order_1 is None else f"{order_1:.3f}")
    table.add_row("order-0 histogram", f"{order_0:.3f}")
    return table


def open_split(loaded: Checkpoint, name: str, settings: list[str] | None) -> Split:
    """Open a split of a model's corpus; `settings` override the data section of its recipe.

    Raises: InputError for an unknown or empty split, data that the model does not take, or another corpus than that of
        the training, unless the settings name it.
    """
    from wavegen import recipe
    from wavegen.data import corpora, frame_store, splits

    if name not in splits.SPLITS:
        raise InputError(f"unknown split {name!r}; expected one of {', '.join(splits.SPLITS)}")
    for setting in settings or []:
        if not setting.startswith("data."):
            raise InputError(f"--set {setting}: only the data can be others here; expected data.KEY=VALUE")
    description = loaded.description
    data = recipe.parse(loaded.recipe, f"the recipe in {loaded.path}", settings).data
    item_format = corpora.item_format_of(data)
    is_planner = description.architecture.makes == "frames"
    codes = (description.codec, description.n_classes) if is_planner else (data.codec, data.n_classes)
    takes = (description.sample_rate, tuple(description.shape), description.codec, description.n_classes)
    if takes != (getattr(data, "sample_rate", 0), tuple(getattr(data, "shape", ())), *codes):
        own = f"{description.sample_rate} Hz" if description.sample_rate else f"images of {tuple(description.shape)}"
        raise InputError(
            f"{loaded.path} takes {own} and {description.n_classes} {description.codec} classes; "
            f"the data are asked for at {item_format.title} with {data.n_classes} {data.codec} classes"
        )
    store, _ = corpora.open_corpus(data)
    segments = splits.split(data, store.recordings)
    if is_planner:
        features = description.make_features()
        assert features is not None  # those that it plans
        store, segments = frame_store.frames_of(store, segments, FrameCodes(features, description.n_classes))
    if store.fingerprint != description.corpus_fingerprint:
        if not settings:
            raise InputError(
                f"the corpus {store.corpus} here is not the one that {loaded.path} was trained on, so its {name} split "
                "may hold what it has learnt; name another corpus with --set data.source=..."
            )
        say("This is not the corpus of the training: whether the model has learnt from it is for you to know")
    if not segments[name]:
        raise InputError(f"the {name} split of {store.corpus} is empty here")
    return Split(store, segments["train"], segments[name])
