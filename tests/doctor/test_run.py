"""`wavegen doctor RUN` finds every symptom in a run that was broken on purpose, and none in a good one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import TINY_RECIPE, tiny_checkpoint
from tests.generation.test_images import tiny_image_checkpoint
from wavegen import checkpoint, recipe
from wavegen.cli.main import make_app
from wavegen.data import store
from wavegen.data.windows import Segment
from wavegen.doctor import run as diagnosis
from wavegen.doctor.run import Examples
from wavegen.models import wavenet
from wavegen.models.build import from_checkpoint
from wavegen.progress import Bar
from wavegen.training import loop as training


@pytest.fixture(scope="module")
def good_run(tmp_path_factory):
    """A run folder of a network that has learnt its tone."""
    folder = tmp_path_factory.mktemp("good") / "run"
    settings = ["training.steps=110", "training.validate_every=50", "data.n_recordings=20"]
    training.train(recipe.parse(TINY_RECIPE, "tiny", settings), folder)
    return folder


def diagnose(run) -> dict[str, diagnosis.Finding]:
    return {finding.what: finding for finding in diagnosis.diagnose(run, Bar("", 4))}


@pytest.fixture
def broken(good_run, tmp_path):
    """Makes a copy of the good run with other weights, another description or another log."""

    def make(change_weights=lambda weights: None, lines=None, **described):
        folder = shutil.copytree(good_run, tmp_path / "broken")
        loaded = checkpoint.load(folder)
        change_weights(loaded.weights)
        description = replace(loaded.description, **described)
        checkpoint.save(folder / "model.safetensors", description, loaded.weights, loaded.recipe)
        if lines is not None:
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make


def test_a_good_run_has_no_symptom(good_run):
    found = diagnose(good_run)
    assert {what: finding.detail for what, finding in found.items() if finding.ok is not True} == {}
    assert set(found) == {
        "training", "learning rate", "overfitting", "data", "free-running", "surprise", "leak of the future",
        "gradients", "dead gates",
    }  # fmt: skip
    result = CliRunner().invoke(make_app(), ["doctor", str(good_run)])
    assert result.exit_code == 0
    assert "dead gates" in result.stdout


def test_a_network_that_makes_one_value_is_found(broken):
    def always_7(weights):
        weights["head_out.weight"][:] = 0
        weights["head_out.bias"][:] = 0
        weights["head_out.bias"][7] = 50

    run = broken(always_7)
    found = diagnose(run)
    assert found["free-running"].ok is False
    assert "100% of what it makes is one value, -0." in found["free-running"].detail
    assert found["surprise"].ok is False
    result = CliRunner().invoke(make_app(), ["doctor", str(run)])
    assert result.exit_code == 1
    assert "symptom" in result.stdout


def test_silence_is_called_silence(broken):
    def always_silent(weights):
        weights["head_out.weight"][:] = 0
        weights["head_out.bias"][128] = 50

    assert "is silence (code 128)" in diagnose(broken(always_silent))["free-running"].detail


def test_a_network_that_has_learnt_nothing_is_found(broken):
    def forget(weights):
        weights["head_out.weight"][:] = 0
        weights["head_out.bias"][:] = 0

    found = diagnose(broken(forget))
    assert "it has learnt nothing yet" in found["surprise"].detail


def test_a_layer_without_gradient_is_found(broken):
    def cut_off(weights):
        weights["stack.layers.2.project.weight"][:] = 0
        weights["skip.weight"][:, 16:24] = 0

    found = diagnose(broken(cut_off))["gradients"]
    assert found.ok is False
    assert "none reaches layer 2 of 4" in found.detail


def test_gates_that_are_stuck_are_found(broken):
    def stick(weights):
        for layer in range(2):
            weights[f"stack.layers.{layer}.conv.bias"][8:] = -30  # of the gates

    found = diagnose(broken(stick))["dead gates"]
    assert found.ok is False
    assert "50.0% of the channels never change, 100% of the worst layer's" in found.detail


def test_a_leak_of_the_future_is_found(good_run, monkeypatch):
    monkeypatch.setattr(wavenet, "shift", lambda x, state=None: (x, x[:, -1:]))
    found = diagnose(good_run)["leak of the future"]
    assert found.ok is False
    assert "changing codes from" in found.detail


def lines_of(bits, norm=0.5, validation=()):
    lines = [{"step": 10 * n, "bits": b, "gradient_norm": norm} for n, b in enumerate(bits, start=1)]
    return lines + [{"step": step, "validation_bits": b} for step, b in validation]


FALLING = np.linspace(8, 4, 30)


@pytest.mark.parametrize(
    ("lines", "what", "ok", "words"),
    [
        (lines_of(FALLING), "learning rate", True, "training went from"),
        (lines_of([*FALLING, *np.linspace(4, 7, 20)]), "learning rate", False, "and rose by"),
        (lines_of([*FALLING, *[4, 4.1] * 9]), "learning rate", True, "training went from"),
        (lines_of(FALLING, norm=50.0), "learning rate", False, "tenfold in 100% of the steps"),
        (lines_of(FALLING[:5]), "learning rate", None, "the log has 5 lines"),
        (lines_of(FALLING, validation=[(100, 5.0), (200, 4.5), (300, 5.2)]), "overfitting", False, "has risen by 0.7"),
        (lines_of(FALLING, validation=[(100, 5.0), (300, 4.5)]), "overfitting", True, "4.500 at best"),
    ],
)
def test_the_course_of_the_losses_is_judged(lines, what, ok, words):
    found = {finding.what: finding for finding in diagnosis._course(lines, recipe.parse(TINY_RECIPE, "tiny"))}
    assert found[what].ok is ok
    assert words in found[what].detail


@pytest.mark.parametrize(
    ("waveform", "ok", "words"),
    [
        (np.sin(np.arange(4000) / 5) / 2, True, "0.00% of the samples at full scale"),
        (np.clip(2 * np.sin(np.arange(4000) / 5), -1, 1), False, "of the samples are at full scale"),
        (np.zeros(4000), False, "100% of 3 recordings of the training split are silent"),
    ],
    ids=["good", "clipped", "silent"],
)
def test_recordings_that_are_clipped_or_silent_are_found(waveform, ok, words):
    opened = store.in_memory("x", 8000, [waveform] * 3)
    segments = [Segment(r.name, r.start, r.n_samples, {}, True) for r in opened.recordings]
    found = diagnosis._data(opened, segments)
    assert found.ok is ok
    assert words in found.detail


def test_loudness_and_surprise_are_compared_with_recordings():
    loaded = tiny_checkpoint()
    model = from_checkpoint(loaded)
    random = np.random.default_rng(0)

    def sound(low: int, high: int) -> Examples:
        return Examples(random.integers(low, high, (4, 400)), [{}] * 4, {}, None)

    def findings(made: Examples, recorded: Examples) -> dict[str, diagnosis.Finding]:
        return {one.what: one for one in diagnosis._sound(loaded, model, recorded, made)}

    assert "it runs away" in findings(sound(0, 32), sound(13, 19))["free-running"].detail
    assert findings(sound(0, 32), sound(0, 32))["free-running"].ok is True
    own = diagnosis._run_free(loaded, model, sound(0, 32))
    assert own.codes.shape == (4, 400)
    assert "it drifts into noise" in findings(sound(0, 32), own)["surprise"].detail
    assert findings(own, own)["surprise"].ok is True


def test_a_model_without_its_corpus_is_looked_into_by_itself(good_run, tmp_path):
    loaded = checkpoint.load(good_run)
    data = "data: {corpus: folder, source: /nowhere, sample_rate: 8000}\n"
    path = tmp_path / "alone.safetensors"
    checkpoint.save(path, loaded.description, loaded.weights, data + TINY_RECIPE[TINY_RECIPE.index("model:") :])
    found = diagnose(path)
    assert found["data"].ok is None
    assert "not looked at" in found["data"].detail
    assert found["gradients"].ok is True
    assert found["leak of the future"].ok is True


def test_images_that_are_all_the_same_are_found():
    loaded, _ = tiny_image_checkpoint()
    model = from_checkpoint(loaded)
    made = diagnosis._run_free(loaded, model, None)
    assert len(made.codes) == diagnosis.N_EXAMPLES
    real = made._replace(codes=np.random.default_rng(0).integers(0, loaded.description.n_classes, made.codes.shape))
    found = {one.what: one for one in diagnosis._sound(loaded, model, real, made)}
    assert found["free-running"].ok is True
    same = made._replace(codes=np.repeat(real.codes[:1], len(made.codes), axis=0))
    assert "they are all the same" in diagnosis._sound(loaded, model, real, same)[0].detail
    assert diagnosis._leak(model, made).ok is True
    assert torch.is_grad_enabled()
