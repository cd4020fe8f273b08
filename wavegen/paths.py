"""Paths as people write them: `~` and variables that no shell has expanded, and links."""

import os
from pathlib import Path

from wavegen.errors import InputError


def user_path(path: str | Path) -> Path:
    """A path as who wrote it means it: with `~` for the home folder, and $VARIABLES, unless a file is called so.

    Raises: InputError if there is no such user, or the user has no home.
    """
    try:
        home = Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"the home folder in {path} is not known; ./~ begins the name of a file here") from error
    return home if os.path.lexists(home) else Path(os.path.expandvars(home))


def resolved(path: Path) -> Path:
    """The absolute path without links. One that leads in a circle stays as it is: what opens it is told by the system.

    `Path.resolve` raises a RuntimeError for such a circle up to Python 3.12.
    """
    return Path(os.path.realpath(path))
