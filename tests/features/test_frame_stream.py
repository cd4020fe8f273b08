import numpy as np
import pytest

from tests.features.test_pitch import AH, steady, vowel, with_noise
from wavegen.features import pitch
from wavegen.features.frame_stream import N_REVISED, FrameStream
from wavegen.features.frames import Features, make_features
from wavegen.features.pitch import QUIET_PEAK

RATE = 16000
FEATURES = make_features(RATE, {"hop": 200, "n_mels": 32, "pitch": {}})


def sound() -> np.ndarray:
    """A voice that rises, between noise."""
    voice = vowel(np.linspace(110, 170, RATE // 2), AH)
    return with_noise(np.concatenate([np.zeros(3000), voice, np.zeros(2500)]), 30)


def streamed(waveform: np.ndarray, features: Features = FEATURES, sizes: int | None = None) -> np.ndarray:
    """All frames of a sound that arrives, with silence behind it, in portions of random sizes or at once."""
    stream, rest = FrameStream(features), np.concatenate([waveform, np.zeros(features.reach + 40 * features.hop)])
    random = np.random.default_rng(sizes)
    while len(rest):
        n = len(rest) if sizes is None else random.integers(0, 700)
        stream.feed(rest[:n])
        rest = rest[n:]
    return np.stack([stream.frame(number) for number in range(features.n_frames(len(waveform)))])


def test_frames_that_are_no_longer_revised_are_those_of_the_whole_sound():
    whole, arrived = FEATURES.frames(sound()), streamed(sound())
    assert N_REVISED < 40
    np.testing.assert_allclose(arrived[:, :32], whole[:, :32], atol=1e-5)
    inside = slice(17, 53)  # of the voice; at its edges the peak of the whole sound is not known yet
    assert (whole[inside, 33] == 1).all()
    np.testing.assert_allclose(arrived[inside, 32:], whole[inside, 32:], atol=1e-4)


@pytest.mark.parametrize("parameters", [{"n_mels": 8}, {"n_mels": 0, "pitch": {}}])
def test_bands_and_pitch_each_do_alone(parameters):
    features = make_features(RATE, {"hop": 200, **parameters})
    whole, arrived = features.frames(sound()), streamed(sound(), features)
    np.testing.assert_allclose(arrived[20:50], whole[20:50], atol=1e-4)


def test_frames_are_the_same_to_the_last_bit_however_the_sound_arrives():
    for seed in (1, 2):
        np.testing.assert_array_equal(streamed(sound(), sizes=seed), streamed(sound()))


def test_a_frame_is_there_once_its_samples_are():
    stream = FrameStream(FEATURES)
    stream.feed(np.zeros(FEATURES.reach - 1))
    assert stream.n_frames == 0
    stream.feed(np.zeros(1))
    assert stream.n_frames == 1
    stream.feed(np.zeros(3 * 200 - 1))
    assert stream.n_frames == 3


def test_a_quiet_hum_is_no_voice_before_the_first_word_nor_after_it():
    hum = QUIET_PEAK / 50 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    word = vowel(steady(140, 0.5), AH)
    frames = streamed(np.concatenate([hum, word, hum]))
    is_voiced = frames[:, 33] > 0
    assert not is_voiced[:76].any()
    assert is_voiced[84:116].all()
    assert not is_voiced[124:].any()


def test_a_cough_is_forgotten(monkeypatch):
    monkeypatch.setattr(pitch, "HALF_LIFE_S", 0.5)
    cough = np.random.default_rng(0).uniform(-1, 1, 2000)
    quiet = 0.02 * vowel(steady(140, 0.5), AH) / 0.3
    assert not (streamed(np.concatenate([cough, quiet]))[20:30, 33] > 0).any()
    later = streamed(np.concatenate([cough, np.zeros(3 * RATE), quiet]))
    assert (later[-35:-5, 33] > 0).all()
