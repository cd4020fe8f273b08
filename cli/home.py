"""`~` in the words of the command line that no shell has expanded, as in --out=~/x.wav."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from wavegen.paths import user_path


def expand_home(app: typer.Typer) -> None:
    """Let every command of an app, and of those within it, get paths whose `~` is the home folder."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_paths_expanded(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            expand_home(group.typer_instance)


def _with_paths_expanded(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def expanding(**values: Any) -> Any:
        return command(**{name: _expanded(value) for name, value in values.items()})

    return expanding


def _expanded(value: Any) -> Any:
    if isinstance(value, Path):
        return user_path(value)
    return [_expanded(one) for one in value] if isinstance(value, list) else value
