"""wavegen recipes"""

from pathlib import Path
from typing import Annotated

import typer

from wavegen import files
from wavegen.errors import InputError
from wavegen.recipes import all_paths, find, summary

from .tables import Table
from .terminal import show_result, show_text

app = typer.Typer(name="recipes", no_args_is_help=True, help="The recipes that ship with wavegen.")

Name = Annotated[str, typer.Argument(help="name of a recipe; `wavegen recipes list` shows them")]


@app.command("list")
def list_recipes() -> None:
    """List the recipes that ship with wavegen, each with what it makes.

    Examples:
        wavegen recipes list
    """
    table = Table("recipe", "what comes out", box=None)
    for path in all_paths():
        table.add_row(path.stem, summary(path))
    table.show()


@app.command("show")
def show(name: Name) -> None:
    """Print a recipe.

    Examples:
        wavegen recipes show sine
    """
    show_text(find(name).read_text(encoding="utf-8"))


@app.command("copy")
def copy(
    name: Name,
    to: Annotated[Path | None, typer.Argument(help="file to write (default: NAME.yaml here)")] = None,
) -> None:
    """Copy a recipe to a file of your own, to change it.

    Examples:
        wavegen recipes copy folder birds.yaml
    """
    path = to or Path(f"{name}.yaml")
    if path.exists():
        raise InputError(f"{path} is already there; choose another name")
    with files.atomic(path) as partial:
        partial.write_bytes(find(name).read_bytes())
    show_result(path)


@app.command("fields")
def fields() -> None:
    """Explain every key that a recipe can have, with its default.

    Examples:
        wavegen recipes fields
    """
    from wavegen import recipe

    for title, section in recipe.sections().items():
        table = Table("key", "default", "meaning", title=title, title_justify="left", box=None)
        for key, field in section.model_fields.items():
            default = "(required)" if field.is_required() else str(field.default)
            table.add_row(key, default, field.description or "")
        table.show()
        show_result("")
