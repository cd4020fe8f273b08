"""What the pages say is true: quoted code is there, links lead somewhere, commands exist."""

import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from PIL import Image
from typer.testing import CliRunner

import wavegen
from tests.conftest import REPOSITORY, tiny_checkpoint
from tests.data.test_corpora import write_librispeech
from tests.data.test_images import write_mnist
from tests.generation.test_images import tiny_image_checkpoint
from wavegen import checkpoint, recipe
from wavegen.cli.main import make_app
from wavegen.generation.session import LoadedModel

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def test_the_walkthrough_quotes_code_that_is_there():
    rows = re.findall(r"\| `([^`]+)` \| (wavegen/\S+\.py) \|", (REPOSITORY / "docs" / "walkthrough.md").read_text())
    assert len(rows) > 20
    missing = [(code, file) for code, file in rows if code not in (REPOSITORY / file).read_text()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target


def commands() -> list[tuple[str, str]]:
    """Every command line that begins with wavegen in the code blocks of the pages."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh)?\n(.*?)```", page.read_text(), re.DOTALL):
            lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
            found += [(page.name, line.split("#")[0].strip()) for line in lines if line.startswith("wavegen ")]
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_of_the_pages_exist_with_their_options(page, command):
    words = shlex.split(command)[1:]
    found = typer.main.get_command(make_app())
    while words and hasattr(found, "commands"):
        assert words[0] in found.commands, f"{page}: {command}: no command {words[0]}"
        found = found.commands[words.pop(0)]
    options = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    unknown = {word.split("=")[0] for word in words if word.startswith("--")} - options
    assert not unknown, f"{page}: {command}"


TINY = [
    "training.steps=2",
    "training.batch_size=2",
    "training.compile=false",
    "model.n_blocks=1",
    "model.layers_per_block=3",
]
TINY_SOUND = [*TINY, "training.window=400", "training.sample_seconds=0.01", "training.validation_seconds=1"]
IMAGE_RECIPES = ("images", "mnist")


@pytest.mark.exhaustive
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_run_in_their_order(page, tmp_path, monkeypatch):
    """As written, but for smaller networks and shorter sounds; playing needs a sound card, fetching a network."""
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        path = tmp_path / "birds" / ("wren" if number % 2 else "robin") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(8000), 16000)
    soundfile.write("hello.wav", np.zeros(2000), 16000)
    for number in range(12):
        path = tmp_path / "photos" / ("wren" if number % 2 else "robin") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * number, dtype=np.uint8)).save(path)
    write_mnist(tmp_path / "MNIST", shape=(28, 28))
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save("seven.png")
    write_librispeech(tmp_path / "source")
    (tmp_path / "Downloads").mkdir()
    with tarfile.open("Downloads/train-clean-100.tar.gz", "w:gz") as archive:
        archive.add("source/LibriSpeech", "LibriSpeech")
    for name, command in commands():
        words = shlex.split(command)[1:]
        is_download = words[:2] == ["data", "prepare"] and "--from" not in words
        is_elsewhere = words[0] == "evaluate" and words[1] in checkpoint.shipped()  # needs the corpus it was trained on
        is_large = "--ray" in words or "--nnodes" in words  # and takes a cluster
        if name != page.name or words[0] in ("play", "bench", "serve") or is_download or is_elsewhere or is_large:
            continue
        if words[0] == "train":
            tiny = TINY if words[1] in IMAGE_RECIPES else TINY_SOUND
            words += [word for setting in tiny for word in ("--set", setting)]
            if "--resume" not in words:
                shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
        if words[0] == "generate":
            words += ["--seconds", "0.01"]
        result = CliRunner().invoke(make_app(), words, catch_exceptions=False)
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_job_of_the_pages_is_a_shell_script_with_options_that_exist():
    job = REPOSITORY / "docs" / "train.sbatch"
    subprocess.run(["bash", "-n", job], check=True)
    known = {
        option for parameter in typer.main.get_command(make_app()).commands["train"].params for option in parameter.opts
    }
    [command] = re.findall(r"^srun wavegen train (.*)$", job.read_text().replace("\\\n", " "), re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", command)) <= known


def test_overrides_in_the_pages_are_keys_of_recipes():
    known = set(recipe.recipe_schema().model_fields)
    keys = {
        f"{title.split(',')[0]}.{name}" for title, section in recipe.sections().items() for name in section.model_fields
    } | known
    for page in PAGES:
        for key in re.findall(r"--set ([a-z_.]+)=", page.read_text()):
            assert key in keys, f"{page.name}: {key}"


def test_nothing_names_this_machine():
    for path in [*PAGES, *Path(REPOSITORY / "recipes").glob("*.yaml"), REPOSITORY / "Makefile"]:
        assert str(REPOSITORY) not in path.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_the_pages_runs(page, tiny_run, tmp_path, monkeypatch):
    """As written, but for other models and shorter sounds."""
    drawn, _ = tiny_image_checkpoint(labels={"digit": [str(digit) for digit in range(10)]})
    vocoder = tiny_checkpoint(n_features=4, hop=40, frame_channels=6, look_ahead=1)
    models = {"runs/mnist": drawn, "runs/vocoder": vocoder}
    load = wavegen.load
    monkeypatch.setattr(wavegen, "load", lambda name: LoadedModel(models[name]) if name in models else load(tiny_run))
    monkeypatch.chdir(tmp_path)
    soundfile.write("hello.wav", np.zeros(200), 8000)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(block.replace("seconds=5", "seconds=0.01").replace(".stream(", ".stream(seconds=0.01, "), {})
