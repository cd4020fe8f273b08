"""wavegen image"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.live import Live as Screen

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.data import images
from wavegen.errors import InputError
from wavegen.generation import images as drawing
from wavegen.generation.options import GenerationOptions
from wavegen.paths import user_path
from wavegen.progress import bar

from .corpus import Split, bits_table, open_split
from .half_blocks import half_blocks
from .options import Device, Model, Settings, SplitName, check_out, named_after, parse_labels, takes_image_options
from .screen import console
from .tables import Table
from .terminal import say, show_result

if TYPE_CHECKING:
    from wavegen.models.base import Model as Network

app = typer.Typer(
    name="image", no_args_is_help=True, help="Draw images with a PixelCNN, complete, classify and measure them."
)

ImageLabels = Annotated[
    list[str] | None,
    typer.Option("--label", help="VALUE, or NAME=VALUE; repeat for more, which take turns (default: unknown)"),
]
OnlySoMany = Annotated[int | None, typer.Option("--n", min=1, help="look at so many images (default: all)")]
SIDES = ("top", "left")
MOST = 1000  # images at once


@app.command("sample")
@takes_image_options
def sample(
    model: Model = Path("mnist"),
    n: Annotated[int, typer.Option("--n", min=1, max=MOST, help="how many images")] = 16,
    labels: ImageLabels = None,
    out: Annotated[Path | None, typer.Option(help="PNG file of the grid (default: NAME-SEED.png)")] = None,
    *,
    options: GenerationOptions,
) -> None:
    """Draw images, shown in the terminal as they grow, and write them as a grid; prints its name.

    Without a MODEL it draws handwritten digits, with one that ships.

    Examples:
        wavegen image sample
        wavegen image sample --label 3
        wavegen image sample runs/mnist --n 100 --label 3 --temperature 0.9 --out threes.png
    """
    path = check_out("--out", ".png", out or named_after(model, options, ".png"))
    session = _open_session(model, labels, n, options)
    _write_grid(path, session.pixels(_drawn(model, session)))


@app.command("complete")
@takes_image_options
def complete(
    model: Model,
    image: Annotated[Path, typer.Argument(help="the image to complete", metavar="IMAGE")],
    keep: Annotated[
        str, typer.Option(help="top or left, the half that stays; or an image of its size, white where it stays")
    ] = "top",
    n: Annotated[int, typer.Option("--n", min=1, max=MOST, help="how many ways to complete it")] = 8,
    labels: ImageLabels = None,
    out: Annotated[Path | None, typer.Option(help="PNG file of the grid (default: IMAGE-completed.png)")] = None,
    *,
    options: GenerationOptions,
) -> None:
    """Draw what is missing of an image, several times; the first of the grid is the image with the rest in black.

    What is drawn depends on what stays above it and to its left; what stays below is put back as it was.

    Examples:
        wavegen image complete mnist seven.png --keep top
        wavegen image complete runs/cifar10 cat.png --keep mask.png --n 3
    """
    path = check_out("--out", ".png", out or Path(f"{image.stem}-completed.png"), image, user_path(keep))
    session = _open_session(model, labels, n, options)
    shape = (session.height, session.width, session.n_colours)
    pixels, stays = images.read(image, shape), _mask(keep, shape)
    codes = np.where(np.repeat(stays, session.n_colours, axis=1), session.codes(pixels), -1)
    completed = session.pixels(_drawn(model, session, np.repeat(codes[None], n, axis=0)))
    _write_grid(path, np.concatenate([(pixels * stays[..., None])[None], completed]))


def _open_session(model: Path, labels: list[str] | None, n: int, options: GenerationOptions) -> drawing.ImageSession:
    """Make a model ready to draw n images of labels that take turns.

    Raises: InputError for whatever does not fit the model.
    """
    loaded = checkpoint.load(model)
    return drawing.ImageSession(loaded, _labels_of(loaded, labels, n), options)


def _drawn(model: Path, session: drawing.ImageSession, codes: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """All codes (n, height, row_length), shown on a terminal while they come, as many images as fit.

    `codes` is as `ImageSession.rows` takes it.
    """
    say(f"{model}: engine {session.engine_title}, {session.decoding.title}, seed {session.seed}")
    drawn = np.zeros((session.n, session.height, session.row_length), dtype=np.int64)
    n_shown = min(session.n, (console.width - 1) // (session.width + 1))
    is_shown = console.is_terminal and n_shown > 0
    with Screen(console=console, auto_refresh=False) as screen:
        for number, row in enumerate(session.rows(codes=codes)):
            drawn[:, number] = row
            if is_shown and (number % 2 or number == session.height - 1):
                screen.update(half_blocks(drawing.grid(session.pixels(drawn[:n_shown]), n_shown, gap=1)), refresh=True)
    return drawn


def _write_grid(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write images (n, height, width, colours) side by side, about as many to a row as rows; prints the name."""
    drawing.write(path, drawing.grid(pixels, int(np.ceil(np.sqrt(len(pixels))))))
    show_result(path)


@app.command("evaluate")
def evaluate(
    model: Model,
    split: SplitName = "test",
    n: OnlySoMany = None,
    settings: Settings = None,
    device: Device = "auto",
) -> None:
    """Measure bits per dimension (a dimension is one colour of one pixel) on a split of the model's corpus.

    Examples:
        wavegen image evaluate runs/mnist
        wavegen image evaluate runs/cifar10 --split validation --n 1000
    """
    from wavegen.devices import choose_device
    from wavegen.evaluation.bits import bits_per_sample
    from wavegen.models.build import from_checkpoint

    loaded = checkpoint.load(model)
    if not loaded.description.shape:
        raise InputError(f"{loaded.path} makes sound; `wavegen evaluate` measures it")
    opened = open_split(loaded, split, settings)
    store, _, chosen = opened
    description, codec = loaded.description, loaded.description.make_codec()
    n_codes = store.item_format.n_values(len(chosen) if n is None else min(n, len(chosen)))
    say(f"{split} split of {store.corpus}: {store.item_format.amount(n_codes)}")
    with bar("Evaluating", n_codes) as running:
        network = from_checkpoint(loaded).to(choose_device(device))
        bits = bits_per_sample(network, store, chosen, codec, description.labels, n_codes, running)
    bits_table(loaded, split, opened, bits).show()
    show_result(f"{bits * store.item_format.n_values(1) * np.log(2):.2f} nats an image")


@app.command("classify")
def classify(
    model: Model,
    image: Annotated[list[Path] | None, typer.Argument(help="images; none: a split of the corpus")] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test (default: test)")] = None,
    n: OnlySoMany = None,
    settings: Settings = None,
    device: Device = "auto",
) -> None:
    """Say of which label an image is, by Bayes' rule: the value under which the model finds it most probable.

    Every value is taken to be equally probable beforehand. Without images it classifies a split of the model's corpus,
    and says how often it is right, what it takes for what, and how probable the images are with and without the label.
    Images are to be like those of the corpus: digits white on black, of MNIST's.

    Examples:
        wavegen image classify mnist-binary seven.png
        wavegen image classify runs/mnist --n 1000
    """
    from wavegen.devices import choose_device
    from wavegen.models.build import from_checkpoint

    loaded = checkpoint.load(model)
    description = loaded.description
    if not description.shape:
        raise InputError(f"{loaded.path} makes sound; expected a model that draws images")
    if len(description.labels) != 1:
        raise InputError(f"{loaded.path} has {len(description.labels)} labels; to classify it needs one")
    if image and (split or n is not None or settings):
        raise InputError("--split, --n and --set are for the corpus, and images are given; leave out one of the two")
    network = from_checkpoint(loaded).to(choose_device(device))
    if image:
        _files_classified(loaded, network, image).show()
    else:
        split = split or "test"
        _classify_split(loaded, network, open_split(loaded, split, settings), split, n)


def _files_classified(loaded: Checkpoint, network: "Network", paths: Sequence[Path]) -> Table:
    """What each image is found to be, and how sure that is."""
    from wavegen.data.windows import pixel_table
    from wavegen.evaluation.classify import bits_by_label

    ((name, values),) = loaded.description.labels.items()
    height, width, n_colours = loaded.description.shape
    codes_of = pixel_table(loaded.description.make_codec())
    table = Table("image", name, "probability")
    for path in paths:
        pixels = images.read(path, (height, width, n_colours))
        bits = bits_by_label(network, codes_of[pixels.reshape(1, -1)])[0]
        best = int(bits.argmin())
        share = 1 / np.exp2(bits[best] - bits).sum()
        table.add_row(str(path), values[best], f"{share:.3f}")
    return table


def _classify_split(loaded: Checkpoint, network: "Network", opened: Split, split: str, n: int | None) -> None:
    """Classify a split, or n images evenly spaced through it, and print what came of it."""
    from wavegen.data.windows import evenly_spaced
    from wavegen.evaluation.classify import classify as classify_segments

    description = loaded.description
    ((name, values),) = description.labels.items()
    labelled = [segment for segment in opened.chosen if segment.labels.get(name) in values]
    if not labelled:
        raise InputError(f"no image of the {split} split of {opened.store.corpus} has a {name} that the model knows")
    if len(labelled) < len(opened.chosen):
        say(f"{len(opened.chosen) - len(labelled)} images without a {name} that the model knows are left out")
    taken = evenly_spaced(labelled, len(labelled) if n is None else n)
    with bar("Classifying", len(taken)) as running:
        result = classify_segments(network, opened.store, taken, description.make_codec(), description.labels, running)
    _mistakes(name, values, result.counts, f"{loaded.path}, {split} split").show()
    show_result(f"{result.n_right} of {len(taken)} images right: {result.n_right / len(taken):.2%}")
    given, marginal = (bits * np.log(2) for bits in (result.bits, result.marginal_bits))
    show_result(f"{given:.2f} nats an image, its {name} given; {marginal:.2f} whatever its {name}")


def _mistakes(name: str, values: Sequence[str], counts: NDArray[np.int64], title: str) -> Table:
    """Of each value how many images there are, how many are found to be it, and what the others are taken for.

    Shapes: counts (true, found).
    """
    table = Table(name, "images", "right", "most often taken for", title=title)
    for row, (value, found) in enumerate(zip(values, counts, strict=True)):
        if found.sum():
            wrong = [other for other in np.argsort(-found, kind="stable") if other != row and found[other]]
            taken_for = ", ".join(f"{values[other]} ({found[other]})" for other in wrong[:3])
            table.add_row(value, str(found.sum()), f"{found[row] / found.sum():.1%}", taken_for)
    return table


def _labels_of(loaded: Checkpoint, texts: list[str] | None, n: int) -> list[dict[str, str | None]]:
    """The labels of n images: those given take turns, and of a single label its value alone will do."""
    texts = texts or []
    if len(texts) > n:
        raise InputError(f"{len(texts)} labels are given for {n} images; expected at most one for each")
    known = list(loaded.description.labels)
    if texts and not known:
        raise InputError(f"--label {texts[0]} is given, and {loaded.path} has no labels; leave it out")
    named = [text if "=" in text or len(known) != 1 else f"{known[0]}={text}" for text in texts]
    turns: list[dict[str, str | None]] = [parse_labels([text], loaded.path) for text in named] or [{}]
    return [turns[number % len(turns)] for number in range(n)]


def _mask(keep: str, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Where an image stays as it is, (height, width)."""
    height, width, _ = shape
    stays = np.zeros((height, width), dtype=bool)
    if keep == "top":
        stays[: height // 2] = True
    elif keep == "left":
        stays[:, : width // 2] = True
    elif user_path(keep).is_file():
        stays = images.read(user_path(keep), (height, width, 1))[..., 0] > 127
    else:
        raise InputError(f"--keep is {keep}; expected {', '.join(SIDES)} or an image that is white where it stays")
    return stays
