"""The GPU's kernel against the reference: on a GPU, or where there is none in Triton's interpreter, on small networks.

The interpreter runs one thread at a time, so it cannot show a store that is missed by another thread's load.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, tiny_checkpoint
from tests.random_frames import random_condition
from wavegen.checkpoint import Checkpoint
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, uniforms

pytest.importorskip("triton")

from wavegen.engines.gpu import triton_gpu
from wavegen.engines.gpu.triton_gpu import TritonEngine

SMALL = {"n_blocks": 1, "layers_per_block": 2, "n_classes": 20}
VARIANTS = {
    "plain": {},
    "kernel of 3, labels": {"kernel_size": 3, "labels": {"speaker": 4}},
    "odd sizes, relu, no residual": {"activation": "relu", "residual": False, "residual_channels": 3},
    "wide": {"residual_channels": 20, "gate_channels": 17, "skip_channels": 40, "head_channels": 70},
    "mixture": {"head": "logistic-mixture", "n_mixtures": 3, "mean_scale": 0.25},
    "16 bits": {"head": "logistic-mixture", "n_classes": 65536},
    "prediction, 16 bits": {**PREDICTION, "n_classes": 65536, "longest_period": 4, "lag_taps": 1},
}
N = 8  # steps: more than the longest ring buffer


CASES = [
    pytest.param(name, marks=[] if name in ("plain", "16 bits") else [pytest.mark.exhaustive]) for name in VARIANTS
]


@pytest.fixture(params=CASES)
def checkpoint(request):
    return small(**VARIANTS[request.param])


def small(**changes: object) -> Checkpoint:
    return tiny_checkpoint(**{**SMALL, **changes})


def condition_of(checkpoint: Checkpoint, n_streams: int) -> np.ndarray | FrameCondition | None:
    if checkpoint.description.architecture.frames is not None:
        return random_condition(checkpoint.description.architecture, n_streams, N)
    if not checkpoint.description.labels:
        return None
    rows = {"speaker": torch.arange(n_streams) % 5}
    return 0.02 * from_checkpoint(checkpoint).condition(rows).detach().numpy()


def draws(n_streams: int, n: int, first: int = 0) -> np.ndarray:
    return np.stack([uniforms(5, stream, first, n) for stream in range(n_streams)])


def both(checkpoint: Checkpoint, n_streams: int, precision: str = "float32"):
    reference = ReferenceEngine(from_checkpoint(checkpoint), n_streams)
    return TritonEngine(stack_weights(checkpoint), n_streams, precision), reference


def test_logits_along_the_cached_path_are_those_of_the_reference(checkpoint):
    n_classes = checkpoint.description.n_classes
    codes = np.random.default_rng(0).integers(n_classes, size=(3, N))
    condition = condition_of(checkpoint, 3)
    engine, reference = both(checkpoint, 3)
    expected = reference.logits(codes, condition)
    np.testing.assert_allclose(engine.logits(codes, condition), expected, atol=1e-4, rtol=1e-5)


def test_the_same_draws_make_the_same_codes_in_pieces_too(checkpoint):
    is_mixture = not checkpoint.description.head.lists_probabilities
    filters = [Decoding(1.3), Decoding(0.7)] if is_mixture else [Decoding(top_k=3), Decoding(0.8, top_p=0.6)]
    decoding = [Decoding(), Decoding(0), *filters]
    condition = condition_of(checkpoint, 4)
    engine, reference = both(checkpoint, 4)
    expected = reference.advance(draws(4, N), decoding, condition=condition)
    made = []
    for first, n in ((0, 3), (3, N - 3)):
        now = condition.part(first, n) if isinstance(condition, FrameCondition) else condition
        made.append(engine.advance(draws(4, n, first), decoding, condition=now))
    np.testing.assert_array_equal(np.concatenate(made, axis=1), expected)


@pytest.mark.parametrize(("precision", "bound"), [("float16", 0.05), ("bfloat16", 0.5)])
def test_reduced_precisions_stay_near(precision, bound):
    if precision == "bfloat16" and not torch.cuda.is_available():
        pytest.skip("the interpreter multiplies the bits of bfloat16 as if they were integers")
    codes = np.random.default_rng(0).integers(20, size=(2, N))
    engine, reference = both(small(), 2, precision)
    apart = np.abs(engine.logits(codes) - reference.logits(codes))
    assert 0 < apart.max() < bound


def test_streams_beyond_one_tile_are_streams_like_others():
    engine, reference = both(small(), triton_gpu.TILE + 3)
    uniform = draws(engine.n_streams, 4)
    np.testing.assert_array_equal(engine.advance(uniform, Decoding()), reference.advance(uniform, Decoding()))


def test_given_codes_are_taken_and_logits_handed_out():
    engine, reference = both(small(), 2)
    given = np.full((2, N), -1)
    given[:, :3], given[1, 5] = 7, 2
    room = [np.empty((2, N, 20), dtype=np.float32) for _ in range(2)]
    pairs = zip((engine, reference), room, strict=True)
    made = [one.advance(draws(2, N), Decoding(), given, logits=out) for one, out in pairs]
    np.testing.assert_array_equal(*made)
    assert (made[0][:, :3] == 7).all()
    np.testing.assert_allclose(*room, atol=1e-4)


def test_streams_begin_anew_alone_and_go_back_to_a_snapshot():
    engine, _ = both(small(), 2)
    first = engine.advance(draws(2, 5), Decoding())
    taken = engine.snapshot()
    after = engine.advance(draws(2, 4, 5), Decoding())
    engine.restore(taken)
    np.testing.assert_array_equal(engine.advance(draws(2, 4, 5), Decoding()), after)
    engine.restore(taken, [1, 1])
    same = draws(2, 4, 5)[[1, 1]]
    made = engine.advance(same, Decoding())
    np.testing.assert_array_equal(made[0], after[1])
    np.testing.assert_array_equal(made[1], after[1])
    engine.start([0])
    again = engine.advance(draws(2, 5), Decoding())
    np.testing.assert_array_equal(again[0], first[0])


def test_between_frames_a_condition_is_interpolated():
    checkpoint = small(gate_channels=9)
    random = np.random.default_rng(0)
    values = (0.1 * random.standard_normal((2, 4, 2, 18))).astype(np.float32)
    frames = FrameCondition(values, hop=3, phase=2)
    codes = random.integers(20, size=(2, N))
    engine, reference = both(checkpoint, 2)
    expected = reference.logits(codes, frames)
    found = [engine.logits(codes[:, first:last], frames.part(first, last - first)) for first, last in ((0, 5), (5, N))]
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-4)


def test_every_program_reads_all_weights_in_every_step(monkeypatch):
    monkeypatch.setattr(triton_gpu, "CHUNK", 64)
    weights = stack_weights(small())
    matrices = (weights.convolution, weights.projection, weights.skip, weights.hidden, weights.out)
    total = sum(matrix.sum(dtype=np.float64) for matrix in matrices)
    assert TritonEngine(weights, 17).read_weights(3) == pytest.approx(2 * 3 * total, rel=1e-4)


def test_what_does_not_fit_is_refused_with_the_limit(monkeypatch):
    with pytest.raises(InputError, match="draws from up to 1,024 classes, and this network has 2,000"):
        TritonEngine(stack_weights(small(n_classes=2000)))
    with pytest.raises(InputError, match=r"matrices of 131,072 bytes at once, and this network's take 262,144"):
        TritonEngine(stack_weights(small(residual_channels=200, gate_channels=200)))
    with pytest.raises(InputError, match="has no precision 'int8'; expected auto, float32, float16, bfloat16"):
        make_engine(small(), 1, EngineOptions("triton", precision="int8"))
    with pytest.raises(InputError, match=r"layers and channels \(2, 9\); expected \(2, 10\)"):
        TritonEngine(stack_weights(small())).advance(draws(1, 2), Decoding(), condition=np.zeros((1, 1, 2, 9)))
    with pytest.raises(InputError, match="runs on a GPU, and device cpu is wanted"):
        make_engine(small(), 1, EngineOptions("triton", device="cpu"))
    if not torch.cuda.is_available():
        monkeypatch.delenv("TRITON_INTERPRET")
        with pytest.raises(InputError, match="the engine triton runs on a GPU, and torch finds none"):
            make_engine(small(), 1, EngineOptions("triton"))


def test_it_is_chosen_by_name_with_the_precision_that_was_measured():
    plain = small()
    assert make_engine(plain, 1, EngineOptions("triton"))[0] == "triton in float32"
    measured = replace(plain, description=replace(plain.description, precision_costs={"float16": 0.001}))
    assert make_engine(measured, 1, EngineOptions("triton"))[0] == "triton in float16"
