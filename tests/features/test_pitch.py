import io
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tests.conftest import REAL_DATA
from wavegen.errors import InputError
from wavegen.features import pitch as pitch_module
from wavegen.features.pitch import Pitch

RATE = 16000
PITCH = Pitch(RATE)
AH, EE, OO = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240))  # formants in Hz (Peterson and Barney, 1952)


def tone(frequency: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def vowel(f0: np.ndarray, formants: tuple[int, ...], rate: int = RATE, first: int = 1) -> np.ndarray:
    """A pulse train without aliasing, through resonators 80 Hz wide; f0 (T,) in Hz; harmonics from the first given."""
    phase = 2 * np.pi * np.cumsum(f0) / rate
    sound = np.zeros(len(f0))
    for harmonic in range(first, int(rate / 2.1 / f0.max()) + 1):
        hertz = harmonic * f0
        gain = np.ones(len(f0), dtype=complex)
        for centre in formants:
            gain *= centre**2 / (centre**2 - hertz**2 + 80j * hertz)
        sound += np.real(gain * np.exp(1j * harmonic * phase)) / harmonic
    return 0.3 * sound / np.abs(sound).max()


def steady(frequency: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return np.full(round(seconds * rate), float(frequency))


def inside(array: np.ndarray, n: int = 4) -> np.ndarray:
    """Frames whose windows hold nothing but the sound."""
    return array[n:-n]


def cents(f0: np.ndarray, truth: np.ndarray | float) -> np.ndarray:
    return 1200 * np.log2(f0 / truth)


def with_noise(sound: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    rms = np.sqrt(np.mean(sound**2)) * 10 ** (-snr_db / 20)
    return sound + rms * np.random.default_rng(seed).standard_normal(len(sound))


@pytest.mark.parametrize("frequency", [65, 80, 123.4, 220, 390])
def test_a_sine_has_its_frequency_full_strength_and_its_loudness(frequency):
    track = PITCH.track(tone(frequency))
    assert np.abs(cents(inside(track.f0), frequency)).max() < 1
    assert inside(track.strength).min() > 0.99
    np.testing.assert_allclose(inside(track.loudness), 20 * np.log10(0.5 / np.sqrt(2)), atol=0.1)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("formants", [AH, EE, OO])
@pytest.mark.parametrize("frequency", [70, 97, 145, 210, 290, 380])
def test_vowels_have_their_fundamental_at_any_sample_rate(rate, formants, frequency):
    pitch = Pitch(rate, hop=rate // 80)
    track = pitch.track(vowel(steady(frequency, 0.25, rate), formants, rate))
    assert np.abs(cents(inside(track.f0), frequency)).max() < 3
    assert inside(track.strength).min() > 0.9


def test_the_hop_may_be_any_number_of_samples():
    assert np.abs(cents(inside(Pitch(8000, hop=200).track(vowel(steady(120, rate=8000), AH, 8000)).f0), 120)).max() < 3
    assert np.abs(cents(inside(Pitch(16000, hop=37).track(vowel(steady(120), AH)).f0, 20), 120)).max() < 3


@pytest.mark.parametrize("frequency", [90, 130, 190])
def test_a_missing_fundamental_and_a_strong_second_harmonic_make_no_octave_errors(frequency):
    missing = PITCH.track(vowel(steady(frequency), AH, first=2)).f0
    assert np.abs(cents(inside(missing), frequency)).max() < 3
    second = PITCH.track(
        vowel(steady(frequency), (2 * frequency, 2290))
    ).f0  # the first formant is at the second harmonic
    assert np.abs(cents(inside(second), frequency)).max() < 3


def test_a_glide_is_followed():
    f0 = 100 * 2 ** np.linspace(0, 1.5, 2 * RATE)
    track = PITCH.track(vowel(f0, AH))
    assert np.abs(cents(inside(track.f0), inside(f0[::200]))).max() < 5


@pytest.mark.parametrize(("snr_db", "most_cents"), [(20, 5), (10, 15), (3, 40)])
@pytest.mark.parametrize("frequency", [85, 150, 300])
def test_noise_loses_no_voiced_frame_and_no_octave(snr_db, most_cents, frequency):
    track = PITCH.track(with_noise(vowel(steady(frequency, 2), AH), snr_db))
    f0 = inside(track.f0)
    assert (f0 > 0).mean() > 0.98
    off = np.abs(cents(f0[f0 > 0], frequency))
    assert off.max() < 600
    assert np.quantile(off, 0.9) < most_cents


def test_white_noise_is_unvoiced_mostly_and_weak():
    track = PITCH.track(0.1 * np.random.default_rng(0).standard_normal(4 * RATE))
    assert (track.f0 > 0).mean() < 0.02
    assert 0 < np.median(track.strength) < 0.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("offset", [0, 0.3, -1e-3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silence_is_silent(offset, dtype):
    silence = np.full(3 * RATE, offset, dtype=dtype)
    np.testing.assert_array_equal(PITCH.frames(silence), np.tile(PITCH.silent, (240, 1)))
    half = silence.copy()
    half[:RATE] += tone(150, 1).astype(dtype)
    frames = PITCH.frames(half)
    assert (inside(frames[:80], 4)[:, 1] == 1).all()
    np.testing.assert_array_equal(frames[84:230], np.tile(PITCH.silent, (146, 1)))


def test_a_murmur_below_the_silence_threshold_is_unvoiced():
    loud, murmur = vowel(steady(120, 1), AH), 0.01 * vowel(steady(120, 1), AH)
    track = PITCH.track(np.concatenate([loud, np.zeros(4000), murmur]))
    assert (track.f0[4:76] > 0).all()
    assert not (track.f0[105:175] > 0).any()
    assert (track.strength[105:175] > 0.9).all()  # what is said of the peak does not depend on the decision


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gain", [1e-300, 1e-30, 1e-4, 3.0])
def test_pitch_does_not_depend_on_the_level(gain):
    sound = with_noise(np.concatenate([vowel(steady(110), AH), np.zeros(3000), vowel(steady(240), EE)]), 20)
    track, scaled = PITCH.track(sound), PITCH.track(gain * sound)
    np.testing.assert_allclose(scaled.f0, track.f0, rtol=1e-5)
    np.testing.assert_allclose(scaled.strength, track.strength, atol=1e-5)
    np.testing.assert_allclose(scaled.loudness, np.maximum(track.loudness + 20 * np.log10(gain), -100), atol=1e-3)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 0), (1, 1), (200, 1), (201, 2), (16000, 80)])
def test_a_sound_has_a_frame_for_every_hop_it_begins(n_samples, n_frames):
    assert PITCH.n_frames(n_samples) == n_frames
    frames = PITCH.frames(np.ones(n_samples))
    assert frames.shape == (n_frames, Pitch.N_FEATURES)
    assert frames.dtype == np.float32


def test_frame_i_is_around_sample_i_times_hop():
    sound = np.zeros(RATE)
    sound[40 * 200] = 1
    assert PITCH.track(sound).loudness.argmax() == 40
    f0 = np.where(np.arange(RATE) < 40 * 200, 100.0, 200.0)
    np.testing.assert_allclose(PITCH.track(vowel(f0, AH)).f0[[36, 44]], [100, 200], rtol=2e-3)


@pytest.mark.parametrize("n", [1, 3, 50, 10_000])
def test_frames_do_not_depend_on_how_many_are_computed_at_once(n, monkeypatch):
    sound = with_noise(np.concatenate([vowel(steady(110), AH), np.zeros(3123), vowel(steady(240), EE)]), 10)
    expected = PITCH.frames(sound)
    monkeypatch.setattr(pitch_module, "FRAMES_AT_ONCE", n)
    np.testing.assert_array_equal(PITCH.frames(sound), expected)


def test_the_path_is_the_best_of_all():
    """Against every path of a few frames with few candidates."""
    random = np.random.default_rng(1)
    for _ in range(20):
        f0 = np.concatenate([np.zeros((5, 1)), random.uniform(60, 400, (5, 3))], axis=1).astype(np.float32)
        score = random.uniform(0, 1, (5, 4)).astype(np.float32)
        candidates = pitch_module._Candidates(f0, score, score)
        paths = np.array(np.meshgrid(*[range(4)] * 5)).reshape(5, -1)
        f0s, total = f0[np.arange(5)[:, None], paths], score[np.arange(5)[:, None], paths].sum(axis=0)
        for before, after in pairwise(f0s):
            both, change = (before > 0) & (after > 0), (before > 0) != (after > 0)
            octaves = np.abs(np.log2(np.where(both, after, 1) / np.where(both, before, 1)))
            total = total - (0.35 * octaves + 0.14 * change) * 0.01 / 0.0125
        np.testing.assert_array_equal(pitch_module._best_path(candidates, 0.0125), paths[:, total.argmax()])


def test_frames_hold_the_track_as_the_definition_says():
    sound = np.concatenate([vowel(steady(320), AH), 0.01 * np.random.default_rng(0).standard_normal(8000)])
    frames, track = PITCH.frames(sound), PITCH.track(sound)
    assert 30 < (track.f0 > 0).sum() < 50
    for (pitch, voicing, strength, loudness), f0, height, db in zip(frames, *track, strict=True):
        assert pitch == pytest.approx(2 * np.log(f0 / 160) if f0 else 0, abs=1e-6)
        assert voicing == (1 if f0 else -1)
        assert strength == pytest.approx(2 * height - 1, abs=1e-6)
        assert loudness == pytest.approx(db / 50 + 1, abs=1e-6)
    np.testing.assert_array_equal(PITCH.check(frames, "frames"), frames)


def frames_of(*f0s: float) -> np.ndarray:
    f0 = np.array(f0s)
    pitch = 2 * np.log(np.where(f0 > 0, f0, 160) / 160)
    return np.stack([pitch, np.where(f0 > 0, 1, -1), 0 * f0, 0 * f0], axis=1).astype(np.float32)


@pytest.mark.parametrize(("f0", "period"), [(100, 160), (160, 100), (128, 125), (60, 267), (66, 242), (320, 50)])
def test_the_period_of_a_constant_pitch_is_exact(f0, period):
    periods = PITCH.periods(frames_of(f0, f0, f0))
    assert periods.shape == (2, 200)
    assert periods.dtype == np.int32
    assert (periods == period).all()


def test_periods_follow_a_straight_line_of_ln_f0():
    periods = PITCH.periods(frames_of(100, 200, 150))
    f0 = np.exp(np.interp(np.arange(400), [0, 200, 400], np.log([100, 200, 150])))
    np.testing.assert_array_equal(periods.ravel(), np.rint(RATE / f0))
    assert periods[0, 0] == 160
    assert periods[1, 0] == 80


def test_periods_beside_unvoiced_frames_are_those_of_the_voiced_one():
    periods = PITCH.periods(frames_of(0, 200, 0, 0, 100))
    expected = np.repeat([80, 80, 0, 160], 200).reshape(4, 200)
    np.testing.assert_array_equal(periods, expected)
    batch = np.stack([frames_of(0, 200, 0, 0, 100), frames_of(100, 200, 150, 0, 0)])
    np.testing.assert_array_equal(PITCH.periods(batch)[0], expected)
    assert PITCH.periods(batch).shape == (2, 4, 200)
    assert PITCH.periods(batch[:, :1]).shape == (2, 0, 200)


@pytest.mark.parametrize(("lowest", "rate"), [(60, 16000), (60, 44100), (73, 22050), (55.5, 8000)])
def test_no_period_is_above_the_longest(lowest, rate):
    pitch = Pitch(rate, lowest=lowest)
    frames = pitch.check(frames_of(lowest / 1.1, lowest / 1.1, 440, 440), "frames")
    periods = pitch.periods(frames)
    assert pitch.longest_period - 1 <= periods.max() <= pitch.longest_period
    assert pitch.periods(frames * np.array([50, 1, 1, 1], dtype=np.float32)).max() <= pitch.longest_period
    assert pitch.periods(frames * np.array([50, 1, 1, 1], dtype=np.float32)).min() > 0


def changed(row: int, column: int, value: float) -> np.ndarray:
    frames = frames_of(100, 200, 0)
    frames[row, column] = value
    return frames


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((3, 80)), r"hello.npy holds frames of shape \(3, 80\); expected \(frames, 4\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((3, 4), dtype=np.int64), "holds int64; expected floating point numbers"),
        (np.array([["a"] * 4]), "floating point"),
        (changed(1, 3, np.nan), "NaN"),
        (changed(1, 2, np.inf), "infinity"),
        (changed(1, 1, 0.5), "has the voicing 0.5; expected 1"),
        (np.zeros((3, 4)), "has the voicing 0; expected 1"),
        (changed(2, 0, 0.2), "unvoiced frames with a pitch"),
        (frames_of(100, 450), "has a fundamental frequency of 450 Hz; expected 60 to 400 Hz"),
        (frames_of(100, 53), "of 53 Hz"),
        (changed(0, 0, 5e3), "of inf Hz"),
        (changed(0, 2, 1.6), "column 2; expected 2 \\* strength - 1"),
        (changed(0, 3, -60), "spans -60 to 0 in column 3; expected loudness / 50 dB"),
    ],
)
def test_frames_that_cannot_be_are_refused(frames, message):
    with pytest.raises(InputError, match=message):
        PITCH.check(frames, "hello.npy")


def test_frames_a_tenth_beyond_the_bounds_are_taken_as_float32():
    frames = frames_of(55, 440, 0)
    assert PITCH.check(frames.astype(np.float64), "frames").dtype == np.float32


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lowest": 400, "highest": 60}, "lowest is 400 Hz and highest 60 Hz; expected a rise"),
        ({"lowest": 5}, "lowest is 5 Hz and highest 400 Hz; expected a rise, from 20 Hz at least"),
        ({"highest": 2500}, "to a quarter of the sample rate, 2000 Hz, at most"),
        ({"lowest": float("nan")}, "lowest is nan Hz"),
        ({"hop": 201}, "hop is 201; expected 1 to half of 3 longest periods, 200 samples"),
        ({"hop": 0}, "hop is 0; expected 1"),
    ],
)
def test_parameters_that_cannot_work_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        Pitch(8000, **parameters)


@pytest.mark.skipif(not (REAL_DATA / "librispeech").exists(), reason="the real recordings are not here")
@pytest.mark.parametrize(("speaker", "low", "high"), [("118", 85, 150), ("3526", 150, 260)])  # a man, a woman
def test_speech_has_the_pitch_of_its_speaker_for_about_half_of_the_time(speaker, low, high):
    with tarfile.open(REAL_DATA / "librispeech" / "librispeech-sample.tar.gz") as archive:
        name = next(n for n in sorted(archive.getnames()) if f"/{speaker}/" in n and n.endswith("0001.flac"))
        file = archive.extractfile(name)
        assert file is not None
        sound, rate = soundfile.read(io.BytesIO(file.read()))
    assert rate == RATE
    f0, strength, _ = PITCH.track(sound)
    is_voiced = f0 > 0
    assert 0.3 < is_voiced.mean() < 0.8
    assert low < np.median(f0[is_voiced]) < high
    assert np.median(strength[is_voiced]) > 0.8 > np.median(strength[~is_voiced])
    jumps = np.abs(np.diff(np.log2(np.where(is_voiced, f0, 1))))[is_voiced[1:] & is_voiced[:-1]]
    assert (jumps > 0.5).mean() < 0.01
    frames = PITCH.frames(sound)
    np.testing.assert_array_equal(PITCH.check(frames, name), frames)
