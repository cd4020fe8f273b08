"""A model that makes sound by itself: all that `wavegen generate` does for one stream, compiled, allocating nothing.

What is here is compiled ahead of time (engines/cpu/ahead_of_time.py) for places without Python. It reads a player file
(player_file.py) where that lies in memory, and has a room to work in, whose size the file says. At the beginning of the
room is a `Player`, with an address in place of every array of the file or of the room.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wavegen.engines.cpu import kernel
from wavegen.engines.cpu.draws import GUIDANCE, N_DECODING, TEMPERATURE, TOP_K, TOP_P, VOICED_TEMPERATURE
from wavegen.engines.cpu.kernel import Memory, Network
from wavegen.engines.cpu.philox import uniform
from wavegen.engines.cpu.simd import pointer, read, write
from wavegen.sampling import DECODING, MAX_GUIDANCE, MAX_TOP_K

BLOCK = 256  # steps that are made at a time
POSITION, SEED, IS_GUIDED = range(3)  # of `Player.state`
N_STATE = 3


class Labels(NamedTuple):
    """The labels of a network, and what they are embedded as."""

    n: int
    size: int  # numbers of an embedding
    n_rows: NDArray[np.int64]  # (n) of the table of each; the last is "unknown"
    tables: NDArray[np.float32]  # (sum of n_rows, size)
    project: NDArray[np.float32]  # (n_outputs, n * size)
    n_outputs: int  # numbers of a condition


class Player(NamedTuple):
    """A model, and room to work in. Room is what a `Room` says; the rest is in the file."""

    net: Network
    memory: Memory  # of two streams where labels can be guided, else of one
    labels: Labels
    levels: NDArray[np.float32]  # (n_classes) what codes decode to
    pre_emphasis: NDArray[np.float64]  # (1)
    state: NDArray[np.int64]  # (N_STATE)
    decoding: NDArray[np.float64]  # (2 * N_DECODING) of both streams
    chosen: NDArray[np.int64]  # (n labels) rows of their tables
    condition: NDArray[np.float32]  # (2, n_outputs)
    uniforms: NDArray[np.float64]  # (BLOCK)
    codes: NDArray[np.int64]  # (2 * BLOCK)
    before: NDArray[np.float64]  # (1) the newest sample, not clipped


OPTIONS = (*DECODING, "temperature_frames")
LARGEST = np.finfo(np.float64).max
LEAST = tuple(0.0 if name != "top_k" else 1.0 for name in DECODING)
MOST = tuple({"top_k": float(MAX_TOP_K), "top_p": 1.0, "guidance": MAX_GUIDANCE}.get(name, LARGEST) for name in DECODING)


@njit(error_model="numpy")
def prepare(player: Player) -> None:
    """Draw as learnt, and know no label."""
    decoding = pointer(player.decoding, np.float64, 0)
    for stream in range(2):
        at = stream * N_DECODING
        write(decoding, at + TEMPERATURE, 1.0)
        write(decoding, at + TOP_K, np.nan)
        write(decoding, at + TOP_P, np.nan)
        write(decoding, at + VOICED_TEMPERATURE, np.nan)
        write(decoding, at + GUIDANCE, 1.0)
    for label in range(player.labels.n):
        write(pointer(player.chosen, np.int64, 0), label, read(pointer(player.labels.n_rows, np.int64, 0), label) - 1)


@njit(error_model="numpy")
def change(player: Player, what: int, value: float) -> int:
    """Change an option or a label; 1 if it is one and takes the value, else 0."""
    n_options = len(OPTIONS)
    if 0 <= what < N_DECODING:
        can_be_none = what in (TOP_K, TOP_P, VOICED_TEMPERATURE)
        if np.isnan(value):
            if not can_be_none:
                return 0
        elif not LEAST[what] <= value <= MOST[what]:
            return 0
        if what == GUIDANCE and value != 1 and player.memory.n_streams == 1:
            return 0
        for stream in range(2):
            write(pointer(player.decoding, np.float64, 0), stream * N_DECODING + what, value)
        return 1
    label = what - n_options
    if 0 <= label < player.labels.n:
        if not 0 <= value < read(pointer(player.labels.n_rows, np.int64, 0), label):
            return 0
        write(pointer(player.chosen, np.int64, 0), label, np.int64(value))
        condition_labels(player)
        return 1
    return 0


@njit(error_model="numpy")
def begin(player: Player, seed: np.uint64) -> None:
    """Go back to the beginning of time."""
    net, memory = player.net, player.memory
    state = pointer(player.state, np.int64, 0)
    write(state, POSITION, 0)
    write(state, SEED, np.int64(seed))
    write(state, IS_GUIDED, 0)
    write(pointer(player.before, np.float64, 0), 0, 0.0)
    clear(net, memory)
    condition_labels(player)


@njit(error_model="numpy")
def clear(net: Network, memory: Memory) -> None:
    """Let a network be as before its first code; as `NumbaEngine.start`."""
    B, n_rows, R = memory.n_streams, 0, net.newest_tap.n_rows
    for layer in range(net.n_layers):
        n_rows += max(1, (net.n_taps - 1) * read(pointer(net.dilations, np.int64, 0), layer))
    ring_scales, n_bytes = pointer(memory.ring_scales, np.float32, 0), net.newest_tap.precision >= kernel.INT8X8
    for index in range(n_rows * B):
        write(ring_scales, index, np.float32(0))
    if not n_bytes:  # a byte means nothing while its scale is 0
        ring = pointer(memory.ring, np.float32, 0)
        for index in range(n_rows * B * R):
            write(ring, index, np.float32(0))
    for b in range(B):
        write(pointer(memory.previous, np.int64, 0), b, -1)
        for layer in range(net.n_layers):
            write(pointer(memory.z_scales, np.float32, 0), b * net.n_layers + layer, np.float32(1 / 127))
    for index in range(B * 4 * net.prediction.n_past):
        write(pointer(memory.past, np.int32, 0), index, np.int32(0))
        write(pointer(memory.companded, np.float32, 0), index, np.float32(0))
    write(pointer(memory.clock, np.int64, 0), 0, 0)


@njit(error_model="numpy")
def condition_labels(player: Player) -> None:
    """What a network is made under by the chosen labels, and, for the second stream, by none; as
    `conditioning.condition_of`."""
    labels = player.labels
    chosen, n_rows = pointer(player.chosen, np.int64, 0), pointer(labels.n_rows, np.int64, 0)
    tables, project = pointer(labels.tables, np.float32, 0), pointer(labels.project, np.float32, 0)
    condition = pointer(player.condition, np.float32, 0)
    for stream in range(2 if labels.n else 0):
        for output in range(labels.n_outputs):
            total, first = 0.0, 0
            for label in range(labels.n):
                row = first + (read(chosen, label) if stream == 0 else read(n_rows, label) - 1)
                for index in range(labels.size):
                    weight = read(project, (output * labels.n + label) * labels.size + index)
                    total += np.float64(read(tables, row * labels.size + index)) * np.float64(weight)
                first += read(n_rows, label)
            write(condition, stream * labels.n_outputs + output, np.float32(total))


@njit(error_model="numpy")
def make(player: Player, out: int, n: int) -> None:
    """The next n samples, float32 at an address."""
    done = 0
    while done < n:
        n_now = min(n - done, BLOCK)
        make_codes(player, n_now)
        decode(player, out + 4 * done, n_now)
        done += n_now


@njit(error_model="numpy")
def make_codes(player: Player, n: int) -> None:
    """The next n codes, at most BLOCK, in `player.codes`."""
    state, memory = pointer(player.state, np.int64, 0), player.memory
    uniforms, codes = pointer(player.uniforms, np.float64, 0), pointer(player.codes, np.int64, 0)
    position, seed = read(state, POSITION), np.uint64(read(state, SEED))
    for step in range(n):
        write(uniforms, step, uniform(seed, np.uint64(0), position + step))
    for index in range(memory.n_streams * n):
        write(codes, index, -1)
    is_guided = memory.n_streams == 2 and read(pointer(player.decoding, np.float64, 0), GUIDANCE) != 1
    if is_guided and read(state, IS_GUIDED) == 0:
        copy_first_stream(player)
    write(state, IS_GUIDED, np.int64(is_guided))
    call = kernel.Call(
        n, player.uniforms, player.decoding, is_guided, player.codes, min(1, player.labels.n), 1, 0, player.condition,
        0, 0, 0, 0, False, 0,
    )  # fmt: skip
    kernel.run(player.net, memory, call, 0, 2 if is_guided else 1)
    clock = pointer(memory.clock, np.int64, 0)
    write(clock, 0, read(clock, 0) + n)
    write(state, POSITION, position + n)


@njit(error_model="numpy")
def copy_first_stream(player: Player) -> None:
    """Let the second stream, without labels, have heard what the first one has."""
    net, memory, n_rows = player.net, player.memory, 0
    for layer in range(net.n_layers):
        n_rows += max(1, (net.n_taps - 1) * read(pointer(net.dilations, np.int64, 0), layer))
    n_bytes = net.newest_tap.n_rows * (1 if net.newest_tap.precision >= kernel.INT8X8 else 4)
    ring, ring_scales = pointer(memory.ring, np.uint8, 0), pointer(memory.ring_scales, np.float32, 0)
    for row in range(n_rows):
        write(ring_scales, 2 * row + 1, read(ring_scales, 2 * row))
        for index in range(n_bytes):
            write(ring, (2 * row + 1) * n_bytes + index, read(ring, 2 * row * n_bytes + index))
    previous = pointer(memory.previous, np.int64, 0)
    write(previous, 1, read(previous, 0))


@njit(error_model="numpy")
def decode(player: Player, out: int, n: int) -> None:
    """Make n samples, at an address, of the codes; as `codec.Codec.decoder`."""
    levels, codes = pointer(player.levels, np.float32, 0), pointer(player.codes, np.int64, 0)
    samples, before = pointer(out, np.float32, 0), pointer(player.before, np.float64, 0)
    factor, now = read(pointer(player.pre_emphasis, np.float64, 0), 0), read(before, 0)
    for index in range(n):
        now = np.float64(read(levels, read(codes, index))) + factor * now
        write(samples, index, np.float32(min(max(now, -1.0), 1.0)))
    write(before, 0, now)
