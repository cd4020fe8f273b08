import numpy as np
import pytest

from wavegen.data import splits
from wavegen.data.frame_store import frames_of
from wavegen.data.store import in_memory
from wavegen.features.frame_codes import FrameCodes
from wavegen.features.frames import make_features
from wavegen.recipe import FolderData

CODES = FrameCodes(make_features(8000, {"n_mels": 6, "hop": 80, "n_fft": 256}))
BY_TIME = FolderData(corpus="folder", sample_rate=8000, split="time")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEGEN_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    store = in_memory("noises", 8000, [0.1 * random.standard_normal(n) for n in (120_000, 128_123)])
    return store, splits.split(BY_TIME, store.recordings)


def test_segments_become_whole_frames_of_their_own_sound(corpus):
    sound, of_sound = corpus
    store, segments = frames_of(sound, of_sound, CODES)
    for name in splits.SPLITS:
        for before, after in zip(of_sound[name], segments[name], strict=True):
            samples = sound.samples[before.start : before.start + before.n_samples] / 32768
            expected = CODES.encode(CODES.features.frames(samples)).ravel()
            np.testing.assert_array_equal(store.samples[after.start : after.start + after.n_samples], expected)
            assert (after.name, after.at_start, after.group) == (before.name, before.at_start, before.group)
    assert sum(one.n_samples for one in store.recordings) == len(store.samples)


def test_what_is_trained_on_is_heard_at_other_speeds_by_voices_of_no_speaker(corpus):
    sound, of_sound = corpus
    plain_store, plain = frames_of(sound, of_sound, CODES)
    store, segments = frames_of(sound, of_sound, CODES, [0.8, 1.25])
    for name in ("validation", "test"):
        assert [one.n_samples for one in segments[name]] == [one.n_samples for one in plain[name]]
    n = len(plain["train"])
    assert len(segments["train"]) == 3 * n
    assert plain_store.fingerprint == store.fingerprint == sound.fingerprint  # what is evaluated is heard at one speed
    for first, speed in ((n, 0.8), (2 * n, 1.25)):
        for before, after in zip(of_sound["train"], segments["train"][first : first + n], strict=True):
            assert after.n_samples == CODES.features.n_frames(int(before.n_samples / speed)) * CODES.n_channels
            assert after.labels == {name: value for name, value in before.labels.items() if name != "speaker"}
            assert after.group == f"{before.group} at {speed:g}"


def test_at_another_speed_a_tone_is_as_much_higher(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEGEN_DATA", str(tmp_path))
    codes = FrameCodes(make_features(8000, {"n_mels": 6, "hop": 80, "n_fft": 256, "pitch": {}}))
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(120_000) / 8000)
    store = in_memory("tone", 8000, [tone])
    frames, segments = frames_of(store, splits.split(BY_TIME, store.recordings), codes, [1.25])
    faster = segments["train"][-1]
    made = codes.decode(frames.samples[faster.start : faster.start + faster.n_samples].reshape(-1, codes.n_channels))
    assert np.median(made[:, 6]) == pytest.approx(codes.features.pitch.feature_of(250), abs=0.04)


def test_frames_are_taken_once(corpus, monkeypatch):
    first, _ = frames_of(*corpus, CODES)
    monkeypatch.setattr(type(CODES.features), "frames", lambda *_: pytest.fail("they are taken again"))
    again, _ = frames_of(*corpus, CODES)
    np.testing.assert_array_equal(again.samples, first.samples)
    assert again.fingerprint == first.fingerprint


def test_other_frames_are_taken_anew(corpus):
    other = FrameCodes(make_features(8000, {"n_mels": 5, "hop": 80, "n_fft": 256}))
    first, second = (frames_of(*corpus, codes)[0] for codes in (CODES, other))
    assert first.samples.filename != second.samples.filename


def test_amounts_are_those_of_the_sound(corpus):
    store, _ = frames_of(*corpus, CODES)
    assert store.item_format.n_values(1.0) == 100 * 6
    assert store.item_format.extent(100 * 6) == "100 frames (1.00 s)"
    assert store.item_format.amount(100 * 60 * 6) == "1.0 min"
    assert store.item_format.title == "8000 Hz, 100 frames a second"
