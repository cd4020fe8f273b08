"""The figures that a vocoder is judged by, of sounds of which they are known or can be ordered."""

import sys

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen.data import audio
from wavegen.data.windows import Segment
from wavegen.errors import InputError
from wavegen.evaluation import listen
from wavegen.evaluation.listen import COLUMNS, FIGURES, Spread, compare
from wavegen.features.log_mel import LogMel
from wavegen.features.pitch import PitchTrack
from wavegen.generation.session import LoadedModel

RATE = 16000
FEATURES = LogMel(RATE, n_mels=40)
VOCODER = {"n_features": 4, "hop": 40, "frame_channels": 6, "look_ahead": 1, "n_classes": 256}


def voice(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """Syllables of a buzz whose pitch falls from 180 to 120 Hz, with pauses between them and a little breath."""
    time, random = np.arange(round(seconds * rate)) / rate, np.random.default_rng(0)
    phase = 2 * np.pi * np.cumsum(180 - 60 * time / seconds) / rate
    buzz = sum(np.sin(n * phase) / n for n in range(1, 16))
    return (buzz * np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1) + 0.01 * random.standard_normal(len(time))) * 0.3


def noise(n: int, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(1).standard_normal(n)


def tracks(*f0s: list[float], strength: float = 0.9) -> list[PitchTrack]:
    return [PitchTrack(np.array(f0), np.full(len(f0), strength), np.zeros(len(f0))) for f0 in f0s]


def test_a_recording_beside_itself_is_perfect_griffin_lim_worse_and_noise_bad():
    recorded = voice()
    figures = [figure for figure in FIGURES if figure.package not in listen.missing_packages()]
    rows = compare(FEATURES, [recorded], [noise(len(recorded))], figures)
    means = {figure.title: [row[column].mean for column in COLUMNS] for figure, row in zip(figures, rows, strict=True)}
    own, of_noise, inverted = means.pop("HNR, dB")
    assert of_noise < 0 < inverted < own + 0.5
    assert own > 12
    assert means["voiced frames lost"][1] > 0.9
    means.pop("pitch error, cents")  # where noise seems to be voiced, if anywhere
    best = {"PESQ, wide band (up to 4.64)": 4.64, "STOI (up to 1)": 1, "ESTOI (up to 1)": 1}
    for title, (own, of_noise, inverted) in means.items():
        assert own == pytest.approx(best.get(title, 0), abs=0.01), title
        if "PESQ" not in title:  # which was not made for a buzz: both are bad
            assert abs(own - inverted) < 0.6 * abs(own - of_noise), title


def test_a_delay_costs_intelligibility_but_no_opinion():
    pytest.importorskip("pystoi")
    recorded = voice()
    late = np.roll(recorded, 320)  # 20 ms
    assert listen.stoi(recorded, late, RATE) < 0.95
    assert listen.stoi(recorded, late, RATE, is_extended=True) < listen.stoi(recorded, late, RATE)
    pytest.importorskip("pesq")
    assert listen.pesq_wide_band(recorded, late, RATE) > 4.4


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_opinion_can_be_had_at_any_rate(rate):
    pytest.importorskip("pesq")
    low = [
        audio.resample(audio.resample(sound, RATE, 8000), 8000, RATE)
        for sound in (voice(), voice() + noise(2 * RATE, 0.01))
    ]
    expected = listen.pesq_wide_band(*low, RATE)
    assert 1.1 < expected < 4
    assert listen.pesq_wide_band(*(audio.resample(sound, RATE, rate) for sound in low), rate) == pytest.approx(
        expected, abs=0.05
    )


@pytest.mark.filterwarnings("error")
def test_what_is_silent_or_too_short_has_no_opinion_and_no_intelligibility():
    pytest.importorskip("pystoi")
    assert np.isnan(listen.stoi(voice(0.2), voice(0.2), RATE))
    pytest.importorskip("pesq")
    silence = np.zeros(RATE)
    for recorded, made in ((voice(1.0), silence), (silence, voice(1.0)), (silence, silence), (voice(0.2), voice(0.2))):
        assert np.isnan(listen.pesq_wide_band(recorded, made, RATE))


def test_hnr_is_that_of_boersma_where_the_recording_is_clearly_voiced():
    (recorded,) = tracks([100, 100, 0, 100])
    recorded.strength[3] = 0.6  # 1.8 dB: does not count
    strengths = np.array([10 / 11, 0.5, 1, 1])  # 10 dB and 0 dB
    assert listen.harmonics_to_noise(recorded, PitchTrack(recorded.f0, strengths, recorded.f0)) == pytest.approx(5)
    silent, sine = tracks([0] * 4, strength=0), tracks([100] * 4, strength=1)
    assert listen.harmonics_to_noise(recorded, silent[0]) == pytest.approx(-20)
    assert listen.harmonics_to_noise(recorded, sine[0]) == pytest.approx(60)
    assert np.isnan(listen.harmonics_to_noise(silent[0], recorded))


def test_pitch_is_compared_where_both_are_voiced():
    recorded, made, unvoiced = tracks(
        [100, 200, 300, 0, 0], [100 * 2 ** (1 / 12), 0, 300 / 2 ** (3 / 12), 0, 99], [0] * 5
    )
    assert listen.voiced_frames_lost(recorded, made) == pytest.approx(1 / 3)
    assert listen.pitch_error(recorded, made) == pytest.approx(200)
    assert listen.voiced_frames_lost(recorded, unvoiced) == 1
    assert np.isnan(listen.pitch_error(recorded, unvoiced))
    assert np.isnan(listen.voiced_frames_lost(unvoiced, recorded))


def test_a_spread_is_of_the_recordings_that_have_the_figure():
    assert Spread.of([1.0, 3.0, np.nan]) == (2, 1, 2)
    assert Spread.of([np.nan]).n == 0


@pytest.mark.parametrize("package", ["pesq", "pystoi", "auraloss"])
def test_a_package_that_is_missing_costs_its_own_rows_only(monkeypatch, package):
    others = listen.missing_packages()
    monkeypatch.setitem(sys.modules, package, None)
    assert set(listen.missing_packages()) == {*others, package}
    figures = [figure for figure in FIGURES if figure.package not in listen.missing_packages()]
    recorded = voice(0.6)
    assert len(compare(FEATURES, [recorded], [recorded], figures)) == len(figures) >= 4


class Store:
    samples = np.arange(60000, dtype=np.int16)


def segment(start: int, n: int) -> Segment:
    return Segment("x", start, n, {}, True)


def test_recordings_are_spread_through_the_split_and_cut_off_after_6_s():
    segments = [segment(0, 100), segment(100, 4000), segment(5000, 3000), segment(8000, 50000)]
    chosen = listen.choose_recordings(Store(), segments, 8, 2000)
    assert [len(one) for one in chosen] == [4000, 3000, 12000]
    assert chosen[2][1] == 8001 / 32768
    assert [len(one) for one in listen.choose_recordings(Store(), segments, 1, 2000)] == [4000]
    with pytest.raises(InputError, match=r"the longest recording is 0.05 s; --listen expects one of 1.2 s or more"):
        listen.choose_recordings(Store(), segments[:1], 2, 2000)


def test_recordings_are_resynthesised_as_vocode_does_each_alone():
    model = tiny_checkpoint(**VOCODER)
    recorded = [voice(0.1, 8000), voice(0.05, 8000), voice(0.07, 8000)]
    made = listen.resynthesise(model, recorded, seed=3)
    for waveform, sound in zip(recorded, made, strict=True):
        np.testing.assert_array_equal(sound, LoadedModel(model).vocode(waveform, seed=3).samples)
