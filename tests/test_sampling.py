import numpy as np
import pytest

from wavegen.errors import InputError
from wavegen.sampling import Decoding, draw_categorical, guide, probabilities, uniform_rows, uniforms

LOGITS = np.log(np.array([[0.1, 0.4, 0.2, 0.25, 0.05]]))


def test_uniforms_depend_on_nothing_but_seed_stream_and_step():
    whole = uniforms(seed=3, stream=1, step=0, n=50)
    np.testing.assert_array_equal(uniforms(3, 1, 20, 10), whole[20:30])
    np.testing.assert_array_equal(uniforms(3, 1, 7, 1), whole[7:8])
    assert not np.array_equal(uniforms(4, 1, 0, 50), whole)
    assert not np.array_equal(uniforms(3, 2, 0, 50), whole)


def test_uniforms_of_a_step_do_not_depend_on_how_many_a_head_draws():
    np.testing.assert_array_equal(uniform_rows(3, 1, 0, 50, 6)[:, :2], uniform_rows(3, 1, 0, 50, 2))
    np.testing.assert_array_equal(uniform_rows(3, 1, 0, 50, 6)[:, 0], uniforms(3, 1, 0, 50))
    assert len(np.unique(uniform_rows(3, 1, 0, 50, 6))) == 300


def test_uniforms_stay_the_same_across_versions():
    # Written down once: a change here changes every sound that somebody noted a seed for.
    np.testing.assert_allclose(uniforms(0, 0, 0, 3), EXPECTED_UNIFORMS, atol=1e-15)


def test_uniforms_are_uniform():
    drawn = uniforms(0, 0, 0, 100_000).ravel()
    assert 0 <= drawn.min() < drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    chi_squared = ((counts - 5000) ** 2 / 5000).sum()
    assert chi_squared < 43.8  # 19 degrees of freedom, p = 0.001


def test_draws_match_their_probabilities():
    n = 100_000
    codes = draw_categorical(np.repeat(LOGITS, n, axis=0), uniforms(0, 0, 0, n), Decoding())
    expected = n * np.exp(LOGITS[0])
    chi_squared = ((np.bincount(codes, minlength=5) - expected) ** 2 / expected).sum()
    assert chi_squared < 18.5  # 4 degrees of freedom, p = 0.001


def test_temperature_sharpens_and_zero_is_greedy():
    p = np.exp(LOGITS)
    np.testing.assert_allclose(probabilities(LOGITS, Decoding(temperature=0.5)), p**2 / (p**2).sum(), rtol=1e-12)
    np.testing.assert_array_equal(probabilities(LOGITS, Decoding(temperature=0)), [[0, 1, 0, 0, 0]])
    for u in (0.0, 0.5, 1 - 2**-53):
        assert draw_categorical(LOGITS, np.array([u]), Decoding(temperature=0)) == [1]


def test_tiny_temperatures_do_not_overflow():
    np.testing.assert_allclose(probabilities(1e4 * LOGITS, Decoding(temperature=1e-3)), [[0, 1, 0, 0, 0]])


def test_top_k_keeps_the_most_probable_codes():
    kept = probabilities(LOGITS, Decoding(top_k=2))
    np.testing.assert_allclose(kept, [[0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]])
    np.testing.assert_allclose(probabilities(LOGITS, Decoding(top_k=99)), np.exp(LOGITS))


def test_top_p_keeps_the_smallest_set_that_holds_the_probability():
    kept = probabilities(LOGITS, Decoding(top_p=0.6))
    np.testing.assert_allclose(kept, [[0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]])
    np.testing.assert_allclose(probabilities(LOGITS, Decoding(top_p=1e-9)), [[0, 1, 0, 0, 0]])
    np.testing.assert_allclose(probabilities(LOGITS, Decoding(top_p=1.0)), np.exp(LOGITS))


def test_top_p_counts_what_top_k_has_left():
    kept = probabilities(LOGITS, Decoding(top_k=3, top_p=0.5))  # of 0.4, 0.25, 0.2 the first holds 0.47, two hold 0.76
    np.testing.assert_allclose(kept, [[0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]])


def test_ties_go_to_the_lower_code():
    equal = np.zeros((1, 4))
    np.testing.assert_array_equal(probabilities(equal, Decoding(top_k=2)), [[0.5, 0.5, 0, 0]])
    np.testing.assert_array_equal(probabilities(equal, Decoding(temperature=0)), [[1, 0, 0, 0]])


def test_every_stream_may_have_its_own_decoding():
    logits = np.repeat(LOGITS, 3, axis=0)
    u = np.array([0.99, 0.99, 0.99])
    codes = draw_categorical(logits, u, [Decoding(), Decoding(temperature=0), Decoding(top_k=2)])
    assert codes.tolist() == [4, 1, 3]


def test_guidance_moves_both_of_a_pair_away_from_what_the_second_expects():
    logits = np.array([[1.0, 3.0], [2.0, 2.0], [5.0, 0.0], [4.0, 1.0]])
    each = [Decoding(guidance=2.0), Decoding(), Decoding(guidance=0.0), Decoding()]
    np.testing.assert_array_equal(guide(logits, each), [[0, 4], [0, 4], [4, 1], [4, 1]])


def test_no_draw_takes_a_code_of_probability_zero():
    assert draw_categorical(LOGITS, np.array([1 - 2**-53]), Decoding(top_k=2)) == [3]
    assert draw_categorical(LOGITS, np.array([0.0]), Decoding(top_k=2)) == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"guidance": -1},
    ],
)
def test_impossible_decodings_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Decoding(**wrong)


def test_seeds_outside_64_bits_are_refused():
    with pytest.raises(InputError, match="seed is -1"):
        uniforms(-1, 0, 0, 1)


EXPECTED_UNIFORMS = [0.011546754286331562, 0.5023796042735054, 0.25382274039248487]


@pytest.mark.parametrize(
    ("logits", "decoding", "kept"),
    [
        ([2, 1, 1, 1, 0], Decoding(top_k=2), [0, 1]),
        ([2, 1, 1, 1, 0], Decoding(top_p=0.7), [0, 1, 2]),
        (np.log([0.5, 0.25, 0.125, 0.125]), Decoding(top_p=0.75), [0, 1]),
    ],
)
def test_ties_and_exact_sums_are_cut_where_other_programs_cut_them(logits, decoding, kept):
    (shares,) = probabilities(np.array([logits], dtype=np.float64), decoding)
    assert np.flatnonzero(shares).tolist() == kept
