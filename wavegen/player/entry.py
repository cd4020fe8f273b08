"""The functions that a page or a program calls (export/library/wavegen.h): what `ahead_of_time.py` gives names to.

All take and return 64-bit integers, of which addresses are some, but for values, which are doubles. None allocates, and
none calls anything but the mathematics of C.
"""

import numpy as np
from numba import njit, types

from wavegen.engines.cpu.simd import LANES, pointer, read, write
from wavegen.player import stream
from wavegen.player.model import sound_of
from wavegen.player.player_file import BASIS, HALVES, HEADER, IN_FILE, IN_ROOM, MAGIC, N_HEADER, PRIME, VERSION

N_BYTES, N_ROOM, N_LEAVES, LANES_OF, VERSION_OF, CHECKSUM = (
    HEADER.index(name) for name in ("n_bytes", "n_room", "n_leaves", "lanes", "version", "checksum")
)
NOT_A_MODEL, OTHER_VERSION, OTHER_CPU, DAMAGED = -1, -2, -3, -4  # why there is no room for a file
FNV_BASIS, FNV_PRIME = np.uint64(BASIS), np.uint64(PRIME)


@njit(error_model="numpy")
def room(file: int, n_bytes: int) -> int:
    """Bytes of room that a player file needs, or what is wrong with it."""
    header = pointer(file, np.int64, 0)
    if n_bytes < 8 * N_HEADER or read(header, 0) != MAGIC:
        return NOT_A_MODEL
    if read(header, VERSION_OF) != VERSION:
        return OTHER_VERSION
    if read(header, N_BYTES) != n_bytes or n_bytes % 8 or checksum(file, n_bytes) != read(header, CHECKSUM):
        return DAMAGED
    if read(header, LANES_OF) != LANES:
        return OTHER_CPU
    return read(header, N_ROOM)


@njit(error_model="numpy")
def checksum(file: int, n_bytes: int) -> np.int64:
    """As `player_file.checksum`."""
    words, total = pointer(file, np.uint64, 0), FNV_BASIS
    for index in range(CHECKSUM + 1, n_bytes // 8):
        total = (total ^ read(words, index)) * FNV_PRIME
    return np.int64(total)


@njit(error_model="numpy")
def start(file: int, room: int, seed: int) -> None:
    """Prepare a room, and begin; options are the model's own, all labels are unknown."""
    header, leaves = pointer(file, np.int64, 0), pointer(room, np.int64, 0)
    for index in range(read(header, N_LEAVES)):
        record = pointer(file, np.int64, N_HEADER + 4 * index)
        kind, value, n_bytes, place = read(record, 0), read(record, 1), read(record, 2), read(record, 3)
        if kind == IN_FILE:
            value += file
        elif kind == IN_ROOM:
            value += room
        elif kind == HALVES:
            widen(file + value, room + place, n_bytes // 2)
            value = room + place
        write(leaves, index, value)
    stream.prepare(room)
    stream.begin(room, np.uint64(seed), np.uint64(0))


@njit(error_model="numpy")
def widen(halves: int, to: int, n: int) -> None:
    """float16 numbers as float32."""
    source, target = pointer(halves, np.uint16, 0), pointer(to, np.uint32, 0)
    for index in range(n):
        half = np.uint32(read(source, index))
        sign, rest = (half & np.uint32(0x8000)) << np.uint32(16), half & np.uint32(0x7FFF)
        if rest >= np.uint32(0x0400):  # and no infinity, which no weight is
            write(target, index, sign | ((rest << np.uint32(13)) + np.uint32(0x38000000)))
        else:  # too small for an exponent: so many times 2**-24
            value = np.float32(rest) * np.float32(2.0**-24)
            write(pointer(to, np.float32, 0), index, -value if sign else value)


@njit(error_model="numpy")
def restart(room: int, seed: int, number: int) -> None:
    """Go back to the beginning of time; the sounds and images of a seed are told apart by numbers."""
    stream.begin(room, np.uint64(seed), np.uint64(number))


@njit(error_model="numpy")
def change(room: int, what: int, value: float) -> int:
    """Change an option, by its place in `stream.OPTIONS`, or a label, behind those; 0 if there is none such, or it
    takes no such value."""
    return stream.change(room, what, value)


@njit(error_model="numpy")
def make(room: int, out: int, n: int) -> None:
    """The next n samples."""
    stream.make(room, out, n)


@njit(error_model="numpy")
def make_each(rooms: int, out: int, n: int, n_rooms: int) -> None:
    """The next n samples of each of the rooms whose addresses are in an array, one behind the other."""
    for index in range(n_rooms):
        stream.make(read(pointer(rooms, np.int64, 0), index), out + 4 * n * index, n)


@njit(error_model="numpy")
def give(room: int, values: int, n: int) -> int:
    """Let the next n brightnesses of an image be given."""
    return stream.give(room, values, n)


@njit(error_model="numpy")
def bits(room: int) -> float:
    """Mean surprise of lately drawn codes; NaN where there is none."""
    return read(pointer(sound_of(room).bits, np.float64, 0), 0)


# What each is called in a library, and the kinds of its arguments.
INTEGER, NUMBER = types.int64, types.float64
FUNCTIONS = {
    "wavegen_room": (room, (INTEGER, INTEGER)),
    "wavegen_start": (start, (INTEGER, INTEGER, INTEGER)),
    "wavegen_restart": (restart, (INTEGER, INTEGER, INTEGER)),
    "wavegen_change": (change, (INTEGER, INTEGER, NUMBER)),
    "wavegen_give": (give, (INTEGER, INTEGER, INTEGER)),
    "wavegen_bits": (bits, (INTEGER,)),
    "wavegen_make": (make, (INTEGER, INTEGER, INTEGER)),
    "wavegen_make_each": (make_each, (INTEGER, INTEGER, INTEGER, INTEGER)),
}
