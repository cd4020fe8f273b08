import copy
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import wavegen
from tests.conftest import REPOSITORY, TINY_RECIPE, write_recordings
from tools.full_disk import assert_one_sentence, run_on_full_disk
from wavegen import checkpoint, files, recipe
from wavegen.data import audio
from wavegen.data.windows import Batch
from wavegen.devices import has_compiler
from wavegen.errors import InputError
from wavegen.models.base import TrainingBatch
from wavegen.recipe import Recipe
from wavegen.training import loop as training
from wavegen.training import metrics
from wavegen.training import run as setup
from wavegen.training import state as saved_state
from wavegen.training.optimizers import learning_rate
from wavegen.training.run import set_up
from wavegen.training.scheduled_sampling import scheduled_sampling
from wavegen.training.state import DAMAGED_FILE, PREVIOUS_FILE, STATE_FILE, State


def tiny(*overrides: str) -> Recipe:
    return recipe.parse(TINY_RECIPE, "tiny", list(overrides))


def weights_of(folder: Path) -> bytes:
    return (folder / checkpoint.MODEL_FILE).read_bytes()


def tensors_of(batch: Batch) -> TrainingBatch:
    codes = torch.tensor(batch.codes)
    return TrainingBatch(codes, codes, torch.tensor(batch.counted), {})


@contextmanager
def interrupted_in(*numbers: int) -> Iterator[list[int]]:
    """Press Ctrl-C in these steps, counted over all runs of the block; yields the steps as they are made."""
    original, steps = training.average_weights, []

    def interrupt(state: State, decay: float) -> None:
        original(state, decay)
        steps.append(state.step)
        if len(steps) in numbers:
            os.kill(os.getpid(), signal.SIGINT)

    training.average_weights = interrupt
    try:
        yield steps
    finally:
        training.average_weights = original


def test_training_lowers_the_loss_and_writes_a_whole_run_folder(tiny_run):
    lines = metrics.read_metrics(tiny_run)
    bits = [line["bits"] for line in lines if "bits" in line]
    assert bits[-1] < bits[0]
    validated = [line for line in lines if "validation_bits" in line]
    assert [line["step"] for line in validated] == [12, 24, 30]
    assert validated[-1]["validation_bits"] < validated[0]["validation_bits"]
    assert {path.name for path in tiny_run.iterdir() if not path.name.startswith(("events.", "."))} == {
        "model.safetensors", "training.pt", "training.previous.pt", "metrics.jsonl", "recipe.yaml", "loss.png",
        "sample.wav", "sample.png",
    }  # fmt: skip
    assert recipe.load(tiny_run / "recipe.yaml") == tiny()
    assert soundfile.info(tiny_run / "sample.wav").frames == round(0.02 * 8000)
    loaded = checkpoint.load(tiny_run)
    assert loaded.description.step == 30
    assert loaded.description.bits["validation"] == pytest.approx(validated[-1]["validation_bits"], abs=1e-4)


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine():
    settings = tiny("training.steps=100", "training.warm_up=10").training
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.002)
    assert max(rates) == rates[9]
    assert rates[50] == pytest.approx(0.02 * (0.02 + 0.98 * 0.5))
    assert rates[-1] == pytest.approx(0.02 * 0.02, rel=0.1)
    assert learning_rate(tiny("training.warm_up=0").training, 0) == 0.02


def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path):
    training.train(tiny(), tmp_path / "whole")
    with interrupted_in(4, 17) as steps:
        for _ in range(3):
            training.train(tiny(), tmp_path / "pieces", resume=True)
    assert steps == list(range(30))
    assert weights_of(tmp_path / "pieces") == weights_of(tmp_path / "whole")
    logged = [line["step"] for line in metrics.read_metrics(tmp_path / "pieces") if "bits" in line]
    assert logged == [10, 20, 30]


@pytest.mark.exhaustive
def test_kills_and_resumes_end_in_the_weights_of_one_run(tmp_path):
    """The small form of tools/kill_and_resume.py."""
    script = REPOSITORY / "tools" / "kill_and_resume.py"
    result = subprocess.run(
        [sys.executable, script, "--steps", "150", "--kills", "3", "--folder", tmp_path / "runs"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "identical" in result.stdout


def test_a_finished_run_whose_sound_was_lost_makes_it_again(tmp_path, tiny_run):
    folder = shutil.copytree(tiny_run, tmp_path / "finished")
    (folder / "sample.wav").unlink()
    training.train(tiny(), folder, resume=True)
    assert (folder / "sample.wav").exists()
    assert weights_of(folder) == weights_of(tiny_run)


def test_a_finished_run_knows_what_precisions_cost_it(tiny_run):
    costs = checkpoint.load(tiny_run).description.precision_costs
    assert set(costs) == {"int8x8", "int8x7", "int8", "float16"}
    assert abs(costs["float16"]) < 0.001
    assert all(abs(cost) < 1 for cost in costs.values())


@pytest.mark.exhaustive
def test_accumulated_gradients_are_the_mean_over_the_batches(tmp_path):
    training.train(tiny("training.steps=1", "training.accumulate=2"), tmp_path / "two")
    lines = metrics.read_metrics(tmp_path / "two")
    run = set_up(tiny(), tmp_path / "one", torch.device("cpu"))
    halves = []
    for number in range(2):
        batch = run.windows.batch(number, 2)
        halves.append(training.mean_bits(run, tensors_of(batch)))
    mean = torch.stack(halves).mean()
    assert lines[0]["bits"] == pytest.approx(mean.item(), abs=1e-4)
    mean.backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in run.state.model.parameters() if p.grad is not None))
    assert lines[0]["gradient_norm"] == pytest.approx(norm, rel=1e-3)


@pytest.mark.exhaustive
@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="torch.compile needs a C++ compiler")
def test_compiled_training_is_the_same_but_for_rounding(tmp_path):
    steps = ["training.steps=3", "model.layers_per_block=2"]
    training.train(tiny(*steps), tmp_path / "plain")
    training.train(tiny(*steps, "training.compile=auto"), tmp_path / "compiled")
    plain, compiled = (checkpoint.load(tmp_path / name).weights for name in ("plain", "compiled"))
    for name, array in plain.items():
        # Adam's first steps have the size of the learning rate whatever the gradient's, so a gradient of nearly zero
        # may turn: three steps of at most 0.02.
        np.testing.assert_allclose(compiled[name], array, atol=0.06)
        assert np.median(np.abs(compiled[name] - array)) < 1e-4


@pytest.mark.exhaustive
def test_where_compiling_fails_auto_says_so_and_true_stops(tmp_path, monkeypatch, caplog):
    def fail(function):
        def broken(*arguments):
            raise RuntimeError("a bug of the code generator")

        return broken

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setattr(setup, "has_compiler", lambda device: True)
    training.train(tiny("training.steps=2", "training.compile=auto"), tmp_path / "auto")
    assert "so it trains uncompiled" in caplog.text
    with pytest.raises(InputError, match=r"torch\.compile fails on this network .* set training\.compile to false"):
        training.train(tiny("training.steps=2", "training.compile=true"), tmp_path / "true")


def test_compiled_code_that_was_kept_and_is_damaged_is_made_anew(tmp_path, monkeypatch, caplog):
    class InductorError(Exception):
        inner_exception = ImportError("invalid ELF header")

    attempts = []

    def damaged_once(function):
        def compiled(*arguments):
            attempts.append(os.environ.get("TORCHINDUCTOR_CACHE_DIR"))
            if len(attempts) == 1:
                raise InductorError
            return function(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", damaged_once)
    monkeypatch.setattr(setup, "has_compiler", lambda device: True)
    training.train(tiny("training.steps=2", "training.compile=auto"), tmp_path)
    assert attempts[1] != attempts[0]  # a folder of its own
    assert "kept is damaged (InductorError), so it compiles anew" in caplog.text
    assert "uncompiled" not in caplog.text


def test_a_loss_that_is_not_finite_stops_with_step_and_batch_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    original = training.mean_bits

    def poisoned(run, tensors):
        return original(run, tensors) * (math.nan if run.state.step == 14 else 1.0)

    monkeypatch.setattr(training, "mean_bits", poisoned)
    with pytest.raises(InputError, match=r"loss is nan .* at step 15, in the batch sine-\d+ from sample"):
        training.train(tiny(), tmp_path / "run")
    kept = checkpoint.load(tmp_path / "run")
    assert kept.description.step == 12
    assert all(np.isfinite(array).all() for array in kept.weights.values())


def test_a_run_that_never_was_is_in_nobodys_way(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "mean_bits", lambda run, tensors: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(InputError, match=r"nothing was saved yet; lower training\.learning_rate and begin anew"):
        training.train(tiny(), tmp_path)
    monkeypatch.undo()
    training.train(tiny("training.learning_rate=1e-3", "training.steps=1"), tmp_path)


def test_what_a_run_would_write_over_or_learn_from_is_refused(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    for name in (STATE_FILE, PREVIOUS_FILE):
        (tmp_path / "run" / name).unlink()
    for resume in (False, True):
        with pytest.raises(
            InputError, match=r"holds a model\.safetensors, which a run would write over, and no training"
        ):
            training.train(tiny(), tmp_path / "run", resume=resume)
    assert weights_of(tmp_path / "run") == weights_of(tiny_run)
    write_recordings(tmp_path / "in")
    data = "data={corpus: folder, source: " + str(tmp_path / "in") + ", sample_rate: 8000}"
    for folder in (tmp_path / "in", tmp_path / "in" / "runs" / "mine"):
        with pytest.raises(InputError, match=r"lies in data\.source, .* choose a folder outside with --out"):
            training.train(tiny(data), folder)
        assert not (folder / "recipe.yaml").exists()
    assert not (tmp_path / "in" / "runs").exists()


def test_a_folder_with_a_run_is_not_overwritten(tiny_run, tmp_path):
    before = weights_of(tiny_run)
    with pytest.raises(InputError, match=r"already holds a run; go on with --resume"):
        training.train(tiny(), tiny_run)
    with pytest.raises(InputError, match=r"training.learning_rate = 0.02, the recipe now says 0.5"):
        training.train(tiny("training.learning_rate=0.5"), tiny_run, resume=True)
    assert weights_of(tiny_run) == before


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with files.locked(tmp_path, "busy"), pytest.raises(InputError, match="another process is training"):
        training.train(tiny(), tmp_path)


def test_a_recipe_of_the_user_is_not_written_over(tmp_path):
    (tmp_path / "recipe.yaml").write_text("# mine")
    with pytest.raises(InputError, match=r"recipe\.yaml is there and says something else"):
        training.train(tiny(), tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == "# mine"


def test_a_model_of_another_rate_is_not_fine_tuned(tiny_run, tmp_path):
    with pytest.raises(InputError, match="was trained with sample_rate 8000; the recipe says 16000"):
        training.train(tiny("data.sample_rate=16000"), tmp_path / "run", start_from=tiny_run)


def test_a_damaged_training_state_is_named(tiny_run, tmp_path):
    whole = (tiny_run / "training.pt").read_bytes()
    state = torch.load(tiny_run / "training.pt", weights_only=True)
    del state["averaged"]
    torch.save(state, tmp_path / "partly.pt")
    for damaged in (b"nonsense", b"", whole[:5000], (tmp_path / "partly.pt").read_bytes()):
        (tmp_path / "training.pt").write_bytes(damaged)
        with pytest.raises(InputError, match=r"training\.pt is damaged.* begin a new run in another folder"):
            training.train(tiny(), tmp_path, resume=True)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_a_flipped_bit_anywhere_in_a_training_state_is_refused(tiny_run, tmp_path):
    whole = (tiny_run / STATE_FILE).read_bytes()
    n_bits = 8 * len(whole)
    random = np.random.default_rng(0)
    for bit in (*random.integers(0, n_bits, 91), *range(n_bits - 8 * 75, n_bits, 5)):  # the end is the checksum's
        (tmp_path / STATE_FILE).write_bytes(whole)
        flip(tmp_path / STATE_FILE, int(bit))
        with pytest.raises(InputError, match=r"training\.pt is damaged"):
            saved_state.read(tmp_path, tiny())
    (tmp_path / STATE_FILE).write_bytes(whole)
    assert saved_state.read(tmp_path, tiny())["step"] == 30


def test_a_state_of_before_there_were_checksums_is_held_against_those_of_its_archive(tiny_run, tmp_path):
    state = torch.load(tiny_run / STATE_FILE, weights_only=True)
    torch.save({**state, "format": 3}, tmp_path / STATE_FILE)
    whole = (tmp_path / STATE_FILE).read_bytes()
    assert saved_state.read(tmp_path, tiny())["step"] == 30
    (tmp_path / STATE_FILE).write_bytes(whole)
    flip(tmp_path / STATE_FILE, 8 * whole.index(state["model"]["head_out.weight"].numpy().tobytes()) + 6)
    with pytest.raises(InputError, match=r"training\.pt is damaged"):
        saved_state.read(tmp_path, tiny())
    torch.save(state, tmp_path / STATE_FILE)  # it has lost its checksum
    with pytest.raises(InputError, match=r"training\.pt is damaged"):
        saved_state.read(tmp_path, tiny())


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_run_whose_newest_state_is_damaged_goes_on_from_the_one_before_to_the_same_bits(
    tiny_run, tmp_path, caplog, damage
):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    path = folder / STATE_FILE
    if damage == "flipped":
        flip(path, 8 * 5000)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.unlink()
    previous = (folder / PREVIOUS_FILE).read_bytes()
    with interrupted_in(2) as steps:
        training.train(tiny(), folder, resume=True)
        assert steps == [24, 25]
        what = "is gone" if damage == "gone" else f"is damaged.* it is called {DAMAGED_FILE} now"
        assert re.search(rf"training\.pt {what}.*goes on from step 24", caplog.text)
        assert (folder / DAMAGED_FILE).exists() == (damage != "gone")
        assert (folder / PREVIOUS_FILE).read_bytes() == previous  # and not the damaged one
        assert checkpoint.load(folder).description.step == 26
        training.train(tiny(), folder, resume=True)
    assert weights_of(folder) == weights_of(tiny_run)


def test_a_good_model_is_not_written_over_by_the_state_before_it(tiny_run, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    flip(folder / STATE_FILE, 8 * 5000)
    monkeypatch.setattr(training, "mean_bits", lambda run, tensors: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(InputError, match="the loss is nan"):
        training.train(tiny(), folder, resume=True)
    assert weights_of(folder) == weights_of(tiny_run)
    for name in (STATE_FILE, PREVIOUS_FILE):
        (folder / name).write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"training\.pt is damaged.* and .*training\.previous\.pt is damaged"):
        training.train(tiny(), folder, resume=True)
    assert weights_of(folder) == weights_of(tiny_run)


def test_a_damaged_model_is_written_again_from_its_state(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    flip(folder / checkpoint.MODEL_FILE, 8 * 6000)
    with pytest.raises(InputError, match="is damaged"):
        checkpoint.load(folder)
    training.train(tiny(), folder, resume=True)
    assert weights_of(folder) == weights_of(tiny_run)


@pytest.mark.exhaustive
def test_resume_refuses_a_corpus_that_has_changed(tmp_path):
    write_recordings(tmp_path / "in")
    changed = (
        "data={corpus: folder, source: " + str(tmp_path / "in") + ", sample_rate: 8000}",
        "training.steps=3",
    )
    training.train(tiny(*changed), tmp_path / "run")
    soundfile.write(tmp_path / "in" / "new.wav", np.zeros(4000), 8000)
    with pytest.raises(InputError, match="corpus folder has changed"):
        training.train(tiny(*changed), tmp_path / "run", resume=True)


@pytest.mark.exhaustive
def test_fine_tuning_begins_with_the_weights_of_the_model(tiny_run, tmp_path):
    training.train(tiny("training.steps=1", "training.learning_rate=1e-9"), tmp_path / "on", start_from=tiny_run)
    tuned, source = checkpoint.load(tmp_path / "on").weights, checkpoint.load(tiny_run).weights
    for name, array in source.items():
        np.testing.assert_allclose(tuned[name], array, atol=1e-6)
    with pytest.raises(InputError, match=r"expected \(32, 8\)|shape"):
        training.train(tiny("model.skip_channels=32"), tmp_path / "other", start_from=tiny_run)


@pytest.mark.exhaustive
def test_labels_are_trained_and_kept(tmp_path):
    write_recordings(tmp_path / "in")
    data = "data={corpus: folder, source: " + str(tmp_path / "in") + ", sample_rate: 8000, labels_from_folders: pitch}"
    training.train(tiny(data, "training.steps=2"), tmp_path / "run")
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.description.labels == {"pitch": ["high", "low"]}
    assert loaded.weights["labels.pitch.weight"].shape[0] == 3  # with a row for "unknown"


@pytest.mark.exhaustive
def test_metrics_are_cut_back_to_the_saved_step(tmp_path):
    training.train(tiny(), tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps({"step": 99, "bits": 1.0}) + '\n{"step": 1')
    training.train(tiny(), tmp_path / "run", resume=True)
    assert max(line["step"] for line in metrics.read_metrics(tmp_path / "run")) == 30


@pytest.mark.parametrize("line", [b"\xff\xfe", b"12", b"null", b'{"bits": 1}', b'{"step": "x"}'])
def test_a_log_is_read_up_to_what_is_none(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "bits": 2.0}\n' + line + b'\n{"step": 2}\n')
    assert metrics.read_metrics(tmp_path) == [{"step": 1, "bits": 2.0}]


def test_what_a_prediction_looks_back_at_comes_before_the_window_and_its_layers_context_within(tmp_path):
    told = ("data.features={n_mels: 8, hop: 40, n_fft: 256, pitch: {}}", "data.codec=linear", "model.lag_taps=3")
    told += ("model.head=logistic-mixture", "model.prediction_order=4", "training.start_share=0.3")
    run = set_up(tiny(*told), tmp_path / "run", torch.device("cpu"))
    batch, network = run.windows.batch(0, 16), run.state.model.architecture
    assert network.prediction.reach <= batch.lead_in < network.prediction.reach + 40
    of_layers = sum(network.dilations)
    first_counted = batch.counted.argmax(axis=1) - batch.lead_in
    is_start = [origin.endswith("from sample 0") for origin in batch.origins]
    assert set(is_start) == {True, False}
    np.testing.assert_array_equal(first_counted, np.where(is_start, 0, of_layers))


def test_the_context_of_a_window_counts_for_nothing(tmp_path):
    run = set_up(tiny(), tmp_path / "run", torch.device("cpu"))
    batch = run.windows.batch(0, 4)
    tensors = tensors_of(batch)
    tensors.counted[:, : run.state.model.receptive_field] = False
    codes, before = tensors.codes, training.mean_bits(run, tensors)
    logits = run.state.model(codes)[0][:, run.state.model.receptive_field :]
    expected = run.state.model.head.bits(logits, codes[:, run.state.model.receptive_field :]).mean()
    assert before.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.exhaustive
def test_16_bit_sound_is_trained_saved_and_generated(tmp_path):
    settings = ["data.codec=linear", "data.n_classes=65536", "model.head=logistic-mixture", "model.n_mixtures=4"]
    training.train(tiny(*settings), tmp_path / "run")
    lines = metrics.read_metrics(tmp_path / "run")
    bits = [line["bits"] for line in lines if "bits" in line]
    assert bits[-1] < bits[0] - 1
    samples, _ = wavegen.load(tmp_path / "run").generate(0.05, seed=0)
    assert len(np.unique(samples)) > 300  # far more values than 8 bits have
    unit = checkpoint.load(tmp_path / "run").description.head.mean_scale
    assert 0 < unit < 1
    training.train(tiny(*settings, "data.amplitude=0.01"), tmp_path / "quiet")
    assert checkpoint.load(tmp_path / "quiet").description.head.mean_scale < unit
    training.train(tiny(*settings, "data.amplitude=0.01"), tmp_path / "on", start_from=tmp_path / "run")
    assert checkpoint.load(tmp_path / "on").description.head.mean_scale == unit
    with pytest.raises(InputError, match="top_k and top_p need a categorical head; this model has a logistic-mixture"):
        wavegen.load(tmp_path / "run").generate(0.01, top_k=3)
    with pytest.raises(InputError, match="beam search needs a categorical head"):
        wavegen.load(tmp_path / "run").generate(0.01, beam=3)


@pytest.mark.exhaustive
@pytest.mark.parametrize("setting", ["training.input_noise=2", "training.scheduled_sampling=0.5"])
def test_hearing_other_codes_than_it_predicts_changes_training_and_resumes_exactly(tmp_path, tiny_run, setting):
    training.train(tiny(setting), tmp_path / "whole")
    with interrupted_in(11):
        for _ in range(2):
            training.train(tiny(setting), tmp_path / "parts", resume=True)
    whole = checkpoint.load(tmp_path / "whole").weights
    parts = checkpoint.load(tmp_path / "parts").weights
    plain = checkpoint.load(tiny_run).weights
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array)
    assert any((plain[name] != array).any() for name, array in whole.items())


def test_scheduled_sampling_rises_from_nothing_to_its_share(tmp_path):
    run = set_up(tiny("training.scheduled_sampling=0.5"), tmp_path, torch.device("cpu"))
    run.state.model.head_out.bias.data[7] = 100  # so that it would draw nothing else
    codes = torch.randint(8, 256, (4, 500))
    for step, share in ((0, 0.0), (15, 0.25), (30, 0.5)):
        run.state.step = step
        tensors = TrainingBatch(codes, codes, torch.ones_like(codes, dtype=torch.bool), {})
        inputs = scheduled_sampling(run, tensors, 0).inputs
        assert abs((inputs != codes).float().mean().item() - share) < 0.04
        assert (inputs[inputs != codes] == 7).all()


def test_windows_begin_with_what_went_astray_where_the_recipe_has_it(tmp_path):
    took = tmp_path / "astray"
    took.mkdir()
    audio.write(took / "take.wav", np.full(16000, 0.5, dtype=np.float32), 16000)
    chosen = ("training.astray_share=0.5", f"training.astray={took}")
    run = set_up(tiny(*chosen), tmp_path / "run", torch.device("cpu"))
    batches = [run.windows.batch(number, 8) for number in range(20)]
    n = min(run.state.model.receptive_field, run.recipe.window // 2)
    begun = [(codes[:n] == codes[0]).all() for batch in batches for codes in batch.codes]
    assert 0.3 < np.mean(begun) < 0.7
    with pytest.raises(InputError, match=r"training\.astray is .*, which is no folder"):
        set_up(tiny("training.astray=nowhere"), tmp_path / "none", torch.device("cpu"))


def test_every_parameter_has_one_optimizer(tmp_path):
    for name, n in (("muon", 2), ("adamw", 1)):
        run = set_up(tiny(f"training.optimizer={name}"), tmp_path / name, torch.device("cpu"))
        held = [
            id(p) for optimizer in run.state.optimizers for group in optimizer.param_groups for p in group["params"]
        ]
        assert len(run.state.optimizers) == n
        assert sorted(held) == sorted(id(parameter) for parameter in run.state.model.parameters())


@pytest.mark.exhaustive
def test_a_full_disk_stops_a_run_that_resumes_to_the_same_bits_once_there_is_space(tmp_path, tiny_recipe, tiny_run):
    folder = tmp_path / "run"
    words = ("train", tiny_recipe, "--out", folder, "--resume")
    result = run_on_full_disk(60_000, *words, stores=tmp_path / "stores")
    assert_one_sentence(result, "training.pt")
    assert not (folder / STATE_FILE).exists()
    with interrupted_in(7):
        training.train(tiny(), folder, resume=True)
    saved = weights_of(folder)
    result = run_on_full_disk(60_000, *words, stores=tmp_path / "stores")
    assert_one_sentence(result, "training.pt", "keeps its last checkpoint, from which --resume goes on")
    assert weights_of(folder) == saved  # what was there stays whole
    assert not list(folder.glob(".*partial*"))
    training.train(tiny(), folder, resume=True)
    assert weights_of(folder) == weights_of(tiny_run)


@pytest.mark.parametrize("task", ["validation_bits", "measure_precisions", "write_sample"])
def test_ctrl_c_leaves_what_comes_after_the_last_step_to_resume(tmp_path, tiny_run, monkeypatch, caplog, task):
    original = getattr(training, task)

    def endless(run: setup.Run, *arguments: object) -> object:
        if run.state.step < 30:
            return original(run, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:  # Python hears of the signal within a few instructions
            pass

    monkeypatch.setattr(training, task, endless)
    with caplog.at_level("INFO", "wavegen"):
        training.train(tiny(), tmp_path / "run")
    names = {
        "validation_bits": "the validation of step 30, what the engine's precisions cost, the last sample",
        "measure_precisions": "what the engine's precisions cost, the last sample",
        "write_sample": "the last sample",
    }
    assert f"Not done: {names[task]}" in caplog.text
    assert "--resume" in caplog.text
    assert checkpoint.load(tmp_path / "run").description.step == 30
    monkeypatch.setattr(training, task, original)
    caplog.clear()
    training.train(tiny(), tmp_path / "run", resume=True)
    assert weights_of(tmp_path / "run") == weights_of(tiny_run)
    assert (tmp_path / "run" / "sample.wav").read_bytes() == (tiny_run / "sample.wav").read_bytes()
    validated = [line for line in metrics.read_metrics(tmp_path / "run") if "validation_bits" in line]
    assert validated == [line for line in metrics.read_metrics(tiny_run) if "validation_bits" in line]
    assert "Not done" not in caplog.text


def test_a_validation_in_between_that_was_broken_off_is_made_up_for(tmp_path, tiny_run, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(training, "validation_bits", lambda run: os.kill(os.getpid(), signal.SIGINT))
        training.train(tiny(), tmp_path / "run")
    assert [line for line in metrics.read_metrics(tmp_path / "run") if "validation_bits" in line] == []
    training.train(tiny(), tmp_path / "run", resume=True)
    validated = [line["step"] for line in metrics.read_metrics(tmp_path / "run") if "validation_bits" in line]
    assert validated == [12, 24, 30]
    assert weights_of(tmp_path / "run") == weights_of(tiny_run)


def test_averages_are_those_of_pytorchs_averaged_model():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 4, dtype=torch.float64)
    ours = SimpleNamespace(step=10**6, model=model, averaged=copy.deepcopy(model))
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(model)  # the first call copies
    for _ in range(5):
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        training.average_weights(ours, 0.9)
        theirs.update_parameters(model)
    for one, other in zip(ours.averaged.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
