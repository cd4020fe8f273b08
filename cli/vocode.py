"""wavegen vocode"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from wavegen import checkpoint, files
from wavegen.data.audio import SUFFIXES
from wavegen.engines import n_at_once
from wavegen.errors import InputError
from wavegen.features.frames import FRAME_SUFFIXES
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel
from wavegen.paths import resolved
from wavegen.progress import bar

from .options import Model, Plot, check_out, open_session, takes_generation_options
from .render import render, write_each
from .terminal import say, show_result


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
    """
    options = replace(options, match=match)
    if source.is_dir():
        if frames_to is not None:
            raise InputError("--frames keeps those of one recording, and IN is a folder; leave it out")
        _vocode_folder(model, options, source, out, plot)
        return
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


def _vocode_folder(model: Path, options: GenerationOptions, source: Path, out: Path, plot: bool) -> None:
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
    originals = {resolved(one) for one in sources}
    for path in paths:
        if resolved(path) in originals:
            raise InputError(f"{path} is to be made again, and would be written over; choose another folder for OUT")
    loaded = checkpoint.load(model)
    reader = LoadedModel(loaded)
    at_once = n_at_once(options.engine_options, len(sources))
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
    if not numbers:
        raise InputError(f"none of the {len(sources)} files of {source} could be made again")


def _sources(folder: Path, out: Path) -> list[Path]:
    """Recordings and files of frames below a folder, the largest first, so that the last to end are short.

    Names with a dot in front are passed over, and `out` if it lies within.

    Raises: InputError if there are none.
    """
    suffixes, elsewhere = (*SUFFIXES, *FRAME_SUFFIXES), resolved(out)
    is_within = resolved(folder) in elsewhere.parents
    sources = [
        one
        for one in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in one.relative_to(folder).parts)
        and one.suffix.lower() in suffixes
        and one.is_file()
        and not (is_within and elsewhere in resolved(one).parents)
    ]
    if not sources:
        raise InputError(f"{folder} holds neither recordings nor frames; expected files such as .wav or .npy")
    return sorted(sources, key=lambda one: -one.stat().st_size)
