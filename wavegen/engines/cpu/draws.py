"""The draws of `sampling.py`, compiled: the same definition, on pointers, allocating nothing."""

from typing import Any

import numpy as np
from numba import njit

from wavegen.engines.cpu.arguments import TEMPERATURE, TOP_K, TOP_P, VOICED_TEMPERATURE
from wavegen.engines.cpu.host import LANES
from wavegen.engines.cpu.simd import (
    constant,
    exp_negative,
    highest,
    load,
    maximum,
    read,
    splat,
    store,
    total,
    write,
)
from wavegen.sampling import LOG_SCALES

LOWEST, HIGHEST = LOG_SCALES
STEEPEST = 1e30  # largest 1 / temperature, so that it stays finite in float32


@njit(error_model="numpy")
def draw_categorical(
    logits: Any, weights: Any, keys: Any, first: int, n_classes: int, u: float, decoding: Any
) -> int:  # fmt: skip
    """The code at `logits[first : first + n_classes]`, by the numbers of a decoding.

    Logits are padded to whole vectors with some that are lower than all. `weights` is float32 scratch of the same size
    at the same place; `keys` is the same memory as int32.
    """
    temperature, top_k, top_p = read(decoding, TEMPERATURE), read(decoding, TOP_K), read(decoding, TOP_P)
    n_padded = -(-n_classes // LANES) * LANES
    highest_seen = load(logits, first)
    for offset in range(first + LANES, first + n_padded, LANES):
        highest_seen = maximum(highest_seen, load(logits, offset))
    largest = highest(highest_seen)
    if temperature == 0:
        for code in range(n_classes):
            if read(logits, first + code) == largest:
                return code
    steepness = constant(min(1 / temperature, STEEPEST))
    whole = 0.0
    for offset in range(first, first + n_padded, LANES):
        weight = exp_negative((load(logits, offset) - splat(largest)) * steepness)
        store(weights, offset, weight)
        whole += total(weight)
    if n_padded > n_classes or top_k > 0 or top_p < 1:
        for offset in range(first + n_classes, first + n_padded):
            write(weights, offset, 0)
        if 0 < top_k < n_classes:
            _keep_count(weights, keys, first, n_classes, int(top_k))
        if top_p < 1:
            _keep_mass(weights, keys, first, n_classes, top_p)
        whole = 0.0
        for offset in range(first, first + n_padded, LANES):
            whole += total(load(weights, offset))

    threshold, below, drawn = u * whole, 0.0, 0
    for offset in range(first, first + n_padded, LANES):
        block = np.float64(total(load(weights, offset)))
        if below + block > threshold:
            for index in range(offset, offset + LANES):
                if read(weights, index) > 0:
                    drawn = index - first  # the last of the block, should rounding pass over all of them
                    below += read(weights, index)
                    if below > threshold:
                        break
            return drawn
        below += block
    for code in range(n_classes):  # u is so near 1 that rounding passed over all
        if read(weights, first + code) > 0:
            drawn = code
    return drawn


@njit
def _keep_count(weights: Any, keys: Any, first: int, n_classes: int, n_kept: int) -> None:
    """Zero all but the n_kept largest weights; of equal ones the lower codes stay."""
    lowest, highest = 0, 0x7F800000  # positive floats are ordered as their bits
    while lowest < highest:  # the largest key that at least n_kept weights reach
        middle = (lowest + highest + 1) // 2
        n_reaching = 0
        for index in range(first, first + n_classes):
            n_reaching += read(keys, index) >= middle
        if n_reaching >= n_kept:
            lowest = middle
        else:
            highest = middle - 1
    for index in range(first, first + n_classes):
        n_kept -= read(keys, index) > lowest
    for index in range(first, first + n_classes):
        if read(keys, index) < lowest or (read(keys, index) == lowest and n_kept <= 0):
            write(weights, index, 0)
        elif read(keys, index) == lowest:
            n_kept -= 1


@njit
def _keep_mass(weights: Any, keys: Any, first: int, n_classes: int, share: float) -> None:
    """Zero all but the fewest largest weights that together hold a share; of equal ones the lower codes stay."""
    whole = 0.0
    for index in range(first, first + n_classes):
        whole += read(weights, index)
    threshold = share * whole
    lowest, highest = 0, 0x7F800000
    while lowest < highest:  # the largest key such that the weights that reach it hold the share
        middle = (lowest + highest + 1) // 2
        if _mass(weights, keys, first, n_classes, middle) >= threshold:
            lowest = middle
        else:
            highest = middle - 1
    mass_above = _mass(weights, keys, first, n_classes, lowest + 1)
    for index in range(first, first + n_classes):
        if read(keys, index) < lowest or (read(keys, index) == lowest and mass_above >= threshold):
            write(weights, index, 0)
        elif read(keys, index) == lowest:
            mass_above += read(weights, index)


@njit
def _mass(weights: Any, keys: Any, first: int, n_classes: int, lowest: int) -> float:
    mass = 0.0
    for index in range(first, first + n_classes):
        if read(keys, index) >= lowest:
            mass += read(weights, index)
    return mass


@njit
def temperature_at(decoding: Any, voicing: float) -> float:
    """`Decoding.at_voicing`: the temperature of a step, from no voice (0) to a voice (1), by a decoding's numbers."""
    temperature, voiced = read(decoding, TEMPERATURE), read(decoding, VOICED_TEMPERATURE)
    return temperature if np.isnan(voiced) else temperature + (voiced - temperature) * voicing


@njit(error_model="numpy")
def draw_logistic_mixture(
    parameters: Any, first: int, n_mixtures: int, n_classes: int, u: float, temperature: float
) -> int:  # fmt: skip
    """The code of a mixture whose logits, means and log scales lie at `parameters[first : first + 3 * n_mixtures]`."""
    per_code, best = 2 / (n_classes - 1), 0
    for k in range(1, n_mixtures):
        if read(parameters, first + k) > read(parameters, first + best):
            best = k
    component, inside = 0, 0.5
    if temperature == 0:
        peak = -np.inf
        for k in range(n_mixtures):
            height = np.float64(read(parameters, first + k)) - _log_scale(parameters, first, k, n_mixtures, per_code)
            if height > peak:
                component, peak = k, height
    else:
        largest, whole = np.float64(read(parameters, first + best)) / temperature, 0.0
        for k in range(n_mixtures):
            whole += np.exp(np.float64(read(parameters, first + k)) / temperature - largest)
        threshold, end = u * whole, 0.0
        for k in range(n_mixtures):
            weight = np.exp(np.float64(read(parameters, first + k)) / temperature - largest)
            end += weight
            if end > threshold or k == n_mixtures - 1:
                component, inside = k, (threshold - (end - weight)) / weight
                break
    mean = (np.float64(read(parameters, first + n_mixtures + component)) + 1) / per_code
    scale = np.exp(_log_scale(parameters, first, component, n_mixtures, per_code))
    quantile = min(max(inside, 2.0**-54), 1 - 2.0**-53)
    spread = temperature * scale * (np.log(quantile) - np.log1p(-quantile))
    return int(min(max(np.floor(mean + spread + 0.5), 0.0), n_classes - 1.0))


@njit
def _log_scale(parameters: Any, first: int, k: int, n_mixtures: int, per_code: float) -> float:
    """Of one component, in codes."""
    return min(max(np.float64(read(parameters, first + 2 * n_mixtures + k)) - np.log(per_code), LOWEST), HIGHEST)
