"""What a player does with one network, compiled: its labels, its beginning, its steps."""

from typing import Any

import numpy as np
from numba import njit

from wavegen.engines.cpu import kernel
from wavegen.engines.cpu.arguments import Call, Memory, Network
from wavegen.engines.cpu.simd import pointer, read, write
from wavegen.features.linear_prediction import MU, N_LEVELS
from wavegen.player.model import Frames, Labels


@njit(error_model="numpy")
def condition_labels(labels: Labels, chosen: int, to: int) -> None:
    """What a network is made under by the chosen labels, and behind it by none; as `conditioning.condition_of`."""
    rows, n_rows = pointer(chosen, np.int64, 0), pointer(labels.n_rows, np.int64, 0)
    tables, project = pointer(labels.tables, np.float32, 0), pointer(labels.project, np.float32, 0)
    condition = pointer(to, np.float32, 0)
    for stream in range(2 if labels.n > 0 else 0):
        for output in range(labels.n_outputs):
            total, first = 0.0, 0
            for label in range(labels.n):
                row = first + (read(rows, label) if stream == 0 else read(n_rows, label) - 1)
                for index in range(labels.size):
                    weight = read(project, (output * labels.n + label) * labels.size + index)
                    total += np.float64(read(tables, row * labels.size + index)) * np.float64(weight)
                first += read(n_rows, label)
            write(condition, stream * labels.n_outputs + output, np.float32(total))


@njit(error_model="numpy")
def prepare(net: Network) -> None:
    """Make the tables by which numbers are companded; as `linear_prediction.companding`."""
    if net.prediction.order == 0:
        return
    values, levels = pointer(net.prediction.values, np.float32, 0), pointer(net.prediction.levels, np.uint8, 0)
    most = net.n_classes - 1
    for index in range(2 * most + 1):
        x = np.float64(index - most) * (2 / most)
        value = np.sign(x) * np.log1p(MU * abs(x)) / np.log1p(np.float64(MU))
        write(values, index, np.float32(value))
        level = min(max(np.floor(127.5 * value + N_LEVELS // 2), 0.0), N_LEVELS - 1.0)
        write(levels, index, np.uint8(level))


@njit(error_model="numpy")
def clear(net: Network, memory: Memory) -> None:
    """Let a network be as before its first code; as `NumbaEngine.start`."""
    B, n_rows, n_past = memory.n_streams, n_ring_rows(net), net.prediction.n_past
    ring_scales, n_steps = pointer(memory.ring_scales, np.float32, 0), kernel.input_steps(net.newest_tap.precision)
    for index in range(n_rows * B):
        write(ring_scales, index, np.float32(0))
    if n_steps == 0:  # a byte means nothing while its scale is 0
        for index in range(n_rows * B * net.newest_tap.n_rows):
            write(pointer(memory.ring, np.float32, 0), index, np.float32(0))
    for b in range(B):
        write(pointer(memory.previous, np.int64, 0), b, -1)
    for index in range(B * net.n_layers):
        write(pointer(memory.z_scales, np.float32, 0), index, np.float32(1 / max(1, n_steps)))
    for index in range(B * 4 * n_past):
        write(pointer(memory.past, np.int32, 0), index, np.int32(0))
        write(pointer(memory.companded, np.float32, 0), index, np.float32(0))
    write(pointer(memory.clock, np.int64, 0), 0, 0)


@njit(error_model="numpy")
def n_ring_rows(net: Network) -> int:
    """Rows of the ring buffers of all layers."""
    n_rows, dilations = 0, pointer(net.dilations, np.int64, 0)
    for layer in range(net.n_layers):
        n_rows += max(1, (net.n_taps - 1) * read(dilations, layer))
    return n_rows


@njit(error_model="numpy")
def copy_first_stream(net: Network, memory: Memory) -> None:
    """Let the second stream, without labels, have heard what the first one has."""
    n_bytes = net.newest_tap.n_rows * (1 if kernel.input_steps(net.newest_tap.precision) > 0 else 4)
    ring, ring_scales = pointer(memory.ring, np.uint8, 0), pointer(memory.ring_scales, np.float32, 0)
    for row in range(n_ring_rows(net)):
        write(ring_scales, 2 * row + 1, read(ring_scales, 2 * row))
        for index in range(n_bytes):
            write(ring, (2 * row + 1) * n_bytes + index, read(ring, 2 * row * n_bytes + index))
    previous = pointer(memory.previous, np.int64, 0)
    write(previous, 1, read(previous, 0))


@njit(error_model="numpy")
def run(
    net: Network, memory: Memory, frames: Frames, n: int, uniforms: Any, decoding: Any, is_guided: bool, codes: Any,
    n_frames: int, hop: int, phase: int, condition: Any,
) -> None:  # fmt: skip
    """Make n steps of a network; the next four and the last are addresses, all as in `arguments.Call`."""
    nothing: Any = np.int64(0)
    one, two = np.int64(1), np.int64(2)
    call = Call(
        n, uniforms, decoding, is_guided, codes, n_frames, hop, phase, condition, frames.coefficients, frames.gains,
        frames.periods, frames.voicing, n < 0, nothing,
    )  # fmt: skip
    kernel.run(net, memory, call, nothing, two if is_guided else one)
    clock = pointer(memory.clock, np.int64, 0)
    write(clock, 0, read(clock, 0) + n)
