import numpy as np
import pytest
import torch
import torchaudio

from wavegen.errors import InputError
from wavegen.features.log_mel import SILENT, LogMel

FEATURES = LogMel(8000, n_mels=20, hop=50, n_fft=256)


def tone(frequency: float, n: int = 4000) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(n) / 8000)


def test_silence_and_a_sine_at_full_scale_have_the_values_that_the_definition_says():
    assert (FEATURES.frames(np.zeros(1000)) == SILENT).all()
    middle = FEATURES.frames(tone(1000))[40]
    assert 0.9 < middle.max() < 1.1  # between two filters a sine gives a share to each
    quieter = FEATURES.frames(0.1 * tone(1000))[40]
    np.testing.assert_allclose(middle.max() - quieter.max(), 1 / 2.5, atol=1e-4)
    loudest = [FEATURES.frames(tone(frequency))[40].argmax() for frequency in (200, 800, 3000)]
    assert loudest == sorted(loudest)
    assert len(set(loudest)) == 3


def test_a_frame_is_the_spectrum_around_its_sample():
    random = np.random.default_rng(0)
    waveform = 0.3 * random.standard_normal(1000)
    frame = 7
    around = waveform[frame * 50 - 128 : frame * 50 + 128]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    magnitudes = np.abs(np.fft.rfft(around * window)) * 2 / window.sum()
    edges_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 22) / 2595) - 1)
    bins = np.linspace(0, 4000, 129)
    rising = (bins[:, None] - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins[:, None]) / np.diff(edges_hz)[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    expected = (np.log10(np.maximum(magnitudes @ filters, 1e-5)) + 2.5) / 2.5
    np.testing.assert_allclose(FEATURES.frames(waveform)[frame], expected, atol=1e-4)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(1, 1), (50, 1), (51, 2), (1000, 20)])
def test_a_sound_has_a_frame_for_every_hop_it_begins(n_samples, n_frames):
    assert FEATURES.n_frames(n_samples) == n_frames
    assert FEATURES.frames(np.zeros(n_samples)).shape == (n_frames, 20)


def test_the_filters_are_those_of_torchaudio():
    torchaudio = pytest.importorskip("torchaudio")
    theirs = torchaudio.functional.melscale_fbanks(129, 0.0, 4000.0, 20, 8000).numpy()
    np.testing.assert_allclose(FEATURES.filters, theirs, atol=1e-5)


def test_a_higher_break_frequency_makes_low_bands_wider_and_high_ones_narrower():
    wide = LogMel(16000, n_mels=20, hop=200, n_fft=512, break_frequency=3000)
    widths = (wide.filters > 0).sum(axis=0) * 16000 / 512  # Hz
    assert widths.min() > 350
    narrow = (LogMel(16000, n_mels=20, hop=200, n_fft=512).filters > 0).sum(axis=0) * 16000 / 512
    assert narrow[0] < widths[0]
    assert narrow[-1] > widths[-1]


def test_parameters_that_cannot_work_are_refused():
    with pytest.raises(InputError, match=r"hop is 200; expected at most half of n_fft, 128 samples"):
        LogMel(8000, n_mels=20, hop=200, n_fft=256)
    with pytest.raises(InputError, match=r"features.n_mels is 80, of which \d+ bands are narrower than a bin"):
        LogMel(8000, n_mels=80, hop=50, n_fft=128)
    with pytest.raises(InputError, match="span 5000 to 4000 Hz"):
        LogMel(8000, n_mels=20, hop=50, n_fft=256, f_min=5000)


def test_frames_are_the_same_where_training_computes_in_bfloat16():
    random = np.random.default_rng(0)
    waveform = 0.3 * random.standard_normal(1000)
    with torch.autocast("cpu", torch.bfloat16):
        inside = FEATURES.frames(waveform)
    np.testing.assert_array_equal(inside, FEATURES.frames(waveform))


def test_bands_are_those_of_torchaudios_mel_spectrogram():
    waveform = 0.3 * np.random.default_rng(0).standard_normal(4000)
    theirs = torchaudio.transforms.MelSpectrogram(
        8000, n_fft=256, hop_length=50, n_mels=20, power=1, mel_scale="htk", norm=None, pad_mode="constant"
    )
    bands = theirs(torch.from_numpy(waveform).float())[:, :80].T.numpy() * 2 / torch.hann_window(256).sum().item()
    decibels = 20 * np.log10(np.maximum(bands, 1e-5))
    np.testing.assert_allclose(FEATURES.frames(waveform) * 50 - 50, decibels, atol=1e-3)
