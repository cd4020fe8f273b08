"""What commands print: text from outside as text, and tables that a program can read."""

import ast
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tests.conftest import REPOSITORY, TINY_RECIPE, tiny_checkpoint, write_recordings
from wavegen import checkpoint, progress
from wavegen.checkpoint import RECIPE_FILE
from wavegen.cli import terminal
from wavegen.cli.main import main, make_app
from wavegen.cli.screen import text_lines
from wavegen.cli.tables import Table
from wavegen.printable import COMMANDS

HOSTILE = "\x1b[2J\x1b[31m\u202e[red]:smile:\x9b\r\nx"
COLOURS = re.compile(r"\x1b\[[\d;]*m")  # of wavegen's own, on a terminal


def assert_harmless(shown: str) -> None:
    assert not COMMANDS.search(COLOURS.sub("", shown).replace("\n", "")), ascii(shown)
    assert r"\x1b[2J" in shown, shown


@pytest.fixture
def hostile(tmp_path, tiny_run) -> Path:
    """A folder with a run, a model with labels, recordings and a recipe, whose names and texts are all hostile."""
    folder = tmp_path / HOSTILE
    run = shutil.copytree(tiny_run, folder / f"run{HOSTILE}")
    loaded = checkpoint.load(run)
    description = replace(loaded.description, about=HOSTILE, credit=HOSTILE, corpus=HOSTILE)
    checkpoint.save(loaded.path, description, loaded.weights, loaded.recipe)
    labelled, name = tiny_checkpoint(labels={"who": 2}), f"who{HOSTILE}"
    architecture = replace(labelled.description.architecture, labels={name: 2})
    description = replace(labelled.description, architecture=architecture, labels={name: [HOSTILE, "other"]})
    weights = {key.replace("who", name): weight for key, weight in labelled.weights.items()}
    checkpoint.save(folder / f"labelled{HOSTILE}.safetensors", description, weights, "")
    recordings = write_recordings(folder / "in")
    (recordings / f"{HOSTILE}.wav").touch()
    (folder / "recipe.yaml").write_text(TINY_RECIPE + f"about: {json.dumps(HOSTILE)}\n")
    (folder / "shown.yaml").write_text(TINY_RECIPE + f"# {HOSTILE}\n")
    return folder


WALK = {
    "models inspect RUN": None,
    "models inspect LABELLED": None,
    "export RUN --to safetensors FOLDER/x.safetensors": None,
    "export LABELLED --to onnx FOLDER/x.onnx": None,
    "export RUN --to HOSTILE FOLDER/x": "expected one of",
    "export RUN --to onnx --part HOSTILE FOLDER/x.onnx": "expected one of",
    "generate RUN --seconds 0.01 --out FOLDER/x.wav": None,
    "generate LABELLED --seconds 0.01 --label HOSTILE=1 --out FOLDER/x.wav": "has no label",
    "generate LABELLED --seconds 0.01 --label nothing --out FOLDER/x.wav": "expected NAME=VALUE",
    "generate RUN/nothing": "there is no model",
    "generate RUN --out HOSTILE": "expected the name of a .wav file",
    "generate RUN --seconds 0.01 --engine HOSTILE": "unknown engine",
    "generate RUN --HOSTILE": "no such option",
    "play RUN --record FOLDER/take.mp3": "expected the name of a .wav file",
    "vocode RUN FOLDER/recipe.yaml FOLDER/y.wav": "takes no frames",
    "evaluate RUN": "is not the one" if False else None,
    "doctor LABELLED": "expected a mapping",
    "image evaluate RUN": "makes sound",
    "data prepare folder --from FOLDER/in": None,
    "data list": None,
    "train FOLDER/recipe.yaml --out FOLDER/new --set training.steps=1": None,
    "train FOLDER/recipe.yaml --set training.HOSTILE=1": "unknown key",
    "recipes show FOLDER/shown.yaml": None,
    "train FOLDER/shown.yaml": "special characters are not allowed",
    "recipes copy HOSTILE": "there is no recipe",
}


def test_no_command_prints_what_commands_the_terminal(hostile, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "PRETRAINED", hostile)
    names = {"RUN": hostile / f"run{HOSTILE}", "LABELLED": hostile / f"labelled{HOSTILE}.safetensors"}
    names |= {"FOLDER": hostile, "HOSTILE": HOSTILE}

    def word(text: str) -> str:
        for name, value in names.items():
            text = text.replace(name, str(value))
        return text

    for line, sentence in {**WALK, "models list": None}.items():
        monkeypatch.setattr(sys, "argv", ["wavegen", *map(word, line.split())])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = "".join(capsys.readouterr())
        assert_harmless(shown)
        assert (ended.value.code == 0) == (sentence is None), f"{line}: {shown}"
        assert sentence is None or sentence in shown, f"{line}: {shown}"


def test_markup_and_emoji_codes_stay_as_they_are(hostile, monkeypatch):
    """On a terminal as elsewhere."""
    words = ["models", "inspect", str(hostile / f"run{HOSTILE}")]
    assert "[red]:smile:" in CliRunner().invoke(make_app(), words).stdout
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    table = Table("[red]", title=HOSTILE)
    table.add_row(HOSTILE)
    console = Console(force_terminal=True, markup=False, emoji=False, width=200)
    with console.capture() as captured:
        console.print(table)
    assert "[red]:smile:" in captured.get()
    assert_harmless(captured.get())


def test_bars_and_pictures_show_it_as_it_is(monkeypatch):
    console = Console(force_terminal=True, width=200, record=True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.show_bars(console)
    with console.capture() as captured, progress.bar(HOSTILE, 2) as running:
        running.update(1, HOSTILE)
    progress.hide_bars()
    assert "[red]:smile:" in captured.get()
    assert "\x1b[2J\x1b[31m" not in captured.get()
    assert "\u202e" not in captured.get()
    assert text_lines([HOSTILE])[0].plain.isprintable()


PRINTING = ("print", "typer.echo", "sys.stdout.write", "sys.stderr.write", "Console")


def test_only_the_terminal_prints():
    """So that a new command cannot forget it."""
    for path in sorted((REPOSITORY / "cli").glob("*.py")):
        if path.name in ("terminal.py", "tables.py", "screen.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported = {f"{node.module}.{alias.name}" for alias in node.names}
                assert not imported & {"rich.table.Table", "rich.print"}, f"{path} makes tables by itself"
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in PRINTING, f"{path} prints by itself"


def test_a_table_without_a_terminal_has_a_row_a_line_and_cuts_nothing(capsys):
    url = "https://example.org/" + "x" * 200
    table = Table("name", "home", "漢字", title="All of them")
    table.add_column("how\nmany", justify="right")
    table.add_row("a", url, "漢", "7")
    table.add_row("long name", "", "b", "1,000")
    table.show()
    assert capsys.readouterr().out.splitlines() == [
        "All of them",
        f"name       home{' ' * 216}  漢字  how many",
        f"a          {url}  漢           7",
        f"long name  {' ' * 220}  b        1,000",
    ]


@pytest.mark.parametrize("line", ["models list", "recipes list", "recipes fields", "data list", "doctor"])
def test_tables_of_commands_are_plain_in_a_pipe(line):
    shown = CliRunner().invoke(make_app(), line.split()).stdout
    assert not re.search("[─-╿]|\x1b", shown)  # box drawing
    assert max(map(len, shown.splitlines())) > 80
    assert not any(row.endswith(" ") or "\t" in row for row in shown.splitlines())


def shown_by(line: str, monkeypatch, capsys) -> str:
    """What a command prints on stdout."""
    monkeypatch.setattr(sys, "argv", ["wavegen", *line.split()])
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out


@pytest.mark.parametrize("line", ["", "--help", "generate -h", "data", "data prepare --help", "image sample --help"])
def test_help_is_plain_in_a_pipe(line, monkeypatch, capsys):
    shown = shown_by(line, monkeypatch, capsys)
    assert shown.startswith("Usage: wavegen")
    assert not re.search("[─-╿]|\x1b|\b", shown)  # box drawing
    texts = {words.strip() for words in shown.splitlines()}
    commands = typer.main.get_command(make_app())
    for word in [word for word in line.split() if not word.startswith("-")]:
        commands = commands.commands[word]
    for one in [*commands.params, *getattr(commands, "commands", {}).values()]:
        sentence = " ".join((one.help or "").split("\n\n")[0].split())
        assert any(sentence in text for text in texts), sentence
    for example in re.findall(r"(?m)^ +(wavegen .*)$", commands.help or ""):
        assert example in texts


def test_help_is_drawn_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "has_terminal", lambda: True)
    monkeypatch.setattr("wavegen.cli.main.has_terminal", lambda: True)
    for line in ("", "--help"):
        shown = shown_by(line, monkeypatch, capsys)
        assert shown.count("─ Commands ─") == 1
        assert shown.count("Usage: ") == 1


def test_cells_that_are_not_texts_are_shown():
    table = Table("", "n", show_header=False)
    table.add_row(Path("x"), np.int64(3))
    assert table.lines() == ["x  3"]
    assert Table("a", "b").lines() == ["a  b"]


def test_the_recipe_of_a_run_is_shown_as_it_is(tiny_run, capsys):
    terminal.show_text((tiny_run / RECIPE_FILE).read_text())
    assert capsys.readouterr().out == (tiny_run / RECIPE_FILE).read_text()
