"""Guidance: what every engine draws is what its definition says, and streams stay independent of each other."""

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from tests.engines.gpu.test_cuda_graph import recorded
from wavegen.engines.cpu.engine import NumbaEngine
from wavegen.engines.guided import GuidedEngine
from wavegen.engines.onnx import OnnxEngine
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.generation.conditioning import FrameConditioner, condition_of, guidance_pairs
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, draw_categorical, uniforms

LABELS = [{"speaker": "1"}, {"speaker": "0"}, {"speaker": "2"}]
B, N = len(LABELS), 24
SIZES = {"labels": {"speaker": 3}, "n_blocks": 1, "layers_per_block": 3, "n_classes": 20}


def triton_engine(checkpoint, n_streams):
    triton_gpu = pytest.importorskip("wavegen.engines.gpu.triton_gpu", exc_type=ImportError)
    return triton_gpu.TritonEngine(stack_weights(checkpoint), n_streams, is_guided=True)


def onnx_engine(checkpoint, n_streams):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return OnnxEngine(stack_weights(checkpoint), n_streams, is_guided=True)


ENGINES = {
    "reference": lambda checkpoint, n: ReferenceEngine(from_checkpoint(checkpoint), n, is_guided=True),
    "numba": lambda checkpoint, n: NumbaEngine(stack_weights(checkpoint), n, is_guided=True, n_threads=1),
    "numba on two cores": lambda checkpoint, n: NumbaEngine(stack_weights(checkpoint), n, is_guided=True, n_threads=2),
    "cuda-graph": lambda checkpoint, n: recorded(from_checkpoint(checkpoint), n, is_guided=True),
    "triton": triton_engine,
    "onnx": onnx_engine,
}


@pytest.fixture(params=ENGINES)
def kind(request):
    return request.param


def guided(kind, checkpoint, n_streams=B):
    return GuidedEngine(ENGINES[kind](checkpoint, 2 * n_streams))


def draws(n_streams=B, n=N):
    return np.stack([uniforms(3, stream, 0, n) for stream in range(n_streams)])


def by_definition(checkpoint, decodings, condition):
    """Codes and what they were drawn from, step by step from engines that know nothing of guidance."""
    engine = ReferenceEngine(from_checkpoint(checkpoint), 2 * B)
    codes, all_logits, u = np.zeros((2 * B, N), dtype=np.int64), [], draws()
    for step in range(N):
        kept = engine.snapshot()
        with_labels, without = np.split(engine.logits(codes[:, step : step + 1], condition)[:, 0], 2)
        logits = np.stack(
            [b + one.guidance * (a - b) for a, b, one in zip(with_labels, without, decodings, strict=True)]
        )
        codes[:, step] = np.tile(draw_categorical(logits, u[:, step], decodings), 2)
        engine.restore(kept)
        engine.logits(codes[:, step : step + 1], condition)
        all_logits.append(logits)
    return codes[:B], np.stack(all_logits, axis=1)


def test_codes_are_drawn_from_what_its_definition_says(kind):
    checkpoint = tiny_checkpoint(**SIZES)
    decodings = [Decoding(guidance=2.5), Decoding(0.7, guidance=1.5), Decoding(top_k=5, guidance=0.5)]
    expected, expected_logits = by_definition(checkpoint, decodings, condition_of(checkpoint, [*LABELS, {}, {}, {}]))
    engine, condition = guided(kind, checkpoint), condition_of(checkpoint, guidance_pairs(LABELS))
    logits = np.empty(expected_logits.shape, dtype=np.float32)
    made = engine.advance(draws(), decodings, None, condition, logits)
    np.testing.assert_array_equal(made, expected)
    # Logits of up to 1e2 through some ten float32 sums, the difference of two of them taken up to 2.5 times.
    np.testing.assert_allclose(logits, expected_logits, atol=2e-3)


def test_as_learnt_and_as_without_labels_are_guidance_of_1_and_0(kind):
    checkpoint = tiny_checkpoint(**SIZES)
    plain = ReferenceEngine(from_checkpoint(checkpoint), B)
    condition = condition_of(checkpoint, guidance_pairs(LABELS))
    for guidance, labels in ((1.0, LABELS), (0.0, [{}] * B)):
        plain.start()
        expected = plain.advance(draws(), Decoding(), None, condition_of(checkpoint, labels))
        made = guided(kind, checkpoint).advance(draws(), Decoding(guidance=guidance), None, condition)
        np.testing.assert_array_equal(made, expected)


def test_in_pieces_with_given_codes_a_stream_begun_anew_and_a_snapshot_it_is_the_same(kind):
    checkpoint, decoding = tiny_checkpoint(**SIZES), Decoding(guidance=2.0)
    condition = condition_of(checkpoint, guidance_pairs(LABELS))
    whole = guided("reference", checkpoint).advance(draws(), decoding, None, condition)
    engine = guided(kind, checkpoint)
    given = np.full((B, N), -1)
    given[:, :5], given[0, 9] = whole[:, :5], whole[0, 9]
    logits = np.empty((B, 10, SIZES["n_classes"]), dtype=np.float32)
    first = engine.advance(draws()[:, :10], decoding, given[:, :10], condition, logits)
    guided(kind, checkpoint).advance(draws()[:, :10], decoding, None, condition, expected := np.empty_like(logits))
    np.testing.assert_allclose(logits, expected, atol=2e-3)
    kept = engine.snapshot()
    rest = engine.advance(draws()[:, 10:], decoding, None, condition)
    np.testing.assert_array_equal(np.concatenate([first, rest], axis=1), whole)
    engine.restore(kept)
    np.testing.assert_array_equal(engine.advance(draws()[:, 10:], decoding, None, condition), rest)
    engine.start([1])
    np.testing.assert_array_equal(engine.advance(draws()[:, :10], decoding, None, condition)[1], whole[1, :10])


def test_frames_hold_with_and_without_labels():
    checkpoint = tiny_checkpoint(**SIZES, n_features=4, hop=3, frame_channels=6, look_ahead=1)
    frames = np.repeat(np.random.default_rng(0).normal(size=(B, 9, 4)), 2, axis=0)
    made = []
    for kind in ("reference", "numba"):
        condition = FrameConditioner(checkpoint, guidance_pairs(LABELS), frames).at(0, N)
        made.append(guided(kind, checkpoint).advance(draws(), Decoding(guidance=2.0), None, condition))
    np.testing.assert_array_equal(*made)


def test_an_engine_that_was_made_without_refuses_it():
    engine = NumbaEngine(stack_weights(tiny_checkpoint(**SIZES)), 1)
    with pytest.raises(InputError, match=r"guidance is 2.0; this engine was made without, and expects 1"):
        engine.advance(draws(1), Decoding(guidance=2.0))


@pytest.mark.parametrize("kind", ["reference", "numba", "triton", "onnx"])
def test_streams_that_are_no_pairs_are_refused(kind):
    with pytest.raises(InputError, match="3 streams are wanted of a guided engine; expected pairs"):
        ENGINES[kind](tiny_checkpoint(**SIZES), 3)
