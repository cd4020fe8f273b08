"""wavegen generate"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from wavegen import checkpoint
from wavegen.engines import n_at_once
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import n_samples
from wavegen.progress import bar

from .options import Model, Plot, Prime, Seconds, check_out, named_after, open_session, takes_generation_options
from .render import check_length, render, write_each

app = typer.Typer()


@app.command("generate")
@takes_generation_options
def generate(
    model: Model,
    seconds: Seconds = 5.0,
    out: Annotated[
        Path | None,
        typer.Option(help="WAV file; with --n a number is added (default: NAME-SEED.wav)", show_default=False),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=100_000, help="how many sounds")] = 1,
    prime: Prime = None,
    beam: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="search for a probable sound with this many candidates, instead of drawing one"
        ),
    ] = None,
    plot: Plot = False,
    *,
    options: GenerationOptions,
) -> None:
    """Generate sound into WAV files; prints their names.

    Examples:
        wavegen generate runs/sine --seconds 10 --out sine.wav --plot
        wavegen generate runs/speech --temperature 0.8 --n 4
        wavegen generate runs/speech --prime hello.wav --seconds 3 --out continued.wav
    """
    paths = _paths(out or named_after(model, options, ".wav"), n, prime)
    loaded = checkpoint.load(model)
    at_once = n if beam else n_at_once(loaded, options.engine_options, n)
    session = open_session(model, replace(options, prime=prime, beam=beam, n=at_once), loaded)
    rate = session.description.sample_rate
    length = n_samples(seconds, rate)
    if n == at_once:
        render(session, length, paths, plot)
        return
    check_length(length, rate)
    with bar(f"Generating, {at_once} at once", n * length) as running:
        write_each(session.blocks_of_each(n, length, running), paths, rate, plot, n)


def _paths(out: Path, n: int, prime: Path | None) -> list[Path]:
    if n == 1:
        return [check_out("--out", ".wav", out, prime)]
    check_out("--out", ".wav", out)  # before other names are made of it
    numbered = [out.with_stem(f"{out.stem}-{number}") for number in range(1, n + 1)]
    return [check_out("--out", ".wav", path, prime) for path in numbered]
