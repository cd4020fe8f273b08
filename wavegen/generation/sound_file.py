"""Sounds into WAV files, with pictures of them beside, as they are made."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PLOTTED_S = 60.0  # of a sound that its picture shows, at most

Write = Callable[[NDArray[np.float32]], None]  # the next samples (T,)


def picture_of(path: Path) -> Path:
    """Where the picture of a sound lies."""
    return path.with_suffix(".png")


@contextmanager
def writing(path: Path, rate: int, plot: bool, written: Callable[[Path], None]) -> Iterator[Write]:
    """Yield what writes blocks (T,) to a WAV file, which appears whole at the end of the block, or not at all; then
    draw its beginning, with `plot`. `written` is told of each file that is complete.

    Raises: InputError if the folder cannot be written to, DiskError if the disk is full.
    """
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
    written(path)
    if plot:
        from wavegen import plots

        title = path.name if n_to_plot >= 0 else f"{path.name}, the first {PLOTTED_S:g} s"
        plots.sounds(picture_of(path), {title: np.concatenate(beginning)}, rate)
        written(picture_of(path))


def write_each(
    made: Iterator[tuple[int, NDArray[np.float32], bool]],
    path_of: Callable[[int], Path],
    rate: int,
    plot: bool,
    written: Callable[[Path], None],
) -> Iterator[tuple[int, bool]]:
    """Write blocks of sounds (number, (T,), whether it is the last) to the paths of their numbers, and yield after each
    block its samples and whether a sound is complete. However it ends, no other is there. `written`: as `writing`.

    Raises: as `writing`, and whatever making them does.
    """
    writers: dict[int, tuple[ExitStack, Write]] = {}
    with ExitStack() as unfinished:
        for number, block, is_last in made:
            if number not in writers:
                stack = unfinished.enter_context(ExitStack())
                writers[number] = stack, stack.enter_context(writing(path_of(number), rate, plot, written))
            stack, write = writers[number]
            write(block)
            if is_last:
                stack.close()
                del writers[number]
            yield len(block), is_last
