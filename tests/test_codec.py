import math

import numpy as np
import pytest
import torch
import torchaudio

from wavegen.codec import Linear, MuLaw, PreEmphasised, make_codec
from wavegen.errors import InputError

EVERY_CODEC = [
    *(MuLaw(n) for n in (2, 3, 17, 256, 1024, 65536)),
    *(Linear(n) for n in (2, 3, 255, 256, 65536)),
]


def companded(codec: MuLaw | Linear, x: np.ndarray) -> np.ndarray:
    """The axis on which the levels are evenly spaced."""
    if isinstance(codec, Linear):
        return x
    mu = codec.n_classes - 1
    return np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)


@pytest.mark.parametrize("codec", EVERY_CODEC, ids=str)
def test_every_code_decodes_to_a_value_that_encodes_to_it(codec):
    codes = np.arange(codec.n_classes)
    np.testing.assert_array_equal(codec.encode(codec.decode(codes)), codes)


@pytest.mark.parametrize("codec", EVERY_CODEC, ids=str)
def test_round_trip_is_off_by_at_most_half_a_step(codec):
    x = np.linspace(-1, 1, 100_001)
    error = np.abs(companded(codec, codec.decode(codec.encode(x)).astype(np.float64)) - companded(codec, x))
    # float32 output: its spacing near 1 is 1.2e-7, stretched by the slope of the companding near 0 (mu / ln(1 + mu))
    # times values there, which are smaller by the same factor.
    assert error.max() <= 1 / (codec.n_classes - 1) + 1e-6


@pytest.mark.parametrize("codec", EVERY_CODEC, ids=str)
def test_codec_is_symmetric_so_it_adds_no_offset(codec):
    codes = np.arange(codec.n_classes)
    np.testing.assert_allclose(codec.decode(codes), -codec.decode(codes[::-1]), atol=1e-12)
    noise = np.random.default_rng(0).uniform(-1, 1, 200_000)
    noise = np.concatenate([noise, -noise])
    assert abs(codec.decode(codec.encode(noise)).astype(np.float64).mean()) < 1e-8


@pytest.mark.parametrize("codec", EVERY_CODEC, ids=str)
def test_silence_becomes_the_smallest_value_there_is(codec):
    assert codec.encode([0.0])[0] == codec.silence == codec.n_classes // 2
    assert abs(codec.decode([codec.silence])[0]) == np.abs(codec.decode(np.arange(codec.n_classes))).min()


@pytest.mark.parametrize("codec", EVERY_CODEC, ids=str)
def test_louder_samples_never_get_lower_codes(codec):
    assert (np.diff(codec.encode(np.linspace(-1, 1, 20_001))) >= 0).all()
    assert (np.diff(codec.decode(np.arange(codec.n_classes))) > 0).all()


def test_mu_law_agrees_with_torchaudio_exactly_in_float64():
    x = torch.linspace(-1, 1, 1_000_001, dtype=torch.float64)
    theirs = torchaudio.functional.mu_law_encoding(x, 256).numpy()
    np.testing.assert_array_equal(MuLaw(256).encode(x.numpy()), theirs)
    codes = torch.arange(256)
    np.testing.assert_allclose(
        MuLaw(256).decode(codes.numpy()), torchaudio.functional.mu_law_decoding(codes, 256).numpy(), atol=1e-6
    )


def test_mu_law_differs_from_torchaudio_in_float32_only_beside_decision_boundaries():
    x = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = MuLaw(256).encode(x.numpy()), torchaudio.functional.mu_law_encoding(x, 256).numpy()
    different = ours != theirs
    assert different.mean() < 1e-4
    position = (companded(MuLaw(256), x.numpy()[different].astype(np.float64)) + 1) / 2 * 255 + 0.5
    assert np.abs(position - np.round(position)).max(initial=0) < 255 * 4 * np.finfo(np.float32).eps


def g711_levels() -> np.ndarray:
    """ITU-T G.711, table 2b: the 128 magnitudes of mu-law on its scale of 8159, from segment and step."""
    segment, step = np.divmod(np.arange(128), 16)
    return ((2 * step + 33) << segment) - 33


def test_mu_law_stays_close_to_the_g711_table():
    ours = MuLaw(256).decode(np.arange(128, 256)).astype(np.float64)
    difference = companded(MuLaw(256), g711_levels() / 8159) - companded(MuLaw(256), ours)
    in_steps = np.abs(difference) * 255 / 2
    assert g711_levels()[[0, 1, 127]].tolist() == [0, 2, 8031]  # the table's first, second and last value
    assert in_steps.max() < 1.1  # the figure in the module's docstring


@pytest.mark.parametrize("codec", [MuLaw(256), Linear(256)], ids=str)
@pytest.mark.parametrize(("value", "named"), [(1.5, "1.5"), (-2.0, "-2.0"), (math.nan, "nan"), (math.inf, "inf")])
def test_samples_beyond_full_scale_are_refused_by_name(codec, value, named):
    with pytest.raises(InputError, match=named):
        codec.encode([0.0, value])


@pytest.mark.parametrize("codec", [MuLaw(256), Linear(256)], ids=str)
def test_codes_that_do_not_exist_are_refused_by_name(codec):
    with pytest.raises(InputError, match="256"):
        codec.decode([0, 256])
    with pytest.raises(InputError, match="-1"):
        codec.decode([-1])
    with pytest.raises(InputError, match="float64"):
        codec.decode([0.5])


def test_impossible_codecs_are_refused():
    with pytest.raises(InputError, match="n_classes is 1"):
        MuLaw(1)
    with pytest.raises(InputError, match="65537"):
        Linear(65537)
    with pytest.raises(InputError, match="mu-law, linear"):
        make_codec("a-law", 256)


RAISED = [PreEmphasised(codec, 0.85) for codec in (MuLaw(256), Linear(256), Linear(65536))]


def speech(*shape: int) -> np.ndarray:
    """Noise that falls with frequency, as speech does, and stays within the codes when that is undone."""
    noise = np.cumsum(np.random.default_rng(0).standard_normal(shape), axis=-1)
    noise -= noise.mean(axis=-1, keepdims=True)
    return 0.5 * noise / np.abs(noise).max()


@pytest.mark.parametrize("codec", RAISED, ids=str)
def test_pre_emphasised_codes_are_those_of_the_differences(codec):
    x = speech(1000)
    raised = np.concatenate([x[:1], x[1:] - 0.85 * x[:-1]])
    np.testing.assert_array_equal(codec.encode(x), codec.codec.encode(raised))


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.85, 0.97])
def test_a_pre_emphasised_round_trip_is_off_by_half_a_step_that_de_emphasis_amplifies(coefficient):
    codec, x = PreEmphasised(Linear(256), coefficient), speech(20_000)
    error = np.abs(codec.decode(codec.encode(x)) - x)
    assert error.max() <= 1 / 255 / (1 - coefficient) + 1e-6
    steady = PreEmphasised(Linear(256), coefficient).encode(np.full(1000, 0.3))  # every error has the same sign
    amplified = abs(codec.decode(steady)[-1] - 0.3)
    np.testing.assert_allclose(
        amplified, abs(codec.codec.decode(steady[-1:])[0] - 0.3 * (1 - coefficient)) / (1 - coefficient), atol=1e-5
    )


def test_without_a_coefficient_a_codec_is_the_plain_one():
    assert make_codec("linear", 256, 0.0) == Linear(256)
    assert make_codec("linear", 256, 0.85) == PreEmphasised(Linear(256), 0.85)
    assert make_codec("mu-law", 256, 0.85) == PreEmphasised(MuLaw(256), 0.85)
    plain, raised = MuLaw(256), PreEmphasised(MuLaw(256), 0.85)
    assert (raised.kind, raised.n_classes, raised.silence) == (plain.kind, plain.n_classes, plain.silence)


@pytest.mark.parametrize("sizes", [(1,), (7,), (0, 300, 0), (1000,)], ids=str)
@pytest.mark.parametrize("codec", [*RAISED, MuLaw(256)], ids=str)
def test_a_decoder_goes_on_where_its_last_block_ended(codec, sizes):
    codes = codec.encode(speech(3, 1000))
    decoder, blocks, first = codec.decoder(), [], 0
    while first < 1000:
        size = sizes[min(len(blocks), len(sizes) - 1)] or 11 * (len(blocks) > 0)
        blocks.append(decoder.decode(codes[:, first : first + size]))
        first += size
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), codec.decode(codes))


def test_two_decoders_of_one_codec_do_not_disturb_each_other():
    codec = RAISED[0]
    codes = codec.encode(speech(2, 100))
    one, other = codec.decoder(), codec.decoder()
    parts = []
    for first in (0, 50):
        parts.append(one.decode(codes[0, first : first + 50]))
        other.decode(codes[1, first : first + 50])
    np.testing.assert_array_equal(np.concatenate(parts), codec.decode(codes[0]))


@pytest.mark.parametrize("codec", RAISED, ids=str)
def test_every_sound_of_an_array_is_a_sound_of_its_own(codec):
    x = speech(2, 3, 50)
    codes = codec.encode(x)
    assert codes.shape == codec.decode(codes).shape == (2, 3, 50)
    for row in np.ndindex(2, 3):
        np.testing.assert_array_equal(codec.encode(x[row]), codes[row])
        np.testing.assert_array_equal(codec.decode(codes[row]), codec.decode(codes)[row])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 3, 0), (0, 5)])
@pytest.mark.parametrize("codec", [MuLaw(256), RAISED[0]], ids=str)
def test_nothing_is_decoded_to_nothing(codec, shape):
    decoder = codec.decoder()
    made = decoder.decode(np.zeros(shape, dtype=np.int64))
    assert (made.shape, made.dtype) == (shape, np.float32)
    assert codec.encode(np.zeros(shape)).shape == shape


def test_a_single_code_has_the_value_of_a_sound_of_one_sample():
    codec = RAISED[0]
    assert codec.decode(200).shape == ()
    assert codec.decode(200) == codec.decode([200])[0]


def test_what_leaves_full_scale_by_pre_emphasis_and_back_is_clipped():
    codec = PreEmphasised(Linear(256), 0.85)
    x = np.tile([1.0, -1.0], 50)  # whose differences are 1.85
    codes = codec.encode(x)
    assert set(codes) == {0, 255}
    assert np.abs(codec.decode(codes)).max() <= 1
    assert (codec.decode(np.full(100, 255)) == 1).all()
    # What is given out is clipped, and what the next sample is made of is not, so that blocks make no difference.
    sound = codec.decode(np.concatenate([np.full(100, 255), np.zeros(1, dtype=int)]))
    assert sound[-1] == 1


def test_levels_are_refused_a_pre_emphasis():
    assert make_codec("levels", 16).n_classes == 16
    with pytest.raises(InputError, match=r"pre_emphasis is 0\.85, and levels are no sound; expected 0"):
        make_codec("levels", 16, 0.85)


@pytest.mark.parametrize("coefficient", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_a_coefficient_outside_its_range_is_refused_by_name(coefficient):
    with pytest.raises(InputError, match=f"pre_emphasis is {coefficient}; expected a number from 0 to below 1"):
        make_codec("linear", 256, coefficient)


@pytest.mark.parametrize("codec", RAISED, ids=str)
def test_pre_emphasised_codecs_refuse_what_the_plain_ones_do(codec):
    with pytest.raises(InputError, match=r"1\.5"):
        codec.encode([0.0, 1.5])
    with pytest.raises(InputError, match="nan"):
        codec.encode([math.nan])
    with pytest.raises(InputError, match="-1"):
        codec.decode([-1])
    with pytest.raises(InputError, match="float64"):
        codec.decode([0.5])
