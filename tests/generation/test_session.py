from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest

import wavegen
from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, joined, tiny_checkpoint
from wavegen.codec import MuLaw
from wavegen.errors import InputError
from wavegen.features.log_mel import LogMel
from wavegen.features.matching import Matcher
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, Session
from wavegen.generation.stream import blocks


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
    in_turn = joined(Session(checkpoint, replace(wish, n=2)).blocks_of_each(range(3), 300))
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(np.stack([in_turn[number] for number in range(3)]), together)
    unguided = np.concatenate(list(Session(checkpoint, replace(wish, guidance=None)).blocks(300)), axis=1)
    assert (alone != unguided).any()


@pytest.mark.parametrize("frames", [np.full((5, 4), np.nan), np.zeros((5, 4), dtype=int), np.zeros((5, 3))])
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


def vocoder(**changes):
    """A network that is told a prediction, whose codes are those of pre-emphasised sound."""
    checkpoint = tiny_checkpoint(**PREDICTION, **changes)
    return replace(checkpoint, description=replace(checkpoint.description, pre_emphasis=0.5))


def frames_of(checkpoint, hertz: float = 1200, n: int = 60) -> np.ndarray:
    features = checkpoint.description.make_features()
    return features.frames(0.3 * np.sin(2 * np.pi * hertz * np.arange(n * features.hop) / 8000))


def vocoder_session(frames: np.ndarray | None, **options) -> Session:
    wish = GenerationOptions(**{"seed": 1, "engine": "reference", "frames": frames, **options})
    return Session(vocoder(), wish, frames_follow=frames is None)


def test_the_tables_of_frames_are_made_once_for_all_sounds(monkeypatch):
    frames, made, original = frames_of(vocoder()), [], LogMel.filters.func

    def filters(log_mel):
        made.append(log_mel)
        return original(log_mel)

    counted = cached_property(filters)
    counted.__set_name__(LogMel, "filters")
    monkeypatch.setattr(LogMel, "filters", counted)
    assert len(dict(vocoder_session(None, n=2).vocode_each([(frames, 100)] * 3))) == 3
    assert len(made) == 1


def test_blocks_that_are_matched_are_what_sounds_made_in_turn_are():
    frames = [frames_of(vocoder(), hertz) for hertz in (1200, 1700)]
    lengths = (160, 41)
    in_turn = dict(vocoder_session(None, n=2).vocode_each(zip(frames, lengths, strict=True)))
    for number, (one, length) in enumerate(zip(frames, lengths, strict=True)):
        pieces = list(vocoder_session(one).blocks(length, 7))
        assert all(piece.size for piece in pieces)
        made = np.concatenate(pieces, axis=1)
        assert made.shape == (1, length)
        np.testing.assert_array_equal(made[0], in_turn[number])


@pytest.mark.parametrize("n", [1, 2])
def test_what_is_not_matched_is_what_the_codes_decode_to(n):
    session = vocoder_session(frames_of(vocoder()), n=n, match=False)
    codes = np.concatenate(list(blocks(session.streams(), 160, 64)), axis=1)
    made = np.concatenate(list(session.blocks(160, 64)), axis=1)
    np.testing.assert_array_equal(made, session.codec.decode(codes))
    in_turn = dict(vocoder_session(None, match=False).vocode_each([(frames_of(vocoder()), 160)]))
    np.testing.assert_array_equal(made[0], in_turn[0])


def test_what_is_matched_is_what_was_not_with_the_bands_of_its_frames():
    frames = frames_of(vocoder())
    raw, made = (
        np.concatenate(list(vocoder_session(frames, match=match, n=2).blocks(160)), axis=1) for match in (False, True)
    )
    log_mel = vocoder().description.make_features().log_mel
    for before, after in zip(raw, made, strict=True):
        matcher = Matcher(log_mel, frames[:, :2])
        np.testing.assert_array_equal(np.concatenate([matcher.feed(before), matcher.finish()]), after)


def test_the_first_block_that_is_matched_comes_after_its_delay():
    session = vocoder_session(frames_of(vocoder(), n=200), match=True)
    delay = Matcher(vocoder().description.make_features().log_mel, np.zeros((1, 2))).delay
    first = next(session.blocks(None, 1))
    assert 0 < first.shape[1] <= 5
    (stream,) = session.streams().streams  # another group's: what was made is counted by what came
    assert stream.position == 0
    whole = np.concatenate(list(session.blocks(delay + 1, delay + 1)), axis=1)
    np.testing.assert_array_equal(first[0], whole[0, : first.shape[1]])


def test_frames_with_the_bands_alone_are_enough_where_the_network_reads_the_pitch_too():
    checkpoint = vocoder()
    model, frames = LoadedModel(checkpoint), frames_of(checkpoint, n=35)[:, :2]
    completed = checkpoint.description.make_features().check(frames, "x")
    assert completed.shape == (35, 6)
    made = [model.vocode(one, seed=0, engine="reference").samples for one in (frames, completed)]
    assert made[0].shape == (175,)
    np.testing.assert_array_equal(made[0], made[1])
    ((number, in_turn),) = model.vocode_each([frames], seed=0, engine="reference")
    assert number == 0
    np.testing.assert_array_equal(in_turn.samples, made[0])


def test_voices_are_made_with_a_temperature_of_their_own():
    frames = frames_of(vocoder())

    def made(**decoding: float) -> np.ndarray:
        return np.concatenate(list(vocoder_session(frames, match=False, **decoding).blocks(100)), axis=1)

    np.testing.assert_array_equal(made(temperature=0.6, voiced_temperature=0.6), made(temperature=0.6))
    assert (made(temperature=1.0, voiced_temperature=0.0) != made(temperature=1.0)).any()


def test_a_temperature_of_voices_is_refused_where_nothing_tells_of_them():
    checkpoint = tiny_checkpoint(**PREDICTION_ORDER_ONLY)
    wish = GenerationOptions(voiced_temperature=0.5, frames=frames_of(checkpoint), engine="reference")
    with pytest.raises(InputError, match=r"voiced_temperature needs a model with model\.lag_taps"):
        Session(checkpoint, wish)
    session = Session(checkpoint, replace(wish, voiced_temperature=None))
    with pytest.raises(InputError, match=r"voiced_temperature needs a model with model\.lag_taps"):
        session.stream().change(voiced_temperature=0.5)


@pytest.mark.parametrize("options", [{"n": 2}, {"beam": 2}], ids=["drawn", "searched"])
def test_a_pre_emphasised_sound_goes_on_where_what_it_continues_ended(options):
    checkpoint = tiny_checkpoint()
    checkpoint = replace(checkpoint, description=replace(checkpoint.description, pre_emphasis=0.85))
    prime = np.linspace(0, 0.5, 40)
    session = Session(checkpoint, GenerationOptions(seed=1, engine="reference", prime=prime, **options))
    first = np.concatenate(list(session.blocks(50, 20)), axis=1)[0, 0]
    last = session.codec.decode(session.prime)[-1]
    levels = MuLaw(32).decode(np.arange(32))
    assert np.abs(np.clip(levels + 0.85 * last, -1, 1) - first).min() < 1e-6
    assert abs(first) < 1


def test_pre_emphasised_sounds_that_continue_another_are_the_end_of_one_sound():
    checkpoint = tiny_checkpoint()
    checkpoint = replace(checkpoint, description=replace(checkpoint.description, pre_emphasis=0.85))
    wish = GenerationOptions(seed=1, engine="reference", prime=np.linspace(0, 0.5, 40), n=2)
    session = Session(checkpoint, wish)
    codes = np.concatenate(list(blocks(session.streams(), 50, 20)), axis=1)
    whole = np.concatenate([np.tile(session.prime, (2, 1)), codes], axis=1)
    expected = session.codec.decode(whole)[:, 40:]
    np.testing.assert_array_equal(np.concatenate(list(session.blocks(50, 20)), axis=1), expected)
    in_turn = joined(session.blocks_of_each(range(2), 50))
    np.testing.assert_array_equal([in_turn[0], in_turn[1]], expected)
