"""Whole commands, as somebody would type them: what they write, and what they say when it goes wrong."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from typer.testing import CliRunner

import wavegen
from tests.conftest import TINY_RECIPE, tiny_checkpoint, write_recordings
from tests.data.test_corpora import write_librispeech
from tools.full_disk import assert_one_sentence, run_on_full_disk
from wavegen import checkpoint, plots
from wavegen.cli.main import main, make_app
from wavegen.cli.render import render, write_each
from wavegen.cli.terminal import library_on_stderr
from wavegen.doctor import machine
from wavegen.engines import ENGINES, n_at_once
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.progress import bar

LABELLED = "data={corpus: folder, source: SOURCE, sample_rate: 8000, labels_from_folders: pitch}"


def run(*arguments: str | Path):
    result = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def run_in_shell(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wavegen.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=dict(os.environ))


@pytest.fixture
def labelled_run(tmp_path, tiny_recipe) -> Path:
    write_recordings(tmp_path / "in")
    data = LABELLED.replace("SOURCE", str(tmp_path / "in"))
    run("train", tiny_recipe, "--out", tmp_path / "labelled", "--set", data, "--set", "training.steps=2")
    return tmp_path / "labelled"


def test_a_run_with_guidance_is_trained_shown_evaluated_examined_and_played(tiny_recipe, tmp_path):
    write_recordings(tmp_path / "in")
    settings = [
        LABELLED.replace("SOURCE", str(tmp_path / "in")),
        "decoding.guidance=2",
        "about=tones",
        "training.steps=2",
    ]
    made = tmp_path / "run"
    run("train", tiny_recipe, "--out", made, *(word for setting in settings for word in ("--set", setting)))
    assert (made / "sample.wav").exists()
    inspected = run("models", "inspect", made).stdout
    assert "temperature 1, guidance 2" in inspected
    assert "tones" in inspected
    run("evaluate", made, "--free-running", "0.1")
    CliRunner().invoke(make_app(), ["doctor", str(made)], catch_exceptions=False)
    value = next(iter(wavegen.load(made).labels["pitch"]))
    words = ("generate", made, "--seconds", "0.05", "--seed", "1", "--out", tmp_path / "x.wav")
    labelled = (*words, "--label", f"pitch={value}")
    sounds = []
    for options in (labelled, (*labelled, "--guidance", "2"), (*labelled, "--guidance", "1"), words):
        told = run(*options).stderr
        sounds.append((soundfile.read(tmp_path / "x.wav")[0], "guidance 2" in told))
    assert [is_guided for _, is_guided in sounds] == [True, True, False, False]
    np.testing.assert_array_equal(sounds[0][0], sounds[1][0])
    assert (sounds[0][0] != sounds[2][0]).any()
    run("generate", made, "--beam", "2", "--seconds", "0.01", "--label", f"pitch={value}", "--out", tmp_path / "b.wav")
    result = CliRunner().invoke(make_app(), list(map(str, (*words, "--guidance", "2"))))
    assert result.exit_code == 2 or isinstance(result.exception, InputError)


def test_train_generate_and_inspect(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", tiny_recipe, "--set", "training.steps=3")
    assert (tmp_path / "runs" / "tiny" / "model.safetensors").exists()
    result = run("generate", "runs/tiny", "--seconds", "0.05", "--seed", "3", "--out", "x.wav", "--plot")
    assert result.stdout.split() == ["x.wav", "x.png"]
    waveform, rate = soundfile.read(tmp_path / "x.wav")
    assert (len(waveform), rate) == (400, 8000)
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    shown = run("models", "inspect", "runs/tiny").stdout
    assert "16 samples, 2.0 ms" in shown


def test_the_same_seed_gives_the_same_sound(tiny_run, tmp_path):
    def sound(name: str, *options: str) -> np.ndarray:
        run("generate", tiny_run, "--seconds", "0.05", "--out", tmp_path / f"{name}.wav", *options)
        return soundfile.read(tmp_path / f"{name}.wav")[0]

    np.testing.assert_array_equal(sound("a", "--seed", "3"), sound("b", "--seed", "3"))
    assert not np.array_equal(sound("a", "--seed", "3"), sound("c", "--seed", "4"))
    assert not np.array_equal(sound("a", "--seed", "3"), sound("d", "--seed", "3", "--temperature", "0.5"))
    run("generate", tiny_run, "--seconds", "0.05", "--out", tmp_path / "e.wav", "--seed", "3", "--n", "2")
    np.testing.assert_array_equal(soundfile.read(tmp_path / "e-1.wav")[0], sound("a", "--seed", "3"))
    assert (tmp_path / "e-2.wav").exists()


def test_more_sounds_than_the_engine_makes_at_once_are_made_in_turn(tiny_run, tmp_path, monkeypatch):
    words = ("generate", tiny_run, "--seconds", "0.01", "--seed", "3", "--engine", "reference")
    monkeypatch.setitem(ENGINES, "reference", ENGINES["reference"]._replace(n_at_once=lambda: 3))
    result = run(*words, "--n", 5, "--out", tmp_path / "many.wav")
    assert result.stdout.split() == [str(tmp_path / f"many-{number}.wav") for number in range(1, 6)]
    assert "5 sounds, 0.05 s" in result.stderr
    beside = wavegen.load(tiny_run).generate(0.01, seed=3, engine="reference", n=5).samples
    for number in range(1, 6):
        made = soundfile.read(tmp_path / f"many-{number}.wav", dtype="float32")[0]
        np.testing.assert_allclose(made, beside[number - 1], atol=1 / 32768)


def test_those_at_once_are_about_equally_many_each_time(monkeypatch):
    monkeypatch.setitem(ENGINES, "reference", ENGINES["reference"]._replace(n_at_once=lambda: 16))
    model = tiny_checkpoint()
    assert [n_at_once(model, EngineOptions("reference"), n) for n in (0, 1, 16, 17, 100)] == [1, 1, 16, 9, 15]


def test_ctrl_c_keeps_the_sounds_that_are_complete(tmp_path, capsys):
    def made():
        block = np.zeros(80, dtype=np.float32)
        yield from ((1, block, False), (0, block, False), (1, block, True))
        raise KeyboardInterrupt

    paths = [tmp_path / "0.wav", tmp_path / "1.wav"]
    write_each(made(), paths, 8000, False, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["1.wav"]
    assert soundfile.info(paths[1]).frames == 160
    assert "Stopped; 1 of 2 are written" in capsys.readouterr().err


def test_ctrl_c_keeps_what_there_is_of_sounds_made_side_by_side(tmp_path, tiny_run, monkeypatch, capsys):
    session = Session(checkpoint.load(tiny_run), GenerationOptions(n=2, seed=1, engine="reference"))
    whole = np.concatenate(list(session.blocks(600)), axis=1)
    original = session.blocks

    def interrupted(n_samples):
        yield from itertools.islice(original(n_samples), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "blocks", interrupted)
    paths = [tmp_path / "0.wav", tmp_path / "1.wav"]
    render(session, 600, paths, True)
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / name) for name in ("0.wav", "0.png", "1.wav", "1.png")]
    assert "Stopped; writing what there is" in said.err
    for path, expected in zip(paths, whole, strict=True):
        np.testing.assert_allclose(soundfile.read(path)[0], expected[:512], atol=1 / 32768)
    monkeypatch.setattr(session, "blocks", lambda n: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        render(session, 600, [tmp_path / "2.wav", tmp_path / "3.wav"], False)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_sound_takes_no_memory_by_its_length(tmp_path, tiny_run, monkeypatch):
    session = Session(checkpoint.load(tiny_run), GenerationOptions(seed=1, engine="reference"))
    block = np.zeros((1, 1 << 14), dtype=np.float32)
    monkeypatch.setattr(session, "blocks", lambda n: itertools.repeat(block, n >> 14))
    monkeypatch.setattr("wavegen.generation.sound_file.PLOTTED_S", 0.01)
    shown = []
    monkeypatch.setattr(plots, "sounds", lambda path, waveforms, rate: shown.append(waveforms))
    tracemalloc.start()
    render(session, 1 << 24, [tmp_path / "x.wav"], True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert soundfile.info(tmp_path / "x.wav").frames == 1 << 24
    assert peak < 4 << 20  # all of it would be 64 MiB
    assert [(list(one), len(*one.values())) for one in shown] == [(["x.wav, the first 0.01 s"], 80)]
    with pytest.raises(InputError, match=r"536,871 s are wanted; a WAV file holds at most 268,435 s at 8000 Hz"):
        render(session, 1 << 32, [tmp_path / "x.wav"], False)


def test_names_go_to_a_pipe_while_a_bar_is_shown(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with library_on_stderr(), bar("Generating", 1):
        print("x.wav")
    assert capsys.readouterr().out == "x.wav\n"


def test_generate_continues_a_recording_of_another_rate(tiny_run, tmp_path):
    soundfile.write(tmp_path / "prime.wav", 0.5 * np.sin(np.arange(16000) * 2 * np.pi * 400 / 16000), 16000)
    primed = ["generate", tiny_run, "--seconds", "0.02", "--seed", "1", "--prime", tmp_path / "prime.wav"]
    run(*primed, "--out", tmp_path / "continued.wav")
    run("generate", tiny_run, "--seconds", "0.02", "--seed", "1", "--out", tmp_path / "free.wav")
    continued, free = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("continued", "free"))
    assert len(continued) == 160
    assert not np.array_equal(continued, free)


@pytest.mark.exhaustive
def test_labels_are_obeyed_and_wrong_ones_name_the_right_ones(labelled_run, tmp_path):
    def sound(*labels: str) -> np.ndarray:
        options = [option for label in labels for option in ("--label", label)]
        run("generate", labelled_run, "--seconds", "0.05", "--seed", "1", "--out", tmp_path / "x.wav", *options)
        return soundfile.read(tmp_path / "x.wav")[0]

    assert not np.array_equal(sound("pitch=high"), sound("pitch=low"))
    sound()  # unknown is a label's value like any other
    with pytest.raises(InputError, match="no value 'middle'; it knows high, low"):
        sound("pitch=middle")
    with pytest.raises(InputError, match="no label 'speaker'; its labels are pitch"):
        sound("speaker=7")
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        sound("pitch")


def test_evaluate_prints_bits_beside_histograms(tiny_run):
    shown = run("evaluate", tiny_run).stdout
    assert "this model" in shown
    assert "order-0" in shown
    assert "order-1" in shown
    with pytest.raises(InputError, match="unknown split 'dev'; expected one of train, validation, test"):
        run("evaluate", tiny_run, "--split", "dev")


@pytest.mark.exhaustive
def test_evaluate_keeps_what_precisions_cost_in_the_model(tmp_path, tiny_run):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    loaded = checkpoint.load(folder)
    checkpoint.save(loaded.path, replace(loaded.description, precision_costs={}), loaded.weights, loaded.recipe)
    assert "cost of precisions" not in run("models", "inspect", folder).stdout
    assert "int8x8" in run("evaluate", folder, "--precisions").stdout
    assert set(checkpoint.load(folder).description.precision_costs) == {"int8x8", "int8x7", "int8", "float16"}
    assert "cost of precisions" in run("models", "inspect", folder).stdout


@pytest.mark.exhaustive
def test_evaluate_refuses_a_corpus_that_may_have_been_heard(tmp_path, tiny_recipe):
    write_recordings(tmp_path / "in", n=12)
    data = "data={corpus: folder, sample_rate: 8000, source: " + str(tmp_path / "in") + "}"
    run("train", tiny_recipe, "--out", tmp_path / "run", "--set", data, "--set", "training.steps=2")
    run("evaluate", tmp_path / "run")
    soundfile.write(tmp_path / "in" / "000.wav", np.zeros(4000), 8000)
    with pytest.raises(InputError, match=r"is not the one that .* was trained on"):
        run("evaluate", tmp_path / "run")
    run("evaluate", tmp_path / "run", "--set", f"data.source={tmp_path / 'in'}")
    with pytest.raises(InputError, match="takes 8000 Hz"):
        run("evaluate", tmp_path / "run", "--set", "data.sample_rate=16000")


def test_data_prepare_reports_and_list_shows(tmp_path):
    source = write_librispeech(tmp_path / "in")
    (source / "LibriSpeech/train-clean-5/1/7/1-7-0009.flac").write_text("broken")
    result = run("data", "prepare", "librispeech", "--from", source)
    assert "left out LibriSpeech/train-clean-5/1/7/1-7-0009.flac: libsndfile cannot read it" in result.stderr
    assert "librispeech-16000-" in result.stdout
    assert "librispeech-16000-" in run("data", "list").stdout


def test_recipes_are_listed_shown_and_copied(tmp_path, monkeypatch):
    assert "librispeech-small" in run("recipes", "list").stdout
    shown = run("recipes", "show", "sine").stdout
    assert yaml.safe_load(shown)["data"]["corpus"] == "sine"
    monkeypatch.chdir(tmp_path)
    assert run("recipes", "copy", "sine").stdout.strip() == "sine.yaml"
    assert (tmp_path / "sine.yaml").read_text() == shown
    with pytest.raises(InputError, match="already there"):
        run("recipes", "copy", "sine")
    assert "that are seen and do not count" in " ".join(run("recipes", "fields").stdout.split())


def test_doctor_tells_what_there_is():
    shown = run("doctor").stdout
    for what in ("python", "torch", "libsndfile", "corpora"):
        assert what in shown


def test_doctor_tells_what_a_gpu_is_used_for(monkeypatch):
    for name, told in {"is_available": True, "get_device_name": "H100", "is_bf16_supported": True}.items():
        monkeypatch.setattr(torch.cuda, name, lambda told=told, **_: told)
    found = machine.examine()
    assert any(one.what == "GPU" and "H100, trained on" in one.detail for one in found)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find(name))
    (triton,) = (one for one in machine.examine() if one.what == "triton")
    assert triton.ok is None and "--engine cuda-graph" in triton.detail


@pytest.mark.parametrize(
    "command", ["", "train", "generate", "play", "evaluate", "doctor", "data prepare", "recipes show"]
)
def test_help_shows_an_example(command):
    shown = run(*command.split(), "--help").stdout
    assert "wavegen" in shown
    assert "Examples" in shown or not command


MISTAKES = {
    "a typo in a recipe key": (
        ["train", "tiny.yaml", "--set", "training.stepz=5"],
        "tiny.yaml: unknown key 'training.stepz'; did you mean 'steps'?",
    ),
    "a missing recipe": (["train", "sinus"], "there is no recipe sinus; expected a file, or one of cifar10, digits"),
    "a missing corpus": (["train", "librispeech-small"], "the corpus librispeech is not prepared at 16000 Hz"),
    "a folder that is not named": (["train", "folder"], "add --set data.source=FOLDER"),
    "a missing model": (["generate", "nothing"], "there is no model nothing"),
    "a folder for two sounds": (
        ["generate", "RUN", "--n", "2", "--out", "."],
        "--out is .; expected the name of a .wav",
    ),
    "a label twice": (["generate", "RUN", "--label", "a=1", "--label", "a=2"], "--label a is given as 1 and as 2"),
    "a vast top-k": (["generate", "RUN", "--top-k", "9" * 20], f"top_k is {'9' * 20}; expected 1 to 2147483647"),
    "a checkpoint of another format": (["generate", "pickle.pt"], "pickle.pt is a PyTorch checkpoint"),
    "a checkpoint to start from": (["train", "tiny.yaml", "--from", "pickle.pt"], "pickle.pt is a PyTorch checkpoint"),
    "an unwritable folder": (["train", "tiny.yaml", "--out", "file/run"], "cannot write to file/run: "),
    "an unwritable sound": (["generate", "RUN", "--seconds", "0.01", "--out", "file/x.wav"], "cannot write to "),
    "an output that is no WAV file": (["generate", "RUN", "--out", "x.flac"], "--out is x.flac; expected the name of"),
    "an output that is a folder": (["generate", "RUN", "--out", "."], "--out is .; expected the name of a .wav file"),
    "an unknown engine": (["generate", "RUN", "--engine", "magic"], "unknown engine 'magic'"),
    "an unknown device": (["generate", "RUN", "--device", "tpu"], "unknown device 'tpu'; expected auto, cpu or cuda"),
    "a wrong temperature": (["generate", "RUN", "--temperature", "-1"], "temperature is -1.0; expected 0"),
    "a prime that is not there": (["generate", "RUN", "--prime", "no.wav"], "there is no recording no.wav"),
    "a prime that is no sound": (["generate", "RUN", "--prime", "tiny.yaml"], "cannot read the recording tiny.yaml"),
    "a sound over its prime": (
        ["generate", "RUN", "--prime", "hello.wav", "--out", "hello.wav"],
        "--out is hello.wav, which is also what is read; expected another name, which keeps it",
    ),
    "a model that ships to be changed": (
        ["evaluate", "speech", "--precisions"],
        "ships with wavegen and stays as it is",
    ),
    "listening to what is no vocoder": (
        ["evaluate", "RUN", "--listen"],
        "is no vocoder: --listen compares what a vocoder makes of recordings with these; `--free-running 4` tells",
    ),
    "changing a sound of frames": (
        ["play", "RUN", "--frames", "x.wav", "--osc", "9000"],
        "--osc changes an endless sound, and what --frames tells of ends; leave out one of the two",
    ),
    "frames for what is no vocoder": (
        ["play", "RUN", "--frames", "tiny.yaml", "--output", "-"],
        "takes no frames; expected a vocoder, trained with data.features",
    ),
    "utterances without listening": (["evaluate", "RUN", "--utterances", "3"], "--utterances counts the recordings of"),
    "an unknown corpus": (["data", "prepare", "ljspeech", "--from", "."], "unknown corpus 'ljspeech'"),
    "a window within the receptive field": (
        ["train", "tiny.yaml", "--set", "training.window=16"],
        "training.window holds 16 codes; it must exceed the context",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_ends_in_one_sentence_and_exit_code_2(tmp_path, tiny_run, monkeypatch, capsys, arguments, sentence):
    (tmp_path / "tiny.yaml").write_text(TINY_RECIPE)
    (tmp_path / "pickle.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "file").touch()
    soundfile.write(tmp_path / "hello.wav", np.zeros(100), 8000)
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["wavegen", *(str(tiny_run) if word == "RUN" else word for word in arguments)])
    with pytest.raises(SystemExit, match="2"):
        main()
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.strip().splitlines()[-1].startswith("wavegen: ")
    assert shown.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.exhaustive
def test_mistakes_in_a_shell_end_without_a_traceback(tmp_path):
    result = run_in_shell("train", "sinus", cwd=tmp_path)
    assert result.returncode == 2
    assert "wavegen: there is no recipe sinus" in result.stderr
    assert "Traceback" not in result.stderr
    result = run_in_shell("generate", cwd=tmp_path)
    assert result.returncode == 2
    assert "MODEL" in result.stderr


@pytest.mark.exhaustive
def test_a_full_disk_leaves_no_half_of_a_sound(tmp_path, tiny_run):
    words = ("generate", tiny_run, "--seconds", 1, "--out", tmp_path / "x.wav")
    result = run_on_full_disk(10_000, *words, stores=tmp_path / "stores")
    assert_one_sentence(result, "x.wav")
    assert not list(tmp_path.glob("*x.wav*"))


@pytest.mark.exhaustive
def test_beam_search_and_drift_are_commands(tiny_run, tmp_path):
    run("generate", tiny_run, "--seconds", "0.01", "--beam", "3", "--out", tmp_path / "x.wav")
    assert soundfile.info(tmp_path / "x.wav").frames == 80
    assert "generated" in run("evaluate", tiny_run, "--free-running", "0.1").stdout


def test_models_that_ship_are_listed_and_found_by_name(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path)
    (tmp_path / "hum.safetensors").write_bytes((tiny_run / "model.safetensors").read_bytes())
    assert "hum" in run("models", "list").stdout
    assert "sine" in run("models", "inspect", "hum").stdout
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hum").mkdir()  # such as the recordings it was made of
    assert "sine" in run("models", "inspect", "hum").stdout
    (tmp_path / "hum" / "recipe.yaml").touch()  # now it is a run that holds no model yet
    with pytest.raises(InputError, match=r"hum holds no model\.safetensors"):
        run("models", "inspect", "hum")
    with pytest.raises(InputError, match=r"there is no model ham; .* or one of hum"):
        run("models", "inspect", "ham")
