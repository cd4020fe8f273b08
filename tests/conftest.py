"""What many tests share: tiny models, a tiny corpus, and the real recordings where they lie beside the repository."""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks gain nothing from more, and wait for a busy core
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports Triton

import numpy as np
import pytest
import soundfile
from PIL import Image

from wavegen.architectures import FAMILIES, HEADS, Architecture, WaveNetArchitecture, make_architecture
from wavegen.checkpoint import Checkpoint, Description, with_planner
from wavegen.features.pitch import Pitch

if TYPE_CHECKING:
    from wavegen.models.wavenet import WaveNet

# Signals that tests send: a shell has what it puts into the background ignore SIGINT, and nohup SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

REPOSITORY = Path(__file__).parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"

TINY_RECIPE = """
data:
  corpus: sine
  sample_rate: 8000
  frequencies: [400]
  noise_db: -30
  seconds: 0.2
  n_recordings: 6
model:
  kind: wavenet
  n_blocks: 1
  layers_per_block: 4
  residual_channels: 8
  gate_channels: 8
  skip_channels: 16
  head_channels: 16
training:
  steps: 30
  batch_size: 2
  window: 200
  learning_rate: 2.0e-2
  warm_up: 2
  precision: float32
  validate_every: 12
  validation_seconds: 0.2
  sample_seconds: 0.02
"""


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prepared corpora out of the user's cache."""
    monkeypatch.setenv("WAVEGEN_DATA", str(tmp_path / "stores"))


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder trained by the tiny recipe."""
    from wavegen import recipe
    from wavegen.training import loop as training

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    training.train(recipe.parse(TINY_RECIPE, "tiny"), folder)
    return folder


@pytest.fixture
def float64() -> Iterator[None]:
    """Make networks in double precision, where comparisons can be strict."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy families and the toy head, known while a test runs."""
    from tests.toy_family import TableArchitecture
    from tests.toy_head import LaplaceHead
    from tests.toy_image_family import NeighboursArchitecture

    monkeypatch.setitem(FAMILIES, "table", TableArchitecture)
    monkeypatch.setitem(FAMILIES, "neighbours", NeighboursArchitecture)
    monkeypatch.setitem(HEADS, "laplace", LaplaceHead)


TINY_SIZES = {
    "n_classes": 32,
    "n_blocks": 2,
    "layers_per_block": 3,
    "residual_channels": 6,
    "gate_channels": 5,
    "skip_channels": 7,
    "head_channels": 9,
}


# What makes of them a network with a prediction, and one with the order only; the first fits TINY_PITCH.
TINY_HEAD = {"head": "logistic-mixture", "n_mixtures": 3}
TINY_PITCH = {"lowest": 1000.0, "highest": 2000.0}  # periods of 3 to 9 samples at 8 kHz
PREDICTION = {**TINY_HEAD, "n_features": 6, "hop": 5, "prediction_order": 4, "lag_taps": 2, "longest_period": 9}
PREDICTION_ORDER_ONLY = {**TINY_HEAD, "n_features": 3, "hop": 4, "prediction_order": 3}


def tiny_wavenet(**changes: object) -> "WaveNet":
    """A WaveNet small enough to step through, surer of itself than a fresh one, so that draws depend on the past."""
    import torch  # not by this module, which every process of the suite imports, the one that only counts among them

    from wavegen.models.wavenet import WaveNet

    torch.manual_seed(0)
    architecture = make_architecture("wavenet", {**TINY_SIZES, **changes})
    assert isinstance(architecture, WaveNetArchitecture)
    model = WaveNet(architecture)
    model.head_out.weight.data *= 20
    return model


def tiny_checkpoint(**changes: object) -> Checkpoint:
    """The same network as a model file in memory, in float32."""
    model = tiny_wavenet(**changes)
    n_classes, prediction = model.architecture.n_classes, model.architecture.prediction
    codec = "linear" if n_classes == 65536 or prediction is not None else "mu-law"
    labels = {name: [str(value) for value in range(n)] for name, n in model.architecture.labels.items()}
    features = tiny_features(model.architecture)
    description = Description(model.architecture, codec, n_classes, 8000, labels, features=features)
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    return Checkpoint(description, weights, "", Path("tiny.safetensors"))


def tiny_speaker(n_labels: int = 3) -> Checkpoint:
    """A tiny vocoder with a planner of its frames, which has a label."""
    from wavegen.models.build import build

    sizes = {**TINY_SIZES, "n_blocks": 1, "n_channels": 6, "channel_layers": 2, "labels": {"speaker": n_labels}}
    model = build(make_architecture("planner", sizes))
    model.head_out.weight.data *= 20
    features = tiny_features(model.architecture)
    labels = {"speaker": [str(value) for value in range(n_labels)]}
    description = Description(
        model.architecture, "levels", model.architecture.n_classes, 8000, labels, features=features
    )
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    path = Path("tiny.safetensors")
    vocoder = tiny_checkpoint(n_features=6, hop=5, frame_channels=4, look_ahead=1)
    return with_planner(vocoder, Checkpoint(description, weights, "", path))


def tiny_features(architecture: Architecture) -> dict[str, object]:
    """The parameters of the frames that a tiny network reads: log-mel bands, and a pitch if it looks periods back."""
    frames, prediction = architecture.frames, architecture.prediction
    if architecture.makes == "frames":
        return {"n_mels": architecture.unit, "hop": 5, "n_fft": 128}
    if frames is None:
        return {}
    features: dict[str, object] = {"n_mels": frames.n_features, "hop": frames.hop, "n_fft": 128}
    if prediction is not None and prediction.lag_taps:
        features |= {"n_mels": frames.n_features - Pitch.N_FEATURES, "pitch": TINY_PITCH}
    return features


def write_recordings(folder: Path, n: int = 6, rate: int = 8000, seconds: float = 0.5) -> Path:
    """A folder of short noisy tones in two sub-folders."""
    random = np.random.default_rng(0)
    for number in range(n):
        path = folder / ("low" if number % 2 else "high") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(2 * np.pi * (200 + 100 * (number % 2)) * np.arange(round(rate * seconds)) / rate)
        soundfile.write(path, 0.5 * tone + 0.01 * random.standard_normal(len(tone)), rate)
    return folder


def write_images(folder: Path, n: int = 12, size: tuple[int, int] = (8, 6)) -> Path:
    """A folder of colour images in two sub-folders, of which one is dark and one is light."""
    random = np.random.default_rng(0)
    for number in range(n):
        path = folder / ("light" if number % 2 else "dark") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shades = random.integers(0, 60, (*size, 3)) + 190 * (number % 2)
        Image.fromarray(shades.astype(np.uint8)).save(path)
    return folder


def joined(blocks: Iterable[tuple[int, np.ndarray, bool]]) -> dict[int, np.ndarray]:
    """The sounds, by number, of which some blocks are that come mixed; each ends with the one that says so."""
    made: dict[int, list[np.ndarray]] = {}
    complete = set()
    for number, block, is_last in blocks:
        assert number not in complete
        made.setdefault(number, []).append(block)
        complete |= {number} if is_last else set()
    assert complete == set(made)
    return {number: np.concatenate(parts) for number, parts in made.items()}
