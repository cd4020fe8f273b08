"""The recorded step against the reference, without a card: what repeats it here insists that nothing has moved."""

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint
from wavegen.engines import make_engine
from wavegen.engines.gpu.cuda_graph import CudaGraphEngine, condition_tensors
from wavegen.engines.options import EngineOptions
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.generation.conditioning import FrameConditioner, condition_of
from wavegen.models.base import tensors_of
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, uniforms

SMALL = {"n_blocks": 1, "layers_per_block": 2}
LABELS = {"labels": {"speaker": 3}}
CONDITIONED = {
    "plain": {"kernel_size": 3},
    "labels": LABELS,
    "frames": {**LABELS, "n_features": 4, "hop": 3, "frame_channels": 6, "look_ahead": 1},
    "prediction": {**LABELS, **PREDICTION},
    "prediction, order only": PREDICTION_ORDER_ONLY,
}
B, N = 3, 10


def recorded(model, n_streams=B, is_guided=False):
    """An engine whose steps do, on the CPU, what a graph does: the same again, where everything lay when recorded."""

    def record(step):
        step()
        places = addresses()

        logits = engine._logits

        def replay():
            assert addresses() == places
            step()
            engine._logits = logits.copy_(engine._logits)

        return replay

    def addresses():
        held = [engine._codes, *tensors_of(engine._state), *condition_tensors(engine._condition)]
        return [tensor.data_ptr() for tensor in held]

    engine = CudaGraphEngine(model, n_streams, record, is_guided)
    return engine


def made_by(engine, condition_at, third):
    """Codes of a few calls, with codes given for all streams, for one, a restart of one, and a snapshot restored."""
    draws = np.stack([uniforms(1, stream, 0, 4 * N) for stream in range(B)])
    decoding = [Decoding(), Decoding(temperature=0.5), third]
    given = np.full((B, N), -1)
    given[:, :4] = 5
    given[1, 7] = 6
    codes = [engine.advance(draws[:, :N], decoding, given, condition_at(0))]
    kept = engine.snapshot()
    codes += [engine.advance(draws[:, N : 2 * N], decoding, None, condition_at(1))]
    engine.restore(kept, [2, 1, 0])
    codes += [engine.advance(draws[:, N : 2 * N], decoding, None, condition_at(1))]
    engine.start([1])
    codes += [engine.advance(draws[:, 2 * N : 3 * N], decoding, None, condition_at(2))]
    engine.start()
    codes += [engine.advance(draws[:, :N], decoding, None, condition_at(0))]
    return np.stack(codes)


def frames_of(checkpoint):
    """Random ones; with a pitch, of a sound."""
    features = checkpoint.description.make_features()
    if features.pitch is None:
        return np.random.default_rng(0).standard_normal((B, 12, features.n_features)).astype(np.float32)
    time = np.arange(12 * features.hop) / checkpoint.description.sample_rate
    return np.stack([features.frames(0.3 * np.sign(np.sin(2 * np.pi * hz * time))) for hz in (1100, 1500, 1900)])


@pytest.mark.parametrize("kind", CONDITIONED)
def test_it_makes_the_codes_of_the_reference(kind):
    checkpoint = tiny_checkpoint(**SMALL, **CONDITIONED[kind])
    streams = [{"speaker": str(number)} for number in range(B)]

    def condition_at(call):
        if kind == "plain":
            return None
        if kind == "labels":
            return condition_of(checkpoint, streams[call:] + streams[:call])
        return FrameConditioner(checkpoint, streams, frames_of(checkpoint)).at(call * N, N)

    streams = streams if checkpoint.description.labels else [{}] * B
    third = Decoding(top_k=3) if checkpoint.description.head.lists_probabilities else Decoding(voiced_temperature=0.2)
    model = from_checkpoint(checkpoint)
    expected = made_by(ReferenceEngine(model, B), condition_at, third)
    np.testing.assert_array_equal(made_by(recorded(model), condition_at, third), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("head", ["categorical", "logistic-mixture"])
def test_it_makes_the_codes_of_the_reference_on_a_gpu(head):
    model = from_checkpoint(tiny_checkpoint(**SMALL, kernel_size=3, head=head)).cuda()
    draws = np.stack([uniforms(1, stream, 0, 4 * N) for stream in range(B)])
    made = CudaGraphEngine(model, B).advance(draws, Decoding())
    np.testing.assert_array_equal(made, ReferenceEngine(model, B).advance(draws, Decoding()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused():
    for words, reason in (({}, "torch finds none"), ({"device": "cpu"}, "device cpu is wanted")):
        with pytest.raises(InputError, match=f"the engine cuda-graph runs on a GPU, and {reason}"):
            make_engine(tiny_checkpoint(), 1, EngineOptions("cuda-graph", **words))
