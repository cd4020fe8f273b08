import numpy as np
import pytest
import torch

from tests.conftest import tiny_wavenet
from wavegen.codec import MuLaw
from wavegen.data import store
from wavegen.data.windows import Coder, Segment
from wavegen.errors import InputError
from wavegen.evaluation import chunks
from wavegen.evaluation.bits import bits_per_sample, histogram_bits

CODEC = MuLaw(32)


def noisy_store(*lengths: int) -> tuple[store.Store, list[Segment]]:
    random = np.random.default_rng(0)
    opened = store.in_memory("noise", 100, [random.uniform(-1, 1, n) for n in lengths])
    return opened, [Segment(r.name, r.start, r.n_samples, {}, True) for r in opened.recordings]


def bits_of(model, opened, segment) -> torch.Tensor:
    codes = torch.from_numpy(Coder(opened, CODEC).codes(segment.start, segment.n_samples))[None]
    return model.head.bits(model(codes)[0], codes)[0]


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_bits_are_the_mean_over_every_code_of_every_recording(monkeypatch, chunk):
    monkeypatch.setattr(chunks, "STREAMS", 2)
    monkeypatch.setattr(chunks, "BUDGET", 2 * chunk * chunks.bytes_per_code(tiny_wavenet()))
    model = tiny_wavenet()
    opened, segments = noisy_store(150, 40, 200)
    expected = torch.cat([bits_of(model, opened, segment) for segment in segments]).mean()
    assert bits_per_sample(model, opened, segments, CODEC, {}) == pytest.approx(expected.item(), abs=1e-5)


def test_a_stretch_from_the_middle_counts_from_where_its_receptive_field_is_filled():
    model = tiny_wavenet()
    opened, (whole,) = noisy_store(150)
    middle = whole._replace(start=30, n_samples=100, at_start=False)
    expected = bits_of(model, opened, whole)[30 + model.receptive_field : 130].mean()
    assert bits_per_sample(model, opened, [middle], CODEC, {}) == pytest.approx(expected.item(), abs=1e-5)


def test_labels_that_training_never_saw_count_as_unknown():
    model = tiny_wavenet(labels={"who": 2})
    opened, segments = noisy_store(100)
    bits = {
        who: bits_per_sample(model, opened, [segments[0]._replace(labels={"who": who})], CODEC, {"who": ["a", "b"]})
        for who in ("a", "b", "c", "d")
    }
    assert bits["a"] != bits["b"]
    assert bits["c"] == bits["d"] != bits["a"]


def test_nothing_to_count_is_refused():
    opened, segments = noisy_store(100)
    short = segments[0]._replace(n_samples=5, at_start=False)
    with pytest.raises(InputError, match="longer than the receptive field"):
        bits_per_sample(tiny_wavenet(), opened, [short], CODEC, {})


def test_histograms_of_known_sequences():
    uniform = np.random.default_rng(0).uniform(-1, 1, 200_000)
    steps = np.sign(np.sin(np.arange(200_000) * np.pi / 2 + 0.1))  # two up, two down, and so on
    opened = store.in_memory("x", 100, [uniform, steps])
    noise, square = [Segment(r.name, r.start, r.n_samples, {}, True) for r in opened.recordings]
    order_0, order_1 = histogram_bits(opened, [square], [square], CODEC)
    assert order_0 == pytest.approx(1, abs=1e-3)
    assert order_1 == pytest.approx(1, abs=1e-3)  # after "up" comes "up" or "down"
    order_0, order_1 = histogram_bits(opened, [noise], [noise], CODEC)
    counts = np.bincount(CODEC.encode(uniform), minlength=32) / 200_000
    entropy = -(counts * np.log2(counts)).sum()
    assert order_0 == pytest.approx(entropy, abs=1e-3)
    assert order_1 == pytest.approx(entropy, abs=0.01)


def test_pairs_of_too_many_classes_are_not_counted():
    opened, segments = noisy_store(50)
    assert histogram_bits(opened, segments, segments, MuLaw(2048))[1] is None
