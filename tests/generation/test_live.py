"""A model played live: the sound of `generate` as long as nothing is changed, and changes without a click."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.generation.conditioning import condition_of, guidance_pairs
from wavegen.generation.live import BLOCKSIZE, SILENCE, Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.sampling import Decoding, uniforms


def live(wish: GenerationOptions | None = None, **changes) -> Live:
    wish = wish or GenerationOptions(seed=3)
    return Live(Session(tiny_checkpoint(**changes), wish))


def test_unchanged_it_is_the_sound_that_generate_makes():
    for wish in (GenerationOptions(seed=3, n=2), GenerationOptions(seed=3, prime=np.linspace(-0.5, 0.5, 700))):
        playing = live(wish)
        made = np.concatenate(list(itertools.islice(playing.blocks(), 3)))
        expected = np.concatenate(list(Session(tiny_checkpoint(), wish).blocks(3 * BLOCKSIZE)), axis=1)
        np.testing.assert_array_equal(made, expected.T)
        np.testing.assert_array_equal(playing.take(), made)
        np.testing.assert_array_equal(playing.newest(300), made[-300:, 0])
    assert playing.meter.times_real_time > 0
    assert 0 < playing.meter.surprise < 8


def test_pre_emphasis_is_undone_from_block_to_block():
    plain = tiny_checkpoint()
    raised = replace(plain, description=replace(plain.description, codec="linear", pre_emphasis=0.85))
    for wish in (GenerationOptions(seed=3, n=2), GenerationOptions(seed=3, prime=np.linspace(-0.5, 0.5, 700))):
        session = Session(raised, wish)
        made = np.concatenate(list(itertools.islice(Live(session).blocks(), 3)))
        expected = np.concatenate(list(session.blocks(3 * BLOCKSIZE)), axis=1)
        np.testing.assert_array_equal(made, expected.T)


def test_a_mixture_plays_without_surprise():
    playing = live(head="logistic-mixture", n_mixtures=3)
    next(playing.blocks())
    assert playing.meter.surprise is None
    with pytest.raises(InputError, match="top_k and top_p need a categorical head"):
        playing.change(top_p=0.5)


def test_temperature_and_labels_act_from_the_next_block_on():
    playing = live(GenerationOptions(seed=3, labels={"who": "0"}), labels={"who": 2})
    blocks, alone = playing.blocks(), live(GenerationOptions(seed=3, labels={"who": "0"}), labels={"who": 2}).blocks()
    np.testing.assert_array_equal(next(blocks), next(alone))
    playing.change(labels={"who": "1"})
    assert (next(blocks) != next(alone)).any()
    playing.change(temperature=0.1)
    assert playing.controls.decoding.temperature == 0.1
    for wrong in ({"temperature": -1}, {"labels": {"who": "9"}}, {"labels": {"mood": "9"}}):
        with pytest.raises(InputError):
            playing.change(**wrong)
    assert playing.controls.labels == {"who": "1"}


def test_guidance_acts_from_the_next_block_on_where_it_was_begun_with():
    wish = GenerationOptions(seed=3, labels={"who": "0"}, guidance=2.0)
    playing, alone = live(wish, labels={"who": 2}), live(wish, labels={"who": 2}).blocks()
    blocks = playing.blocks()
    np.testing.assert_array_equal(next(blocks), next(alone))
    playing.change(guidance=1.0)
    assert (next(blocks) != next(alone)).any()
    with pytest.raises(InputError, match="guidance is off"):
        live(GenerationOptions(seed=3), labels={"who": 2}).change(guidance=2.0)


def test_a_label_changes_under_guidance_as_if_it_had_been_so():
    wish = GenerationOptions(seed=3, labels={"who": "0"}, guidance=2.0)
    playing, checkpoint = live(wish, labels={"who": 2}), tiny_checkpoint(labels={"who": 2})
    blocks = playing.blocks()
    made = [next(blocks)]
    playing.change(labels={"who": "1"})
    made.append(next(blocks))
    engine, decoding = make_engine(checkpoint, 1, EngineOptions("reference"), is_guided=True)[1], Decoding(guidance=2.0)
    draws = uniforms(3, 0, 0, 2 * BLOCKSIZE)[None]
    expected = []
    for number, value in enumerate("01"):
        condition = condition_of(checkpoint, guidance_pairs([{"who": value}]))
        some = draws[:, number * BLOCKSIZE : (number + 1) * BLOCKSIZE]
        expected.append(engine.advance(some, decoding, condition=condition)[0])
    codec = checkpoint.description.make_codec()
    np.testing.assert_array_equal(np.concatenate(made), codec.decode(np.concatenate(expected))[:, None])


@pytest.mark.parametrize("n_before", [3, 16])  # blocks: half a second is 16
def test_where_a_sound_has_ended_a_label_begins_it_anew(n_before):
    checkpoint = tiny_checkpoint(labels={"who": 2}, n_classes=256)
    checkpoint.weights["head_out.bias"][checkpoint.description.make_codec().encode(np.zeros(1))] += 30
    playing = Live(Session(checkpoint, GenerationOptions(seed=3, labels={"who": "0"})))
    blocks = playing.blocks()
    assert max(np.abs(next(blocks)).max() for _ in range(n_before)) < SILENCE
    playing.change(labels={"who": "1"}, temperature=100.0)  # which ends the silence
    wish = GenerationOptions(seed=3, labels={"who": "1"}, temperature=100.0)
    anew = next(Session(checkpoint, wish).blocks(BLOCKSIZE, BLOCKSIZE)).T
    assert (next(blocks) == anew).all() == (n_before == 16)


def test_a_new_beginning_continues_the_recording_under_the_new_label():
    wish = GenerationOptions(seed=3, labels={"who": "0"}, prime=np.linspace(-0.5, 0.5, 700))
    playing = live(wish, labels={"who": 2})
    blocks = playing.blocks()
    next(blocks)
    playing.change(labels={"who": "1"})
    playing.restart(8)
    next(blocks)  # which fades into it
    anew = live(replace(wish, seed=8, labels={"who": "1"}), labels={"who": 2}).blocks()
    next(anew)
    np.testing.assert_array_equal(next(blocks), next(anew))


def test_gain_is_faded():
    playing, blocks = live(), live().blocks()
    loud = playing.blocks()
    np.testing.assert_array_equal(next(loud), next(blocks))
    playing.change(gain=0.0)
    faded, whole = next(loud), next(blocks)
    np.testing.assert_allclose(faded, whole * np.linspace(1, 0, BLOCKSIZE)[:, None], atol=1e-6)
    assert not next(loud).any()


@pytest.mark.parametrize("wanted", [{"gain": np.nan}, {"seed": -1}, {"temperature": -1.0}, {"labels": {"who": "x"}}])
def test_what_cannot_be_changes_nothing(wanted):
    playing = live()
    before = playing.controls
    with pytest.raises(InputError):
        playing.change(**wanted)
    with pytest.raises(InputError):
        playing.restart(-1)
    assert playing.controls is before


def test_a_new_beginning_is_the_sound_of_its_seed_faded_into():
    playing = live()
    blocks = playing.blocks()
    next(blocks)
    playing.restart(8)
    first, second = next(blocks), next(blocks)
    other = live(GenerationOptions(seed=8)).blocks()
    expected = next(other)
    assert (first != expected).any()
    np.testing.assert_allclose(first[-1], expected[-1], atol=1e-5)
    np.testing.assert_array_equal(second, next(other))
    assert len(playing.take()) == 2 * BLOCKSIZE


def test_frozen_it_repeats_itself_without_making_more_and_goes_on_where_it_was():
    playing, alone = live(), live().blocks()
    blocks = playing.blocks()
    for _ in range(4):
        np.testing.assert_array_equal(next(blocks), next(alone))
    playing.change(is_frozen=True)
    next(alone)  # one more block is made to fade from
    heard = np.concatenate([next(blocks) for _ in range(13)])[BLOCKSIZE:, 0]
    period = 4 * BLOCKSIZE - BLOCKSIZE
    np.testing.assert_array_equal(heard[:period], heard[period : 2 * period])
    playing.change(is_frozen=False)
    next(blocks)
    next(alone)
    np.testing.assert_array_equal(next(blocks), next(alone))


def test_the_same_beginning_after_a_recording_needs_no_second_hearing():
    playing = live(GenerationOptions(seed=3, prime=np.linspace(-0.5, 0.5, 700)))
    blocks = playing.blocks()
    first = np.concatenate([next(blocks) for _ in range(3)])
    playing.restart(3)
    again = np.concatenate([next(blocks) for _ in range(3)])
    np.testing.assert_array_equal(again[BLOCKSIZE:], first[BLOCKSIZE:])
