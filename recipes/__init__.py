"""Recipes that ship with wavegen, as YAML files beside this one."""

import logging
from pathlib import Path

from wavegen.errors import InputError
from wavegen.paths import user_path

logger = logging.getLogger(__name__)


def all_paths() -> list[Path]:
    """The files of all recipes, sorted by name."""
    return sorted(Path(__file__).parent.glob("*.yaml"))


def find(name: str) -> Path:
    """The file that a path or the name of a shipped recipe means.

    The name of one that ships means that one, whatever file here is called so: ./NAME is the file, which is said.

    Raises: InputError for neither; it names the shipped ones.
    """
    shipped = {path.stem: path for path in all_paths()}
    if name in shipped:
        if Path(name).is_file():
            logger.info(f"{name} is the recipe that ships with wavegen; the file here is ./{name}")
        return shipped[name]
    path = user_path(name)
    if path.is_file():
        return path
    raise InputError(f"there is no recipe {name}; expected a file, or one of {', '.join(shipped)}")


def summary(path: Path) -> str:
    """What a recipe's head comment says first."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
