"""Keys as they are pressed, from a terminal."""

import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
# A key that sends more than a character: ESC, [ or O, numbers, a last one; or ESC and the key that Alt was held with.
SEQUENCE = re.compile(r"\x1b(?:[\[O][\d;]*(?P<last>[A-Za-z~]?)|.?)|(?P<key>.)", re.DOTALL)


@contextmanager
def pressed() -> Iterator[Callable[[], list[str]]]:
    """While the block runs, keys need no Enter and are not shown; yields what tells the keys pressed since last asked.

    Ctrl-C works as ever. Without a terminal, or from when it is closed, there are none.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        yield lambda: []
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def newest() -> list[str]:
        text = ""
        with suppress(OSError):  # it was closed
            while select.select([terminal], [], [], 0)[0] and (read := os.read(terminal, 64)):
                text += read.decode(errors="ignore")
        return split(text)

    try:
        tty.setcbreak(terminal)
        yield newest
    finally:
        with suppress(termios.error):  # it was closed
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def split(text: str) -> list[str]:
    """What a terminal sends, as keys: characters, and the names of arrows. Other keys are none."""
    keys = (match["key"] or ARROWS.get(match["last"] or "") for match in SEQUENCE.finditer(text))
    return [key for key in keys if key]
