"""Every engine against the whole-sequence network, and against itself in pieces."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_wavenet
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.generation import generate
from wavegen.models.heads import Categorical
from wavegen.sampling import Decoding, uniforms

VARIANTS = {
    "plain": {},
    "kernel of 3": {"kernel_size": 3},
    "odd sizes, relu, no residual": {"activation": "relu", "residual": False, "residual_channels": 3},
    "labels": {"labels": {"speaker": 3}},
    "mixture": {"head": "logistic-mixture", "n_mixtures": 3},
    "16 bits": {"head": "logistic-mixture", "n_classes": 65536},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request, float64):
    return tiny_wavenet(**request.param).eval()


def condition_of(model, n_streams: int):
    if not model.labels:
        return None
    # Weak, so that it does not drown what the past has to say.
    return 0.02 * model.condition({"speaker": torch.arange(n_streams)}).detach().numpy()


def draws(n_streams: int, n: int, first: int = 0):
    return np.stack([uniforms(5, stream, first, n) for stream in range(n_streams)])


def test_cached_path_gives_the_logits_of_the_whole_sequence(model):
    codes = np.random.default_rng(0).integers(32, size=(2, 70, 1))
    condition = condition_of(model, 2)
    cached = ReferenceEngine(model, 2).logits(codes, condition)
    given = None if condition is None else torch.from_numpy(condition)
    whole = model(torch.from_numpy(codes[..., 0]), None, given)[0].detach().numpy()
    assert cached.shape == (2, 70, 1, model.head.n_parameters)
    np.testing.assert_allclose(cached[:, :, 0], whole, atol=1e-10, rtol=0)


def test_generated_codes_are_the_draws_from_the_whole_sequence_network(model):
    condition = condition_of(model, 2)
    codes = ReferenceEngine(model, 2).advance(draws(2, 40), Decoding(), condition=condition)
    given = None if condition is None else torch.from_numpy(condition)
    logits = model(torch.from_numpy(codes[..., 0]), None, given)[0].detach()
    if isinstance(model.head, Categorical):
        cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1).numpy()
        expected = (cumulative <= draws(2, 40)).sum(axis=-1)
    else:
        each = [model.head.draw(logits[:, t].numpy(), draws(2, 40)[:, t, 0], Decoding()) for t in range(40)]
        expected = np.stack(each, axis=1)
    np.testing.assert_array_equal(codes[..., 0], expected)


@pytest.mark.parametrize("pieces", [[1] * 40, [7, 1, 13, 19], [39, 1]])
def test_advance_continues_where_the_last_call_stopped(model, pieces):
    condition = condition_of(model, 2)
    whole = ReferenceEngine(model, 2).advance(draws(2, 40), Decoding(), condition=condition)
    engine, made, first = ReferenceEngine(model, 2), [], 0
    for n in pieces:
        made.append(engine.advance(draws(2, n, first), Decoding(), condition=condition))
        first += n
    np.testing.assert_array_equal(np.concatenate(made, axis=1), whole)


def test_given_codes_are_taken_and_the_rest_continues_them(model):
    condition = condition_of(model, 2)
    free = ReferenceEngine(model, 2).advance(draws(2, 40), Decoding(), condition=condition)
    given = free.copy()
    given[:, 20:] = -1  # a priming recording
    given[1, 10:15] = -1  # a hole in one stream of it
    again = ReferenceEngine(model, 2).advance(draws(2, 40), Decoding(), given, condition)
    np.testing.assert_array_equal(again, free)
    assert (given[1, 10:15] == -1).all()  # the argument is left alone


def test_start_puts_single_streams_at_the_beginning_of_time(model):
    condition = condition_of(model, 2)
    engine = ReferenceEngine(model, 2)
    first = engine.advance(draws(2, 30), Decoding(), condition=condition)
    engine.start([1])
    second = engine.advance(draws(2, 30), Decoding(), condition=condition)
    np.testing.assert_array_equal(second[1], first[1])
    assert not np.array_equal(second[0], first[0])
    engine.start()
    np.testing.assert_array_equal(engine.advance(draws(2, 30), Decoding(), condition=condition), first)


def test_restore_goes_back_to_a_snapshot(model):
    condition = condition_of(model, 1)
    engine = ReferenceEngine(model, 1)
    engine.advance(draws(1, 25), Decoding(), condition=condition)
    taken = engine.snapshot()
    after = engine.advance(draws(1, 25, 25), Decoding(), condition=condition)
    engine.advance(draws(1, 9), Decoding(), condition=condition)
    engine.restore(taken)
    np.testing.assert_array_equal(engine.advance(draws(1, 25, 25), Decoding(), condition=condition), after)
    engine.restore(taken)
    np.testing.assert_array_equal(engine.advance(draws(1, 25, 25), Decoding(), condition=condition), after)


def test_a_condition_may_change_at_every_step(float64):
    model = tiny_wavenet(labels={"speaker": 3}).eval()
    held = condition_of(model, 1)
    stepped = np.repeat(held, 30, axis=1)
    codes = ReferenceEngine(model, 1).advance(draws(1, 30), Decoding(), condition=held)
    np.testing.assert_array_equal(ReferenceEngine(model, 1).advance(draws(1, 30), Decoding(), condition=stepped), codes)
    stepped[:, 15:] *= -3
    changed = ReferenceEngine(model, 1).logits(codes, stepped)
    kept = ReferenceEngine(model, 1).logits(codes, held)
    np.testing.assert_array_equal(changed[:, :15], kept[:, :15])
    assert not np.allclose(changed[:, 15], kept[:, 15])


def test_codes_that_do_not_fit_are_refused(model):
    engine = ReferenceEngine(model, 2)
    with pytest.raises(InputError, match="70000"):
        engine.logits(np.full((2, 3, 1), 70000))
    with pytest.raises(InputError, match=r"expected \(2, n\) and \(2, n, 1\)"):
        engine.advance(draws(1, 5), Decoding())
    with pytest.raises(InputError, match=r"codes \(2, 4, 1\)"):
        engine.advance(draws(2, 5), Decoding(), np.full((2, 4, 1), -1))
    with pytest.raises(InputError, match=r"condition is \(2, 3, 6, 10\); expected \(2, 1 or 5"):
        engine.advance(draws(2, 5), Decoding(), condition=np.zeros((2, 3, 6, 10), dtype=np.float32))


def test_generate_makes_the_same_sound_for_any_blocksize_and_number_of_streams(float64):
    model = tiny_wavenet().eval()

    def sound(n_streams: int, blocksize: int):
        blocks = generate(ReferenceEngine(model, n_streams), 50, seed=9, blocksize=blocksize)
        return np.concatenate(list(blocks), axis=1)

    np.testing.assert_array_equal(sound(1, 7), sound(1, 50))
    np.testing.assert_array_equal(sound(3, 16)[:1], sound(1, 50))
    assert sound(3, 16).shape == (3, 50)
    assert not np.array_equal(sound(3, 16)[0], sound(3, 16)[1])


def test_generate_continues_a_priming_recording(float64):
    model = tiny_wavenet().eval()
    engine = ReferenceEngine(model, 1)
    whole = np.concatenate(list(generate(engine, 60, seed=2)), axis=1)
    continued = np.concatenate(list(generate(engine, 20, seed=2, prime=whole[0, :40])), axis=1)
    np.testing.assert_array_equal(continued, whole[:, 40:])
