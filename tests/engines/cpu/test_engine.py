"""What is the compiled engine's own: exactness over long stretches, threads, allocation, narrower CPUs."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY, tiny_checkpoint
from wavegen import checkpoint
from wavegen.engines import make_engine
from wavegen.engines.cpu import host
from wavegen.engines.cpu.engine import PRECISIONS, NumbaEngine, choose_precision, missing_instructions
from wavegen.engines.cpu.packing import REDUCED
from wavegen.engines.options import EngineOptions
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, probabilities, uniforms


def draws(n_streams: int, n: int):
    return np.stack([uniforms(5, stream, 0, n) for stream in range(n_streams)])


def test_a_trained_model_makes_the_codes_of_the_reference():
    """30,000 samples; where the codes differ, the draw lies within float error of the boundary between them."""
    loaded = checkpoint.load(Path("music"))
    n = 30_000
    u = draws(1, n)
    codes = NumbaEngine(stack_weights(loaded), 1).advance(u, Decoding())[0]
    model, state, n_exceptions = from_checkpoint(loaded), None, 0
    for first in range(0, n, 2000):
        chunk = slice(first, first + 2000)
        with torch.inference_mode():
            logits, state = model(torch.from_numpy(codes[None, chunk]), state)
        p = probabilities(logits[0].numpy(), Decoding())
        cumulative = np.cumsum(p, axis=-1)
        place = u[0, chunk, None] * cumulative[:, -1:]
        expected = (cumulative <= place).sum(axis=-1)
        for step in np.flatnonzero(expected != codes[chunk]):
            between = cumulative[step, min(expected[step], codes[chunk][step])]
            assert abs(between - place[step, 0]) < 1e-5
            n_exceptions += 1
    assert n_exceptions < n / 1000


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("n_streams", "n_taps"), [(1, 2), (1, 3), (2, 3), (5, 2)])
def test_what_older_taps_give_to_coming_steps_is_the_same_however_the_steps_are_called(precision, n_streams, n_taps):
    if missing := missing_instructions(precision):
        pytest.skip(f"needs {missing}")
    deep = stack_weights(tiny_checkpoint(layers_per_block=5, kernel_size=n_taps))  # dilations 1 to 16
    at_once = NumbaEngine(deep, n_streams, precision, 1).advance(draws(n_streams, 90), Decoding())
    engine, made = NumbaEngine(deep, n_streams, precision, 1), []
    for first, last in [(0, 1), (1, 4), (4, 21), (21, 29), (29, 90)]:
        before = engine.snapshot()
        u = draws(n_streams, 90)[:, first:last]
        engine.advance(u[:, ::-1], Decoding())
        engine.restore(before)
        made.append(engine.advance(u, Decoding()))
    np.testing.assert_array_equal(np.concatenate(made, axis=1), at_once)


def test_threads_share_the_streams_out():
    tiny = stack_weights(tiny_checkpoint())
    alone = NumbaEngine(tiny, 5, n_threads=1).advance(draws(5, 50), Decoding())
    shared = NumbaEngine(tiny, 5, n_threads=3).advance(draws(5, 50), Decoding())
    np.testing.assert_array_equal(shared, alone)


def test_ctrl_c_waits_for_the_threads_that_write_into_what_it_would_free(monkeypatch):
    engine = NumbaEngine(stack_weights(tiny_checkpoint()), 4, n_threads=2)
    started, n_running = threading.Barrier(3), []

    def slow(*_):
        n_running.append(1)
        started.wait()
        time.sleep(0.2)
        n_running.pop()

    class Interrupted(Future):
        def result(self, timeout=None):
            started.wait()
            raise KeyboardInterrupt

    submit = engine._pool.submit

    def interrupted(*arguments):
        future = submit(*arguments)
        future.__class__ = Interrupted
        return future

    monkeypatch.setattr(engine, "_run_compiled", slow)
    monkeypatch.setattr(engine._pool, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.advance(draws(4, 10), Decoding())
    assert not n_running


def test_weights_that_float16_holds_are_read_as_such_and_give_the_very_same_logits(monkeypatch):
    loaded = tiny_checkpoint()
    for name, array in loaded.weights.items():
        loaded.weights[name] = array.astype(np.float16).astype(np.float32)
    codes = np.random.default_rng(0).integers(32, size=(2, 50))
    halves = NumbaEngine(stack_weights(loaded), 2)
    monkeypatch.setattr(host, "HOST", host.HOST._replace(reads_float16=False))
    whole = NumbaEngine(stack_weights(loaded), 2)
    assert halves.n_bytes < whole.n_bytes
    np.testing.assert_array_equal(halves.logits(codes), whole.logits(codes))


def test_auto_takes_the_fastest_precision_that_costs_next_to_nothing():
    assert choose_precision({}) == "float32"
    assert choose_precision({"int8x8": 0.5, "int8": 0.02, "float16": 0.0099}) == "float16"
    cheap = choose_precision(dict.fromkeys(REDUCED, 0.0))
    assert cheap == ("int8" if missing_instructions("int8x8") else "int8x8")
    assert choose_precision({"int8x7": 0.0}) == "float32"  # which is for WebAssembly


def test_engines_are_made_by_name():
    tiny = tiny_checkpoint()
    assert make_engine(tiny)[0] == "numba in float32"
    assert make_engine(tiny, 1, EngineOptions(device="cpu", precision="int8"))[0] == "numba in int8"
    assert make_engine(tiny, 1, EngineOptions("reference"))[0] == "reference in float32"
    with pytest.raises(InputError, match="the engine numba has no precision 'int4'; expected auto, float32"):
        make_engine(tiny, 1, EngineOptions(precision="int4"))
    with pytest.raises(InputError, match="the engine reference has no precision 'int8'; expected auto, float32"):
        make_engine(tiny, 1, EngineOptions("reference", precision="int8"))
    with pytest.raises(InputError, match="device cuda is wanted"):
        make_engine(tiny, 1, EngineOptions("numba", device="cuda"))


def test_a_missing_tensor_is_named():
    broken = tiny_checkpoint()
    del broken.weights["skip.bias"]
    with pytest.raises(InputError, match=r"tiny.safetensors lacks the tensor skip.bias; expected shape \(7,\)"):
        stack_weights(broken)
    broken.weights["skip.bias"] = np.zeros(8, dtype=np.float32)
    with pytest.raises(InputError, match=r"skip.bias of shape \(8,\); expected \(7,\)"):
        stack_weights(broken)


NARROW = """
import sys
import numpy as np
from pathlib import Path
from wavegen import checkpoint
from wavegen.engines.cpu import host
from wavegen.engines.cpu.engine import NumbaEngine, missing_instructions
from wavegen.engines.weights import stack_weights
weights = stack_weights(checkpoint.load(Path(sys.argv[1])))
codes = np.load(sys.argv[2])
print(host.LANES, bool(missing_instructions("int8x8")))
for precision in ("float32", "int8"):
    np.save(f"{sys.argv[3]}-{precision}.npy", NumbaEngine(weights, len(codes), precision).logits(codes))
"""


@pytest.mark.exhaustive
@pytest.mark.skipif("avx512f" not in host.FEATURES, reason="needs AVX-512, of which less can be taken")
@pytest.mark.parametrize("lanes", [8, 4])
def test_narrower_vectors_give_the_same_logits(tmp_path, lanes):
    """The kernel on a CPU with AVX2 only, and on one with vectors of 128 bits."""
    dropped = ("avx512", "avxvnni", "amx", "avx10", "evex512") + (
        ("avx", "fma", "f16c", "vaes", "vpclmul") * (lanes == 4)
    )
    features = ",".join(("-" if feature.startswith(dropped) else "+") + feature for feature in sorted(host.FEATURES))
    loaded = tiny_checkpoint(kernel_size=3, gate_channels=20)
    checkpoint.save(tmp_path / "tiny.safetensors", loaded.description, loaded.weights, loaded.recipe)
    codes = np.random.default_rng(0).integers(32, size=(3, 50))
    np.save(tmp_path / "codes.npy", codes)
    arguments = [str(tmp_path / name) for name in ("tiny.safetensors", "codes.npy", "logits")]
    result = subprocess.run(
        [sys.executable, "-c", NARROW, *arguments],
        env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(lanes), str(lanes == 8)]  # every x86 multiplies pairs in vectors of 128 bits
    for precision in ("float32", "int8"):
        wide = NumbaEngine(stack_weights(loaded), 3, precision).logits(codes)
        np.testing.assert_allclose(np.load(tmp_path / f"logits-{precision}.npy"), wide, atol=2e-4)
