"""`wavegen image`: a tiny model trained on a folder, and what its commands write, show and refuse."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import wavegen
from tests.conftest import REAL_DATA, write_images
from wavegen import checkpoint, recipe
from wavegen.cli import half_blocks
from wavegen.cli.main import make_app
from wavegen.data.images import read_idx
from wavegen.errors import InputError
from wavegen.training import loop as training

RECIPE = """
data: {corpus: images, source: SOURCE, size: [8, 6], colours: COLOURS, labels_from_folders: kind, n_classes: 16}
model:
  {kind: pixelcnn, n_blocks: 1, layers_per_block: 2, residual_channels: 8, gate_channels: 8, skip_channels: 8,
   head_channels: 8, dropout: 0.1}
training: {steps: 40, batch_size: 4, learning_rate: 2.0e-2, warm_up: 2, precision: float32, validate_every: 20}
"""


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    source = write_images(folder / "in", n=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVEGEN_DATA", str(folder / "stores"))
        text = RECIPE.replace("SOURCE", str(source)).replace("COLOURS", "rgb")
        training.train(recipe.parse(text, "tiny"), folder / "run")
    return folder / "run"


def run(*words):
    result = CliRunner().invoke(make_app(), list(map(str, words)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_training_learns_and_shows_drawn_images_above_real_ones(image_run):
    lines = [line for line in (image_run / "metrics.jsonl").read_text().splitlines() if "validation_bits" in line]
    first, last = (float(line.split(": ")[-1].rstrip("}")) for line in (lines[0], lines[-1]))
    assert last < first < 4.0  # 16 levels have 4 bits
    assert Image.open(image_run / "sample.png").mode == "RGB"
    assert not (image_run / "sample.wav").exists()


@pytest.mark.exhaustive
def test_an_interrupted_run_resumes_to_the_same_bits(image_run, tmp_path, monkeypatch):
    loaded = recipe.load(image_run / "recipe.yaml")

    class PowerCutError(Exception):
        pass

    update = training.update

    def interrupted(run, batches):
        if run.state.step == 25:
            raise PowerCutError
        return update(run, batches)

    monkeypatch.setattr(training, "update", interrupted)
    with pytest.raises(PowerCutError):
        training.train(loaded, tmp_path / "run")
    monkeypatch.setattr(training, "update", update)
    training.train(loaded, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (image_run / "model.safetensors").read_bytes()


def test_images_are_drawn_from_python(image_run):
    model = wavegen.load(image_run)
    images = model.draw(3, labels={"kind": "light"}, seed=1)
    assert (images.shape, images.dtype) == ((3, 8, 6, 3), np.uint8)
    np.testing.assert_array_equal(model.draw(labels={"kind": "light"}, seed=1), images[:1])
    with pytest.raises(InputError, match="it knows dark, light"):
        model.draw(labels={"kind": "grey"})


def test_sample_writes_a_grid_and_the_same_seed_the_same_one(image_run, tmp_path):
    for name in ("a.png", "b.png"):
        words = ("--n", 5, "--label", "dark", "--label", "light", "--seed", 3, "--out", tmp_path / name)
        result = run("image", "sample", image_run, *words)
        assert result.stdout.strip() == str(tmp_path / name)
    assert "engine numba" in result.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == (3 * (6 + 2) + 2, 2 * (8 + 2) + 2)


def images_of(path, n_columns, n) -> list[np.ndarray]:
    """The images of a grid, 8 x 6."""
    grid = np.asarray(Image.open(path))
    corners = [(row * 10 + 2, column * 8 + 2) for row, column in (divmod(number, n_columns) for number in range(n))]
    return [grid[top : top + 8, left : left + 6] for top, left in corners]


def test_labels_take_turns(image_run, tmp_path):
    drawn = {}
    for name, labels in {"both": ("dark", "light"), "dark": ("dark",), "light": ("light",)}.items():
        out = tmp_path / f"{name}.png"
        words = [word for label in labels for word in ("--label", label)]
        run("image", "sample", image_run, "--n", 4, "--seed", 3, "--out", out, *words)
        drawn[name] = images_of(out, 2, 4)
    for number, image in enumerate(drawn["both"]):
        np.testing.assert_array_equal(image, drawn[("dark", "light")[number % 2]][number])


@pytest.mark.parametrize(("width", "n_shown"), [(6, 0), (8, 1), (14, 1), (15, 2), (80, 5)])
def test_images_show_on_a_terminal_as_they_grow_as_many_as_fit(image_run, tmp_path, monkeypatch, width, n_shown):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width, height=50)
    monkeypatch.setattr("wavegen.cli.image.console", terminal)
    run("image", "sample", image_run, "--n", 5, "--seed", 3, "--out", tmp_path / "x.png")
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.file.getvalue())
    lines = [line.strip("\r") for line in shown.splitlines() if "▀" in line]
    assert {len(line) for line in lines} == ({n_shown * 7 + 1} if n_shown else set())
    assert len(lines) >= 4 * 5 * bool(n_shown)  # half a line for each of 8 rows and 2 margins, at every second row


def test_without_a_model_the_one_that_ships_draws_the_digit_that_is_asked_for(tmp_path):
    assert run("image", "sample", "--n", 2, "--label", 3, "--seed", 1, "--out", tmp_path / "threes.png").exit_code == 0
    drawn = np.asarray(Image.open(tmp_path / "threes.png").convert("L"))
    assert drawn.std() > 20
    assert drawn.shape[0] >= 28 and drawn.shape[1] >= 2 * 28


def test_complete_keeps_what_it_is_told_to(image_run, tmp_path):
    pixels = np.zeros((8, 6, 3), dtype=np.uint8)
    pixels[:, :3] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    mask = np.zeros((8, 6), dtype=np.uint8)
    mask[6:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    every = slice(None)
    for keep, kept in (
        ([], (slice(0, 4), every)),
        (["--keep", "left"], (every, slice(0, 3))),
        (["--keep", tmp_path / "mask.png"], (slice(6, 8), every)),
    ):
        out = tmp_path / "out.png"
        run("image", "complete", image_run, tmp_path / "x.png", *keep, "--n", 3, "--out", out)
        for image in images_of(out, 2, 4):
            np.testing.assert_array_equal(image[kept], pixels[kept])


def test_evaluate_tells_bits_per_dimension_beside_histograms(image_run):
    shown = run("image", "evaluate", image_run).stdout
    assert "bits per dimension" in shown
    assert "order-0 histogram" in shown
    assert "nats an image" in shown


def test_classify_tells_dark_from_light(image_run, tmp_path):
    shown = run("image", "classify", image_run).stdout
    n_right, n = re.search(r"^(\d+) of (\d+) images right: 100.00%", shown, re.MULTILINE).groups()
    assert n_right == n
    told, whatever = map(float, re.search(r"([\d.]+) nats an image, its kind given; ([\d.]+) whatever", shown).groups())
    assert told < whatever <= told + np.log(2) + 0.01  # two kinds are one bit of news at most
    Image.fromarray(np.full((8, 6, 3), 240, dtype=np.uint8)).save(tmp_path / "x.png")
    assert "light" in run("image", "classify", image_run, tmp_path / "x.png").stdout


def test_classify_says_what_is_taken_for_what(image_run, tmp_path):
    model = checkpoint.load(image_run)
    embedding = model.weights["labels.kind.weight"]
    mixed_up = {**model.weights, "labels.kind.weight": embedding[[1, 0, 2]]}
    checkpoint.save(tmp_path / "mixed-up.safetensors", model.description, mixed_up, model.recipe)
    shown = run("image", "classify", tmp_path / "mixed-up.safetensors").stdout
    assert re.search(r"^0 of \d+ images right: 0.00%", shown, re.MULTILINE)
    n = re.search(r"dark\W+(\d+)\W+0.0%\W+light \((\d+)\)", shown)
    assert n[1] == n[2]


@pytest.mark.skipif(not (REAL_DATA / "mnist").exists(), reason="no shared data here")
def test_the_model_that_ships_tells_real_digits_apart(tmp_path):
    digits = read_idx(REAL_DATA / "mnist" / "t10k-labels-idx1-ubyte.gz")[:30]
    paths = [tmp_path / f"{number:02}.png" for number in range(len(digits))]
    for path, pixels in zip(paths, read_idx(REAL_DATA / "mnist" / "t10k-images-idx3-ubyte.gz"), strict=False):
        Image.fromarray(pixels).save(path)
    found = re.findall(r"(\d)\W+[01]\.\d{3}", run("image", "classify", "mnist-binary", *paths).stdout)
    assert (np.array(found, dtype=int) == digits).sum() >= 28


def test_inspect_and_list_know_images(image_run):
    shown = run("models", "inspect", image_run).stdout
    assert "8 x 6 pixels, colour" in shown
    assert "an image" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["image", "sample", "RUN", "--label", "grey"], "label kind has no value 'grey'; it knows dark, light"),
        (["image", "sample", "RUN", "--label", "size=3"], "the model has no label 'size'"),
        (["image", "sample", "RUN", "--out", "x.jpg"], "--out is x.jpg; expected the name of a .png file"),
        (["image", "sample", "SOUND", "--label", "cat"], "has no labels; leave it out"),
        (["image", "sample", "SOUND"], "makes sound; expected a pixelcnn"),
        (["image", "complete", "RUN", "x.png", "--out", "x.png"], "--out is x.png, which is also what is read"),
        (
            ["image", "evaluate", "RUN", "--set", "training.seed=1"],
            "only the data can be others here",
        ),
        (["image", "complete", "RUN", "none.png"], "cannot read the image none.png"),
        (["image", "evaluate", "SOUND"], "makes sound; `wavegen evaluate` measures it"),
        (["image", "evaluate", "RUN", "--split", "exam"], "unknown split 'exam'"),
        (["image", "classify", "SOUND"], "makes sound; expected a model that draws images"),
        (["image", "classify", "RUN", "x.png", "--split", "test"], "are for the corpus, and images are given"),
        (["image", "classify", "RUN", "x.png", "--n", "3"], "are for the corpus, and images are given"),
        (["evaluate", "RUN"], "draws images; `wavegen image evaluate` measures it"),
        (["generate", "RUN"], "draws images; `wavegen image sample` is what it is for"),
        (["data", "prepare", "images", "--from", ".", "--size", "0x5"], "--size is 0x5; expected HEIGHTxWIDTH"),
        (["data", "prepare", "images", "--from", ".", "--sample-rate", "8000"], "these are images; expected --size"),
        (
            ["data", "prepare", "images", "--from", "."],
            "holds no images that can be read; expected files such as .png or .jpg",
        ),
    ],
)
def test_mistakes_are_one_sentence(image_run, tiny_run, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    words = [{"RUN": image_run, "SOUND": tiny_run}.get(word, word) for word in words]
    with pytest.raises(InputError) as caught:
        run(*words)
    assert sentence in str(caught.value)
    assert not list(tmp_path.glob("*.png"))


def test_two_rows_of_pixels_become_one_of_characters():
    pixels = np.zeros((3, 2, 1), dtype=np.uint8)
    pixels[0] = 255
    shown = io.StringIO()
    Console(file=shown, force_terminal=True, color_system="truecolor", width=20).print(half_blocks.half_blocks(pixels))
    lines = shown.getvalue().splitlines()
    assert [line.count(half_blocks.UPPER_HALF) for line in lines if line] == [2, 2]
    assert "38;2;255;255;255" in lines[0]
    assert "48;2;0;0;0" in lines[0]
    assert "255" not in lines[1]
