"""wavegen bench"""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wavegen import recipes
from wavegen.errors import InputError
from wavegen.progress import bar

from .options import Device

SIZES = {"small": "librispeech-small", "full": "librispeech"}


def bench(
    training: Annotated[bool, typer.Option("--training", help="time training instead of generation")] = False,
    size: Annotated[str, typer.Option(help="small or full: the networks of the LibriSpeech recipes")] = "full",
    rounds: Annotated[int, typer.Option(min=1, help="how often each is timed; the median counts")] = 7,
    device: Device = "auto",
) -> None:
    """Time this machine: generation with each engine, or the training loop beside other ways to write the network.

    Everything runs in turn within one call, so its ratios hold on a busy machine too.

    Examples:
        wavegen bench
        wavegen bench --training --size small
    """
    from wavegen import bench as library
    from wavegen.recipe import load

    if size not in SIZES:
        raise InputError(f"unknown size {size!r}; expected one of {', '.join(SIZES)}")
    recipe = load(recipes.find(SIZES[size]))
    rate = recipe.data.sample_rate
    with bar("Timing", rounds) as running:
        if training:
            report = library.time_training(recipe, device, rounds, running)
            timings = report.timings
        else:
            timings = library.time_generation(recipe.model, (1, 8), device, rounds, running)
    table = Table("", "samples per second", "times real time", "of the best", title=f"{size} size, {rate} Hz")
    for timing in timings:
        speed = timing.samples_per_s
        table.add_row(timing.name, f"{speed:,.0f}", f"{speed / rate:.3g}", f"{timing.share_of_best:.1%}")
    Console(markup=False).print(table)
    if training:
        print(f"our training loop waited for data {report.waiting:.2%} of its time")
