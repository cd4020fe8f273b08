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
def test_every_code_stands_for_a_frame_that_becomes_it(codes):
    random = np.random.default_rng(1).integers(0, N_LEVELS, (50, codes.n_channels))
    if codes is VOICE:
        random[:20, 1] = 0
    np.testing.assert_array_equal(codes.encode(codes.decode(random)), random)


def test_frames_come_back_to_within_half_a_level():
    frames = VOICE.features.frames(sound())
    again = VOICE.decode(VOICE.encode(frames))
    assert np.abs(again - frames)[:, :12].max() <= 2.15 / (N_LEVELS - 1) / 2 + 1e-6
    assert np.abs(again - frames)[:, 12].max() <= 2 * np.log(400 / 60) / (N_LEVELS - 2) / 2 + 1e-6
    np.testing.assert_array_equal(again[:, 13], frames[:, 13])  # what is voiced stays so
    VOICE.features.check(again, "frames that were codes")


def test_silence_is_level_0_in_every_channel():
    assert not VOICE.encode(VOICE.features.silent).any()
    np.testing.assert_array_equal(VOICE.decode(np.zeros(15, dtype=int)), VOICE.features.silent)


def test_loudness_pitch_and_strength_come_before_the_bands_from_low_to_high():
    frame = VOICE.features.silent.copy()
    frame[[0, 15]] = 0.5  # the lowest band, and the loudness
    (changed,) = np.nonzero(VOICE.encode(frame))
    assert changed.tolist() == [0, 3]


def test_what_lies_beyond_the_levels_is_at_their_end():
    loud = np.full((1, 12), 3.0)
    assert (BANDS.encode(loud) == N_LEVELS - 1).all()
    assert not BANDS.encode(-loud).any()


def test_levels_may_be_fewer():
    few = FrameCodes(BANDS.features, n_levels=4)
    assert few.encode(np.array([[-1.0, 0.0, 1.15] * 4]))[0, :3].tolist() == [0, 1, 3]
