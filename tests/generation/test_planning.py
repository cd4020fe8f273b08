from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import joined, tiny_checkpoint, tiny_speaker
from wavegen.engines import make_engine
from wavegen.errors import InputError
from wavegen.generation.live import BLOCKSIZE, Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.planning import CHUNK, Plan
from wavegen.generation.session import LoadedModel, Session
from wavegen.sampling import Decoding

SPEAKER = tiny_speaker()
N = 700  # samples: 140 frames


@pytest.fixture(autouse=True)
def float32_only(monkeypatch):
    """Every engine in the one precision in which all make the same codes."""
    monkeypatch.setattr("wavegen.generation.options.GenerationOptions.precision", "float32")


def plan(seed: int = 1, number: int = 0, temperature: float = 1.0, **options: object) -> Plan:
    assert SPEAKER.planner is not None
    engine = make_engine(SPEAKER.planner, 1)[1]
    labels = {"speaker": "1"}
    return Plan(
        SPEAKER, engine, seed=seed, number=number, decoding=Decoding(temperature), **{"labels": labels, **options}
    )


def made(n_samples: int = N, **options: object) -> np.ndarray:
    return np.concatenate(list(Session(SPEAKER, GenerationOptions(**{"seed": 1, **options})).blocks(n_samples)), axis=1)


def test_frames_are_the_same_however_they_are_asked_for():
    whole, parts = plan().frames(-2, 50), plan()
    assert whole.shape == (52, 6)
    assert (whole[:2] == -1).all()  # silence
    pieces = [parts.frames(-2, 3), parts.frames(3, 4), parts.frames(4, 31), parts.frames(31, 50)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(parts.frames(7, 12), whole[9:14])  # again


def test_seed_number_temperature_and_label_each_make_other_frames():
    frames = plan().frames(0, 30)
    np.testing.assert_array_equal(plan().frames(0, 30), frames)
    for other in (plan(seed=2), plan(number=1), plan(temperature=0.5), plan(labels={"speaker": "2"})):
        assert (other.frames(0, 30) != frames).any()


def test_how_loud_and_how_high_a_frame_is_is_drawn_as_learnt_at_any_temperature():
    whole = [channel for channel, is_detail in enumerate(plan()._codes.is_detail) if not is_detail]
    one, other = (plan(seed=seed, temperature=0.0)._draw(60) for seed in (1, 2))
    assert (one[:, whole] != other[:, whole]).mean() > 0.5
    assert plan(temperature=0.0)._stream.decoding.temperature == 0  # what it was begun with is what stays
    cold, warm = (plan(temperature=temperature)._draw(60) for temperature in (0.0, 1.0))
    np.testing.assert_array_equal(cold[0, whole[:1]], warm[0, whole[:1]])  # the first code sees no detail


def test_a_plan_goes_back_to_a_snapshot():
    one = plan()
    one.frames(0, 10)
    before = one.snapshot()
    following = one.frames(10, 40)
    one.restore(before)
    np.testing.assert_array_equal(one.frames(10, 40), following)


def test_a_plan_restarted_is_that_of_its_seed():
    one = plan()
    one.frames(0, 21)
    one.restart(5)
    np.testing.assert_array_equal(one.frames(0, 21), plan(seed=5).frames(0, 21))


def test_a_plan_begins_with_the_frames_that_it_continues():
    given = plan(seed=9).frames(0, 2 * CHUNK + 1)
    codes = plan()._codes.encode(given).astype(np.int64)
    continued = plan(prime=codes)
    np.testing.assert_array_equal(continued.frames(0, len(given)), plan()._codes.decode(codes))
    rest = continued.frames(len(given), 40)
    assert (rest != plan().frames(len(given), 40)).any()
    continued.restart(1)
    np.testing.assert_array_equal(continued.frames(len(given), 40), rest)


def test_another_label_or_temperature_is_heeded_from_the_next_chunk_on():
    one = plan()
    first = one.frames(0, CHUNK)
    one.become(one.changed({"labels": {"speaker": "0"}, "temperature_frames": 0.4}))
    np.testing.assert_array_equal(one.frames(0, CHUNK), first)
    assert (one.frames(CHUNK, 40) != plan().frames(CHUNK, 40)).any()
    with pytest.raises(InputError, match="temperature"):
        one.changed({"temperature_frames": -1.0})


@pytest.mark.parametrize("blocksize", [1, 37, 5000])
def test_blocks_of_any_size_make_the_same_sound(blocksize):
    session = Session(SPEAKER, GenerationOptions(seed=1))
    blocks = np.concatenate(list(session.blocks(N, blocksize)), axis=1)
    np.testing.assert_array_equal(blocks, made())


def test_each_of_several_voices_is_the_one_that_it_is_alone():
    together = made(n=3)
    np.testing.assert_array_equal(together[:1], made())
    session = Session(SPEAKER, GenerationOptions(seed=1, n=2))
    for number, sound in joined(session.blocks_of_each(range(3), N)).items():
        np.testing.assert_allclose(sound, together[number], atol=1e-6)


def test_the_reference_makes_the_same_sound():
    np.testing.assert_array_equal(made(200, engine="reference"), made(200))


def test_what_plays_is_what_is_generated():
    live = Live(Session(SPEAKER, GenerationOptions(seed=1)))
    blocks = live.blocks()
    np.testing.assert_array_equal(
        np.concatenate([next(blocks) for _ in range(3)])[:, 0], made(5 * BLOCKSIZE)[0, : 3 * BLOCKSIZE]
    )
    live.change(labels={"speaker": "2"}, temperature_frames=0.7)
    next(blocks)
    live.restart(1)
    live.change(labels={}, temperature_frames=1.0)
    for _ in range(2):
        next(blocks)
    assert live.controls.temperature_frames == 1.0


def test_a_recording_is_continued_from_its_last_whole_frame():
    tone = 0.3 * np.sin(np.arange(3000) / 9)
    continued = made(prime=tone)
    assert continued.shape == (1, N)
    assert (continued != made()).any()
    assert (continued != made(prime=0.5 * tone)).any()
    with pytest.raises(InputError, match="has 40 samples; expected 64 or more, for a frame to go on from"):
        made(prime=tone[:40])


def test_labels_are_those_of_both_networks():
    assert LoadedModel(SPEAKER).labels == {"speaker": ["0", "1", "2"]}
    with pytest.raises(InputError, match="label speaker has no value '7'; it knows 0, 1, 2"):
        made(labels={"speaker": "7"})


def test_a_temperature_of_frames_is_for_models_that_plan():
    with pytest.raises(InputError, match="temperature_frames is of a model that plans its frames"):
        Session(tiny_checkpoint(), GenerationOptions(temperature_frames=0.8))


def test_a_model_with_a_planner_makes_recordings_again_as_any_vocoder():
    frames = np.zeros((20, 6), dtype=np.float32)
    vocoder = tiny_checkpoint(n_features=6, hop=5, frame_channels=4, look_ahead=1)
    both = [LoadedModel(one).vocode(frames, seed=1).samples for one in (SPEAKER, vocoder)]
    np.testing.assert_array_equal(*both)


VOICE = {"n_features": 10, "hop": 80, "frame_channels": 4, "look_ahead": 1}


def test_a_voice_is_transposed_by_what_its_frames_say(monkeypatch):
    vocoder = tiny_checkpoint(**VOICE)
    features = {"n_mels": 6, "hop": 80, "n_fft": 256, "pitch": {}}
    vocoder = replace(vocoder, description=replace(vocoder.description, features=features))
    taken = vocoder.description.make_features()
    tone = 0.3 * np.sin(2 * np.pi * 150 / 8000 * np.arange(4000))
    frames = taken.frames(tone)
    session = Session(vocoder, GenerationOptions(frames=frames, transpose=5))
    moved = session.frames[20, 6] - frames[20, 6]
    assert moved == pytest.approx(2 * np.log(2) * 5 / 12, abs=1e-5)
    np.testing.assert_array_equal(session.frames[:, :6], frames[:, :6])
    for wrong, sentence in ((49, "transpose is 49; expected -48 to 48 semitones"), (np.nan, "transpose is nan")):
        with pytest.raises(InputError, match=sentence):
            Session(vocoder, GenerationOptions(frames=frames, transpose=wrong))
    with pytest.raises(InputError, match="to be transposed, frames need a pitch"):
        made(transpose=1.0)
    with pytest.raises(InputError, match="this model takes none; expected a vocoder"):
        Session(tiny_checkpoint(), GenerationOptions(transpose=1.0))
