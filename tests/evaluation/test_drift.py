import numpy as np
import pytest
import torch

from tests.conftest import tiny_wavenet
from wavegen.evaluation.drift import drift
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
