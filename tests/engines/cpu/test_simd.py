"""The vector primitives against numpy in float64."""

import numpy as np
import pytest
from numba import njit

from wavegen.engines.cpu import arguments, host, kernel, packing, simd
from wavegen.engines.cpu.engine import missing_instructions


@njit
def gates(a, b, made):
    for i in range(0, len(a), host.LANES):
        simd.store(made, i, simd.gate(simd.load(a, i), simd.load(b, i)))


@njit
def exponentials(x, made):
    for i in range(0, len(x), host.LANES):
        simd.store(made, i, simd.exp_negative(simd.load(x, i)))


@njit
def arithmetic(a, b, made):
    for i in range(0, len(a), host.LANES):
        x, y = simd.load(a, i), simd.load(b, i)
        low, high = simd.minimum(x, y), simd.maximum(x, y)
        simd.store(made, i, (high - low) / (simd.absolute(y) + simd.constant(1.0)) * simd.splat(a[0]))


@njit
def reduced(x):
    return simd.highest(simd.load(x, 0)), simd.total(simd.load(x, 0))


@njit
def put_bytes(x, made_at, n_steps):
    return kernel.quantise_input(x, 0, made_at, 0, len(x), n_steps)


def as_bytes(x, made, n_steps):
    return put_bytes(x, made.ctypes.data, n_steps)


def numbers(n: int, scale: float = 1.0, seed: int = 0):
    return (scale * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def test_gate_is_tanh_times_sigmoid():
    edges = np.array(
        [0, -0.0, 50, -50, 1e30, -1e30, 7.9, 8, -7.9, 1e-20, -1e-20, 1, -1, 0.1, 15, -15], dtype=np.float32
    )
    a = np.concatenate([numbers(4096, 4), np.repeat(edges, 16)])
    b = np.concatenate([numbers(4096, 4, 1), np.tile(edges, 16)])
    made = np.empty_like(a)
    gates(a, b, made)
    expected = np.tanh(a.astype(np.float64)) * 0.5 * (1 + np.tanh(b.astype(np.float64) / 2))
    np.testing.assert_allclose(made, expected, atol=5e-7, rtol=0)
    assert (np.abs(made) <= 1).all()


def test_exponential_of_what_is_not_positive():
    x = -np.abs(np.concatenate([numbers(4096, 20), numbers(4096, 0.01)]))
    x[:4] = [0, -0.0, -1e30, -87]
    made = np.empty_like(x)
    exponentials(x, made)
    np.testing.assert_allclose(made, np.exp(np.maximum(x.astype(np.float64), -87)), rtol=3e-7)
    assert made[0] == 1


def test_arithmetic_is_by_lane():
    a, b, made = numbers(64), numbers(64, seed=1), np.empty(64, dtype=np.float32)
    arithmetic(a, b, made)
    np.testing.assert_allclose(made, np.abs(a - b) / (np.abs(b) + 1) * a[0], rtol=1e-6)
    highest, total = reduced(a)
    assert highest == a[: host.LANES].max()
    assert total == pytest.approx(a[: host.LANES].sum(), rel=1e-5)


@pytest.mark.parametrize("scale", [0, 1e-30, 1.0, 1e30])
@pytest.mark.parametrize("n_steps", packing.INPUT_STEPS.values())
def test_bytes_stand_for_the_numbers_they_were_made_of(scale, n_steps):
    x, made = numbers(64, scale), np.empty(64, dtype=np.uint8)
    step = as_bytes(x, made, n_steps)
    assert step == pytest.approx(np.abs(x).max() / n_steps)
    np.testing.assert_allclose(step * (made.astype(np.float64) - n_steps - 1), x, atol=0.501 * step)
    assert made.min() >= 1 and made.max() <= 2 * n_steps + 1


@pytest.mark.parametrize("precision", packing.NUMBERS)
@pytest.mark.parametrize("n_vectors", [1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("n_streams", [1, 2, 3, 4, 8, 15])
def test_products_are_what_their_precision_says(precision, n_vectors, n_streams):
    if missing := missing_instructions(precision):
        pytest.skip(f"needs {missing}")
    n_in, n_out, n = 32, n_vectors * host.LANES, 3
    dense = numbers(n * n_in * n_out, 0.3).reshape(n, n_in, n_out)
    dense[:, :, 0] = 0  # as padding is
    x = numbers(n_streams * n_in, 2, 1)
    group = host.streams_of_a_pass(n_streams)
    matrices = packing.pack(dense, precision, host.LANES, host.HOST.panel_vectors(group), group)
    y = np.zeros(n_streams * n_out, dtype=np.float32)
    made = y + 1
    given, scales = x, np.ones(n_streams, dtype=np.float32)
    if precision in packing.INPUT_STEPS:
        given = np.empty(len(x), dtype=np.uint8)
        for stream in range(n_streams):
            part = slice(stream * n_in, (stream + 1) * n_in)
            scales[stream] = as_bytes(x[part], given[part], packing.INPUT_STEPS[precision])
    given_at, scales_at, made_at = (array.ctypes.data for array in (given, scales, made))
    kernel.multiply(
        packing.Matrices(*arguments.in_memory(matrices)),
        1,
        given_at,
        0,
        n_in,
        scales_at,
        0,
        1,
        made_at,
        0,
        n_out,
        n_streams,
    )

    exact = x.reshape(n_streams, n_in).astype(np.float64)
    expected = 1 + exact @ dense[1].astype(np.float64)
    magnitude = np.abs(exact) @ np.abs(dense[1]).astype(np.float64)
    bound = magnitude * n_in * 2.0**-24 + 1e-6  # docs/performance.md derives these
    if precision == "float16":
        bound += magnitude * 2.0**-11 + n_in * 2.0**-25 * np.abs(exact).max()
    if precision in packing.OF_BYTES:
        half_step = np.abs(dense[1]).max(axis=0) / 254
        bound = bound + np.abs(exact).sum(axis=1, keepdims=True) * half_step
    if precision in packing.INPUT_STEPS:
        bound += scales[:, None] / 2 * (np.abs(dense[1]).sum(axis=0) + n_in * half_step)
    error = np.abs(made.reshape(n_streams, n_out) - expected)
    assert (error <= bound * 1.001).all()
    assert (made.reshape(n_streams, n_out)[:, 0] == 1).all()


def test_panels_cover_every_output_once():
    for n_vectors in range(1, 40):
        for panel in (8, 4, 2, 1):
            columns = packing.panel_columns(n_vectors, panel)
            covered = [column for first, width in columns for column in range(first, first + width)]
            assert covered == list(range(n_vectors))
