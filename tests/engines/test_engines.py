"""Every engine against the whole-sequence network, and against itself in pieces."""

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint
from tests.random_frames import random_condition
from wavegen.engines.base import decoding_per_stream
from wavegen.engines.cpu.engine import NumbaEngine, missing_instructions
from wavegen.engines.onnx import OnnxEngine
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition
from wavegen.generation.stream import generate
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, uniforms

VARIANTS = {
    "plain": {},
    "kernel of 3": {"kernel_size": 3},
    "kernel of 1": {"kernel_size": 1},
    "odd sizes, relu, no residual": {"activation": "relu", "residual": False, "residual_channels": 3},
    "wide": {"residual_channels": 40, "gate_channels": 33, "skip_channels": 150, "head_channels": 70},
    "200 classes": {"n_classes": 200, "dilated": False},
    "labels": {"labels": {"speaker": 9}},
    "mixture": {"head": "logistic-mixture", "n_mixtures": 3, "mean_scale": 0.25},
    "16 bits": {"head": "logistic-mixture", "n_classes": 65536},
    "prediction": PREDICTION,
    "prediction, order only, 16 bits": {**PREDICTION_ORDER_ONLY, "n_classes": 65536},
}
MOST_STEPS = 70
# How far logits may be from the reference's, which computes in float64. The tiny networks' logits reach about 30.
ENGINES = {"reference": 1e-10, "onnx": 2e-4, "float32": 2e-4, "float16": 0.1, "int8": 1.0, "int8x8": 3.0, "int8x7": 6.0}


CASES = [
    pytest.param(
        (variant, kind),
        id=f"{variant}-{kind}",
        marks=[] if kind == "float32" or variant == "plain" else [pytest.mark.exhaustive],
    )
    for variant in VARIANTS
    for kind in ENGINES
]


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def checkpoint(case):
    return tiny_checkpoint(**VARIANTS[case[0]])


@pytest.fixture
def kind(case):
    return case[1]


@pytest.fixture
def model(checkpoint, float64):
    return from_checkpoint(checkpoint).eval()


@pytest.fixture
def engine_of(checkpoint, kind, model):
    """Makes engines of the kind with some number of streams."""
    return lambda n_streams: make(kind, checkpoint, model, n_streams)


def make(kind, checkpoint, model, n_streams):
    if kind == "reference":
        return ReferenceEngine(model, n_streams)
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        return OnnxEngine(stack_weights(checkpoint), n_streams)
    if missing := missing_instructions(kind):
        pytest.skip(f"needs {missing}")
    return NumbaEngine(stack_weights(checkpoint), n_streams, kind, n_threads=1)


def condition_of(model, n_streams: int):
    if model.architecture.frames is not None:
        return random_condition(model.architecture, n_streams, MOST_STEPS)
    if not model.labels:
        return None
    # Weak, so that it does not drown what the past has to say.
    return 0.02 * model.condition({"speaker": torch.arange(n_streams)}).detach().numpy()


def part(condition, first: int, n: int):
    """What some steps need of a condition."""
    return condition.part(first, n) if isinstance(condition, FrameCondition) else condition


def codes_of(model, n_streams: int, n: int):
    """Random codes, with a stretch of the lowest and one of the highest among them."""
    n_classes = model.architecture.n_classes
    codes = np.random.default_rng(0).integers(n_classes, size=(n_streams, n))
    codes[:, 10:15], codes[:, 20:25] = 0, n_classes - 1
    return codes


def draws(n_streams: int, n: int, first: int = 0):
    return np.stack([uniforms(5, stream, first, n) for stream in range(n_streams)])


def whole(model, codes, condition):
    """Logits of the whole-sequence network."""
    if isinstance(condition, FrameCondition):
        given = condition.map(torch.from_numpy)
        given = given._replace(values=given.values.to(model.dtype))
    else:
        given = None if condition is None else torch.from_numpy(condition)
    return model(torch.from_numpy(codes), None, given)[0].detach().numpy()


@pytest.mark.parametrize("n_streams", [1, 2, 7, 13])
def test_cached_path_gives_the_logits_of_the_whole_sequence(model, kind, engine_of, n_streams):
    n_streams = min(n_streams, 9) if model.labels else n_streams
    codes = codes_of(model, n_streams, 70)
    condition = condition_of(model, n_streams)
    cached = engine_of(n_streams).logits(codes, condition)
    assert cached.shape == (n_streams, 70, model.head.n_parameters)
    np.testing.assert_allclose(cached, whole(model, codes, condition), atol=ENGINES[kind], rtol=0)


def test_generated_codes_are_the_draws_from_the_whole_sequence_network(model, kind, engine_of):
    condition = condition_of(model, 2)
    codes = engine_of(2).advance(draws(2, 40), Decoding(), condition=condition)
    if kind in ("reference", "float32", "onnx"):
        logits = whole(model, codes, condition)
    else:
        logits = engine_of(2).logits(codes, condition)
    each = [model.head.draw(logits[:, t], draws(2, 40)[:, t], Decoding()) for t in range(40)]
    np.testing.assert_array_equal(codes, np.stack(each, axis=1))


@pytest.mark.parametrize("pieces", [[1] * 40, [7, 1, 13, 19], [39, 1]])
def test_advance_continues_where_the_last_call_stopped(model, engine_of, pieces):
    condition = condition_of(model, 2)
    at_once = engine_of(2).advance(draws(2, 40), Decoding(), condition=condition)
    engine, made, first = engine_of(2), [], 0
    for n in pieces:
        made.append(engine.advance(draws(2, n, first), Decoding(), condition=part(condition, first, n)))
        first += n
    np.testing.assert_array_equal(np.concatenate(made, axis=1), at_once)


def test_given_codes_are_taken_and_the_rest_continues_them(model, engine_of):
    condition = condition_of(model, 2)
    free = engine_of(2).advance(draws(2, 40), Decoding(), condition=condition)
    given = free.copy()
    given[:, 20:] = -1  # a priming recording
    given[1, 10:15] = -1  # a hole in one stream of it
    again = engine_of(2).advance(draws(2, 40), Decoding(), given, condition)
    np.testing.assert_array_equal(again, free)
    assert (given[1, 10:15] == -1).all()  # the argument is left alone


def test_streams_may_be_decoded_differently(model, engine_of):
    condition = condition_of(model, 2)
    each = [Decoding(0.5), Decoding(0)]
    both = engine_of(2).advance(draws(2, 40), each, condition=condition)
    for stream, decoding in enumerate(each):
        alone = engine_of(2).advance(draws(2, 40), decoding, condition=condition)
        np.testing.assert_array_equal(both[stream], alone[stream])


def test_start_puts_single_streams_at_the_beginning_of_time(model, engine_of):
    condition = condition_of(model, 2)
    codes = codes_of(model, 2, 30)
    engine = engine_of(2)
    first = engine.logits(codes, condition)
    engine.start([1])
    second = engine.logits(codes, condition)
    np.testing.assert_array_equal(second[1], first[1])
    assert not np.array_equal(second[0], first[0])
    engine.start()
    np.testing.assert_array_equal(engine.logits(codes, condition), first)


def test_restore_goes_back_to_a_snapshot(model, engine_of):
    condition = condition_of(model, 2)
    following = part(condition, 25, 25)
    engine = engine_of(2)
    engine.advance(draws(2, 25), Decoding(), condition=condition)
    taken = engine.snapshot()
    after = engine.advance(draws(2, 25, 25), Decoding(), condition=following)
    engine.advance(draws(2, 9), Decoding(), condition=condition)
    engine.restore(taken)
    np.testing.assert_array_equal(engine.advance(draws(2, 25, 25), Decoding(), condition=following), after)
    engine.restore(taken)
    np.testing.assert_array_equal(engine.advance(draws(2, 25, 25), Decoding(), condition=following), after)


def test_restore_can_give_every_stream_the_past_of_another(model, engine_of):
    engine, condition = engine_of(2), condition_of(model, 2)
    # The same for both: frames, or no label at all.
    condition = condition.map(lambda array: array[[1, 1]]) if isinstance(condition, FrameCondition) else None
    following = part(condition, 25, 25)
    engine.advance(draws(2, 25), Decoding(), condition=condition)
    taken = engine.snapshot()
    same = draws(1, 25, 25).repeat(2, axis=0)
    second = engine.advance(same, Decoding(), condition=following)[1]
    engine.restore(taken, [1, 1])
    made = engine.advance(same, Decoding(), condition=following)
    np.testing.assert_array_equal(made[0], second)
    np.testing.assert_array_equal(made[1], second)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_condition_may_change_at_every_step(float64, kind):
    checkpoint = tiny_checkpoint(labels={"speaker": 3})
    model = from_checkpoint(checkpoint).eval()
    held = condition_of(model, 1).astype(np.float32)
    stepped = np.repeat(held, 30, axis=1)
    codes = make(kind, checkpoint, model, 1).advance(draws(1, 30), Decoding(), condition=held)
    again = make(kind, checkpoint, model, 1).advance(draws(1, 30), Decoding(), condition=stepped)
    np.testing.assert_array_equal(again, codes)
    stepped[:, 15:] *= -3
    changed = make(kind, checkpoint, model, 1).logits(codes, stepped)
    kept = make(kind, checkpoint, model, 1).logits(codes, held)
    np.testing.assert_array_equal(changed[:, :15], kept[:, :15])
    assert not np.allclose(changed[:, 15], kept[:, 15])


@pytest.mark.parametrize("pieces", [[30], [1] * 30, [11, 2, 17]], ids=["at once", "one by one", "in pieces"])
@pytest.mark.parametrize("kind", ENGINES)
def test_between_frames_a_condition_is_interpolated(float64, kind, pieces):
    activation, n_channels = ("relu", 9) if len(pieces) == 3 else ("gated", 18)
    checkpoint = tiny_checkpoint(kernel_size=3, gate_channels=9, activation=activation)
    model = from_checkpoint(checkpoint).eval()
    random = np.random.default_rng(0)
    values = (0.1 * random.standard_normal((2, 6, 6, n_channels))).astype(np.float32)
    frames = FrameCondition(values, hop=7, phase=3)
    codes = random.integers(32, size=(2, 30))
    given = frames._replace(values=torch.from_numpy(values).double())
    expected = model(torch.from_numpy(codes), None, given)[0].detach().numpy()
    engine, found, first = make(kind, checkpoint, model, 2), [], 0
    for n in pieces:
        found.append(engine.logits(codes[:, first : first + n], frames.part(first, n)))
        first += n
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=ENGINES[kind], rtol=0)


def test_codes_that_do_not_fit_are_refused(model, engine_of):
    engine = engine_of(2)
    with pytest.raises(InputError, match="70000"):
        engine.logits(np.full((2, 3), 70000))
    with pytest.raises(InputError, match=r"expected \(2, n\) of both"):
        engine.advance(draws(1, 5), Decoding())
    with pytest.raises(InputError, match=r"codes \(2, 4\)"):
        engine.advance(draws(2, 5), Decoding(), np.full((2, 4), -1))
    with pytest.raises(InputError, match=r"condition is \(2, 3, 6, 10\); expected \(2, 1 or 5"):
        engine.advance(draws(2, 5), Decoding(), condition=np.zeros((2, 3, 6, 10), dtype=np.float32))
    with pytest.raises(InputError, match=r"frames \(2, 2, 6, 10\), 3 steps apart, the first at step -2; expected"):
        frames = FrameCondition(np.zeros((2, 2, 6, 10), dtype=np.float32), hop=3, phase=2)
        engine.advance(draws(2, 5), Decoding(), condition=frames)


def test_what_compiled_code_would_read_beyond_is_refused():
    engine = make("float32", tiny_checkpoint(), None, 2)
    with pytest.raises(InputError, match=r"layers and channels \(6, 9\); expected \(6, 10\)"):
        engine.advance(draws(2, 5), Decoding(), condition=np.zeros((2, 1, 6, 9), dtype=np.float32))
    with pytest.raises(InputError, match="decodings for 1 streams are given; expected 2"):
        engine.advance(draws(2, 5), [Decoding()])


@pytest.mark.parametrize("kind", ["reference", "float32"])
def test_generate_makes_the_same_sound_for_any_blocksize_and_number_of_streams(float64, kind):
    checkpoint = tiny_checkpoint()
    model = from_checkpoint(checkpoint).eval()

    def sound(n_streams: int, blocksize: int):
        blocks = generate(make(kind, checkpoint, model, n_streams), 50, seed=9, blocksize=blocksize)
        return np.concatenate(list(blocks), axis=1)

    np.testing.assert_array_equal(sound(1, 7), sound(1, 50))
    np.testing.assert_array_equal(sound(3, 16)[:1], sound(1, 50))
    assert sound(3, 16).shape == (3, 50)
    assert not np.array_equal(sound(3, 16)[0], sound(3, 16)[1])


@pytest.mark.parametrize("kind", ["reference", "float32"])
def test_generate_continues_a_priming_recording(float64, kind):
    checkpoint = tiny_checkpoint()
    engine = make(kind, checkpoint, from_checkpoint(checkpoint).eval(), 1)
    sound = np.concatenate(list(generate(engine, 60, seed=2)), axis=1)
    continued = np.concatenate(list(generate(engine, 20, seed=2, prime=sound[0, :40])), axis=1)
    np.testing.assert_array_equal(continued, sound[:, 40:])


def test_an_engine_refuses_a_decoding_that_it_does_not_draw_by():
    head = tiny_checkpoint().description.head
    filtered = Decoding(temperature=0.5, top_k=3)
    assert decoding_per_stream(filtered, 2, head, False, ("temperature", "top_k")) == [filtered] * 2
    with pytest.raises(InputError, match="does not draw by top_k; leave it out, or take the engine reference"):
        decoding_per_stream(filtered, 2, head, False, ("temperature",))
