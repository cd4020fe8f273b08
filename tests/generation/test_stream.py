"""Streams: what one makes depends on nothing but itself, whoever shares its engine."""

import itertools
import threading

import numpy as np
import pytest

from tests.conftest import joined, tiny_checkpoint
from tests.generation.test_images import tiny_image_checkpoint
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.generation.conditioning import condition_of
from wavegen.generation.images import ImageSession
from wavegen.generation.live import Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.generation.stream import Stream, StreamGroup, generate
from wavegen.sampling import Decoding

ENGINES = ["reference", "numba"]
PRIME = np.random.default_rng(1).integers(32, size=30)


def engine_of(kind, n_streams=1, **changes):
    return make_engine(tiny_checkpoint(**changes), n_streams, EngineOptions(kind))[1]


def taken(iterator, n):
    return np.concatenate(list(itertools.islice(iterator, n)), axis=-1)


@pytest.mark.parametrize("kind", ENGINES)
def test_two_iterators_of_one_session_do_not_disturb_each_other(kind):
    options = GenerationOptions(seed=3, engine=kind, prime=np.linspace(-0.5, 0.5, 70))
    alone = taken(Session(tiny_checkpoint(), options).blocks(None, 7), 6)
    session = Session(tiny_checkpoint(), options)
    one, other = session.blocks(None, 7), session.blocks(None, 7)
    made = [(next(one), next(other)) for _ in range(3)]
    made += [(next(one), None) for _ in range(3)]
    np.testing.assert_array_equal(np.concatenate([block for block, _ in made], axis=1), alone)
    np.testing.assert_array_equal(np.concatenate([block for _, block in made[:3]], axis=1), alone[:, :21])


def test_what_a_session_makes_in_turn_does_not_disturb_what_it_makes_side_by_side():
    session = Session(tiny_checkpoint(), GenerationOptions(seed=3, n=2))
    alone = taken(session.blocks(300), 2)
    blocks = session.blocks(300)
    first = next(blocks)
    in_turn = joined(session.blocks_of_each(range(3), 300))
    np.testing.assert_array_equal(np.concatenate([first, next(blocks)], axis=1), alone)
    np.testing.assert_array_equal(np.stack([in_turn[0], in_turn[1]]), alone)
    playing, other = Live(session).blocks(), Live(session).blocks()
    made = [(next(playing), next(other)) for _ in range(2)]
    for blocks in zip(*made, strict=True):
        np.testing.assert_array_equal(np.concatenate(blocks)[:300], alone.T)


def test_two_iterators_of_images_do_not_disturb_each_other():
    model, _ = tiny_image_checkpoint(3)
    alone = list(ImageSession(model, [{"digit": "1"}, {}], GenerationOptions(seed=3)).rows())
    session = ImageSession(model, [{"digit": "1"}, {}], GenerationOptions(seed=3))
    one, other = session.rows(), session.rows()
    np.testing.assert_array_equal([row for row, _ in zip(one, other, strict=False)], alone)
    one, again = session.rows(), session.rows()
    first = next(one)
    logits = session.logits(np.stack(alone, axis=1))
    np.testing.assert_array_equal([first, *one], alone)
    np.testing.assert_array_equal(list(again), alone)
    np.testing.assert_array_equal(session.logits(np.stack(alone, axis=1)), logits)


@pytest.mark.parametrize("kind", ENGINES)
def test_streams_of_one_engine_may_be_advanced_by_threads_of_their_own(kind):
    engine, made = engine_of(kind), {}

    def make(seed):
        stream = Stream(engine, seed=seed, prime=PRIME)
        made[seed] = np.concatenate([stream.advance(5) for _ in range(6)])

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, codes in made.items():
        np.testing.assert_array_equal(codes, taken(generate(engine, 30, seed=seed, prime=PRIME), 1)[0])


@pytest.mark.parametrize("pieces", [[30], [1] * 30, [7, 20, 3]], ids=["at once", "one by one", "in pieces"])
@pytest.mark.parametrize("kind", ENGINES)
def test_a_stream_is_the_same_in_any_pieces_and_after_a_restart(kind, pieces):
    engine = engine_of(kind)
    stream = Stream(engine, seed=5, number=2, prime=PRIME, decoding=Decoding(0.8))
    alone = next(generate(engine_of(kind, 3), 30, seed=5, decoding=Decoding(0.8), prime=PRIME))[2]
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([stream.advance(n) for n in pieces]), alone)
        assert stream.position == len(PRIME) + 30
        stream.restart()
    stream.restart(6)
    other = next(generate(engine_of(kind, 3), 30, seed=6, decoding=Decoding(0.8), prime=PRIME))[2]
    np.testing.assert_array_equal(stream.advance(30), other)


def test_a_stream_changes_from_the_next_step_on_or_not_at_all():
    checkpoint = tiny_checkpoint(labels={"speaker": 3})

    def stream():
        return Stream(
            make_engine(checkpoint)[1],
            seed=1,
            condition=condition_of(checkpoint, [{"speaker": "0"}]),
            labels={"speaker": "0"},
            condition_of=lambda labels: condition_of(checkpoint, [labels]),
        )

    alone, changing = stream(), stream()
    np.testing.assert_array_equal(changing.advance(10), alone.advance(10))
    for changes in ({"temperature": -1.0}, {"labels": {"speaker": "9"}}, {"seed": -1}, {"guidance": 2.0}):
        with pytest.raises(InputError):
            changing.change(temperature=0.1, **changes) if "temperature" not in changes else changing.change(**changes)
    np.testing.assert_array_equal(changing.advance(10), alone.advance(10))
    changing.change(labels={"speaker": "2"}, temperature=0.5)
    assert (changing.labels, changing.decoding) == ({"speaker": "2"}, Decoding(0.5))
    assert (changing.advance(40) != alone.advance(40)).any()
    with pytest.raises(InputError, match="the labels of this stream do not change"):
        Stream().change(labels={})


def test_a_group_goes_back_to_a_snapshot():
    group = StreamGroup(engine_of("numba", 2), [Stream(seed=seed) for seed in (1, 2)])
    group.advance(5)
    before = group.snapshot()
    after = group.advance(7)
    group.restart(9)
    group.advance(3)
    for stream, seed in zip(group.streams, (1, 2), strict=True):
        stream.change(seed=seed)
    group.restore(before)
    np.testing.assert_array_equal(group.advance(7), after)


def test_what_cannot_advance_together_is_refused():
    engine = engine_of("numba", 2)
    with pytest.raises(InputError, match="1 streams are for an engine of 2"):
        Stream(engine)
    with pytest.raises(InputError, match=r"continue \[0, 30\] codes; expected equally many"):
        StreamGroup(engine, [Stream(prime=PRIME), Stream()]).advance(3)
    with pytest.raises(InputError, match="no engine of its own"):
        Stream().advance(3)
    stream = Stream()
    group = StreamGroup(engine, [stream, None])
    with pytest.raises(InputError, match="is being made already"):
        StreamGroup(engine, [stream, None])
    with pytest.raises(InputError, match="no engine of its own"):
        stream.advance(3)
    assert group.advance(3).shape == (2, 3)
