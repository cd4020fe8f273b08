"""Networks that are told a prediction of the next code: every engine makes what the reference makes."""

import numpy as np
import pytest

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint
from tests.random_frames import random_condition
from wavegen.engines.cpu.engine import NumbaEngine
from wavegen.engines.guided import GuidedEngine
from wavegen.engines.onnx import OnnxEngine
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.features.linear_prediction import companding, predict
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, uniforms

B = 5
DECODINGS = [
    Decoding(),
    Decoding(voiced_temperature=0),
    Decoding(0.9, voiced_temperature=0.4),
    Decoding(0, voiced_temperature=1.0),
    Decoding(0.6),
]
VARIANTS = {
    "lag taps": PREDICTION,
    "more lag taps": {**PREDICTION, "lag_taps": 5, "longest_period": 23, "kernel_size": 3, "residual_channels": 20},
    "order only": PREDICTION_ORDER_ONLY,
    "long filter": {**PREDICTION, "prediction_order": 40},  # longer than two periods
    "labels, relu": {**PREDICTION, "labels": {"speaker": 3}, "activation": "relu", "residual": False},
}


SMALL = {"n_blocks": 1, "layers_per_block": 1}  # for Triton's interpreter


def onnx_engine(checkpoint, n):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return OnnxEngine(stack_weights(checkpoint), n)


KINDS = {
    "onnx": onnx_engine,
    "numba": lambda checkpoint, n: NumbaEngine(stack_weights(checkpoint), n, n_threads=1),
    "numba on three cores": lambda checkpoint, n: NumbaEngine(stack_weights(checkpoint), n, n_threads=3),
}


CASES = [
    pytest.param(name, marks=[] if name in ("lag taps", "order only") else [pytest.mark.exhaustive])
    for name in VARIANTS
]


@pytest.fixture(scope="module", params=CASES)
def checkpoint(request):
    return tiny_checkpoint(**VARIANTS[request.param])


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


def draws(n, first=0):
    return np.stack([uniforms(5, stream, first, n) for stream in range(B)])


def reference(checkpoint):
    return ReferenceEngine(from_checkpoint(checkpoint), B)


def made_by(engine, condition, pieces):
    """Codes of calls of some lengths: with a priming recording that ends in a stretch of the extremes, codes given for
    one stream, a snapshot gone back to, streams that change places, and one that begins anew."""
    n_classes = 32
    given = np.full((B, pieces[0]), -1)
    given[:, : pieces[0] // 2] = np.random.default_rng(0).integers(n_classes, size=(B, pieces[0] // 2))
    given[:, 3:9], given[:, 12:16] = 0, n_classes - 1
    given[1, -5:] = 7
    made, first = [], 0
    for number, n in enumerate(pieces):
        now = condition.part(first, n)
        u = draws(n, first)
        if number == 1:
            taken = engine.snapshot()
            made.append(engine.advance(u[::-1], DECODINGS, None, now))
            engine.restore(taken)
        if number == 2:
            engine.restore(engine.snapshot(), [4, 0, 1, 1, 2])
        if number == 3:
            engine.start([1, 3])
        made.append(engine.advance(u, DECODINGS, given if number == 0 else None, now))
        first += n
    return np.concatenate(made, axis=1)


@pytest.fixture(scope="module", params=[[120, 100, 80, 100], [41, 1, 7, *[1] * 9, 60]], ids=["long", "short"])
def expected(checkpoint, request):
    """A condition, the lengths of calls, and what the reference makes of them."""
    condition = random_condition(checkpoint.description.architecture, B, sum(request.param))
    return condition, request.param, made_by(reference(checkpoint), condition, request.param)


def test_every_engine_makes_the_codes_of_the_reference(checkpoint, make, expected):
    condition, pieces, codes = expected
    assert len(np.unique(codes)) == 32
    np.testing.assert_array_equal(made_by(make(checkpoint, B), condition, pieces), codes)


@pytest.mark.parametrize(
    "changes",
    [{}, *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ({"lag_taps": 0}, {"longest_period": 4}))],
    ids=str,
)
def test_the_kernel_of_a_gpu_does_too(changes):
    triton_gpu = pytest.importorskip("wavegen.engines.gpu.triton_gpu", exc_type=ImportError)
    checkpoint, pieces = tiny_checkpoint(**{**PREDICTION, **SMALL, **changes}), [18, 4, 3, 5]
    condition = random_condition(checkpoint.description.architecture, B, sum(pieces))
    expected = made_by(reference(checkpoint), condition, pieces)
    made = made_by(triton_gpu.TritonEngine(stack_weights(checkpoint), B), condition, pieces)
    np.testing.assert_array_equal(made, expected)


def test_parameters_are_those_that_codes_are_drawn_from(checkpoint, make):
    condition = random_condition(checkpoint.description.architecture, B, 60)
    n_parameters = checkpoint.description.architecture.n_parameters_of_head
    handed_out = [np.empty((B, 60, n_parameters), dtype=np.float32) for _ in range(2)]
    for engine, logits in zip((make(checkpoint, B), reference(checkpoint)), handed_out, strict=True):
        engine.advance(draws(60), DECODINGS, None, condition, logits)
    np.testing.assert_allclose(*handed_out, atol=1e-4)
    # The gain is in them: quiet frames have narrow distributions near what is predicted.
    assert handed_out[0][..., 2 * n_parameters // 3 :].min() < np.log(0.05)


def test_voices_are_drawn_by_a_temperature_of_their_own(make):
    checkpoint = tiny_checkpoint(**PREDICTION)
    condition = random_condition(checkpoint.description.architecture, B, 200)
    voicing = condition.prediction.voicing
    assert ((voicing > 0) & (voicing < 1)).any()

    def codes_of(voicing, decoding):
        told = condition.prediction._replace(voicing=np.asarray(voicing, dtype=np.float32))
        return make(checkpoint, B).advance(draws(200), decoding, None, condition._replace(prediction=told))

    both = Decoding(0.9, voiced_temperature=0.3)
    np.testing.assert_array_equal(codes_of(np.ones_like(voicing), both), codes_of(voicing, Decoding(0.3)))
    np.testing.assert_array_equal(codes_of(np.zeros_like(voicing), both), codes_of(voicing, Decoding(0.9)))
    mixed = codes_of(voicing, both)
    assert not np.array_equal(mixed, codes_of(voicing, Decoding(0.3)))
    assert not np.array_equal(mixed, codes_of(voicing, Decoding(0.9)))


def test_greedy_codes_of_a_network_that_says_nothing_are_the_prediction(make):
    """By the definition in numpy: each code is what the filter makes of those before it."""
    checkpoint = tiny_checkpoint(**PREDICTION, n_classes=256)
    checkpoint.weights["head_out.weight"][:] = 0
    checkpoint.weights["head_out.bias"][:] = 0
    condition = random_condition(checkpoint.description.architecture, B, 90)
    given = np.full((B, 90), -1)
    given[:, :50] = np.random.default_rng(0).integers(256, size=(B, 50))
    codes = make(checkpoint, B).advance(draws(90), Decoding(0), given, condition)
    expected = given.copy()
    for step in range(50, 90):
        coefficients = condition.prediction.coefficients[:, (condition.phase + step) // condition.hop]
        expected[:, step] = 128 + predict(coefficients, expected[:, step - 4 : step][:, ::-1] - 128, 256)
    np.testing.assert_array_equal(codes, expected)
    assert (expected[:, 50:] == 0).any()  # and the filters of some frames leave the codes
    assert (expected[:, 50:] == 255).any()


def test_each_stream_is_a_stream_of_its_own(make):
    checkpoint = tiny_checkpoint(**PREDICTION)
    condition = random_condition(checkpoint.description.architecture, B, 70)
    together = make(checkpoint, B).advance(draws(70), DECODINGS, None, condition)
    for stream in range(B):
        own = condition.map(lambda array, stream=stream: array[stream : stream + 1])
        alone = make(checkpoint, 1).advance(draws(70)[stream : stream + 1], DECODINGS[stream], None, own)
        np.testing.assert_array_equal(alone[0], together[stream])


def test_guided_streams_are_fed_the_same_codes():
    checkpoint = tiny_checkpoint(**PREDICTION, labels={"speaker": 3})
    condition = random_condition(checkpoint.description.architecture, 2 * B, 40)
    made = [
        GuidedEngine(engine).advance(draws(40), DECODINGS, None, condition)
        for engine in (
            NumbaEngine(stack_weights(checkpoint), 2 * B, n_threads=2, is_guided=True),
            ReferenceEngine(from_checkpoint(checkpoint), 2 * B, is_guided=True),
        )
    ]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("kind", [*KINDS, "reference"])
def test_a_prediction_that_does_not_fit_is_refused(kind):
    checkpoint = tiny_checkpoint(**PREDICTION)
    engine = {**KINDS, "reference": lambda checkpoint, n: reference(checkpoint)}[kind](checkpoint, B)
    condition = random_condition(checkpoint.description.architecture, B, 12)
    told = condition.prediction

    def refused(words, condition):
        with pytest.raises(InputError, match=words):
            engine.advance(draws(12), Decoding(), None, condition)

    def with_periods(period):
        periods = told.periods.copy()
        periods[1, 2, 3] = period
        return condition._replace(prediction=told._replace(periods=periods))

    for missing in (None, condition.values[:, :1], condition._replace(prediction=None)):
        refused("is told a prediction of the next code; expected frames with one", missing)
    for name, array, expected in (
        ("coefficients", told.coefficients[..., :3], r"\(5, 3, 3\); expected \(5, 3, 4\)"),
        ("gains", told.gains[..., 0], r"\(5, 3\); expected \(5, 3, 2\)"),
        ("periods", told.periods[:, 1:], r"\(5, 2, 5\); expected \(5, 3, 5\)"),
        ("voicing", told.voicing[:2], r"\(2, 3\); expected \(5, 3\)"),
    ):
        refused(f"{name} are {expected}", condition._replace(prediction=told._replace(**{name: array})))
    for period in (-4, 2, 10):
        refused(f"periods are .*{period}.*; expected 3 to 9, or 0 where there is none", with_periods(period))
    for period in (0, 3, 9):
        engine.advance(draws(12), Decoding(), None, with_periods(period))
    assert engine.advance(draws(0), Decoding()).shape == (B, 0)


@pytest.mark.parametrize("kind", [*KINDS, "reference"])
def test_a_network_without_a_prediction_does_not_look_at_one(kind):
    sizes = {name: value for name, value in PREDICTION.items() if name in ("head", "n_mixtures", "n_features", "hop")}
    checkpoint = tiny_checkpoint(**sizes)
    engine = {**KINDS, "reference": lambda checkpoint, n: reference(checkpoint)}[kind](checkpoint, B)
    condition = random_condition(tiny_checkpoint(**PREDICTION).description.architecture, B, 30)
    made = engine.advance(draws(30), DECODINGS, None, condition)
    engine.start()
    plain = [Decoding(one.temperature) for one in DECODINGS]
    expected = engine.advance(draws(30), plain, None, condition._replace(prediction=None))
    np.testing.assert_array_equal(made, expected)


def test_past_codes_are_heard_by_the_tables_of_the_definition():
    checkpoint = tiny_checkpoint(**PREDICTION)
    engine = NumbaEngine(stack_weights(checkpoint), B)
    condition = random_condition(checkpoint.description.architecture, B, 30)
    codes = engine.advance(draws(30), Decoding(), None, condition)
    n_past = checkpoint.description.architecture.prediction.n_past
    past, heard = (array.reshape(B, 2, 2, n_past) for array in engine.snapshot()[3:5])
    steps = np.arange(30 - n_past, 30)
    np.testing.assert_array_equal(past[:, 1, 0][:, steps % n_past], codes[:, steps] - 16)
    np.testing.assert_array_equal(past[:, :, 0], past[:, :, 1])
    np.testing.assert_array_equal(heard, companding(32).values[past + 31])
