"""Options once: what stands in one place is what every entry point takes, and a typo names the nearest."""

import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pytest

import wavegen
from tests.conftest import REPOSITORY, tiny_checkpoint
from tests.generation.test_images import tiny_image_checkpoint
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.generation import options
from wavegen.generation.options import GenerationOptions, make_options
from wavegen.generation.session import LoadedModel
from wavegen.sampling import DECODING, Decoding

KEYWORDS = [
    options.DecodingKeywords, options.EngineKeywords, options.SoundKeywords, options.ImageKeywords,
    options.GenerationKeywords,
]  # fmt: skip


def test_keywords_are_the_fields_of_the_options_and_of_the_same_types():
    expected = get_type_hints(GenerationOptions)
    assert get_type_hints(options.GenerationKeywords) == expected
    for keywords in KEYWORDS:
        assert get_type_hints(keywords).items() <= expected.items()
    assert tuple(get_type_hints(options.DecodingKeywords)) == DECODING
    assert len(options.EngineKeywords.__annotations__) == len(fields(EngineOptions))


def test_options_say_which_engine_and_which_decoding():
    made = make_options({"temperature": 0.5, "engine": "numba", "precision": "int8", "device": "cpu", "n_threads": 2})
    assert made.engine_options == EngineOptions("numba", "cpu", "int8", 2)
    assert Decoding(**{name: value for name, value in made.decoding.items() if value is not None}) == Decoding(0.5)
    assert GenerationOptions().engine_options == EngineOptions()


CALLS = {
    "generate": lambda model, **words: model.generate(0.01, **words),
    "session": lambda model, **words: model.session(**words),
    "stream": lambda model, **words: next(model.stream(0.01, **words)),
    "new_stream": lambda model, **words: model.new_stream(**words),
    "vocode": lambda model, **words: model.vocode(np.full((3, 4), -0.5, dtype=np.float32), **words),
    "vocode_each": lambda model, **words: next(model.vocode_each([], **words)),
    "scheduler": lambda model, **words: model.scheduler(1, **words),
    "draw": lambda model, **words: model.draw(1, **words),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_typo_names_the_nearest_option(call):
    vocoder = {"n_features": 4, "hop": 5, "frame_channels": 6, "look_ahead": 2}
    model = LoadedModel(tiny_checkpoint(**(vocoder if "vocode" in call else {})))
    typo, meant = ("precison", "precision") if call == "scheduler" else ("temprature", "temperature")
    with pytest.raises(TypeError, match=f"^unknown option '{typo}'; did you mean '{meant}'\\?$"):
        CALLS[call](model, **{typo: 1})
    with pytest.raises(TypeError, match="unknown option 'xyzzy'; the options are "):
        CALLS[call](model, xyzzy=1)


def test_what_is_for_another_kind_of_model_or_place_is_refused():
    images, _ = tiny_image_checkpoint()
    with pytest.raises(TypeError, match="unknown option 'prime'"):
        LoadedModel(images).draw(1, prime=np.zeros(3))
    with pytest.raises(TypeError, match="unknown option 'n'"):
        LoadedModel(tiny_checkpoint()).new_stream(n=3)
    with pytest.raises(InputError, match="is for sound"):
        wavegen.generation.images.ImageSession(images, [{}], GenerationOptions(beam=3))
    with pytest.raises(InputError, match="draws images; expected a model of sound"):
        LoadedModel(images).scheduler()


def test_threads_of_the_engine_can_be_asked_for():
    model = LoadedModel(tiny_checkpoint())
    alone = model.generate(0.02, seed=1, n=3).samples
    np.testing.assert_array_equal(model.generate(0.02, seed=1, n=3, n_threads=1).samples, alone)
    with pytest.raises(InputError, match="the engine reference does not choose its threads"):
        model.generate(0.02, engine="reference", n_threads=1)


@pytest.mark.exhaustive
def test_a_type_checker_knows_the_options(tmp_path):
    (tmp_path / "user.py").write_text(
        "import wavegen\n"
        "model = wavegen.load('speech')\n"
        "model.generate(1.0, temperature=0.9, labels={'digit': '7'}, n=2)\n"
        "model.generate(1.0, temprature=0.9)\n"
        "model.draw(2, temperature='hot')\n"
    )
    command = [sys.executable, "-m", "mypy", str(tmp_path / "user.py")]  # as the project is checked, which is cached
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    errors = [line for line in found.splitlines() if "user.py" in line and ": error: " in line]
    assert [line.split(":")[1] for line in errors] == ["4", "5"], found


WRONG = [
    ({"temperature": "0.8"}, "temperature is '0.8'; expected a number"),
    ({"temperature": True}, "temperature is True; expected a number"),
    ({"seed": "a"}, "seed is 'a'; expected a number"),
    ({"seed": 1.5}, "seed is 1.5; expected an integer"),
    ({"top_k": 5.5}, "top_k is 5.5; expected an integer"),
    ({"top_k": float("inf")}, "top_k is inf; expected an integer"),
    ({"n": None}, "n is None; expected a number"),
    ({"beam": [2]}, r"beam is \[2\]; expected a number"),
    ({"prime": [0.0, 0.1]}, r"prime is of the type list; expected a file or a waveform \(T,\) as a numpy array"),
    ({"frames": "x.npy"}, "frames is of the type str; expected frames"),
    ({"engine": 3}, "engine is 3; expected a text such as 'auto'"),
    ({"labels": "digit=7"}, "labels is 'digit=7'; expected values by name"),
    ({"labels": {7: "digit"}}, "labels is {7: 'digit'}; expected values by name"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=lambda value: str(value)[:30])
def test_a_value_of_another_kind_is_one_sentence(wrong, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        LoadedModel(tiny_checkpoint()).generate(0.01, **wrong)


def test_lengths_and_counts_of_another_kind_are_one_sentence():
    model = LoadedModel(tiny_checkpoint())
    with pytest.raises(InputError, match="seconds is '1'; expected a number"):
        model.generate(seconds="1")
    with pytest.raises(InputError, match=r"blocksize is 2\.5; expected an integer"):
        next(model.stream(blocksize=2.5))
    with pytest.raises(InputError, match="n is '2'; expected a number"):
        LoadedModel(tiny_image_checkpoint()[0]).draw("2")
    vocoder = LoadedModel(tiny_checkpoint(n_features=4, hop=5, frame_channels=6, look_ahead=2))
    with pytest.raises(InputError, match="the source is of the type list; expected a file, or a waveform"):
        vocoder.vocode([0.0, 0.1])


def test_numbers_of_numpy_and_whole_floats_will_do_and_labels_may_be_numbers():
    made = GenerationOptions(temperature=np.float32(0.5), top_k=5.0, seed=np.int64(3), labels={"a": 7, "b": None})
    assert made == GenerationOptions(temperature=0.5, top_k=5, seed=3, labels={"a": "7", "b": None})
    assert [type(value) for value in (made.temperature, made.top_k, made.seed)] == [float, int, int]
    model = LoadedModel(tiny_checkpoint(labels={"digit": 9}))
    sounds = [model.generate(0.01, seed=seed, labels={"digit": digit}).samples for seed, digit in ((1, 7), (1.0, "7"))]
    np.testing.assert_array_equal(*sounds)
