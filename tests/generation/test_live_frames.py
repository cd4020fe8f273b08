"""A sound made again while it comes in: the frames, the delay, the end, and what is changed meanwhile."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import PREDICTION, tiny_checkpoint
from wavegen.errors import InputError
from wavegen.generation.live import Live
from wavegen.generation.live_frames import N_HELD, LiveFrames
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, Session
from wavegen.generation.sound_input import RawInput, RecordingInput

LABELS = {"speaker": 3}
MODEL = tiny_checkpoint(**PREDICTION, labels=LABELS)
PLAIN = tiny_checkpoint(n_features=6, hop=5)
HOP = 5


def sound(n: int = 1203) -> np.ndarray:
    """A tone with some noise, of whole 16-bit samples."""
    tone = 0.4 * np.sin(2 * np.pi * 1250 * np.arange(n) / 8000) + 0.02 * np.random.default_rng(0).standard_normal(n)
    return np.rint(tone * 32768).astype("<i2").astype(np.float32) / 32768


def session(model=MODEL, **options) -> Session:
    return Session(model, GenerationOptions(seed=1, **options), frames_follow=True)


def made(sound_input, model=MODEL, **options) -> np.ndarray:
    return np.concatenate(list(Live(session(model, **options), sound_input).blocks()))[:, 0]


class Portions(io.RawIOBase):
    """A pipe that brings what it has in portions of any size."""

    def __init__(self, contents: bytes, seed: int) -> None:
        self._rest, self._random = contents, np.random.default_rng(seed)

    def read(self, n: int = -1) -> bytes:
        n = min(n, int(self._random.integers(1, 900)))
        taken, self._rest = self._rest[:n], self._rest[n:]
        return taken


class Counting(RecordingInput):
    """A recording that counts what was read, with gaps: None where a number of a read is among `late`."""

    def __init__(self, waveform: np.ndarray, late: range = range(0)) -> None:
        super().__init__(waveform)
        self.length = None
        self.n_read, self._reads, self._late = 0, itertools.count(), late

    def read(self, n):
        if next(self._reads) in self._late:
            return None
        self.n_read += n
        return super().read(n)


@pytest.mark.parametrize("n", [1, 63, 255, 1203])
@pytest.mark.parametrize("match", [True, False])
def test_it_is_as_long_as_what_came_in(n, match):
    assert len(made(RecordingInput(sound(n)), match=match)) == n


def test_it_is_the_same_to_the_last_bit_however_the_sound_arrives():
    expected = made(RecordingInput(sound()))
    assert np.abs(expected).max() > 0
    for seed in (1, 2):
        raw = sound() * 32768
        np.testing.assert_array_equal(made(RawInput(Portions(raw.astype("<i2").tobytes() + b"x", seed))), expected)


def test_its_condition_is_that_of_the_whole_recording():
    frames = LoadedModel(PLAIN).frames_of(sound())[0]
    whole = Session(PLAIN, GenerationOptions(seed=1, frames=frames)).frame_conditioner(frames, 1)
    live = LiveFrames(PLAIN, RecordingInput(sound()), labels={})
    for first in range(0, 1400, 35):  # beyond the end there is silence
        np.testing.assert_allclose(live.at(first, 35).values, whole.at(first, 35).values, atol=1e-5)


@pytest.mark.parametrize("match", [True, False])
def test_the_stated_delay_is_what_is_read_ahead_of_each_block(match):
    counting = Counting(sound(4000))
    playing = Live(session(match=match), counting)
    for number, block in enumerate(itertools.islice(playing.blocks(), 6)):
        assert len(block) == playing.blocksize == 255
        assert counting.n_read == sum(playing.session.input_delays()) + number * playing.blocksize
        if number == 3:
            playing.restart(7)  # which makes what is heard now anew, and so is no later


def test_while_it_is_frozen_nothing_is_read():
    counting = Counting(sound(8000))
    playing = Live(session(), counting)
    blocks = playing.blocks()
    for _ in range(3):
        next(blocks)
    playing.change(is_frozen=True)
    next(blocks)  # it fades
    n_read = counting.n_read
    for _ in range(5):
        next(blocks)
    assert counting.n_read == n_read


def test_a_late_sound_is_held_and_then_silent():
    features = PLAIN.description.make_features()
    live = LiveFrames(PLAIN, Counting(sound(), late=range(10, 20)), labels={})
    frames, expected = live.frames(0, 40), features.frames(sound())
    np.testing.assert_allclose(frames[:10], expected[:10], atol=1e-5)
    np.testing.assert_array_equal(frames[10 : 10 + N_HELD], np.tile(frames[9], (N_HELD, 1)))
    np.testing.assert_array_equal(frames[10 + N_HELD : 20], np.tile(features.silent, (10 - N_HELD, 1)))
    np.testing.assert_allclose(frames[20:], expected[10:30], atol=1e-5)


def test_of_a_sound_that_is_passed_over_the_newest_counts():
    class Ahead(Counting):
        def read(self, n):
            return super().read(4 * n if self.n_read == 64 else n)

    live = LiveFrames(PLAIN, Ahead(sound()), labels={})
    expected = PLAIN.description.make_features().frames(sound())
    np.testing.assert_allclose(live.frames(0, 20), expected[[0, *range(4, 23)]], atol=1e-5)


def test_labels_change_while_it_sounds_and_unknown_ones_are_refused():
    playing = Live(session(labels={"speaker": "1"}), RecordingInput(sound(4000)))
    blocks = playing.blocks()
    before = [next(blocks) for _ in range(2)]
    playing.change(labels={"speaker": "2"})
    other = np.concatenate([*before, *blocks])[:, 0]
    expected = made(RecordingInput(sound(4000)), labels={"speaker": "1"})
    n_before = 2 * playing.blocksize
    np.testing.assert_array_equal(other[:n_before], expected[:n_before])
    assert (other[n_before:] != expected[n_before:]).any()
    with pytest.raises(InputError, match="label speaker has no value '9'"):
        playing.change(labels={"speaker": "9"})
    with pytest.raises(InputError, match="temperature_frames is of a plan"):
        playing.change(temperature_frames=0.5)


def test_it_is_transposed():
    frames = [
        session(transpose=semitones)._live_frames(RecordingInput(sound())).frames(10, 100) for semitones in (0, 3)
    ]
    is_voiced = frames[0][:, 3] > 0
    assert is_voiced.any()
    higher = frames[1][is_voiced, 2] - frames[0][is_voiced, 2]
    np.testing.assert_allclose(higher, 2 * np.log(2) * 3 / 12, atol=1e-5)


def test_guidance_is_of_the_labels():
    guided = tiny_checkpoint(n_features=6, hop=5, labels=LABELS)
    guided = replace(guided, description=replace(guided.description, label_dropout=0.1))
    plain, more = (
        made(RecordingInput(sound(600)), guided, labels={"speaker": "1"}, guidance=scale) for scale in (1, 3)
    )
    assert (plain != more).any()


def test_a_snapshot_goes_back_to_the_same_frames():
    streams = session().streams(RecordingInput(sound()))
    streams.advance(100)
    before = streams.snapshot()
    following = streams.advance(200)
    streams.restore(before)
    np.testing.assert_array_equal(streams.advance(200), following)
