"""Where pictures are drawn on the terminal, again and again."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from wavegen.printable import printable

console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def text_lines(lines: Iterable[str]) -> list[Text]:
    """Lines of a picture, cut where the terminal ends."""
    return [Text(printable(line), no_wrap=True, overflow="crop") for line in lines]
