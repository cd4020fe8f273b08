"""The compiled draws against their definition in numpy."""

import numpy as np
import pytest

from wavegen import sampling
from wavegen.engines.cpu import draws, host
from wavegen.sampling import Decoding

DECODINGS = [
    Decoding(),
    Decoding(0),
    Decoding(0.3),
    Decoding(1e-30),
    Decoding(5.0),
    Decoding(top_k=1),
    Decoding(top_k=7),
    Decoding(top_k=1000),
    Decoding(top_p=1e-9),
    Decoding(top_p=0.7),
    Decoding(0.8, top_k=20, top_p=0.9),
]


@pytest.mark.parametrize("decoding", DECODINGS, ids=str)
@pytest.mark.parametrize("n_classes", [256, 200, 32, 3])
def test_categorical(decoding, n_classes):
    random = np.random.default_rng(1)
    n_padded = -(-n_classes // host.LANES) * host.LANES
    first = 3 * host.LANES  # somewhere in a longer array
    for number in range(60):
        logits = np.full(first + n_padded, -1e30, dtype=np.float32)
        scale = [0.1, 3, 20][number % 3]
        logits[first : first + n_classes] = np.round(scale * random.standard_normal(n_classes), number % 4)  # with ties
        weights = np.zeros_like(logits)
        u = [0.0, 1 - 2.0**-53, random.random()][min(number, 2)]
        keys = weights.view(np.int32)
        drawn = draws.draw_categorical(logits, weights, keys, first, n_classes, u, np.array(decoding.numbers))
        row = logits[first : first + n_classes]
        probabilities = sampling.probabilities(row, decoding)
        cumulative = np.cumsum(probabilities)
        assert 0 <= drawn < n_classes
        assert probabilities[drawn] > 0 or decoding.temperature == 1e-30
        near = np.abs(cumulative - u).min() < 1e-6
        expected = sampling.draw_categorical(row[None], np.array([u]), decoding)[0]
        assert drawn == expected or near, (number, drawn, expected)


@pytest.mark.parametrize("temperature", [0, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("n_classes", [256, 65536])
def test_logistic_mixture(temperature, n_classes):
    random = np.random.default_rng(2)
    for number in range(100):
        parameters = random.standard_normal(3 * 10).astype(np.float32)
        parameters[20:] -= random.uniform(0, 12)
        u = [0.0, 1 - 2.0**-53, random.random()][min(number, 2)]
        drawn = draws.draw_logistic_mixture(parameters, 0, 10, n_classes, u, float(temperature))
        expected = sampling.draw_logistic_mixture(parameters[None], np.array([u]), Decoding(temperature), n_classes)[0]
        assert drawn == expected
