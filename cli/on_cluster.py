"""What `generate` and `vocode` do with --ray: have their files made by the machines of a cluster."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

import wavegen
from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.cluster import connected, portable
from wavegen.engines import takes_gpu
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import StreamMaker
from wavegen.generation.sound_file import picture_of
from wavegen.jobs import record
from wavegen.jobs.work import Made, Piece, Work, checksum
from wavegen.progress import bar

from .options import open_session
from .render import say_speed
from .terminal import say, show_result

Ray = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="make the files on a Ray cluster, or on the cores here; the same command goes on where it was broken off",
    ),
]
NOT_OF_FILES = ("n", "n_threads", "frames", "prime", "beam")  # options that files do not depend on, or not as they are


def of_model(model: Path) -> dict[str, Any]:
    """The fields of `Work` that say which model it is."""
    return {"model": portable(model), "checksum": checksum(checkpoint.find(model))}


def check_options(model: Path, options: GenerationOptions, loaded: Checkpoint, *, frames_follow: bool = False) -> None:
    """Say what is about to be made. A GPU is in a machine of the cluster, and none need be here.

    Raises: InputError for whatever does not fit the model; nothing has been written by then.
    """
    if takes_gpu(loaded, options.engine_options):
        maker = StreamMaker(loaded, options, frames_follow=frames_follow)
        say(f"{model}: on GPUs of the cluster, {maker.decoding.title}, seed {maker.seed}")
    else:
        open_session(model, options, loaded, frames_follow=frames_follow)


def run_job(
    name: Path,
    option: str,
    about: dict[str, Any],
    work: Work,
    pieces: Sequence[Piece],
    shown: Callable[[Piece], Path],
    loaded: Checkpoint,
    most: int,
) -> int:
    """Make what is not there yet of the pieces of a job, and print names as `render` does. Returns how many there are.

    `name` is its record, `option` what says where files go, `about` what they depend on beside `work`. `shown`: how a
    path is printed. `most`: pieces of a task.

    Raises: InputError if the record does not fit, or a worker cannot go on; KeyboardInterrupt if nothing was made by
        then.
    """
    given = {one.name: getattr(work.options, one.name) for one in fields(GenerationOptions)}
    options = {key: value for key, value in given.items() if key not in NOT_OF_FILES}
    options |= {"wavegen": wavegen.__version__, "model": work.checksum, **about}
    missing = record.begin(name, json.loads(json.dumps(options)), pieces, work, option)
    n_before, by_number = len(pieces) - len(missing), {piece.number: piece for piece in missing}
    n_written, n_done, seconds, began = 0, 0, 0.0, time.monotonic()
    if n_before:
        say(f"{n_before} of {len(pieces)} are there already")
    if not missing:
        return n_before

    def note(made: Made) -> None:
        nonlocal n_written, n_done, seconds
        for number in made.written:
            path = shown(by_number[number])
            show_result(path)
            if work.plot:
                show_result(picture_of(path))
        for sentence in made.left_out:
            say(f"Left out: {sentence}")
        n_written += len(made.written)
        n_done += len(made.written) + len(made.left_out)
        seconds += made.seconds
        running.update(n_before + n_done, f"{n_before + n_written} complete")

    with connected():
        from wavegen.jobs import cluster

        try:
            with bar("Making on the cluster", len(pieces), n_before) as running:
                cluster.run(work, missing, most, takes_gpu(loaded, work.options.engine_options), note)
        except KeyboardInterrupt:
            if not n_written:
                raise
            there = f"{n_before + n_written} of {len(pieces)} are written"
            say(f"Stopped; {there}, and the same command with --seed {work.options.seed} goes on from there")
            return n_before + n_written
    if n_written:
        say_speed(f"{n_written} sounds, {seconds:.2f} s", seconds, began)
    return n_before + n_written
