"""More streams side by side than there is memory for are refused before anything of that size is made."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

import wavegen
from tests.conftest import tiny_checkpoint
from wavegen.bench import generation, images
from wavegen.cli.main import make_app
from wavegen.engines import make_engine, memory, n_at_once
from wavegen.engines.memory import bytes_of_stream, check_memory
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError

TOO_MANY = 10**9
LINES = {
    "play digits --n 1000000000 --output -": "streams",
    "bench digits --streams 1000000000": "streams",
    "bench --image --streams 1000000000": "images",
}
CALLS: dict[str, Callable[[], Any]] = {
    "generate": lambda: wavegen.load("digits").generate(n=TOO_MANY),
    "stream": lambda: next(wavegen.load("digits").stream(n=TOO_MANY)),
    "candidates": lambda: wavegen.load("music").generate(beam=TOO_MANY),
    "scheduler": lambda: wavegen.load("digits").scheduler(TOO_MANY),
    "draw": lambda: wavegen.load("mnist").draw(n=TOO_MANY),
}


@pytest.mark.parametrize("line", LINES)
def test_commands_refuse_a_billion_at_once(line):
    with pytest.raises(InputError, match=rf"1,000,000,000 {LINES[line]} side by side could take .* expected up to"):
        raise CliRunner().invoke(make_app(), line.split()).exception


@pytest.mark.parametrize("what", CALLS)
def test_a_billion_at_once_are_refused_without_memory_for_them(what):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"1,000,000,000 \w+ side by side could take"):
            CALLS[what]()
        assert tracemalloc.get_traced_memory()[1] < 1e9
    finally:
        tracemalloc.stop()


def test_the_bound_is_what_the_memory_holds(monkeypatch):
    model = tiny_checkpoint()
    monkeypatch.setattr(memory, "memory_of", lambda device: 10 * memory.AT_WORK * bytes_of_stream(model))
    for name in ("numba", "reference"):
        assert make_engine(model, 10, EngineOptions(name))[1].n_streams == 10
        with pytest.raises(InputError, match=r"11 streams side by side .*; expected up to 10"):
            make_engine(model, 11, EngineOptions(name))
    make_engine(model, 5, is_guided=True)
    with pytest.raises(InputError, match="expected up to 5"):
        make_engine(model, 6, is_guided=True)
    assert n_at_once(model, EngineOptions("reference"), 256) == 5  # which are made in turn, and may be guided
    monkeypatch.setattr(memory, "memory_of", lambda device: 1)
    check_memory(model, 1)


def test_the_memory_of_a_container_is_its_limit(tmp_path, monkeypatch):
    whole = memory.memory_of("cpu")
    limits = {"none": "max\n", "some": "123456789\n"}
    for name, text in limits.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "LIMITS", [tmp_path / "missing", tmp_path / "none"])
    assert memory.memory_of("cpu") >= whole > 1 << 28
    monkeypatch.setattr(memory, "LIMITS", [tmp_path / "none", tmp_path / "some"])
    assert memory.memory_of("cpu") == 123456789


def test_what_a_stream_takes_is_what_its_networks_remember():
    speech, vocoder = (wavegen.load(name)._loaded for name in ("speech", "vocoder"))
    assert bytes_of_stream(speech) > bytes_of_stream(speech.planner) > 4 * speech.planner.description.architecture.unit
    sizes = vocoder.description.architecture
    assert bytes_of_stream(vocoder) > 4 * sizes.n_remembered * sizes.residual_channels
    drawing = wavegen.load("mnist").description.architecture
    assert drawing.n_numbers_of_stream > drawing.row_length * drawing.n_conditions * drawing.condition_channels


def test_what_is_timed_by_default_is_not_too_much():
    for n in (generation.STREAMS["cpu"], images.AT_ONCE):
        check_memory(tiny_checkpoint(), sum(n), generation.MOST_CONTESTANTS)
