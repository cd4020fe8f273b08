"""wavegen vocode"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.data.audio import SUFFIXES
from wavegen.engines import n_at_once
from wavegen.errors import InputError
from wavegen.features.frames import FRAME_SUFFIXES
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel
from wavegen.jobs.work import Piece, Vocoding
from wavegen.paths import folded, is_same, is_within, one_on_disk, resolved
from wavegen.progress import bar

from .on_cluster import Ray, check_options, of_model, run_job
from .options import Model, Plot, check_out, open_session, takes_generation_options
from .render import render, write_each
from .terminal import say, show_result

app = typer.Typer()

PER_TASK = 32  # recordings that a worker makes again at a time; what is lost when one dies


@app.command("vocode")
@takes_generation_options
def vocode(
    model: Model,
    source: Annotated[
        Path,
        typer.Argument(
            help="a recording, frames (.npy or .safetensors, (frames, bands)), or a folder of them", metavar="IN"
        ),
    ],
    out: Annotated[Path, typer.Argument(help="WAV file, or a folder for those of a folder", metavar="OUT")],
    plot: Plot = False,
    frames_to: Annotated[
        Path | None, typer.Option("--frames", help="also write the frames that were taken of IN, to a .npy file")
    ] = None,
    match: Annotated[
        bool, typer.Option(help="scale the spectrum of what is made until it has the frames' log-mel bands")
    ] = True,
    ray: Ray = False,
    *,
    options: GenerationOptions,
) -> None:
    """Resynthesise a recording from its frames (log-mel bands, pitch), with a model that was trained for it.

    The frames may come from elsewhere: another program, or a network that makes them from text. A folder's recordings
    are made many at once, in OUT under their own names.

    Examples:
        wavegen vocode runs/vocoder hello.flac again.wav --plot
        wavegen vocode runs/vocoder hello.flac again.wav --frames hello.npy
        wavegen vocode runs/vocoder hello.npy again.wav --temperature 0.9
        wavegen vocode runs/vocoder recordings again
        wavegen vocode runs/vocoder recordings again --seed 1 --ray
    """
    options = replace(options, match=match)
    if source.is_dir():
        if frames_to is not None:
            raise InputError("--frames keeps those of one recording, and IN is a folder; leave it out")
        _vocode_folder(model, options, source, out, plot, ray)
        return
    if ray:
        raise InputError("--ray shares many recordings among machines, and IN is one; leave out --ray")
    check_out("OUT", ".wav", out, source)
    if frames_to is not None:
        check_out("--frames", ".npy", frames_to, source)
    loaded = checkpoint.load(model)
    frames, n_samples = LoadedModel(loaded).frames_of(source)
    session = open_session(model, replace(options, frames=frames), loaded)
    if frames_to is not None:
        encoded = io.BytesIO()
        np.save(encoded, frames)
        files.write(frames_to, encoded.getvalue())
        show_result(frames_to)
    render(session, n_samples, [out], plot)


def _vocode_folder(model: Path, options: GenerationOptions, source: Path, out: Path, plot: bool, ray: bool) -> None:
    """Make everything below a folder again, and name what could not be read.

    Raises: InputError if there is nothing, OUT is no folder, what would be written is there twice or is a recording to
        be made again, or nothing could be made.
    """
    if out.is_file() or out.suffix.lower() == ".wav":
        raise InputError(f"OUT is {out}, and IN a folder; expected the name of a folder")
    files.check_writable(out)
    sources = _sources(source, out)
    paths = [out / one.relative_to(source).with_suffix(".wav") for one in sources]
    for path, n in Counter(paths).items():
        if n > 1:
            raise InputError(f"{n} files of {source} would all be made again as {path}; rename all but one")
    folders = {folder for path in paths for folder in path.parents}
    originals: dict[str, list[Path]] = {}
    for one in sources:
        originals.setdefault(folded(resolved(one)), []).append(one)
    for path in paths:
        if path in folders or path.is_dir():
            raise InputError(f"{path} would be a sound, and is the name of a folder; rename one of the two")
        if any(is_same(path, one) for one in originals.get(folded(resolved(path)), [])):
            raise InputError(f"{path} is to be made again, and would be written over; choose another folder for OUT")
    if twins := one_on_disk(out, paths):
        raise InputError(
            f"{twins[0]} and {twins[1]} would be one file: this disk does not tell upper from lower case, or forms of "
            f"Unicode; rename what one of them is made of in {source}, or choose OUT on another disk"
        )
    loaded = checkpoint.load(model)
    if ray:
        n = _vocode_on_cluster(model, options, loaded, sources, paths, out, plot)
    else:
        n = _vocode_here(model, options, loaded, sources, paths, plot)
    if not n:
        raise InputError(f"none of the {len(sources)} files of {source} could be made again")


def _vocode_on_cluster(
    model: Path,
    options: GenerationOptions,
    loaded: Checkpoint,
    sources: list[Path],
    paths: list[Path],
    out: Path,
    plot: bool,
) -> int:
    """Make sources again into the paths on a cluster; returns how many are there then."""
    check_options(model, options, loaded, frames_follow=True)
    pieces = [
        Piece(number, path.absolute(), one.absolute())
        for number, (path, one) in enumerate(zip(paths, sources, strict=True))
    ]
    return run_job(
        out.absolute() / "vocode.job.json",
        "OUT",
        {},
        Vocoding(**of_model(model), options=options, plot=plot),
        pieces,
        lambda piece: paths[piece.number],
        loaded,
        PER_TASK,
    )


def _vocode_here(
    model: Path,
    options: GenerationOptions,
    loaded: Checkpoint,
    sources: list[Path],
    paths: list[Path],
    plot: bool,
) -> int:
    """Make sources again into the paths; returns how many could be read."""
    reader = LoadedModel(loaded)
    at_once = n_at_once(loaded, options.engine_options, len(sources))
    session = open_session(model, replace(options, n=at_once), loaded, frames_follow=True)
    numbers = []  # of the sources that could be read, in the order in which they are begun

    def readable() -> Iterator[tuple[NDArray[np.floating], int]]:
        for number, one in enumerate(sources):
            try:
                read = reader.frames_of(one)
            except InputError as error:
                say(f"Left out: {error}")
            else:
                numbers.append(number)
                yield read

    with bar(f"Making {len(sources)} again, {at_once} at once", 0) as running:
        made = ((numbers[index], waveform, True) for index, waveform in session.vocode_each(readable(), running))
        write_each(made, paths, session.description.sample_rate, plot, len(sources))
    return len(numbers)


def _sources(folder: Path, out: Path) -> list[Path]:
    """Recordings and files of frames below a folder, the largest first, so that the last to end are short.

    Names with a dot in front are passed over, and `out` if it lies within.

    Raises: InputError if there are none.
    """
    suffixes = (*SUFFIXES, *FRAME_SUFFIXES)
    has_out = is_within(out, folder) and not is_same(out, folder)
    is_in_out = cache(lambda below: has_out and is_within(below, out))  # asked once for each folder
    sources = [
        one
        for one in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in one.relative_to(folder).parts)
        and one.suffix.lower() in suffixes
        and one.is_file()
        and not is_in_out(resolved(one).parent)
    ]
    if not sources:
        raise InputError(f"{folder} holds neither recordings nor frames; expected files such as .wav or .npy")
    return sorted(sources, key=lambda one: -one.stat().st_size)
