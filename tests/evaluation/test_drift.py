import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, tiny_wavenet
from tests.random_frames import random_prediction
from wavegen.evaluation import chunks
from wavegen.evaluation.drift import drift, surprise
from wavegen.features.frame_condition import Frames
from wavegen.models.base import frames_on
from wavegen.sampling import Decoding


def test_drift_compares_own_sounds_with_recordings():
    model = tiny_wavenet(labels={"who": 2})
    recorded = np.random.default_rng(0).integers(0, 32, (3, 400))
    labels = {"who": torch.tensor([0, 1, 2])}
    found = drift(model, recorded, labels, Decoding(), n_bins=4)
    assert found.recorded.shape == found.generated.shape == (4,)
    # What the network draws itself surprises it less than what has nothing to do with it.
    assert (found.generated < found.recorded).all()
    codes = torch.from_numpy(recorded)
    bits = model.head.bits(model(codes, None, model.condition(labels))[0], codes)
    assert found.recorded.mean() == pytest.approx(bits.mean().item(), abs=1e-4)
    greedy = drift(model, recorded, labels, Decoding(0.0), n_bins=4)
    assert greedy.generated.mean() < found.generated.mean()


@pytest.mark.parametrize("sizes", [{"n_features": 3, "hop": 4, "frame_channels": 6, "look_ahead": 2}, PREDICTION])
def test_drift_of_a_vocoder_asks_for_its_frames_a_part_at_a_time(monkeypatch, sizes):
    model = tiny_wavenet(**sizes)
    n, hop = 1000, sizes["hop"]
    side, prediction = model.architecture.frames.look_ahead, model.architecture.prediction
    n_whole = -(-n // hop) + 1
    values = np.random.default_rng(0).uniform(-1, 1, (2, n_whole + 2 * side, sizes["n_features"])).astype(np.float32)
    frames = Frames(values, prediction and random_prediction(prediction, 2, n_whole, hop))
    asked = []

    def frames_at(first: int, n: int) -> Frames:
        assert first % hop == 0
        asked.append(n)
        begin, n_frames = first // hop, -(-n // hop) + 1
        return Frames(
            frames.values[:, begin : begin + n_frames + 2 * side],
            frames.prediction and frames.prediction.map(lambda array: array[:, begin : begin + n_frames]),
        )

    recorded = np.random.default_rng(0).integers(0, 32, (2, n)).astype(np.uint8)
    monkeypatch.setattr(chunks, "BUDGET", 300 * chunks.bytes_per_code(model))
    found = drift(model, recorded, {}, Decoding(), n_bins=2, frames_at=frames_at)
    assert max(asked) < 300
    with torch.inference_mode():
        whole = model.condition({}, frames_on(model.device, frames))
        bits = surprise(model, recorded, whole)
    assert found.recorded == pytest.approx(bits.reshape(2, -1).mean(axis=1), abs=1e-4)
