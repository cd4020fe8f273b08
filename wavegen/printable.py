"""Foreign text made fit to be printed: no name, label or description of a file commands the terminal.

>>> print(printable("wren\\x1b[2J \\u202egnos.wav"))
wren\\x1b[2J \\u202egnos.wav
"""

import re

# Control characters (C0, DEL, C1), line ends of Unicode, and what turns the direction of writing: a name can hide its
# ending by it, and what follows it on the line as well.
COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    r"""The text of something with every character that would command a terminal as an escape, such as \x1b; one line.

    Text that was made printable stays as it is.
    """
    return COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
