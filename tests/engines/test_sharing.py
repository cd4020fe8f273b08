"""What engines share: the weights of a model, laid out once; and one engine between several users."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen import engines
from wavegen.engines import make_engine, most_at_once
from wavegen.engines.cache import OncePer
from wavegen.engines.context import EngineContext
from wavegen.engines.cpu import engine as numba_engine
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.sampling import Decoding, uniforms


def test_a_second_engine_of_the_same_model_packs_nothing(monkeypatch):
    packed, stacked = [], []
    pack, stack_weights = numba_engine.pack_network, engines._stack_weights

    def counted(weights, precision, group, unit):
        packed.append(precision)
        return pack(weights, precision, group, unit)

    monkeypatch.setattr(numba_engine, "pack_network", counted)
    monkeypatch.setattr(engines, "_stack_weights", lambda one: stacked.append(found := stack_weights(one)) or found)
    checkpoint = tiny_checkpoint()
    made = [make_engine(checkpoint)[1] for _ in range(3)]
    assert packed == ["float32"]
    assert all(one is stacked[0] for one in stacked)
    draws = uniforms(1, 0, 0, 30)[None]
    first = made[0].advance(draws, Decoding())
    for one in made[1:]:  # what they share does not hold what they made
        np.testing.assert_array_equal(one.advance(draws, Decoding()), first)
    make_engine(checkpoint, 1, EngineOptions(precision="float16"))
    make_engine(replace(checkpoint))
    assert packed == ["float32", "float16", "float32"]


def test_engines_of_torch_share_a_network():
    checkpoint = tiny_checkpoint()
    one, other = (make_engine(checkpoint, n, EngineOptions("reference"))[1] for n in (1, 2))
    assert one._model is other._model


def test_what_was_made_of_a_model_goes_with_it():
    checkpoint = tiny_checkpoint()
    shared = weakref.ref(engines._stack_weights(checkpoint))
    make_engine(checkpoint)
    assert shared() is not None
    del checkpoint
    gc.collect()
    assert shared() is None


def test_something_is_made_once_whichever_thread_asks_first():
    class Owner:
        pass

    once, owner, made = OncePer(), Owner(), []
    barrier = threading.Barrier(8)

    def ask():
        barrier.wait()
        once.get(owner, "key", lambda: made.append(1) or object())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert once.get(owner, "other", lambda: 7) == once.get(owner, "other", lambda: 8) == 7
    assert once.get(Owner(), "key", lambda: 9) == 9


@pytest.mark.parametrize("kind", ["reference", "numba", "onnx"])
def test_users_of_one_engine_find_it_as_they_left_it(kind):
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    _, engine = make_engine(tiny_checkpoint(), 2, EngineOptions(kind))
    draws = np.stack([uniforms(1, stream, 0, 30) for stream in range(2)])
    alone = engine.advance(draws, Decoding())
    users = [EngineContext(engine) for _ in range(3)]
    for first in range(0, 30, 10):
        for user in users:
            with user.turn() as mine:
                made = mine.advance(draws[:, first : first + 10], Decoding())
            np.testing.assert_array_equal(made, alone[:, first : first + 10])


def test_a_user_that_is_alone_copies_nothing(monkeypatch):
    _, engine = make_engine(tiny_checkpoint())
    user = EngineContext(engine)
    with user.turn():
        pass
    monkeypatch.setattr(engine, "snapshot", lambda: pytest.fail("a copy"))
    monkeypatch.setattr(engine, "restore", lambda state: pytest.fail("a copy"))
    with user.turn():
        pass
    del user  # nobody's state is put aside
    with EngineContext(engine).turn():
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            EngineOptions("reference", n_threads=2),
            "the engine reference does not choose its threads, and n_threads is 2",
        ),
        (EngineOptions("numba", n_threads=0), "n_threads is 0; expected 1 or more"),
        (EngineOptions("reference", precision="float16"), "the engine reference has no precision 'float16'"),
        (EngineOptions(device="tpu"), "unknown device 'tpu'"),
    ],
)
def test_an_engine_refuses_what_it_cannot_do(options, words):
    with pytest.raises(InputError, match=words):
        make_engine(tiny_checkpoint(), 1, options)


def test_an_engine_says_how_many_sounds_suit_it():
    assert most_at_once(tiny_checkpoint(), EngineOptions("reference")) == 256
