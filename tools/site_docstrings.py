"""An extension of griffe, for the reference of the site: sections of docstrings stand apart, and examples are code.

Docstrings are plain text with "Shapes:" and "Raises:" at the beginnings of lines, which Markdown would run together.
"""

import re
from typing import Any

import griffe

SECTION = re.compile(r"^(Shapes|Raises|Returns|Yields): ", re.MULTILINE)
EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites docstrings as Markdown."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        _rewrite(pkg)


def _rewrite(of: griffe.Object) -> None:
    if of.docstring is not None:
        text = SECTION.sub(r"\n**\1:** ", of.docstring.value)
        of.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)
    for member in of.members.values():
        if isinstance(member, griffe.Object):  # not what was imported, which has its own page
            _rewrite(member)
