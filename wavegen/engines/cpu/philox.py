"""The random numbers of `sampling.uniforms`, compiled: Philox 4x64 with 10 rounds, by seed, stream and step.

J. Salmon and others, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). NumPy counts on before it draws, so the
counter of step s is s + 1.
"""

import numpy as np
from numba import njit

ROUNDS = 10
FIRST, SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)  # multipliers
FIRST_KEY, SECOND_KEY = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)  # added to the key every round
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
BEHIND_53_BITS = np.uint64(11)


@njit(error_model="numpy")
def uniform(seed: np.uint64, stream: np.uint64, step: int) -> float:
    """The random number of a step, in [0, 1)."""
    a, b, c, d = np.uint64(step + 1), np.uint64(0), np.uint64(0), np.uint64(0)
    for number in range(ROUNDS):
        above_first, above_second = _high(FIRST, a), _high(SECOND, c)
        of_key = np.uint64(number)
        a, b, c, d = (
            above_second ^ b ^ (seed + of_key * FIRST_KEY),
            SECOND * c,
            above_first ^ d ^ (stream + of_key * SECOND_KEY),
            FIRST * a,
        )
    return np.float64(a >> BEHIND_53_BITS) * 2.0**-53


@njit(error_model="numpy")
def _high(x: np.uint64, y: np.uint64) -> np.uint64:
    """The upper 64 bits of a product."""
    x_high, x_low, y_high, y_low = x >> HALF, x & LOW, y >> HALF, y & LOW
    middle = x_high * y_low + (x_low * y_low >> HALF)
    other = x_low * y_high + (middle & LOW)
    return x_high * y_high + (middle >> HALF) + (other >> HALF)
