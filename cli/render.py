"""What commands that write sound have in common: making it with progress, and writing it."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen.generation.session import Session
from wavegen.progress import bar

from .terminal import say, show_result


def render(session: Session, n_samples: int) -> NDArray[np.float32]:
    """Make so many samples, or until Ctrl-C as many as there are by then: (n, T)."""
    rate = session.description.sample_rate
    n_made = 0
    blocks: list[NDArray[np.float32]] = []
    began = time.monotonic()
    try:
        with bar("Generating", n_samples) as running:
            for block in session.blocks(n_samples):
                blocks.append(block)
                n_made += block.shape[1]
                running.update(n_made, f"{n_made / rate:.2f} s of sound")
    except KeyboardInterrupt:
        if not blocks:
            raise
        say("Stopped; writing what there is")
    waveforms = np.concatenate(blocks, axis=1)
    _say_speed(f"{len(waveforms)} x {n_made / rate:.2f} s", len(waveforms) * n_made / rate, began)
    return waveforms


def write(paths: Sequence[Path], waveforms: NDArray[np.float32], rate: int, plot: bool) -> None:
    """Write waveforms (n, T) into WAV files, with `plot` a picture beside each; prints the names."""
    from wavegen.data import audio

    for path, waveform in zip(paths, waveforms, strict=True):
        audio.write(path, waveform, rate)
        show_result(path)
        if plot:
            from wavegen import plots

            plots.sounds(path.with_suffix(".png"), {path.name: waveform}, rate)
            show_result(path.with_suffix(".png"))


def write_each(
    made: Iterator[tuple[int, NDArray[np.float32]]], paths: Sequence[Path], rate: int, plot: bool, n_wanted: int
) -> None:
    """Write sounds (number, (T,)) to the paths of their numbers, each as soon as it is there; Ctrl-C keeps what is.

    Raises: KeyboardInterrupt if none was complete by then.
    """
    n_written, n_samples = 0, 0
    began = time.monotonic()
    try:
        for number, waveform in made:
            write([paths[number]], waveform[None], rate, plot)
            n_written, n_samples = n_written + 1, n_samples + len(waveform)
    except KeyboardInterrupt:
        if not n_written:
            raise
        say(f"Stopped; {n_written} of {n_wanted} are written")
    if n_written:
        _say_speed(f"{n_written} sounds, {n_samples / rate:.2f} s", n_samples / rate, began)


def _say_speed(what: str, seconds: float, began: float) -> None:
    elapsed = time.monotonic() - began
    say(f"{what} of sound in {elapsed:.1f} s: {seconds / elapsed:.3g} times real time")
