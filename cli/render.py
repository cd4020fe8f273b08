"""What commands that write sound have in common: making it with progress, and writing it as it is made."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError
from wavegen.generation import sound_file
from wavegen.generation.session import Session
from wavegen.progress import bar

from .terminal import say, show_result


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
        files = [sound_file.writing(path, rate, plot, show_result) for path in paths]
        writers = [stack.enter_context(one) for one in reversed(files)][::-1]
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
        say_speed(f"{len(paths)} x {n_made / rate:.2f} s", len(paths) * n_made / rate, began)


def write_each(
    made: Iterator[tuple[int, NDArray[np.float32], bool]], paths: Sequence[Path], rate: int, plot: bool, n_wanted: int
) -> None:
    """Write blocks of sounds (number, (T,), whether it is the last) to the paths of their numbers; Ctrl-C keeps those
    that are complete. Prints as `render`.

    Raises: KeyboardInterrupt if none was complete by then.
    """
    n_written, n_samples = 0, 0
    began = time.monotonic()
    try:
        for n, is_complete in sound_file.write_each(made, paths.__getitem__, rate, plot, show_result):
            n_samples += n
            n_written += is_complete
    except KeyboardInterrupt:
        if not n_written:
            raise
        say(f"Stopped; {n_written} of {n_wanted} are written")
    if n_written:
        say_speed(f"{n_written} sounds, {n_samples / rate:.2f} s", n_samples / rate, began)


def say_speed(what: str, seconds: float, began: float) -> None:
    """Say how fast so many seconds of sound were made since a time of the monotonic clock."""
    elapsed = time.monotonic() - began
    say(f"{what} of sound in {elapsed:.1f} s: {seconds / elapsed:.3g} times real time")
