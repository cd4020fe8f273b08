"""Compiled code on the disk that is not what was written."""

import logging

import numba
import numpy as np
import pytest

from tests.conftest import tiny_checkpoint
from wavegen.doctor import machine
from wavegen.engines import make_engine
from wavegen.engines.cpu import compiled
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError


def double(x):
    x[0] *= 2


def run_in_new_process() -> int:
    """What a process that has compiled nothing yet does; returns how often it found compiled code."""
    compiled.discard_damaged.cache_clear()
    compiled.discard_damaged()
    made, x = compiled.cached_njit(double), np.ones(1)
    made(x)
    assert x[0] == 2
    return sum(made.stats.cache_hits.values())


DAMAGES = {
    "empty": lambda whole: b"",
    "cut short": lambda whole: whole[: len(whole) // 2],
    "something else": lambda whole: b"\x80\x04garbage" * 99,
    "one bit changed": lambda whole: whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:],
}


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    compiled.discard_damaged.cache_clear()


def test_damaged_code_is_thrown_away_compiled_anew_and_said(own_cache, caplog):
    assert run_in_new_process() == 0
    assert run_in_new_process() == 1
    paths = sorted(own_cache.rglob("*.nb*"))
    assert {path.suffix for path in paths} == {".nbi", ".nbc"}
    for path in paths:
        for what, damage in DAMAGES.items():
            path.write_bytes(damage(path.read_bytes()))
            assert compiled.damaged() == [path], what
            with caplog.at_level(logging.WARNING, "wavegen"):
                assert run_in_new_process() == 0
            assert len(caplog.messages) == 1
            assert path.name in caplog.text and "was damaged" in caplog.text
            caplog.clear()
            assert compiled.damaged() == []
            assert run_in_new_process() == 1


def test_the_doctor_notices(own_cache):
    run_in_new_process()
    assert [one.what for one in machine._cpu_engine()] == ["CPU engine"]
    next(own_cache.rglob("*.nbi")).write_bytes(b"")
    noticed = machine._cpu_engine()[1]
    assert (noticed.what, noticed.ok) == ("compiled code", None)
    assert ".nbi" in noticed.detail


def test_every_engine_looks(monkeypatch):
    looked = []
    monkeypatch.setattr(compiled, "discard_damaged", lambda: looked.append(True))
    make_engine(tiny_checkpoint(), 1, EngineOptions("numba"))
    assert looked


def test_where_nothing_is_compiled_one_sentence_tells(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(InputError, match="NUMBA_DISABLE_JIT is set, and the CPU engine is compiled: unset it, or take"):
        make_engine(tiny_checkpoint(), 1, EngineOptions("numba"))
    assert machine._cpu_engine()[0].ok is False
