"""`wavegen bench`: what it times, and how it shows what it measured."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wavegen import checkpoint
from wavegen.bench import generation, images, subjects, training, web
from wavegen.cli.main import make_app
from wavegen.errors import InputError

SPEEDS = [generation.Speed("numba, int8x8", 1, 50_000, 3.125, 62.0, 20.0, 10.0, 2_000_000)]


@pytest.fixture
def timed(monkeypatch) -> list:
    """What the commands ask to be timed; nothing is."""
    calls: list = []

    def time_generation(*arguments):
        calls.append(arguments)
        return SPEEDS

    def time_images(*arguments):
        calls.append(arguments)
        return [images.Speed("numba, int8x8", 1, 20, 50, 1000)]

    def time_training(*arguments):
        calls.append(arguments)
        return training.TrainingReport([training.Timing("our training loop", 32_000, 1.0)], 0.01, 16000)

    monkeypatch.setattr(generation, "time_generation", time_generation)
    monkeypatch.setattr(images, "time_images", time_images)

    def time_web(*arguments):
        calls.append(arguments)
        return [web.WebSpeed("speech", "page, int8x8", 48_000, 3.0)]

    monkeypatch.setattr(training, "time_training", time_training)
    monkeypatch.setattr(web, "time_web", time_web)
    return calls


def bench(*words: str) -> str:
    result = CliRunner().invoke(make_app(), ["bench", *words])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


def test_generation_of_the_full_size_or_of_a_model_is_timed_as_often_as_asked(timed):
    shown = bench()
    assert "full size" in shown and "50,000" in shown and "50%" in shown
    model, n_streams, rounds, _, where = timed[0]
    assert (model.description.sample_rate, n_streams, rounds, where) == (16000, (1, 8), 100, "cpu")
    given = json.loads(bench("digits", "--streams", "3", "--rounds", "7", "--json"))
    assert given["speeds"] == [SPEEDS[0]._asdict()]
    model, n_streams, rounds, _, _ = timed[1]
    assert (model.description.corpus, n_streams, rounds) == ("digits", [3], 7)


def test_training_of_a_size_is_timed(timed):
    assert "32,000" in bench("--training", "--size", "small")
    recipe, device, rounds, _ = timed[0]
    assert (recipe.model.skip_channels, device, rounds) == (128, "auto", 20)


def test_drawing_of_the_mnist_recipe_or_of_a_model_is_timed(timed):
    assert "28 x 28 x 1" in bench("--image")
    assert timed[0][1:3] == ((1, 16), 20)
    bench("mnist-binary", "--image", "--streams", "2")
    assert timed[1][0].path == checkpoint.shipped()["mnist-binary"]


def test_a_page_is_timed_with_models_that_ship_or_one_of_yours(timed, monkeypatch, tmp_path):
    monkeypatch.setenv("NODE_PATH", str(tmp_path))
    assert "48,000" in bench("--web")
    models, rounds, folders, _ = timed[0]
    assert (list(models), rounds, folders) == (["speech", "digits", "music", "full size"], 20, [tmp_path])
    given = json.loads(bench("digits", "--web", "--rounds", "3", "--node-modules", "packages", "--json"))
    assert given["speeds"][0]["times_real_time"] == 3 and "cores" in given["load"]
    models, rounds, folders, _ = timed[1]
    assert (list(models), rounds, folders) == (["digits"], 3, [Path("packages"), tmp_path])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--web", "--image"), "leave out --training, --image"),
        (("mnist", "--web"), "expected --image"),
        (("--size", "huge"), "unknown size 'huge'; expected one of small, full, large"),
        (("--image", "--training"), "leave out --training"),
        (("--training", "speech"), "leave out one of the two"),
        (("mnist",), "expected --image"),
        (("speech", "--image"), "makes sound; leave out --image"),
    ],
)
def test_what_does_not_go_together_is_refused(timed, words, sentence):
    with pytest.raises(InputError, match=sentence):
        bench(*words)
    assert not timed


def test_the_large_size_has_40_layers():
    assert (
        subjects.sound_model(None, "large").description.architecture.receptive_field
        > subjects.sound_model(None, "full").description.architecture.receptive_field
    )
