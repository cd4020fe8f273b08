"""Evaluation takes memory by the network, not by how long recordings are or how many."""

import subprocess
import sys

import pytest

from tests.conftest import tiny_wavenet
from wavegen.data.windows import Segment
from wavegen.evaluation import chunks
from wavegen.evaluation.chunks import bytes_per_code, chunk_length, codes_at_once, side_by_side


def test_a_larger_network_takes_fewer_codes_at_once():
    narrow, wide, deep = tiny_wavenet(), tiny_wavenet(gate_channels=50), tiny_wavenet(n_blocks=8)
    assert codes_at_once(wide) < codes_at_once(narrow)
    assert codes_at_once(deep) < codes_at_once(narrow)
    for model in (narrow, wide, deep):
        assert codes_at_once(model) * bytes_per_code(model) <= chunks.BUDGET


@pytest.mark.parametrize("unit", [1, 7, 84])
@pytest.mark.parametrize("n_streams", [1, 8, 300])
def test_chunks_fill_the_budget_and_are_whole_units(n_streams, unit):
    chunk = chunk_length(100_000, n_streams, unit)
    assert chunk % unit == 0
    assert chunk * n_streams <= 100_000 < (chunk + unit) * n_streams
    assert chunk_length(0, n_streams, unit) == unit


@pytest.mark.parametrize("lengths", [[50] * 5000, [16000] * 3, [10, 20, 10**6] * 400, [10**9]])
def test_recordings_side_by_side_are_few_or_fit_in_whole(lengths):
    ordered = [Segment(str(n), 0, n, {}, True) for n in sorted(lengths)]
    groups = list(side_by_side(ordered, 20_000))
    assert [segment for group in groups for segment in group] == ordered
    for group in groups:
        assert len(group) <= chunks.STREAMS or len(group) * group[-1].n_samples <= 20_000
    assert len(groups) <= 1 + len(ordered) // chunks.STREAMS
    assert all(len(group) == 400 for group in groups[:-1]) or lengths[0] != 50


PEAK_OF = """
import resource, sys
import numpy as np
from tests.conftest import tiny_wavenet
from wavegen.codec import MuLaw
from wavegen.data import store
from wavegen.data.windows import Segment
from wavegen.evaluation import chunks
from wavegen.evaluation.bits import bits_per_sample

chunks.BUDGET = 64 << 20
n = int(sys.argv[1])
opened = store.in_memory("x", 100, [np.random.default_rng(0).uniform(-1, 1, n) for _ in range(8)])
segments = [Segment(one.name, one.start, one.n_samples, {}, True) for one in opened.recordings]
model = tiny_wavenet(n_classes=256, residual_channels=32, gate_channels=32, skip_channels=64, head_channels=64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
bits_per_sample(model, opened, segments, MuLaw(256), {})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.exhaustive
def test_peak_memory_stays_within_the_budget_however_long_recordings_are():
    taken = []
    for n in (8_000, 24_000):
        result = subprocess.run([sys.executable, "-c", PEAK_OF, str(n)], capture_output=True, text=True, check=True)
        taken.append(int(result.stdout))  # kB
    assert max(taken) < 1.5 * 64 * 1024
    assert taken[1] < taken[0] + 16 * 1024
