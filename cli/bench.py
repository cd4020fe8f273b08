"""wavegen bench"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD

from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.progress import bar

from .options import Device
from .tables import Table
from .terminal import say, show_result, show_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wavegen.bench import generation, images, training, web

app = typer.Typer()

PLACES = {"cpu": "one core", "cuda": "a GPU"}
AT_LEAST = {"cpu": "products\nalone", "cuda": "reading\nweights"}  # what bounds an engine, timed alone


@app.command("bench")
def bench(
    model: Annotated[
        Path | None, typer.Argument(help="a model to time, or a recipe, with random weights", metavar="[MODEL]")
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="time training instead of generation")] = False,
    image: Annotated[bool, typer.Option("--image", help="time drawing images instead of generating sound")] = False,
    on_page: Annotated[
        bool, typer.Option("--web", help="time the page that `wavegen export --to web` writes, in headless Chromium")
    ] = False,
    size: Annotated[
        str,
        typer.Option(help="without MODEL: small or full, the networks of the LibriSpeech recipes, or large: 40 layers"),
    ] = "full",
    streams: Annotated[
        list[int] | None, typer.Option(min=1, help="streams (or images) side by side; repeat for more")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="how often each is timed (default: 100; of training, drawing or a page 20, on a GPU 10)"
        ),
    ] = None,
    node_modules: Annotated[
        list[Path] | None,
        typer.Option(help="of --web: a folder of Node.js packages with onnxruntime-web (also taken from NODE_PATH)"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
    device: Device = "auto",
) -> None:
    """Time this machine: generation with each engine on one core or a GPU, or in a page, or the training loop beside
    other ways to write it.

    Everything runs in turn within one call, so its ratios hold on a busy machine too. Beside our engines stand what
    somebody would use instead: a plain cached step in PyTorch and, with the extra `onnx`, ONNX Runtime.

    Examples:
        wavegen bench
        wavegen bench speech --streams 1
        wavegen bench --device cuda
        wavegen bench --training --size small
        wavegen bench --image
        wavegen bench --web
    """
    if on_page:
        if training or image or streams or size != "full" or device == "cuda":
            raise InputError(
                "--web times one sound at a time on the CPU; leave out --training, --image, --streams, --size and "
                "--device"
            )
        _bench_web(model, rounds, node_modules or [], as_json)
    elif image:
        if training or size != "full" or device == "cuda":
            raise InputError("--image times drawing on the CPU; leave out --training, --size and --device")
        _bench_images(model, streams, rounds, as_json)
    elif training:
        if model is not None:
            raise InputError(f"training is timed for a --size, and a model is given: {model}; leave out one of the two")
        _bench_training(size, rounds, device, as_json)
    else:
        _bench_generation(model, size, streams, rounds, device, as_json)


def _bench_generation(
    model: Path | None, size: str, streams: list[int] | None, rounds: int | None, device: str, as_json: bool
) -> None:
    from wavegen.bench import generation, subjects
    from wavegen.devices import choose_device

    where = "cpu" if device == "auto" else choose_device(device).type
    timed = subjects.sound_model(model, size)
    n_streams, n_rounds = streams or generation.STREAMS[where], rounds or generation.ROUNDS[where]
    parts = {"speeds": timed} if timed.planner is None else {"speeds": timed, "of_the_planner": timed.planner}
    say(f"Timing on {PLACES[where]}; kernels that are new here are compiled first")
    speeds = {}
    for name, part in parts.items():
        with bar("Timing", n_rounds * len(n_streams)) as running:
            speeds[name] = generation.time_generation(part, n_streams, n_rounds, running, where)
    if where == "cpu":
        with bar("Timing whole sounds", generation.PLAYED_ROUNDS * len(n_streams)) as running:
            speeds["players"] = generation.time_playing(timed, n_streams, running)
    if as_json:
        each = {name: [speed._asdict() for speed in part] for name, part in speeds.items()}
        _print_json(machine=generation.machine(where), **each)
        return
    for name, part in parts.items():
        whose = "the planner of " if part is timed.planner else ""
        unit = "code of its frames" if part is timed.planner else "sample"
        multiply_adds = part.description.architecture.multiply_adds
        title = f"{whose}{model or size + ' size'}, {multiply_adds:,} multiply-adds a {unit}, {PLACES[where]}"
        _generation_table(speeds[name], title, where).show()
    if speeds.get("players"):
        title = f"whole sounds of {model or size + ' size'}, as wavegen serve plays them, on one core and on all"
        _generation_table(speeds["players"], title, where).show()
    show_result(generation.machine(where))


def _generation_table(speeds: "Sequence[generation.Speed]", title: str, where: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    columns = ("streams", "samples\na second", "x real\ntime", "GMAC/s", "µs a\nsample", AT_LEAST[where], "share", "MB")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
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
    return table


def _bench_training(size: str, rounds: int | None, device: str, as_json: bool) -> None:
    from wavegen.bench import subjects, training

    recipe = subjects.recipe_of(size)
    n_rounds = rounds or training.ROUNDS
    with bar("Timing", n_rounds) as running:
        report = training.time_training(recipe, device, n_rounds, running)
    if as_json:
        _print_json(timings=[timing._asdict() for timing in report.timings], waiting=report.waiting)
        return
    _training_table(report, size).show()
    show_result(f"our training loop waited for data {report.waiting:.2%} of its time")


def _training_table(report: "training.TrainingReport", size: str) -> Table:
    rate = report.sample_rate
    table = Table("", "samples per second", "times real time", "of the best", title=f"{size} size, {rate} Hz")
    for timing in report.timings:
        speed = timing.samples_per_s
        table.add_row(timing.name, f"{speed:,.0f}", f"{speed / rate:.3g}", f"{timing.share_of_best:.1%}")
    return table


def _bench_images(model: Path | None, n_images: list[int] | None, rounds: int | None, as_json: bool) -> None:
    from wavegen.bench import generation, images, subjects

    timed = subjects.image_model(model)
    at_once, n_rounds = n_images or images.AT_ONCE, rounds or images.ROUNDS
    say("Timing on one core; kernels that are new here are compiled first")
    with bar("Timing", n_rounds * len(at_once)) as running:
        speeds = images.time_images(timed, at_once, n_rounds, running)
    if as_json:
        _print_json(machine=generation.machine(), speeds=[speed._asdict() for speed in speeds])
        return
    height, width, n_colours = timed.description.shape
    n_parameters = checkpoint.n_parameters(timed)
    title = f"{n_parameters:,} parameters, {height} x {width} x {n_colours}, one core; {generation.machine()}"
    _images_table(speeds, title).show()


def _images_table(speeds: "Sequence[images.Speed]", title: str) -> Table:
    table = Table("", "images at once", "images per second", "ms an image", "times the naive way", title=title)
    for speed in speeds:
        table.add_row(
            speed.name,
            str(speed.n_images),
            f"{speed.images_per_s:,.3g}",
            f"{speed.ms_per_image:,.3g}",
            f"{speed.times_naive:,.3g}",
        )
    return table


def _bench_web(model: Path | None, rounds: int | None, node_modules: list[Path], as_json: bool) -> None:
    from wavegen.bench import generation, subjects, web

    paths = [Path(name) for name in web.MODELS] if model is None else [model]
    timed = {path.stem: subjects.sound_model(path, "full") for path in paths}
    if model is None:
        timed["full size"] = subjects.sound_model(None, "full")
    folders = [*node_modules, *map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)))]
    n_rounds = rounds or web.ROUNDS
    say("Timing in Chromium, in one thread, and here, on one core; kernels that are new here are compiled first")
    with bar("Timing", n_rounds) as running:
        speeds = web.time_web(timed, n_rounds, folders, running)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    if as_json:
        _print_json(machine=generation.machine(), load=load, speeds=[speed._asdict() for speed in speeds])
        return
    _web_table(speeds).show()
    show_result(f"{generation.machine()}; {load}")


def _web_table(speeds: "Sequence[web.WebSpeed]") -> Table:
    table = Table("model", "", "samples per second", "times real time", title="one sound, in a page and here")
    for speed in speeds:
        table.add_row(speed.model, speed.name, f"{speed.samples_per_s:,.0f}", f"{speed.times_real_time:.2f}")
    return table


def _print_json(**figures: object) -> None:
    show_text(json.dumps(figures, indent=1))
