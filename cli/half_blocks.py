"""Pixels in a terminal: two to a character, the upper as the colour of a half block and the lower as its ground."""

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style

UPPER_HALF = "▀"


def half_blocks(pixels: NDArray[np.uint8]) -> Segments:
    """Pixels (height, width, 1 or 3) as lines of characters; an odd height gets a black row below."""
    colours = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    if len(colours) % 2:
        colours = np.concatenate([colours, np.zeros_like(colours[:1])])
    segments = []
    for upper, lower in zip(colours[::2], colours[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            segments.append(Segment(UPPER_HALF, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))))
        segments.append(Segment.line())
    return Segments(segments)
