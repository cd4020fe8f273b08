"""Who gets the cores: what streams cost, whose turn it is, and what goes together."""

import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wavegen
from tests.conftest import tiny_checkpoint
from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.generation.session import LoadedModel
from wavegen.sampling import Decoding
from wavegen.serving.capacity import Cost
from wavegen.serving.drawing import Drawing, DrawingQueue, Images, make_drawing, take
from wavegen.serving.drawing_process import DrawingProcess
from wavegen.serving.file_lane import Backlog, Piece, Request
from wavegen.serving.models import ServedModel, ServedModels
from wavegen.serving.pool import Pool


def test_the_cost_of_streams_is_what_was_measured_and_beyond_in_proportion() -> None:
    cost = Cost((1, 2, 4), (0.2, 0.3, 0.4))
    assert [cost.of(n) for n in (0, 1, 2, 3, 4, 8)] == pytest.approx([0, 0.2, 0.3, 0.35, 0.4, 0.8])
    assert cost.most(0.85) == 8 and cost.most(0.1) == 0


def piece() -> Piece:
    return Piece(None, None, None, 1)  # type: ignore[arg-type]


def test_requests_take_turns_and_where_it_is_full_only_those_without_a_sound() -> None:
    backlog, model = Backlog(), None
    large = Request(model, deque(piece() for _ in range(3)))  # type: ignore[arg-type]
    small = Request(model, deque([piece()]))  # type: ignore[arg-type]
    backlog.add(large)
    backlog.add(small)
    assert backlog.next(False)[0] is large
    assert backlog.has_some(True) and backlog.next(True)[0] is small
    assert not backlog.has_some(True) and backlog.next(True) is None
    assert [backlog.next(False)[0] for _ in range(2)] == [large, large] and backlog.next(False) is None


def drawing(n: int, guidance: float = 1.0) -> Drawing:
    return Drawing(None, Images([{}] * n, Decoding(guidance=guidance), 0, 0, None), lambda pixels, error: None)  # type: ignore[arg-type]


def test_drawings_that_are_guided_alike_are_begun_together() -> None:
    waiting = deque([drawing(3), drawing(5), drawing(2, 2.0), drawing(20)])
    cancelled = drawing(1)
    cancelled.is_cancelled = True
    waiting.appendleft(cancelled)
    assert [len(one.images.labels) for one in take(waiting)] == [3, 5]
    assert [len(one.images.labels) for one in take(waiting)] == [2]
    assert [len(one.images.labels) for one in take(waiting)] == [20]
    assert take(waiting) == []


def test_models_take_turns_at_what_draws_and_nothing_is_complete_before_it_is_told() -> None:
    queue, first, second = (
        DrawingQueue(),
        ServedModel("first", tiny_checkpoint()),
        ServedModel("second", tiny_checkpoint()),
    )
    for model, n in ((first, 9), (first, 9), (second, 1)):
        queue.add(replace(drawing(n), model=model))
    assert [queue.take()[0].model.name for _ in range(2)] == ["first", "second"]
    last = queue.take()
    assert len(queue) == 3
    queue.complete(last)
    assert len(queue) == 2
    queue.close()
    assert queue.take() == []


def test_what_cannot_begin_to_draw_says_why() -> None:
    """Here a model of sound."""
    process = DrawingProcess([ServedModel("sound", tiny_checkpoint())], DrawingQueue())
    with pytest.raises(InputError, match="could not begin"):
        process.wait_ready()
    process.end()
    assert not process._process.is_alive()


def test_a_drawing_that_is_cancelled_leaves_room_for_the_next() -> None:
    """By what is left of the connection of each."""
    model = ServedModel("mnist-binary", checkpoint.load(Path("mnist-binary")))
    queue, told = DrawingQueue(), []
    process = DrawingProcess([model], queue)
    process.wait_ready()
    left = make_drawing(model, [{}] * 16, {"seed": 1}, lambda pixels, error: told.append((pixels, error)))
    left.is_cancelled = False
    queue.add(left)
    process.start()
    left.is_cancelled = True
    ended = threading.Event()
    kept = make_drawing(model, [{}], {"seed": 2}, lambda pixels, error: (told.append((pixels, error)), ended.set()))
    queue.add(kept)
    assert ended.wait(30) and told[-1][1] is None
    np.testing.assert_array_equal(told[-1][0][0], wavegen.load("mnist-binary").draw(seed=2)[0])
    queue.close()
    process.join(10)
    assert not process.is_alive() and not process._process.is_alive()


class Collected:
    """An outlet that keeps what comes, and is full when it is told so."""

    is_full = False

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.error: Exception | None = None
        self.ended = threading.Event()

    def put(self, block: np.ndarray) -> None:
        self.blocks.append(block)

    def flush(self) -> None:
        pass

    def tell(self, event: dict) -> None:
        pass

    def end(self, error: Exception | None) -> None:
        self.error = error
        self.ended.set()


@pytest.fixture(scope="module")
def pool():
    """Two cores with a tiny labelled model."""
    models = ServedModels.__new__(ServedModels)
    models._by_name = {"tiny": ServedModel("tiny", tiny_checkpoint(labels={"speaker": 3}))}
    with_cores = Pool(models, n_threads=2)
    yield with_cores
    with_cores.close()


def test_sounds_of_many_requests_on_two_cores_are_those_that_are_made_alone(pool: Pool) -> None:
    model = pool.models.find("tiny")
    asked = []
    for seed in range(30):
        options = {"seed": seed, "labels": {"speaker": str(seed % 3)}, **({"guidance": 2.0} if seed % 4 == 0 else {})}
        maker, outlets = model.maker(options), [Collected(), Collected()]
        pieces = [
            Piece(maker, lambda maker=maker, number=number: maker.stream(number), outlet, 300 + 97 * seed)
            for number, outlet in enumerate(outlets)
        ]
        pool.make(model, pieces)
        asked.append((options, outlets))
    for options, outlets in asked:
        for outlet in outlets:
            assert outlet.ended.wait(20) and outlet.error is None
        expected = LoadedModel(model.loaded).generate(
            (300 + 97 * options["seed"]) / model.sample_rate, n=2, n_threads=1, **options
        )
        for number, outlet in enumerate(outlets):
            np.testing.assert_array_equal(np.concatenate(outlet.blocks), expected.samples[number])
    assert pool.n_requests == 0


def test_a_fault_of_one_sound_is_its_own(pool: Pool) -> None:
    model, outlets = pool.models.find("tiny"), [Collected(), Collected()]
    maker = model.maker({"seed": 1})

    def broken():
        raise InputError("it cannot be made")

    pool.make(model, [Piece(maker, broken, outlets[0], 100), Piece(maker, maker.stream, outlets[1], 100)])
    assert all(outlet.ended.wait(10) for outlet in outlets)
    assert "cannot be made" in str(outlets[0].error)
    assert outlets[1].error is None and len(np.concatenate(outlets[1].blocks)) == 100


def test_a_core_outlives_a_fault_of_its_own(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, outlet = pool.models.find("tiny"), Collected()
    maker = model.maker({"seed": 1})
    monkeypatch.setattr("wavegen.serving.file_lane.FileLane._chosen", lambda *_: 1 / 0)
    pool.make(model, [Piece(maker, maker.stream, outlet, 100)])
    assert outlet.ended.wait(10) and isinstance(outlet.error, ZeroDivisionError)
    monkeypatch.undo()
    again = Collected()
    pool.make(model, [Piece(maker, maker.stream, again, 100)])
    assert again.ended.wait(10) and again.error is None and pool.n_requests == 0


def test_a_full_outlet_makes_its_sound_wait_and_no_other(pool: Pool) -> None:
    model, slow, quick = pool.models.find("tiny"), Collected(), Collected()
    slow.is_full = True
    maker = model.maker({"seed": 1})
    pool.make(model, [Piece(maker, maker.stream, slow, 5000), Piece(maker, maker.stream, quick, 5000)])
    assert quick.ended.wait(10) and not slow.blocks
    slow.is_full = False
    pool.wake()
    assert slow.ended.wait(10)
    np.testing.assert_array_equal(np.concatenate(slow.blocks), np.concatenate(quick.blocks))


def test_names_of_models_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 models"):
        ServedModels([])
    with pytest.raises(InputError, match="two models are called digits"):
        ServedModels([Path("digits"), Path("digits")])
