"""wavegen train"""

from pathlib import Path
from typing import Annotated

import typer

from wavegen.recipes import find

from .options import Device, Settings
from .signals import REQUEUE, requeueing
from .streams import give_stderr_to_children

app = typer.Typer()


@app.command("train")
def train(
    recipe: Annotated[
        str, typer.Argument(help="a recipe file, or the name of one that ships with wavegen", metavar="RECIPE")
    ],
    out: Annotated[
        Path | None, typer.Option(help="run folder (default: runs/NAME of the recipe)", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run in the folder stopped")] = False,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="a model whose weights to begin with (fine-tuning)")
    ] = None,
    settings: Settings = None,
    device: Device = "auto",
    processes: Annotated[
        int, typer.Option(min=1, help="processes on this machine, which share out the rows of every batch")
    ] = 1,
    nnodes: Annotated[int, typer.Option(min=1, help="machines that train together, each with as many processes")] = 1,
    rdzv_endpoint: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of one of these machines, by which they find each other", metavar="HOST:PORT"),
    ] = None,
) -> None:
    """Train a model by a recipe.

    It can be stopped at any moment, even by kill -9, and resumed bit for bit. While it runs, metrics.jsonl,
    loss.png, sample.wav and sample.png in the run folder show how it goes.

    Examples:
        wavegen train recipes/sine.yaml
        wavegen train folder --set data.source=~/birds --out runs/birds
        wavegen train librispeech-small --out runs/speech --resume
        wavegen train librispeech-small --out runs/two --processes 2
    """
    from wavegen.recipe import load
    from wavegen.training import loop as training

    path = find(recipe)
    folder = out or Path("runs") / path.stem
    if processes * nnodes > 1:
        from wavegen.training import launch

        words = ["train", recipe, "--out", str(folder), "--device", device]
        words += ["--resume"] if resume else []
        words += [] if start_from is None else ["--from", str(start_from)]
        words += [word for setting in settings or [] for word in ("--set", setting)]
        give_stderr_to_children()
        raise typer.Exit(launch.launch(words, processes, nnodes, rdzv_endpoint))
    with requeueing():
        is_preempted = training.train(load(path, settings), folder, resume=resume, start_from=start_from, device=device)
        if is_preempted:
            raise typer.Exit(REQUEUE)
