"""Paths as people write them: `~` and variables that no shell has expanded, links, and names that a disk takes for one.

Most disks of macOS and Windows, exFAT and folders of ext4 that are told to, do not tell names apart that differ by case
or by Unicode form only.
"""

import os
import tempfile
import unicodedata
from collections.abc import Iterable
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


def folded(path: Path | str) -> str:
    """A path as text that is equal for all that a disk may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths mean one file or folder, links followed, also where a disk takes two names for one."""
    one, other = resolved(one), resolved(other)
    if one == other:
        return True
    return folded(one) == folded(other) and one.exists() and other.exists() and one.samefile(other)


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies below it."""
    path = resolved(path)
    return any(is_same(one, folder) for one in (path, *path.parents))


def are_one_name(folder: Path, one: str, other: str) -> bool:
    """Whether the disk of a folder takes two names for one: it is asked, in a folder made for that and removed.

    Raises: OSError if nothing can be written there.
    """
    with tempfile.TemporaryDirectory(prefix=".wavegen-", dir=folder) as asked:
        (Path(asked) / one).touch()
        return (Path(asked) / other).exists()


def one_on_disk(folder: Path, paths: Iterable[Path]) -> tuple[Path, Path] | None:
    """The first two of some different paths within a folder, there or not yet, that would be one file on its disk.

    Raises: OSError if the disk has to be asked, and nothing can be written there.
    """
    existing = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    alike: dict[str, list[Path]] = {}
    for path in paths:
        earlier = alike.setdefault(folded(path.relative_to(folder)), [])
        for other in earlier:
            differing = [pair for pair in zip(other.parts, path.parts, strict=True) if pair[0] != pair[1]]
            if all(are_one_name(existing, *pair) for pair in differing):
                return other, path
        earlier.append(path)
    return None
