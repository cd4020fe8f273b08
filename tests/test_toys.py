"""A family and a head of one file each, with one line of registration, go through every command."""

import json

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import TINY_RECIPE, write_images
from tests.toy_image_family import NeighboursArchitecture
from wavegen import checkpoint, recipe
from wavegen.architectures import make_architecture
from wavegen.cli.main import make_app
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.models.build import build

pytestmark = pytest.mark.usefixtures("toys")

SIZES = TINY_RECIPE[TINY_RECIPE.index("  kind: wavenet") : TINY_RECIPE.index("training:")]
TABLE = TINY_RECIPE.replace(SIZES, "  kind: table\n")
RECIPES = {
    "toy family": TABLE,
    "toy head": TINY_RECIPE.replace("  kind: wavenet\n", "  kind: wavenet\n  head: laplace\n  broadness: 0.5\n"),
}

IMAGE_RECIPE = """
data: {{corpus: images, source: {source}, size: [6, 5], colours: grey, n_classes: 16}}
model: {{kind: neighbours, channels: 8}}
training: {{steps: 40, batch_size: 4, learning_rate: 0.05, precision: float32, validation_images: 4}}
"""


def run(*words: object) -> str:
    result = CliRunner().invoke(make_app(), [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", RECIPES)
def test_toys_are_trained_inspected_evaluated_generated_and_examined(tmp_path, name):
    path, folder, sound = tmp_path / "toy.yaml", tmp_path / "run", tmp_path / "sound.wav"
    path.write_text(RECIPES[name])
    settings = ("--set", "training.steps=40", "--set", "training.learning_rate=0.05")
    run("train", path, "--out", folder, *settings)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    bits = [line["bits"] for line in lines if "bits" in line]
    assert bits[-1] < bits[0]
    inspected = run("models", "inspect", folder)
    assert ("table" if "family" in name else "parameters") in inspected
    assert "bits per sample" in run("evaluate", folder, "--split", "validation", "--free-running", "0.1")
    run("generate", folder, "--seconds", "0.05", "--seed", "1", "--out", sound)
    samples, rate = soundfile.read(sound)
    assert (len(samples), rate) == (400, 8000)
    assert len(np.unique(samples)) > 3
    examined = CliRunner().invoke(make_app(), ["doctor", str(folder)], catch_exceptions=False)
    assert examined.exit_code in (0, 1)  # so little training leaves symptoms
    assert "leak of the future" in examined.stdout
    assert "predictions depend on earlier codes only" in examined.stdout
    run(
        "train", path, "--out", folder, "--set", "training.steps=40", "--set", "training.learning_rate=0.05", "--resume"
    )


def test_a_toy_family_of_images_goes_through_every_command(tmp_path):
    write_images(tmp_path / "photos", size=(6, 5))
    path, folder, grid = tmp_path / "toy.yaml", tmp_path / "run", tmp_path / "grid.png"
    path.write_text(IMAGE_RECIPE.format(source=tmp_path / "photos"))
    run("train", path, "--out", folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    bits = [line["bits"] for line in lines if "bits" in line]
    assert bits[-1] < bits[0]
    assert "neighbours" in run("models", "inspect", folder)
    assert "bits per dimension" in run("image", "evaluate", folder, "--split", "validation")
    run("image", "sample", folder, "--n", "2", "--seed", "1", "--out", grid)
    assert Image.open(grid).size == (2 * 7 + 2, 6 + 4)  # pixels, with gaps of two
    examined = CliRunner().invoke(make_app(), ["doctor", str(folder)], catch_exceptions=False)
    assert "predictions depend on earlier codes only" in examined.stdout


def test_a_network_of_images_that_is_not_made_of_rows_is_refused(monkeypatch):
    monkeypatch.setattr(NeighboursArchitecture, "network", "tests.toy_family:Table")
    with pytest.raises(InputError, match="a neighbours draws images; expected its network to derive from"):
        build(make_architecture("neighbours", {"n_classes": 8, "height": 2, "width": 2, "n_colours": 1}))


def test_an_engine_says_why_it_cannot_run_a_network(tmp_path):
    path = tmp_path / "toy.yaml"
    for name, reason in (
        ("toy family", "it is a table, and they run wavenet, planner and pixelcnn"),
        ("toy head", "it has a laplace head, and they draw from categorical and logistic-mixture"),
    ):
        path.write_text(RECIPES[name])
        folder = tmp_path / name
        run("train", path, "--out", folder, "--set", "training.steps=2")
        loaded = checkpoint.load(folder)
        assert make_engine(loaded)[0] == "reference in float32"
        with pytest.raises(InputError, match=f"the engine numba cannot run this model: {reason}; leave it out"):
            make_engine(loaded, options=EngineOptions("numba"))


def test_a_recipe_names_the_toys_among_what_it_knows():
    with pytest.raises(InputError, match="expected one of wavenet, planner, pixelcnn, table, neighbours"):
        recipe.parse(TINY_RECIPE, "tiny", ["model.kind=chair"])
    with pytest.raises(InputError, match=r"unknown key 'model.n_blocks'; known keys are kind, head, n_mixtures"):
        recipe.parse(TABLE, "tiny", ["model.n_blocks=2"])
    with pytest.raises(InputError, match=r"model\.kind is table, which reads no data\.features; leave them out"):
        recipe.parse(TABLE, "tiny", ["data.features={n_mels: 20, hop: 50, n_fft: 256}"])
    labelled = recipe.parse(TABLE, "tiny").architecture({"speaker": 3})
    with pytest.raises(InputError, match="a table takes no labels, and has speaker"):
        labelled.check()
