"""What commands that write sound have in common: making it with progress, and writing it as it is made."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError
from wavegen.generation.session import Session
from wavegen.progress import bar

from .terminal import say, show_result

PLOTTED_S = 60.0  # of a sound that its picture shows, at most


def check_length(n_samples: int, rate: int) -> None:
    """Raises: InputError for more samples than a WAV file can hold."""
    from wavegen.data import audio

    if n_samples > audio.MAX_WAV:
        raise InputError(
            f"{n_samples / rate:,.0f} s are wanted; a WAV file holds at most {audio.MAX_WAV // rate:,} s at {rate} Hz"
        )


def render(session: Session, n_samples: int, paths: Sequence[Path], plot: bool) -> None:
    """Make so many samples of every sound, or until Ctrl-C as many as there are by then, into WAV files; prints their
    names, with `plot` also that of a picture of each.

    Raises: KeyboardInterrupt if there were none.
    """
    rate = session.description.sample_rate
    check_length(n_samples, rate)
    n_made, began = 0, time.monotonic()
    with ExitStack() as stack:  # which leaves the last one first
        writers = [stack.enter_context(_rendering(path, rate, plot)) for path in reversed(paths)][::-1]
        try:
            with bar("Generating", n_samples) as running:
                for block in session.blocks(n_samples):
                    for write, sound in zip(writers, block, strict=True):
                        write(sound)
                    n_made += block.shape[1]
                    running.update(n_made, f"{n_made / rate:.2f} s of sound")
        except KeyboardInterrupt:
            if not n_made:
                raise
            say("Stopped; writing what there is")
        _say_speed(f"{len(paths)} x {n_made / rate:.2f} s", len(paths) * n_made / rate, began)


def write_each(
    made: Iterator[tuple[int, NDArray[np.float32], bool]], paths: Sequence[Path], rate: int, plot: bool, n_wanted: int
) -> None:
    """Write blocks of sounds (number, (T,), whether it is the last) to the paths of their numbers; Ctrl-C keeps those
    that are complete. Prints as `render`.

    Raises: KeyboardInterrupt if none was complete by then.
    """
    n_written, n_samples = 0, 0
    began = time.monotonic()
    writers: dict[int, tuple[ExitStack, Callable[[NDArray[np.float32]], None]]] = {}
    try:
        with ExitStack() as unfinished:
            for number, block, is_last in made:
                if number not in writers:
                    stack = unfinished.enter_context(ExitStack())
                    writers[number] = stack, stack.enter_context(_rendering(paths[number], rate, plot))
                stack, write = writers[number]
                write(block)
                n_samples += len(block)
                if is_last:
                    stack.close()
                    del writers[number]
                    n_written += 1
    except KeyboardInterrupt:
        if not n_written:
            raise
        say(f"Stopped; {n_written} of {n_wanted} are written")
    if n_written:
        _say_speed(f"{n_written} sounds, {n_samples / rate:.2f} s", n_samples / rate, began)


@contextmanager
def _rendering(path: Path, rate: int, plot: bool) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Yield what writes blocks (T,) to a WAV file, which appears whole at the end of the block, or not at all; then
    draw its beginning, with `plot`, and print the names."""
    from wavegen.data import audio

    beginning: list[NDArray[np.float32]] = []
    n_to_plot = round(PLOTTED_S * rate) if plot else 0

    with audio.writing(path, rate) as write:

        def add(block: NDArray[np.float32]) -> None:
            nonlocal n_to_plot
            write(block)
            if n_to_plot > 0:
                beginning.append(block[:n_to_plot])
                n_to_plot -= len(block)

        yield add
    show_result(path)
    if plot:
        from wavegen import plots

        title = path.name if n_to_plot >= 0 else f"{path.name}, the first {PLOTTED_S:g} s"
        plots.sounds(path.with_suffix(".png"), {title: np.concatenate(beginning)}, rate)
        show_result(path.with_suffix(".png"))


def _say_speed(what: str, seconds: float, began: float) -> None:
    elapsed = time.monotonic() - began
    say(f"{what} of sound in {elapsed:.1f} s: {seconds / elapsed:.3g} times real time")
