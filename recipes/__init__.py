"""Recipes that ship with wavegen, as YAML files beside this one."""

from pathlib import Path

from wavegen.errors import InputError


def all_paths() -> list[Path]:
    """The files of all recipes, sorted by name."""
    return sorted(Path(__file__).parent.glob("*.yaml"))


def find(name: str) -> Path:
    """The file that a path or the name of a shipped recipe means.

    Raises: InputError for neither; it names the shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in all_paths()}
    if name in shipped:
        return shipped[name]
    raise InputError(f"there is no recipe {name}; expected a file, or one of {', '.join(shipped)}")


def summary(path: Path) -> str:
    """What a recipe's head comment says first."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
