"""The compiled functions as the engine has them: from the disk without numba, or compiled anew."""

import ctypes
import logging
import os
import re
import subprocess
import sys
from typing import get_type_hints

import numpy as np
import pytest

from tests.conftest import PREDICTION, REPOSITORY, tiny_checkpoint
from tests.random_frames import random_condition
from wavegen.doctor import machine
from wavegen.engines.cpu import ahead_of_time, compiled, kernel
from wavegen.engines.cpu.arguments import Call, Memory, Network
from wavegen.engines.cpu.engine import PRECISIONS, NumbaEngine, missing_instructions
from wavegen.engines.cpu.tuples import n_leaves
from wavegen.engines.weights import stack_weights
from wavegen.sampling import Decoding, uniforms

DAMAGES = {
    "empty": lambda whole: b"",
    "cut short": lambda whole: whole[: len(whole) // 2],
    "something else": lambda whole: b"\x80\x04garbage" * 99,
    "one bit changed": lambda whole: whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:],
}


@pytest.fixture
def compilations(tmp_path, monkeypatch):
    """A cache of one's own, and what is compiled, which takes no time here."""
    made, whole = [], compiled._object("run")

    def compiled_for(target, functions):
        made.append((target, functions))
        return whole

    monkeypatch.setattr(ahead_of_time, "compiled_for", compiled_for)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield made
    compiled._linked.cache_clear()


def run_as_if_nothing_were_loaded() -> None:
    """Load the step anew and run it, as a new process would."""
    compiled._linked.cache_clear()
    codes = NumbaEngine(stack_weights(tiny_checkpoint()), 1).advance(np.full((1, 9), 0.5), Decoding())
    assert (codes >= 0).all()


def test_it_is_compiled_once_and_said(compilations, caplog):
    with caplog.at_level(logging.INFO, "wavegen"):
        run_as_if_nothing_were_loaded()
        run_as_if_nothing_were_loaded()
    assert compilations == [("native", "wavegen.engines.cpu.kernel:RUN")]
    assert caplog.messages == ["compiling the engine for this CPU; about 20 s, the first time only"]


def test_damaged_code_is_compiled_anew_and_said(compilations, caplog):
    run_as_if_nothing_were_loaded()
    (path,) = compiled.folder().glob("*.o")
    for n, (what, damage) in enumerate(DAMAGES.items(), 2):
        path.write_bytes(damage(path.read_bytes()))
        assert compiled.damaged() == [path], what
        with caplog.at_level(logging.WARNING, "wavegen"):
            run_as_if_nothing_were_loaded()
        assert len(compilations) == n
        assert len(caplog.messages) == 1
        assert path.name in caplog.text and "was damaged" in caplog.text
        caplog.clear()
        assert compiled.damaged() == []
        run_as_if_nothing_were_loaded()
        assert len(compilations) == n


def test_where_nothing_can_be_kept_every_process_compiles(compilations, caplog, tmp_path):
    (tmp_path / "cache").touch()
    with caplog.at_level(logging.WARNING, "wavegen"):
        for n in (1, 2):
            run_as_if_nothing_were_loaded()
            assert len(compilations) == n
    assert len(caplog.messages) == 2
    assert "cannot be kept" in caplog.text and "Not a directory" in caplog.text


def test_the_doctor_notices(compilations):
    run_as_if_nothing_were_loaded()
    assert [one.what for one in machine._cpu_engine()] == ["CPU engine"]
    next(compiled.folder().glob("*.o")).write_bytes(b"")
    noticed = machine._cpu_engine()[1]
    assert (noticed.what, noticed.ok) == ("compiled code", None)
    assert "run.o" in noticed.detail


PLAYED = """
import sys
from wavegen.cli.main import main
sys.argv = ["wavegen", "play", sys.argv[1], "--output", "-", "--seconds", "0.05"]
try:
    main()
finally:
    print(*{"numba", "torch", "scipy", "PIL", "rich"} & set(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("model", ["speech", "music"])
def test_what_is_compiled_plays_without_numba_and_torch(model):
    compiled.load("run")
    result = subprocess.run([sys.executable, "-c", PLAYED, model], cwd=REPOSITORY, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) == 2 * 800
    assert result.stderr.splitlines()[-1] == b""


def test_it_is_compiled_whatever_numba_is_told(tmp_path):
    """A small function; without numba's compiler there is no LLVM code to make an object of."""
    (tmp_path / "small.py").write_text(
        "from numba import njit, types\n"
        "@njit\ndef double(x): return 2 * x\n"
        "FUNCTIONS = {'double': (double, (types.int64,))}\n"
    )
    line = "import sys; from wavegen.engines.cpu.ahead_of_time import compiled_for as c; print(len(c(*sys.argv[1:])))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-c", line, "native", "small:FUNCTIONS"]
    result = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 100


def test_it_calls_neither_python_nor_an_allocator():
    assert not re.search(rb"\0_?(NRT_|Py[A-Z]|_Py|numba_|[mc]alloc|realloc)", compiled._object("run"))


def tuple_at(cls, address):
    """What lies of a tuple in memory, as numba takes it: with addresses in place of its arrays."""
    numbers = iter((ctypes.c_int64 * n_leaves(cls)).from_address(address))

    def build(cls):
        if isinstance(cls, type) and issubclass(cls, tuple):
            return cls(*map(build, get_type_hints(cls).values()))
        return bool(next(numbers)) if cls is bool else next(numbers)

    return build(cls)


@pytest.mark.exhaustive
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sizes", [{}, PREDICTION], ids=["plain", "predicted"])
def test_it_makes_to_the_last_bit_what_the_function_that_numba_calls_makes(precision, sizes):
    if missing := missing_instructions(precision):
        pytest.skip(f"needs {missing}")

    def called_by_numba(network, memory, call, first, last):
        kernel.run(tuple_at(Network, network), tuple_at(Memory, memory), tuple_at(Call, call), first, last)

    model, n = tiny_checkpoint(**sizes), 300
    condition = random_condition(model.description.architecture, 2, n) if sizes else None
    u, made = np.stack([uniforms(5, stream, 0, n) for stream in range(2)]), []
    for run in (compiled.load("run"), called_by_numba):
        engine = NumbaEngine(stack_weights(model), 2, precision, 1)
        engine._run_compiled = run
        logits = np.empty((2, n, engine._network.n_parameters), dtype=np.float32)
        made.append((engine.advance(u, Decoding(0.8), condition=condition, logits=logits), logits))
    for theirs, ours in zip(*made, strict=True):
        np.testing.assert_array_equal(theirs, ours)
