"""The help of commands where there is no terminal: plain, and each option a line, so that nothing is cut."""

import re
from typing import Any

NO_WIDTH = 1 << 16  # columns, in which whole texts are lines


def make_plain(command: Any) -> dict[str, Any]:
    """Let a command of typer, and those within it, show their help as plain text.

    Returns what the context of the command is to be made with for that.
    """
    command.rich_markup_mode = None
    command.help = _paragraphs(command.help or "")
    for one in getattr(command, "commands", {}).values():
        make_plain(one)
    return {"terminal_width": NO_WIDTH}


def _paragraphs(text: str) -> str:
    """A docstring whose examples keep their lines: the mark says so."""
    return re.sub(r"(?m)^Examples:$", "\b\nExamples:", text)
