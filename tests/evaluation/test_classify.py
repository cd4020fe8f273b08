import numpy as np
import pytest
import torch

from tests.conftest import tiny_wavenet
from tests.evaluation.test_bits import CODEC, noisy_store
from wavegen.evaluation import chunks
from wavegen.evaluation.classify import bits_by_label, classify, marginal_bits


def test_a_label_that_nobody_says_leaves_the_mean_of_the_probabilities():
    bits = -np.log2([[0.5, 0.25, 0.15], [1e-300, 1e-300, 3e-300]])
    whatever = marginal_bits(bits + 2000)  # probabilities too small for a float
    np.testing.assert_allclose(whatever, -np.log2([0.3, 5e-300 / 3]) + 2000)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_bits_by_label_are_those_of_the_whole_recording_under_each_value(monkeypatch, chunk):
    model = tiny_wavenet(labels={"who": 3})
    monkeypatch.setattr(chunks, "BUDGET", 2 * chunk * chunks.bytes_per_code(model))
    codes = np.random.default_rng(0).integers(0, 32, (2, 50))
    bits = bits_by_label(model, codes)
    tensor = torch.from_numpy(codes)
    for value in range(3):
        condition = model.condition({"who": torch.full((2,), value)})
        whole = model.head.bits(model(tensor, None, condition)[0], tensor).sum(dim=1)
        np.testing.assert_allclose(bits[:, value], whole.detach().numpy(), rtol=1e-5)


def test_recordings_are_taken_for_the_value_under_which_they_are_most_probable():
    model = tiny_wavenet(labels={"who": 2})
    opened, segments = noisy_store(*[60] * 5)
    labelled = [one._replace(labels={"who": "ab"[number % 2]}) for number, one in enumerate(segments)]
    swapped = [one._replace(labels={"who": "ba"[number % 2]}) for number, one in enumerate(segments)]
    result, other = (classify(model, opened, some, CODEC, {"who": ["a", "b"]}) for some in (labelled, swapped))
    assert result.counts.sum(axis=1).tolist() == [3, 2]
    assert result.n_right + other.n_right == 5
    np.testing.assert_array_equal(result.counts.sum(axis=0), other.counts.sum(axis=0))
    assert result.marginal_bits == other.marginal_bits < min(result.bits, other.bits) + 1
