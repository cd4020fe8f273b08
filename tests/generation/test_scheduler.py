"""Many sounds of different lengths at once: each is the one that is made of it alone."""

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.engines.reference import ReferenceEngine
from wavegen.generation import scheduler as batching
from wavegen.generation.conditioning import FrameConditioner, condition_of
from wavegen.generation.scheduler import generate_each
from wavegen.generation.stream import Stream, generate
from wavegen.models.build import from_checkpoint

LENGTHS = (7, 20, 1, 8, 13)
VOCODER = {"n_features": 4, "hop": 5, "frame_channels": 6, "look_ahead": 2}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(batching, "BLOCKSIZE", 8)


def conditions(kind):
    """A tiny network, its frames' hop, and what each piece is made under."""
    random = np.random.default_rng(0)
    if kind == "frames":
        checkpoint = tiny_checkpoint(**VOCODER, labels={"speaker": 3})
        frames = [random.standard_normal((1, -(-n // 5), 4)).astype(np.float32) for n in LENGTHS]
        labels = [{"speaker": str(number % 3)} for number in range(len(LENGTHS))]
        return checkpoint, 5, [FrameConditioner(checkpoint, [labels[i]], frames[i]).at for i in range(len(LENGTHS))]
    if kind == "labels":
        checkpoint = tiny_checkpoint(labels={"speaker": 3})
        return checkpoint, 1, [condition_of(checkpoint, [{"speaker": str(i % 3)}]) for i in range(len(LENGTHS))]
    return tiny_checkpoint(), 1, [None] * len(LENGTHS)


@pytest.mark.parametrize("engine", ["reference", "numba"])
@pytest.mark.parametrize("n_streams", [1, 2, 7])
@pytest.mark.parametrize("kind", ["plain", "labels", "frames"])
def test_each_is_what_it_is_alone(kind, n_streams, engine):
    checkpoint, hop, given = conditions(kind)
    prime = np.random.default_rng(1).integers(0, checkpoint.description.n_classes, 10)
    primes = [prime if i == 3 else None for i in range(len(LENGTHS))]
    pieces = [
        (Stream(seed=4, condition=condition, prime=prime), n)
        for n, condition, prime in zip(LENGTHS, given, primes, strict=True)
    ]
    options = EngineOptions(engine, precision="float32")
    _, many = make_engine(checkpoint, n_streams, options)
    _, one = make_engine(checkpoint, 1, options)
    made = dict(generate_each(many, pieces, hop=hop))
    assert sorted(made) == list(range(len(LENGTHS)))
    for number, n in enumerate(LENGTHS):
        alone = generate(one, n, seed=4, condition=given[number], prime=primes[number])
        np.testing.assert_array_equal(made[number], np.concatenate(list(alone), axis=1)[0])


def test_pieces_are_asked_for_when_a_stream_is_free():
    asked = []

    def pieces():
        for number, n in enumerate((20, 3, 3, 3)):
            asked.append(number)
            yield Stream(number=number), n

    ends = []
    for number, codes in generate_each(ReferenceEngine(from_checkpoint(tiny_checkpoint()), 2), pieces()):
        ends.append((number, len(codes), len(asked)))
    assert ends == [(1, 3, 2), (2, 3, 3), (0, 20, 4), (3, 3, 4)]


def test_nothing_is_made_of_nothing():
    assert list(generate_each(ReferenceEngine(from_checkpoint(tiny_checkpoint()), 2), [])) == []
