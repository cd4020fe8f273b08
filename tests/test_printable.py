"""Foreign text stands for itself, on one line, in whatever is said."""

import pytest

from wavegen.errors import DiskError, InputError
from wavegen.printable import printable

COMMANDS = (
    "\x1b[2J\x00\x07\b\t\r\n\x7f\x85\x9b31m\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2069"
)


def test_what_would_command_a_terminal_is_shown_as_its_code():
    shown = printable(COMMANDS)
    assert shown.isascii() and shown.isprintable()
    assert shown.startswith(r"\x1b[2J\x00\x07\x08\t\r\n\x7f\x85\x9b31m\u061c\u200e")
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["Müller 漢字 🎵 é", "[red] :smile: \\x1b", "", "\udcff"])
def test_other_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize("kind", [InputError, DiskError])
def test_the_sentence_of_an_error_is_one_line(kind):
    assert str(kind("there is no a\x1b[2J\nb")) == r"there is no a\x1b[2J\nb"
