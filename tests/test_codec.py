import math

import numpy as np
import pytest
import torch
import torchaudio

from wavegen.codec import Linear, MuLaw, make_codec
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
