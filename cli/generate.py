"""wavegen generate"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from wavegen import checkpoint
from wavegen.engines import n_at_once
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.stream import n_samples
from wavegen.jobs.work import Generating, Piece, checksum
from wavegen.paths import resolved, user_path
from wavegen.progress import bar

from .on_cluster import Ray, check_options, of_model, run_job
from .options import Model, Plot, Prime, Seconds, check_out, named_after, open_session, takes_generation_options
from .render import check_length, render, write_each

app = typer.Typer()

TASK_S = 600.0  # of sound that a worker makes at a time; what is lost when one dies


@app.command("generate")
@takes_generation_options
def generate(
    model: Model,
    seconds: Seconds = 5.0,
    out: Annotated[
        Path | None,
        typer.Option(help="WAV file; with --n a number is added (default: NAME-SEED.wav)", show_default=False),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=1_000_000, help="how many sounds")] = 1,
    prime: Prime = None,
    beam: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="search for a probable sound with this many candidates, instead of drawing one"
        ),
    ] = None,
    plot: Plot = False,
    ray: Ray = False,
    *,
    options: GenerationOptions,
) -> None:
    """Generate sound into WAV files; prints their names.

    Examples:
        wavegen generate runs/sine --seconds 10 --out sine.wav --plot
        wavegen generate runs/speech --temperature 0.8 --n 4
        wavegen generate runs/speech --prime hello.wav --seconds 3 --out continued.wav
        wavegen generate runs/speech --n 1000000 --seed 1 --out takes/take.wav --ray
    """
    if ray:
        _generate_on_cluster(model, seconds, out or named_after(model, options, ".wav"), n, prime, beam, plot, options)
        return
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
        write_each(session.blocks_of_each(range(n), length, running), paths, rate, plot, n)


def _paths(out: Path, n: int, prime: Path | None) -> list[Path]:
    if n == 1:
        return [check_out("--out", ".wav", out, prime)]
    check_out("--out", ".wav", out)  # before other names are made of it
    return [check_out("--out", ".wav", _numbered(out, number), prime) for number in range(n)]


def _numbered(out: Path, number: int) -> Path:
    """The file of the sound of a number, of several; in names they are counted from 1."""
    return out.with_stem(f"{out.stem}-{number + 1}")


def _generate_on_cluster(
    model: Path,
    seconds: float,
    out: Path,
    n: int,
    prime: Path | None,
    beam: int | None,
    plot: bool,
    options: GenerationOptions,
) -> None:
    """Make the files of several sounds on a cluster.

    Raises: InputError for whatever does not fit; nothing has been written by then.
    """
    if n == 1 or beam is not None:
        what = "--n is 1" if n == 1 else "--beam makes one"
        raise InputError(f"--ray shares many sounds among machines, and {what}; leave out --ray")
    check_out("--out", ".wav", out)
    loaded = checkpoint.load(model)
    primed = None if prime is None else resolved(user_path(prime))
    options = replace(options, prime=primed)
    check_options(model, options, loaded)
    rate = loaded.description.sample_rate
    length = n_samples(seconds, rate)
    check_length(length, rate)
    pieces = [Piece(number, _numbered(out.absolute(), number)) for number in range(n)]
    if primed is not None and any(primed == resolved(piece.path.parent) / piece.path.name for piece in pieces):
        raise InputError(f"--prime is {prime}, which would be written over; choose another --out")
    run_job(
        out.absolute().with_name(f"{out.stem}.job.json"),
        "--out",
        {"samples": length, "prime": None if primed is None else checksum(primed)},
        Generating(**of_model(model), options=options, plot=plot, length=length),
        pieces,
        lambda piece: _numbered(out, piece.number),
        loaded,
        max(1, round(TASK_S / seconds)),
    )
