"""Training in several processes, each of which is started as a user starts it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY, TINY_RECIPE
from tests.data.test_corpora import write_librispeech
from tools.kill_and_resume import pid_of_rank
from wavegen import checkpoint, recipe
from wavegen.data.windows import Batch, Windows
from wavegen.errors import InputError
from wavegen.models.base import TrainingBatch
from wavegen.training import loop as training
from wavegen.training import metrics
from wavegen.training.batches import to_tensors
from wavegen.training.interrupts import REQUEUE
from wavegen.training.ranks import Ranks
from wavegen.training.run import set_up
from wavegen.training.scheduled_sampling import scheduled_sampling

# Half of the windows begin a recording and count every code, so that rows, and processes, have different numbers.
SETTINGS = ["training.batch_size=4", "training.start_share=0.5", "training.label_dropout=0"]
ENDLESS = [*SETTINGS, "training.steps=1000000", "training.validate_every=1000000"]
PATIENCE_S = 120  # on a busy machine


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_RECIPE)
    return path


def words_of(recipe_path: Path, folder: Path, settings: list[str], *more: str) -> list[str]:
    options = [word for setting in settings for word in ("--set", setting)]
    return ["-m", "wavegen", "train", str(recipe_path), "--out", str(folder), *options, *more]


def train(recipe_path: Path, folder: Path, settings: list[str], n: int, *more: str) -> str:
    """Train to the end; returns what was said."""
    words = words_of(recipe_path, folder, settings, "--processes", str(n), *more)
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 0, result.stderr
    return result.stderr


def start(recipe_path: Path, folder: Path, settings: list[str], *more: str) -> subprocess.Popen[str]:
    """Begin to train in two processes, and wait until there was a step."""
    words = words_of(recipe_path, folder, settings, "--processes", "2", *more)
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    wait_for_lines(process, folder, 1)
    return process


def wait_for_lines(process: subprocess.Popen[str], folder: Path, n: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while len(metrics.read_metrics(folder)) < n:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def weights_of(folder: Path) -> bytes:
    return (folder / checkpoint.MODEL_FILE).read_bytes()


def furthest(one: Path, other: Path) -> float:
    """The largest difference between the weights of two runs."""
    mine, theirs = (checkpoint.load(folder).weights for folder in (one, other))
    return max(float(np.abs(mine[name] - theirs[name]).max()) for name in mine)


def test_a_batch_can_be_had_in_parts(tmp_path):
    run = set_up(recipe.parse(TINY_RECIPE, "tiny", SETTINGS), tmp_path, torch.device("cpu"))
    whole = run.windows.batch(3, 4)
    parts = [run.windows.batch(3, 2, first) for first in (0, 2)]
    for name in ("codes", "counted"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    assert parts[0].origins + parts[1].origins == whole.origins


def test_rows_are_shared_out_evenly_or_not_at_all():
    assert [Ranks(rank, 3).rows(6) for rank in range(3)] == [range(0, 2), range(2, 4), range(4, 6)]
    with pytest.raises(InputError, match=r"training\.batch_size is 8.* 3 processes need a multiple of 3"):
        Ranks(0, 3).rows(8)


def test_what_is_drawn_in_place_of_inputs_depends_on_the_row_and_not_on_who_has_it(tmp_path):
    settings = [*SETTINGS, "training.scheduled_sampling=0.5"]
    run = set_up(recipe.parse(TINY_RECIPE, "tiny", settings), tmp_path, torch.device("cpu"))
    run.state.step = 20

    def inputs(ranks: Ranks) -> torch.Tensor:
        run.ranks = ranks
        return scheduled_sampling(run, to_tensors(run.batch(20), run.device), 0).inputs

    whole = inputs(Ranks())
    assert (whole != to_tensors(run.batch(20), run.device).inputs).any()
    torch.testing.assert_close(torch.cat([inputs(Ranks(rank, 2)) for rank in range(2)]), whole, rtol=0, atol=0)


def test_gradients_of_processes_add_up_to_that_of_the_whole_batch(tmp_path, float64):
    """Each weighs by how many codes count among its rows, as `update` does."""
    run = set_up(recipe.parse(TINY_RECIPE, "tiny", SETTINGS), tmp_path, torch.device("cpu"))
    n_differing = 0

    def gradient(tensors: TrainingBatch, share: float) -> list[torch.Tensor]:
        run.state.model.zero_grad()
        (training.mean_bits(run, tensors) * share).backward()
        return [one.grad.clone() for one in run.state.model.parameters() if one.grad is not None]

    for number in range(5):
        whole, parts = run.windows.batch(number, 4), [run.windows.batch(number, 2, first) for first in (0, 2)]
        n_counted = [int(part.counted.sum()) for part in parts]
        n_differing += n_counted[0] != n_counted[1]
        expected = gradient(to_tensors(whole, run.device), 1.0)
        shares = [n / sum(n_counted) for n in n_counted]
        summed = [
            one + other
            for one, other in zip(
                *(gradient(to_tensors(part, run.device), share) for part, share in zip(parts, shares, strict=True)),
                strict=True,
            )
        ]
        for ours, theirs in zip(summed, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)  # a few thousand sums of numbers below 1
    assert n_differing


def test_two_processes_end_where_one_does_but_for_the_order_of_sums(recipe_path, tmp_path, monkeypatch):
    """How much the order of sums is worth is measured: the same batches with their rows in another order, in one
    process. A step takes a difference further, so only the size of the two can be compared: within a factor of 10."""
    settings = [*SETTINGS, "training.steps=50", "training.optimizer=adamw"]
    said = train(recipe_path, tmp_path / "two", settings, 2)
    parsed = recipe.parse(TINY_RECIPE, "tiny", settings)
    training.train(parsed, tmp_path / "one")
    original = Windows.batch

    def reversed_rows(self: Windows, number: int, size: int, first: int = 0) -> Batch:
        made = original(self, number, size, first)
        return made._replace(codes=made.codes[::-1].copy(), counted=made.counted[::-1].copy())

    monkeypatch.setattr(Windows, "batch", reversed_rows)
    training.train(parsed, tmp_path / "reversed")
    by_order = furthest(tmp_path / "one", tmp_path / "reversed")
    assert 0 < by_order < 1e-4
    assert furthest(tmp_path / "one", tmp_path / "two") < 10 * by_order
    mine, theirs = (metrics.read_metrics(tmp_path / name) for name in ("one", "two"))
    for line, other in zip(mine, theirs, strict=True):
        for name in ("bits", "validation_bits"):
            assert line.get(name) == pytest.approx(other.get(name), abs=2e-5)
    assert len(re.findall("parameters, receptive field .* on cpu, 2 processes", said)) == 1  # rank 0 alone speaks


def test_a_batch_that_cannot_be_shared_out_ends_in_one_sentence(recipe_path, tmp_path):
    words = words_of(recipe_path, tmp_path / "run", ["training.batch_size=3"], "--processes", "2")
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 2
    [sentence] = result.stderr.splitlines()
    assert "training.batch_size is 3, the rows of all processes together; 2 processes need a multiple" in sentence
    assert not (tmp_path / "run").exists()


def test_several_machines_need_to_know_where_they_meet(recipe_path, tmp_path):
    words = words_of(recipe_path, tmp_path / "run", [], "--nnodes", "2")
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 2
    assert "--nnodes is 2; expected --rdzv-endpoint HOST:PORT too" in result.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("n", [2, 3])
def test_as_many_processes_make_the_same_bits_and_resume_to_them(recipe_path, tmp_path, n):
    settings = ["training.batch_size=6", "training.start_share=0.5", "training.steps=50"]
    for number in range(3):
        train(recipe_path, tmp_path / str(number), settings, n)
        assert weights_of(tmp_path / str(number)) == weights_of(tmp_path / "0")
    words = words_of(recipe_path, tmp_path / "parts", settings, "--processes", str(n))
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    wait_for_lines(process, tmp_path / "parts", 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert checkpoint.load(tmp_path / "parts").description.step < 50
    train(recipe_path, tmp_path / "parts", settings, n, "--resume")
    assert weights_of(tmp_path / "parts") == weights_of(tmp_path / "0")


@pytest.mark.exhaustive
def test_the_loss_of_a_process_ends_the_others_and_loses_nothing(tmp_path):
    """Ten kills of either rank at random moments; each ends the other within 10 s, and the last resume has the bits of
    an undisturbed run."""
    script = REPOSITORY / "tools" / "kill_and_resume.py"
    words = ["--steps", "400", "--kills", "10", "--processes", "2", "--folder", tmp_path / "runs"]
    result = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "10 kills" in result.stdout
    assert "identical" in result.stdout


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_other_within_10_s(recipe_path, tmp_path, rank):
    process = start(recipe_path, tmp_path / "run", ENDLESS)
    other = pid_of_rank(process.pid, 1 - rank)
    began = time.monotonic()
    os.kill(pid_of_rank(process.pid, rank), signal.SIGKILL)
    while is_there(other):
        assert time.monotonic() - began < 10
        time.sleep(0.02)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert f"process {rank} of 2 was ended by SIGKILL" in said
    assert "Traceback" not in said
    if rank == 1:
        assert said.count("To go on: ") == 1
        assert checkpoint.load(tmp_path / "run").description.step >= 10


@pytest.mark.exhaustive
def test_processes_whose_launcher_is_gone_save_and_end(recipe_path, tmp_path):
    process = start(recipe_path, tmp_path / "run", ENDLESS)
    pids = [pid_of_rank(process.pid, rank) for rank in range(2)]
    process.kill()
    until = time.monotonic() + 10
    while any(map(is_there, pids)):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert checkpoint.load(tmp_path / "run").description.step >= 10


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGUSR1, REQUEUE)]
)
def test_a_signal_ends_all_processes_with_what_was_done_saved(recipe_path, tmp_path, number, code):
    process = start(recipe_path, tmp_path / "run", ENDLESS)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - began < 10
    assert process.returncode == code
    for words in ("Saving, then ending", "Not done: steps", "To go on: wavegen train"):
        assert said.count(words) == 1, said
    assert "--resume --processes 2" in said
    assert "Traceback" not in said
    step = checkpoint.load(tmp_path / "run").description.step
    assert step >= 10
    parsed = recipe.parse(TINY_RECIPE, "tiny", ENDLESS)
    assert set_up(parsed, tmp_path / "run", torch.device("cpu"), resume=True).state.step == step


@pytest.mark.exhaustive
def test_sigusr1_saves_and_asks_for_another_start_in_one_process_too(recipe_path, tmp_path):
    words = words_of(recipe_path, tmp_path / "run", ENDLESS)
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    wait_for_lines(process, tmp_path / "run", 1)
    process.send_signal(signal.SIGUSR1)
    _, said = process.communicate(timeout=10)
    assert process.returncode == REQUEUE
    assert "To go on: " in said


@pytest.mark.exhaustive
def test_another_number_of_processes_goes_on_and_says_what_differs(recipe_path, tmp_path):
    settings = [*SETTINGS, "training.steps=20"]
    parsed = recipe.parse(TINY_RECIPE, "tiny", settings)
    original = training.average_weights
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            training,
            "average_weights",
            lambda state, decay: (original(state, decay), state.step == 9 and os.kill(os.getpid(), signal.SIGINT)),
        )
        training.train(parsed, tmp_path / "run")
    assert checkpoint.load(tmp_path / "run").description.step == 10
    said = train(recipe_path, tmp_path / "run", settings, 2, "--resume")
    assert said.count("was trained by 1 process and goes on with 2: gradients are summed in another order") == 1
    assert checkpoint.load(tmp_path / "run").description.step == 20


@pytest.mark.exhaustive
def test_torchrun_restarts_a_process_that_was_killed_and_the_run_goes_on(recipe_path, tmp_path):
    """The folder is a new one: that a restarted run resumes is known from its being restarted."""
    settings = [*SETTINGS, "training.steps=300", "training.validate_every=5"]
    train(recipe_path, tmp_path / "whole", settings, 2)
    torchrun = shutil.which("torchrun", path=Path(sys.executable).parent)
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    words = [torchrun, *options, *words_of(recipe_path, tmp_path / "run", settings)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    wait_for_lines(process, tmp_path / "run", 4)
    os.kill(pid_of_rank(process.pid, 1), signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert re.search(r"steps [1-9]\d* to 300", said)
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")


@pytest.mark.exhaustive
def test_a_measurement_that_a_signal_breaks_off_is_made_up_for(recipe_path, tmp_path):
    """The signal comes to one process only, while both validate."""
    settings = [*SETTINGS, "training.steps=30", "training.validate_every=10", "data.seconds=20"]
    settings.append("training.validation_seconds=1000")
    train(recipe_path, tmp_path / "whole", settings, 2)
    process = start(recipe_path, tmp_path / "run", settings)
    time.sleep(0.05)
    os.kill(pid_of_rank(process.pid, 1), signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert checkpoint.load(tmp_path / "run").description.step < 30
    train(recipe_path, tmp_path / "run", settings, 2, "--resume")
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")
    validated = [line for line in metrics.read_metrics(tmp_path / "run") if "validation_bits" in line]
    assert [line["step"] for line in validated] == [10, 20, 30]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "setting", ["training.scheduled_sampling=0.5", "training.accumulate=2", "training.compile=auto"]
)
def test_what_a_step_may_contain_works_in_two_processes(recipe_path, tmp_path, setting):
    settings = [*SETTINGS, "training.steps=10", "training.optimizer=adamw", setting]
    train(recipe_path, tmp_path / "two", settings, 2)
    training.train(recipe.parse(TINY_RECIPE, "tiny", settings), tmp_path / "one")
    assert furthest(tmp_path / "one", tmp_path / "two") < 1e-4


@pytest.mark.exhaustive
def test_a_recipe_that_ships_trains_in_two_processes_that_prepare_its_corpus_once(tmp_path):
    sizes = ["training.steps=2", "training.batch_size=2", "training.window=400", "training.sample_seconds=0.01"]
    sizes += ["model.n_blocks=1", "model.layers_per_block=3", "data.split=speaker"]
    source = write_librispeech(tmp_path / "source")
    said = train(Path("librispeech"), tmp_path / "run", [*sizes, f"data.source={source}"], 2)
    assert checkpoint.load(tmp_path / "run").description.step == 2
    assert "2 processes, steps 0 to 2" in said
    assert len(list((tmp_path / "stores").iterdir())) == 1
