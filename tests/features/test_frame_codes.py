import numpy as np
import pytest

from wavegen.features.frame_codes import N_LEVELS, FrameCodes
from wavegen.features.frames import make_features

VOICE = FrameCodes(make_features(8000, {"n_mels": 12, "hop": 80, "n_fft": 256, "pitch": {}}))
BANDS = FrameCodes(make_features(8000, {"n_mels": 12, "hop": 80, "n_fft": 256}))


def sound(hertz: float = 150.0, n: int = 8000) -> np.ndarray:
    """A tone with harmonics whose second half is noise."""
    time = np.arange(n) / 8000
    voice = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8)) / 4
    return np.where(time < time[-1] / 2, voice, 0.1 * np.random.default_rng(0).standard_normal(n))


@pytest.mark.parametrize("codes", [VOICE, BANDS], ids=["bands and pitch", "bands"])
def test_every_code_of_a_sound_stands_for_a_frame_that_becomes_it(codes):
    made = codes.encode(codes.features.frames(0.3 * sound()))
    np.testing.assert_array_equal(codes.encode(codes.decode(made)), made)


def test_frames_come_back_to_within_half_a_level_of_every_coefficient():
    frames = VOICE.features.frames(sound() + 0.03 * np.random.default_rng(1).standard_normal(8000))
    again = VOICE.decode(VOICE.encode(frames))
    assert np.abs(again - frames)[:, :12].max() * 50 < 1.5  # dB; half a level of all twelve at once would be 3
    assert np.abs(again - frames)[:, 12].max() <= 2 * np.log(400 / 60) / (N_LEVELS - 2) / 2 + 1e-6
    np.testing.assert_array_equal(again[:, 13], frames[:, 13])  # what is voiced stays so
    VOICE.features.check(again, "frames that were codes")


def test_silence_has_the_lowest_level_of_all_that_says_how_loud_it_is_and_no_shape():
    codes = VOICE.encode(VOICE.features.silent)
    assert codes[:4].tolist() == [0, 0, 0, 0]  # loudness, pitch, strength, mean of the bands
    assert set(codes[4:].tolist()) == {N_LEVELS // 2}
    np.testing.assert_allclose(VOICE.decode(codes)[:12], -1, atol=0.02)


def test_loudness_pitch_and_strength_come_before_the_cepstrum():
    frame = VOICE.features.silent.copy()
    frame[15] = 0.5
    assert np.flatnonzero(VOICE.encode(frame) != VOICE.encode(VOICE.features.silent)).tolist() == [0]
    frame = VOICE.features.silent.copy()
    frame[12:14] = 0.1, 1
    assert np.flatnonzero(VOICE.encode(frame) != VOICE.encode(VOICE.features.silent)).tolist() == [1]
    frame = VOICE.features.silent + np.float32(0.5) * (np.arange(16) < 12)  # all bands louder
    assert np.flatnonzero(VOICE.encode(frame) != VOICE.encode(VOICE.features.silent)).tolist() == [3]


def test_a_tilt_of_the_bands_is_the_second_coefficient_and_a_ripple_a_later_one():
    tilt = 0.3 * np.cos(np.pi / 12 * (np.arange(12) + 0.5))
    ripple = 0.1 * np.cos(np.pi / 12 * 5 * (np.arange(12) + 0.5))
    flat = BANDS.encode(np.zeros((1, 12)))[0].astype(int)
    assert np.flatnonzero(BANDS.encode(tilt[None])[0] != flat).tolist() == [1]
    assert np.flatnonzero(BANDS.encode(ripple[None])[0] != flat).tolist() == [5]


def test_what_lies_beyond_the_levels_is_at_their_end():
    assert BANDS.encode(np.full((1, 12), 3.0))[0, 0] == N_LEVELS - 1
    assert BANDS.encode(np.full((1, 12), -3.0))[0, 0] == 0
    assert BANDS.encode(np.array([[1.0] * 6 + [-1.0] * 6]))[0, 1] == N_LEVELS - 1
    assert BANDS.decode(np.full((1, 12), N_LEVELS - 1)).max() <= 1.15 + 1e-6


def test_levels_may_be_fewer():
    few = FrameCodes(BANDS.features, n_levels=4)
    assert few.encode(np.full((1, 12), 1.15))[0].tolist() == [3] + [2] * 11
