import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen.errors import InputError
from wavegen.evaluation import resynthesis
from wavegen.features.frames import Features
from wavegen.features.log_mel import LogMel

LOG_MEL = LogMel(8000, n_mels=4, hop=40, n_fft=256)
FEATURES = Features(LOG_MEL)
VOCODER = {"n_features": 4, "hop": 40, "frame_channels": 6, "look_ahead": 1, "n_classes": 256}


def tones(n: int = 3000) -> np.ndarray:
    time, random = np.arange(n) / 8000, np.random.default_rng(0)
    pure = [0.5 * np.sin(2 * np.pi * frequency * time) for frequency in (300, 900, 2000)]
    return np.stack(pure) + 0.03 * random.standard_normal((3, n))


def test_recordings_are_at_no_distance_from_themselves_and_farther_from_noise_than_from_their_inversion(monkeypatch):
    pytest.importorskip("auraloss")
    recorded = tones()
    inverted = LOG_MEL.invert(np.stack([FEATURES.frames(tone) for tone in recorded]), 3000)
    assert inverted.shape == (3, 3000)
    random = np.random.default_rng(0)
    monkeypatch.setattr(LogMel, "invert", lambda self, frames, n: recorded)
    perfect = resynthesis.measure(tiny_checkpoint(**VOCODER), FEATURES, recorded, [{}] * 3)
    assert perfect.griffin_lim == (0, pytest.approx(0, abs=1e-4))
    monkeypatch.setattr(LogMel, "invert", lambda self, frames, n: inverted)
    near = resynthesis.measure(tiny_checkpoint(**VOCODER), FEATURES, recorded, [{}] * 3)
    monkeypatch.setattr(LogMel, "invert", lambda self, frames, n: random.standard_normal((3, 3000)))
    far = resynthesis.measure(tiny_checkpoint(**VOCODER), FEATURES, recorded, [{}] * 3)
    assert 0 < near.griffin_lim.log_mel_db < 0.5 * far.griffin_lim.log_mel_db
    assert 0 < near.griffin_lim.spectral < far.griffin_lim.spectral
    assert near.vocoded == far.vocoded == perfect.vocoded
    assert near.shuffled != near.vocoded


def test_a_tenth_of_the_amplitude_is_20_db_away(monkeypatch):
    pytest.importorskip("auraloss")
    random = np.random.default_rng(0)
    recorded = 0.3 * random.standard_normal((2, 3000))
    monkeypatch.setattr(LogMel, "invert", lambda self, frames, n: 0.1 * recorded)
    found = resynthesis.measure(tiny_checkpoint(**VOCODER), FEATURES, recorded, [{}] * 2)
    assert found.griffin_lim.log_mel_db == pytest.approx(20, abs=0.01)


def test_too_little_to_compare_is_refused():
    for recorded in (tones()[:1], tones(2000)):
        with pytest.raises(InputError, match="expected 2 or more, of 2400 samples or more"):
            resynthesis.measure(tiny_checkpoint(**VOCODER), FEATURES, recorded, [{}] * len(recorded))
