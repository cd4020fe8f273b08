import numpy as np
import pytest

from wavegen.data import store as stores
from wavegen.data.pitch_store import pitch_of
from wavegen.data.store import Store
from wavegen.features.pitch import Pitch

PITCH = Pitch(8000, hop=50)
LENGTHS = (1010, 500, 730)


def opened(fingerprint: str = "x") -> Store:
    """Recordings of tones of their own, of which some end within a frame."""
    tones = [
        0.3 * np.sin(2 * np.pi * hertz * np.arange(n) / 8000) for hertz, n in zip((150, 220, 310), LENGTHS, strict=True)
    ]
    return stores.in_memory(fingerprint, 8000, tones)


def frames_of(store: Store, number: int) -> np.ndarray:
    one = store.recordings[number]
    return PITCH.frames(store.samples[one.start : one.start + one.n_samples] / 32768)


@pytest.fixture
def tracked(monkeypatch):
    """The lengths of the sounds whose pitch has been followed."""
    lengths, original = [], Pitch.track

    def track(self, waveform):
        lengths.append(len(waveform))
        return original(self, waveform)

    monkeypatch.setattr(Pitch, "track", track)
    return lengths


def files_below() -> list[str]:
    return sorted(path.name for path in stores.root().rglob("*") if path.is_file())


def test_the_pitch_of_a_corpus_is_followed_once(tracked):
    first = pitch_of(opened(), PITCH)
    assert tracked == list(LENGTHS)
    second = pitch_of(opened(), PITCH)
    assert tracked == list(LENGTHS)
    np.testing.assert_array_equal(second.frames, first.frames)
    assert len(files_below()) == 1


def test_another_corpus_or_other_parameters_have_a_file_of_their_own(tracked):
    pitch_of(opened(), PITCH)
    store = opened()
    store = Store(store.corpus, store.item_format, store.samples, store.recordings, "another")
    pitch_of(store, PITCH)
    pitch_of(opened(), Pitch(8000, hop=50, highest=350))
    assert len(tracked) == 9
    assert len(files_below()) == 3


@pytest.mark.parametrize("content", [b"", b"short", bytes(100_000)])
def test_a_file_of_another_length_is_made_again(tracked, content):
    expected = np.array(pitch_of(opened(), PITCH).frames)
    (path,) = (stores.root() / "pitch").iterdir()
    path.write_bytes(content)
    np.testing.assert_array_equal(pitch_of(opened(), PITCH).frames, expected)
    assert len(tracked) == 6


def test_the_frames_are_those_of_each_recording_by_itself():
    store = opened()
    kept = pitch_of(store, PITCH)
    assert kept.hop == 50
    assert list(kept.first_frames) == [0, 21, 31, 46]
    for number, one in enumerate(store.recordings):
        expected = frames_of(store, number)
        np.testing.assert_array_equal(kept.of(one.start, np.arange(len(expected)), PITCH.silent), expected)


def test_beyond_a_recording_there_is_silence_and_nothing_of_its_neighbours():
    store = opened()
    found = pitch_of(store, PITCH).of(store.recordings[1].start, np.arange(-3, 14), PITCH.silent)
    np.testing.assert_array_equal(found[:3], np.tile(PITCH.silent, (3, 1)))
    np.testing.assert_array_equal(found[3:13], frames_of(store, 1))
    np.testing.assert_array_equal(found[13:], np.tile(PITCH.silent, (4, 1)))


@pytest.mark.parametrize(("offset", "frame"), [(0, 0), (24, 0), (26, 1), (100, 2), (124, 2), (126, 3)])
def test_a_stretch_that_begins_within_a_recording_takes_the_nearest_frames(offset, frame):
    store = opened()
    found = pitch_of(store, PITCH).of(store.recordings[2].start + offset, np.arange(4), PITCH.silent)
    np.testing.assert_array_equal(found, frames_of(store, 2)[frame : frame + 4])


def test_before_a_stretch_come_the_frames_of_its_recording():
    store = opened()
    found = pitch_of(store, PITCH).of(store.recordings[2].start + 200, np.arange(-2, 2), PITCH.silent)
    np.testing.assert_array_equal(found, frames_of(store, 2)[2:6])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_leaves_no_file_behind(monkeypatch, error):
    original, n_calls = Pitch.track, 0

    def track(self, waveform):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise error
        return original(self, waveform)

    monkeypatch.setattr(Pitch, "track", track)
    with pytest.raises(error):
        pitch_of(opened(), PITCH)
    assert files_below() == []


def test_what_is_interrupted_while_it_is_made_again_leaves_the_old_file(monkeypatch, tmp_path):
    monkeypatch.setenv("WAVEGEN_DATA", str(tmp_path))
    pitch_of(opened(), PITCH)
    (path,) = (tmp_path / "pitch").iterdir()
    path.write_bytes(b"old")

    def stop(self, waveform):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pitch, "track", stop)
    with pytest.raises(KeyboardInterrupt):
        pitch_of(opened(), PITCH)
    assert files_below() == [path.name]
    assert path.read_bytes() == b"old"
