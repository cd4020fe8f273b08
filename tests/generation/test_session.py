from dataclasses import replace

import numpy as np
import pytest

import wavegen
from tests.conftest import tiny_checkpoint
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session


def test_a_model_makes_a_sound_from_python(tiny_run):
    model = wavegen.load(tiny_run)
    samples, rate = model.generate(seconds=0.01, seed=1)
    assert (samples.shape, samples.dtype, rate) == ((80,), np.float32, 8000)
    assert np.abs(samples).max() <= 1
    assert model.sample_rate == 8000
    assert model.description.kind == "wavenet"


def test_the_same_wish_gives_the_same_sound_and_a_stream_gives_it_in_blocks(tiny_run):
    model = wavegen.load(str(tiny_run))
    wish = {"seed": 3, "temperature": 0.9, "top_k": 20}
    whole = model.generate(0.02, **wish).samples
    np.testing.assert_array_equal(model.generate(0.02, **wish).samples, whole)
    blocks = list(model.stream(0.02, blocksize=50, **wish))
    assert [len(block) for block in blocks] == [50, 50, 50, 10]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    endless = model.stream(blocksize=7, **wish)
    np.testing.assert_array_equal(next(endless), whole[:7])


def test_several_sounds_come_as_rows_and_the_first_is_the_single_one(tiny_run):
    model = wavegen.load(tiny_run)
    several = model.generate(0.01, n=3, seed=0).samples
    assert several.shape == (3, 80)
    np.testing.assert_array_equal(several[0], model.generate(0.01, seed=0).samples)
    assert (several[0] != several[1]).any()


def test_a_waveform_can_be_continued(tiny_run):
    model = wavegen.load(tiny_run)
    prime = model.generate(0.05, seed=0).samples
    continued = model.generate(0.01, seed=0, prime=prime).samples
    np.testing.assert_array_equal(continued, model.generate(0.06, seed=0).samples[-80:])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"n": 0}, "0 sounds are wanted"),
        ({"temperature": -1}, "temperature is -1"),
        ({"labels": {"speaker": "x"}}, "has no label 'speaker'"),
        ({"prime": "nothing.wav"}, "there is no recording nothing.wav"),
        ({"prime": np.zeros((2, 2))}, r"shape \(2, 2\); expected \(T,\)"),
        ({"prime": np.full(10, 3.0)}, r"expected samples in \[-1, 1\]"),
        ({"engine": "steam"}, "unknown engine 'steam'"),
        ({"beam": 2, "n": 2}, "beam search makes one sound"),
        ({"beam": 0}, "0 candidates are wanted"),
        ({"beam": 2, "top_k": 3}, "beam search weighs all codes"),
        ({"guidance": -1}, "guidance is -1; expected 0 to 100"),
        ({"guidance": 2}, "guidance makes labels count for more, and .* has none"),
        ({"beam": 2, "guidance": 2}, "beam search weighs all codes"),
        ({"beam": 2, "engine": "steam"}, "unknown engine 'steam'"),
    ],
)
def test_what_cannot_be_wished_is_one_sentence(tiny_run, wish, words):
    with pytest.raises(InputError, match=words):
        wavegen.load(tiny_run).generate(**wish)


def test_guided_sounds_are_the_same_alone_side_by_side_and_in_turn():
    checkpoint = tiny_checkpoint(labels={"speaker": 3})
    wish = GenerationOptions(seed=1, labels={"speaker": "2"}, guidance=2.0)
    alone = np.concatenate(list(Session(checkpoint, wish).blocks(300)), axis=1)
    together = np.concatenate(list(Session(checkpoint, replace(wish, n=3)).blocks(300)), axis=1)
    in_turn = dict(Session(checkpoint, replace(wish, n=2)).make_each(3, 300))
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(np.stack([in_turn[number] for number in range(3)]), together)
    unguided = np.concatenate(list(Session(checkpoint, replace(wish, guidance=None)).blocks(300)), axis=1)
    assert (alone != unguided).any()


@pytest.mark.parametrize(
    "frames", [np.full((5, 4), np.nan), np.zeros((5, 4), dtype=int), np.zeros((5, 3)), [[1.0] * 3]]
)
def test_frames_that_cannot_be_are_refused(frames):
    with pytest.raises(InputError, match="the array"):
        Session(tiny_checkpoint(n_features=4, hop=5, frame_channels=6, look_ahead=2), GenerationOptions(frames=frames))
    with pytest.raises(InputError, match="takes no frames; expected a vocoder"):
        Session(tiny_checkpoint(), GenerationOptions(frames=frames))


def test_a_blocksize_of_nothing_is_refused(tiny_run):
    with pytest.raises(InputError, match="blocksize is 0; expected 1 or more"):
        next(wavegen.load(tiny_run).stream(blocksize=0))


def test_an_unknown_keyword_and_a_missing_model_are_told(tiny_run, tmp_path):
    with pytest.raises(TypeError, match="temprature"):
        wavegen.load(tiny_run).generate(temprature=1)
    with pytest.raises(InputError, match="there is no model"):
        wavegen.load(tmp_path / "none")
