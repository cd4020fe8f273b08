"""`wavegen export`: what is written, what is refused, and that the examples of docs/export.md run."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.cli.test_cli import run
from tests.conftest import REPOSITORY, tiny_checkpoint, tiny_speaker
from tests.generation.test_images import tiny_image_checkpoint
from wavegen import checkpoint
from wavegen.cli.main import main
from wavegen.codec import PreEmphasised
from wavegen.engines import make_engine
from wavegen.errors import InputError
from wavegen.generation.conditioning import condition_of
from wavegen.sampling import Decoding

EXAMPLES = REPOSITORY / "docs" / "examples"


def test_a_model_is_exported_at_half_the_size_and_sounds_alike(tiny_run, tmp_path):
    small = tmp_path / "small.safetensors"
    assert run("export", tiny_run, small, "--to", "safetensors").stdout.strip().endswith("small.safetensors")
    whole, half = checkpoint.load(tiny_run), checkpoint.load(small)
    assert half.description == whole.description
    assert {weight.dtype for weight in half.weights.values()} == {np.dtype("float16")}
    for name, weight in whole.weights.items():
        np.testing.assert_allclose(half.weights[name], weight, rtol=1e-3, atol=1e-7)
    run("generate", small, "--seconds", "0.01", "--out", tmp_path / "x.wav")
    with pytest.raises(InputError, match="which is also what is read"):
        run("export", tiny_run, tiny_run / "model.safetensors", "--to", "safetensors")


def test_weights_beyond_float16_are_refused(tmp_path):
    model = tiny_checkpoint()
    model.weights["skip.bias"][0] = 1e6
    path = saved(model, tmp_path)
    with pytest.raises(InputError, match=r"the tensor skip.bias holds values beyond float16's range"):
        run("export", path, tmp_path / "half.safetensors", "--to", "safetensors")
    assert not (tmp_path / "half.safetensors").exists()


def saved(model, folder: Path) -> Path:
    path = folder / "model.safetensors"
    checkpoint.save(path, model.description, model.weights, "", model.planner)
    return path


@pytest.mark.parametrize(
    ("make", "part", "names"),
    [
        (tiny_checkpoint, "step", ["x.onnx"]),
        (tiny_speaker, "step", ["x.onnx", "x.frames.onnx", "x.planner.onnx", "x.planned.onnx"]),
        (tiny_speaker, "likelihood", ["x.onnx", "x.frames.onnx", "x.planner.onnx"]),
        (lambda: tiny_image_checkpoint()[0], "step", ["x.onnx", "x.rows.onnx"]),
    ],
)
def test_the_files_that_are_written_are_named(make, part, names, tmp_path):
    pytest.importorskip("onnx")
    made = run("export", saved(make(), tmp_path), "--to", "onnx", "--part", part, tmp_path / "out" / "x.onnx")
    assert made.stdout.split() == [str(tmp_path / "out" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--to", "tape", "x"], "--to is tape; expected one of safetensors, onnx"),
        (["--to", "onnx", "x.safetensors"], "OUT is x.safetensors; expected the name of a .onnx file"),
        (["--to", "safetensors", "x.pt"], "OUT is x.pt; expected the name of a .safetensors file"),
        (["--to", "safetensors", "x.safetensors", "--part", "step"], "--part is for --to onnx; leave it out with --to"),
        (["--to", "onnx", "x.onnx", "--part", "half"], "part is 'half'; expected one of step, likelihood"),
        (["x.onnx"], "missing option '--to'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tiny_run, tmp_path, monkeypatch, capsys, words, sentence):
    assert sentence in failed(["export", str(tiny_run), *words], tmp_path, monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


def failed(words, folder, monkeypatch, capsys) -> str:
    """What a command that fails says, in one sentence but for how it is used."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["wavegen", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    (line,) = [line for line in said.splitlines() if line.startswith("wavegen: ")]
    assert "Traceback" not in said
    return line


def test_the_command_that_it_replaced_names_it(tmp_path, monkeypatch, capsys):
    said = failed(["models", "export", "digits", "x.safetensors"], tmp_path, monkeypatch, capsys)
    assert "now `wavegen export MODEL --to safetensors OUT`" in said


@pytest.mark.parametrize(
    "contents", [b"", b"RIFF....WAVE", b"\x08\x09\x12\x07foreign"], ids=["empty", "WAV", "foreign"]
)
def test_an_onnx_file_is_no_model_to_read(tmp_path, monkeypatch, capsys, contents):
    (tmp_path / "x.onnx").write_bytes(contents)
    said = failed(["generate", "x.onnx"], tmp_path, monkeypatch, capsys)
    assert "expected a safetensors file by wavegen" in said


def node(folder: Path) -> list[str]:
    """The command of the example in JavaScript, beside its libraries."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs Node.js (node)")
    find = "console.log(require('path').dirname(require.resolve('onnxruntime-node/package.json')))"
    found = subprocess.run([program, "-e", find], capture_output=True, text=True, cwd=REPOSITORY)
    if found.returncode:
        pytest.skip("needs onnxruntime-node: npm install onnxruntime-node, and NODE_PATH to its folder node_modules")
    (folder / "node_modules").symlink_to(Path(found.stdout.strip()).parent)
    shutil.copy(EXAMPLES / "onnx_generate.mjs", folder)
    return [program, "onnx_generate.mjs"]


def python(folder: Path) -> list[str]:
    pytest.importorskip("onnxruntime")
    return [sys.executable, str(EXAMPLES / "onnx_generate.py")]


@pytest.fixture(params=[python, node])
def example(request, tmp_path) -> list[str]:
    pytest.importorskip("onnx")
    return request.param(tmp_path)


def test_an_example_makes_the_sound_that_wavegen_makes(example, tmp_path):
    model = tiny_checkpoint(labels={"speaker": 3})
    model.description.decoding["guidance"] = 2.0
    for name, factor in {"project_labels": 0.05, "embed": 10, "skip": 10}.items():
        model.weights[f"{name}.weight"] *= factor  # the most probable code depends on the past
    model.weights["head_out.bias"][:] = 0
    run("export", saved(model, tmp_path), "--to", "onnx", tmp_path / "x.onnx")
    words = ["x.onnx", "x.wav", "seconds=0.02", "speaker=1", "temperature=0"]
    subprocess.run([*example, *words], check=True, cwd=tmp_path)
    condition = condition_of(model, [{"speaker": "1"}, {}])
    _, engine = make_engine(model, is_guided=True)
    codes = engine.advance(np.zeros((1, 160)), Decoding(temperature=0, guidance=2.0), condition=condition)
    samples, rate = soundfile.read(tmp_path / "x.wav")
    assert rate == 8000
    assert len(set(codes[0].tolist())) > 4
    np.testing.assert_allclose(samples, model.description.make_codec().decode(codes[0]), atol=1 / 32000)


def test_an_example_draws_from_a_mixture_and_undoes_a_pre_emphasis(example, tmp_path):
    model = tiny_checkpoint(head="logistic-mixture", n_classes=65536, n_mixtures=2)
    description = model.description
    object.__setattr__(description, "pre_emphasis", 0.5)
    model.weights["head_out.weight"][:] = 0  # around 0.25 on the axis, and hardly anywhere else, wherever it is
    model.weights["head_out.bias"][:] = [9, 0, 0, 0, -9, -9]
    run("export", saved(model, tmp_path), "--to", "onnx", tmp_path / "x.onnx")
    subprocess.run([*example, "x.onnx", "x.wav", "seconds=0.02"], check=True, cwd=tmp_path)
    samples, _ = soundfile.read(tmp_path / "x.wav")
    assert isinstance(description.make_codec(), PreEmphasised)
    raised = samples[1:] - 0.5 * samples[:-1]
    assert 0 < raised.std() < 0.1
    assert samples.std() > raised.std()


def test_an_example_refuses_a_file_that_is_none_in_one_sentence(example, tmp_path):
    run("export", saved(tiny_speaker(), tmp_path), "--to", "onnx", tmp_path / "x.onnx")
    whole = (tmp_path / "x.planner.onnx").read_bytes()
    (tmp_path / "damaged.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.onnx").write_bytes(b"RIFF....WAVE")
    for name in ("x.onnx", "x.planned.onnx", "damaged.onnx", "foreign.onnx", "missing.onnx"):
        ended = subprocess.run([*example, name, "x.wav"], capture_output=True, text=True, cwd=tmp_path)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"{name} is not a step that makes sound by itself")
        assert len(ended.stderr.splitlines()) == 1, ended.stderr


def run_example(name: str, *words: str, cwd: Path) -> None:
    subprocess.run([sys.executable, EXAMPLES / name, *words], check=True, cwd=cwd)


def test_the_example_of_speech_plans_and_speaks(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    run("export", saved(tiny_speaker(), tmp_path), "--to", "onnx", tmp_path / "x.onnx")
    run_example("onnx_speak.py", "x.onnx", "x.wav", "seconds=0.01", "speaker=2", cwd=tmp_path)
    samples, rate = soundfile.read(tmp_path / "x.wav")
    assert (len(samples), rate) == (80, 8000)
    assert samples.std() > 0


@pytest.mark.parametrize("n_colours", [1, 3])
def test_the_example_of_images_draws_one(n_colours, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = replace(tiny_image_checkpoint(n_colours)[0], path=tmp_path / "model.safetensors")
    run("export", saved(model, tmp_path), "--to", "onnx", tmp_path / "x.onnx")
    run_example("onnx_draw.py", "x.onnx", "x.ppm", "digit=2", cwd=tmp_path)
    height, width, _ = model.description.shape
    pixels = np.asarray(Image.open(tmp_path / "x.ppm"))
    assert pixels.shape == (height, width, 3)
    assert pixels.std() > 0
    assert (pixels[..., 0] != pixels[..., 1]).any() == (n_colours == 3)
