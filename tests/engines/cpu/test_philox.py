import numpy as np
import pytest

from wavegen.engines.cpu.philox import uniform
from wavegen.sampling import uniforms


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (7, 2**63 + 5), (2**64 - 1, 2**64 - 1)])
def test_numbers_are_those_of_numpy(seed, stream):
    made = [uniform(np.uint64(seed), np.uint64(stream), step) for step in range(3, 60)]
    np.testing.assert_array_equal(made, uniforms(seed, stream, 3, 57))
