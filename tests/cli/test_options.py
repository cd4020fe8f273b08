"""Options that commands share are declared once, and reach the library as one value."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from wavegen.cli.main import make_app
from wavegen.cli.options import parse_labels, takes_generation_options
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions

SHARED = ("temperature", "top_k", "top_p", "guidance", "seed", "labels", "engine", "precision", "device")


@pytest.mark.parametrize("words", ["generate", "play", "vocode", "image sample", "image complete"])
def test_every_command_that_generates_takes_the_shared_options(words):
    command = typer.main.get_command(make_app())
    for word in words.split():
        command = command.commands[word]
    names = [parameter.name for parameter in command.params]
    assert [name for name in names if name in SHARED] == sorted(SHARED, key=names.index)
    assert set(SHARED) <= set(names)


def run(command, *words: str) -> None:
    small = typer.Typer()
    small.command()(takes_generation_options(command))
    result = CliRunner().invoke(small, words)
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output


def test_options_of_the_line_come_as_one_value():
    given = []

    def command(model: Path, n: int = 1, *, options: GenerationOptions) -> None:
        given.append((model, n, options))

    run(command, "x", "--n", "2", "--temperature", "0.5", "--seed", "3", "--label", "digit=7", "--engine", "numba")
    expected = GenerationOptions(temperature=0.5, seed=3, labels={"digit": "7"}, engine="numba")
    assert given == [(Path("x"), 2, expected)]
    run(command, "x")
    assert given[1][2].seed is not None


def test_an_option_that_a_command_declares_itself_is_its_own():
    given = []

    def command(model: Path, labels: str = "none", *, options: GenerationOptions) -> None:
        given.append((labels, options.labels))

    run(command, "x", "--labels", "three")
    assert given == [("three", {})]


def test_a_label_without_a_name_is_told_those_of_the_model(tiny_run):
    with pytest.raises(
        InputError, match=r"--label 7: expected NAME=VALUE, such as digit=0 \(labels of .*digit, speaker"
    ):
        parse_labels(["7"], Path("digits"))
    with pytest.raises(InputError, match="has no labels; leave it out"):
        parse_labels(["7"], tiny_run)
    with pytest.raises(InputError, match="given as 1 and as 2"):
        parse_labels(["digit=1", "digit=2"], Path("digits"))
