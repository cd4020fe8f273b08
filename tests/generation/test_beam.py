import itertools

import numpy as np
import pytest

import wavegen
from tests.conftest import tiny_wavenet
from wavegen.engines.reference import ReferenceEngine
from wavegen.generation.beam import beam_search
from wavegen.sampling import Decoding, probabilities


def log_probability(model, codes, temperature: float = 1.0) -> float:
    parameters = ReferenceEngine(model).logits(np.array(codes)[None])[0]
    return float(np.log(probabilities(parameters, Decoding(temperature))[np.arange(len(codes)), codes]).sum())


def search(model, width: int, n: int, **options) -> list[int]:
    blocks = list(beam_search(ReferenceEngine(model, width), n, **options))
    assert all(block.shape[0] == 1 for block in blocks)
    return np.concatenate(blocks, axis=1)[0].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_beam_as_wide_as_all_sequences_finds_the_best(float64, temperature):
    model = tiny_wavenet(n_classes=4)
    every = itertools.product(range(4), repeat=3)
    best = max(every, key=lambda codes: log_probability(model, codes, temperature))
    assert search(model, 16, 3, temperature=temperature) == list(best)


def test_a_beam_of_one_is_greedy_and_a_wider_one_is_no_worse(float64):
    model = tiny_wavenet()
    greedy = ReferenceEngine(model).advance(np.zeros((1, 12)), Decoding(0.0))[0].tolist()
    assert search(model, 1, 12) == greedy
    found = [log_probability(model, search(model, width, 12)) for width in (1, 8)]
    assert found[1] >= found[0]


def test_a_beam_continues_what_it_has_heard(float64):
    model = tiny_wavenet()
    prime = np.array([3, 7, 20, 1, 30])
    continued = search(model, 1, 6, prime=prime)
    engine = ReferenceEngine(model)
    given = np.concatenate([prime, np.full(6, -1)])[None]
    assert engine.advance(np.zeros((1, 11)), Decoding(0.0), given)[0, 5:].tolist() == continued


def test_the_python_call_searches(tiny_run):
    model = wavegen.load(tiny_run)
    greedy = model.generate(0.005, temperature=0, precision="float32").samples
    np.testing.assert_array_equal(model.generate(0.005, beam=1, precision="float32").samples, greedy)
