"""wavegen bench"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.progress import bar
from wavegen.recipes import find

from .options import Device
from .terminal import say

if TYPE_CHECKING:
    from wavegen.recipe import Recipe

SIZES = {"small": "librispeech-small", "full": "librispeech", "large": "librispeech"}
LARGE = ["model.n_blocks=4", "model.skip_channels=1024", "model.head_channels=512"]

AT_LEAST = {"cpu": "products\nalone", "cuda": "reading\nweights"}  # what bounds an engine, timed alone


def bench(
    model: Annotated[
        Path | None, typer.Argument(help="a model to time (default: random weights)", metavar="[MODEL]")
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="time training instead of generation")] = False,
    image: Annotated[bool, typer.Option("--image", help="time drawing images instead of generating sound")] = False,
    size: Annotated[
        str,
        typer.Option(help="without MODEL: small or full, the networks of the LibriSpeech recipes, or large: 40 layers"),
    ] = "full",
    streams: Annotated[
        list[int] | None, typer.Option(min=1, help="streams (or images) side by side; repeat for more")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="how often each is timed (default: 100; of training or drawing 20, on a GPU 10)"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
    device: Device = "auto",
) -> None:
    """Time this machine: generation with each engine on one core or a GPU, or the training loop beside other ways to
    write it.

    Everything runs in turn within one call, so its ratios hold on a busy machine too. Beside our engines stand what
    somebody would use instead: a plain cached step in PyTorch and, with pip install 'wavegen[bench]', ONNX Runtime.

    Examples:
        wavegen bench
        wavegen bench speech --streams 1
        wavegen bench --device cuda
        wavegen bench --training --size small
        wavegen bench --image
    """
    from wavegen.recipe import AudioData, load

    if size not in SIZES:
        raise InputError(f"unknown size {size!r}; expected one of {', '.join(SIZES)}")
    recipe = load(find(SIZES[size]), LARGE if size == "large" else [])
    if image:
        if training or size != "full" or device == "cuda":
            raise InputError("--image times drawing on the CPU; leave out --training, --size and --device")
        _images(model, streams or [1, 16], rounds or 20, as_json)
        return
    assert isinstance(recipe.data, AudioData)
    rate = recipe.data.sample_rate
    if training:
        if model is not None:
            raise InputError(f"training is timed for a --size, and a model is given: {model}; leave out one of the two")
        _training(recipe, size, rate, rounds or 20, device, as_json)
        return
    from wavegen.bench import generation
    from wavegen.devices import choose_device
    from wavegen.models.build import with_random_weights

    where = "cpu" if device == "auto" else choose_device(device).type
    timed = checkpoint.load(model) if model else with_random_weights(recipe.architecture({}), rate)
    if timed.description.shape:
        raise InputError(f"{model} draws images; expected --image to time it")
    chosen = streams or ([1, 8] if where == "cpu" else [1, 16, 256, 2048])
    n_rounds = rounds or (100 if where == "cpu" else 10)
    place = "one core" if where == "cpu" else "a GPU"
    say(f"Timing on {place}; kernels that are new here are compiled first")
    with bar("Timing", n_rounds * len(chosen)) as running:
        speeds = generation.time_generation(timed, chosen, n_rounds, running, where)
    if as_json:
        figures = [speed._asdict() for speed in speeds]
        print(json.dumps({"machine": generation.machine(where), "speeds": figures}, indent=1))
        return
    title = f"{model or size + ' size'}, {checkpoint.measure(timed).multiply_adds:,} multiply-adds a sample, {place}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for what in (
        "streams",
        "samples\na second",
        "x real\ntime",
        "GMAC/s",
        "µs a\nsample",
        AT_LEAST[where],
        "share",
        "MB",
    ):
        table.add_column(what, justify="right", no_wrap=True)
    for speed in speeds:
        table.add_row(
            speed.name,
            str(speed.n_streams),
            f"{speed.samples_per_s:,.0f}",
            f"{speed.times_real_time:.3g}",
            f"{speed.gmac_per_s:.1f}",
            f"{speed.us_per_sample:.1f}",
            "" if speed.us_at_least is None else f"{speed.us_at_least:.1f}",
            "" if speed.us_at_least is None else f"{speed.us_at_least / speed.us_per_sample:.0%}",
            "" if speed.n_bytes is None else f"{speed.n_bytes / 1e6:.1f}",
        )
    Console(markup=False).print(table)
    print(generation.machine(where))


def _training(recipe: "Recipe", size: str, rate: int, rounds: int, device: str, as_json: bool) -> None:
    from wavegen.bench.training import time_training

    with bar("Timing", rounds) as running:
        report = time_training(recipe, device, rounds, running)
    if as_json:
        timings = [timing._asdict() for timing in report.timings]
        print(json.dumps({"timings": timings, "waiting": report.waiting}, indent=1))
        return
    table = Table("", "samples per second", "times real time", "of the best", title=f"{size} size, {rate} Hz")
    for timing in report.timings:
        speed = timing.samples_per_s
        table.add_row(timing.name, f"{speed:,.0f}", f"{speed / rate:.3g}", f"{timing.share_of_best:.1%}")
    Console(markup=False).print(table)
    print(f"our training loop waited for data {report.waiting:.2%} of its time")


def _images(model: Path | None, n_images: list[int], rounds: int, as_json: bool) -> None:
    """Time a model that draws, or the network of the MNIST recipe."""
    from wavegen.bench import generation, images
    from wavegen.models.build import with_random_weights
    from wavegen.recipe import ImageData, load

    if model is None:
        recipe = load(find("mnist"))
        assert isinstance(recipe.data, ImageData)
        timed = with_random_weights(recipe.architecture({}), shape=recipe.data.shape)
    else:
        timed = checkpoint.load(model)
    if not timed.description.shape:
        raise InputError(f"{timed.path} makes sound; leave out --image")
    say("Timing on one core; kernels that are new here are compiled first")
    with bar("Timing", rounds * len(n_images)) as running:
        speeds = images.time_images(timed, n_images, rounds, running)
    if as_json:
        print(json.dumps({"machine": generation.machine(), "speeds": [speed._asdict() for speed in speeds]}, indent=1))
        return
    height, width, n_colours = timed.description.shape
    n_parameters = checkpoint.measure(timed).n_parameters
    title = f"{n_parameters:,} parameters, {height} x {width} x {n_colours}, one core; {generation.machine()}"
    table = Table("", "images at once", "images per second", "ms an image", "times the naive way", title=title)
    for speed in speeds:
        table.add_row(
            speed.name,
            str(speed.n_images),
            f"{speed.images_per_s:,.3g}",
            f"{speed.ms_per_image:,.3g}",
            f"{speed.times_naive:,.3g}",
        )
    Console(markup=False).print(table)
