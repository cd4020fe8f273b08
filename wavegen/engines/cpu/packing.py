"""Matrices laid out for `simd.multiply_panel`: in the precision and the order in which it reads them. numpy only."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Precision = Literal["float32", "float16", "int8", "int8x8", "int8x7"]
REDUCED: tuple[Precision, ...] = ("int8x8", "int8x7", "int8", "float16")
# What may be taken unasked, fastest first. int8x7 is for WebAssembly alone: here int8x8 is as fast, and exacter.
UNASKED: tuple[Precision, ...] = ("int8x8", "int8", "float16")
MAX_COST = 0.01  # bits per sample that a reduced precision may cost a model and still be taken unasked
FLOAT32, FLOAT16, INT8, INT8X8, INT8X7 = range(5)  # what compiled code knows them by
NUMBERS: dict[Precision, int] = {
    "float32": FLOAT32,
    "float16": FLOAT16,
    "int8": INT8,
    "int8x8": INT8X8,
    "int8x7": INT8X7,
}
# Of products of bytes: steps from 0 to the largest input. Inputs are unsigned; the byte that stands for 0 is one more.
INPUT_STEPS: dict[Precision, int] = {"int8x8": 127, "int8x7": 63}
OF_BYTES: tuple[Precision, ...] = ("int8", *INPUT_STEPS)  # whose weights are bytes
LINE = 64  # bytes of a cache line: a vector that lies across two costs two reads


class VectorUnit(NamedTuple):
    """What of a CPU the layout of matrices depends on."""

    lanes: int  # numbers of float32 in a vector
    n_sums: int  # vectors of sums that fit its registers
    max_vectors: int  # of outputs, at most, that one pass over a panel of a matrix makes for one stream
    reads_float16: bool  # whether it converts float16 to float32

    def panel_vectors(self, group: int) -> int:
        """Vectors of outputs in one panel of a matrix: as many as leave the sums of a group of streams in registers."""
        return min(self.max_vectors, self.n_sums // group)


class Matrices(NamedTuple):
    """Matrices of one shape; a tuple, so that compiled code can take it (arguments.py).

    `weights[i]` holds matrix i as panels: bands of outputs, `panel` vectors wide (the last ones half as wide, and so
    on), one after the other, each with its rows (one per input) in order. For int8x8 and int8x7, which are laid out
    alike, four rows lie together, so that the four weights of an output are neighbours. Inputs and outputs are padded
    with zeros.
    """

    weights: NDArray[Any]  # (n, n_rows * n_columns): float32, float16 as uint16, or int8
    scales: NDArray[np.float32]  # (n, n_columns): what a product is multiplied by
    starts: NDArray[np.int32]  # (n, n_columns): what sums of bytes begin with in int8x8; in int8x7 it is half of that
    n_rows: int
    n_columns: int
    panel: int  # vectors
    group: int  # streams, at most, that one pass over a panel serves
    precision: int  # FLOAT32 and so on


def align_to_cache_line(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins where a cache line begins."""
    room = np.empty(array.nbytes + LINE, dtype=np.uint8)
    first = -room.ctypes.data % LINE
    copy = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def pack(matrices: NDArray[np.float32], precision: Precision, lanes: int, panel: int, group: int) -> Matrices:
    """Lay out matrices (n, in, out), both padded to multiples of `lanes`, for passes of `group` streams at most."""
    n, n_rows, n_columns = matrices.shape
    values, scales = round_columns(matrices, precision)
    starts = np.zeros((n, n_columns), dtype=np.int32)
    if precision == "float16":
        values = values.view(np.uint16)
    elif precision in INPUT_STEPS:
        starts = -128 * values.sum(axis=1, dtype=np.int32)
    panels = []
    for first, width in panel_columns(n_columns // lanes, panel):
        band = values[:, :, first * lanes : (first + width) * lanes]
        if precision in INPUT_STEPS:
            band = band.reshape(n, n_rows // 4, 4, width * lanes).swapaxes(2, 3)
        panels.append(band.reshape(n, n_rows * width * lanes))
    laid_out = align_to_cache_line(np.concatenate(panels, axis=1))
    return Matrices(
        laid_out,
        align_to_cache_line(scales),
        align_to_cache_line(starts),
        n_rows,
        n_columns,
        panel,
        group,
        NUMBERS[precision],
    )


class Rounded(NamedTuple):
    """Weights of some precision, and what each output's are to be multiplied by."""

    values: NDArray[Any]  # (..., in, out): float32, float16 or int8
    scales: NDArray[np.float32]  # (..., out)


def round_columns(matrices: NDArray[np.float32], precision: Precision) -> Rounded:
    """Round matrices (..., in, out). int8 has one scale per output: its largest weight becomes 127."""
    largest = np.abs(matrices).max(axis=-2)
    if precision in OF_BYTES:
        scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        return Rounded(np.rint(matrices / scales[..., None, :]).astype(np.int8), scales)
    kind = np.float16 if precision == "float16" else np.float32
    return Rounded(matrices.astype(kind), np.ones_like(largest))


def split_residual(matrix: NDArray[np.float32], precision: Precision) -> NDArray[np.float32]:
    """The last matrix (in, out) as matrices (n, in, out) to round one by one, which add up to it: in bytes two.

    The second is what rounding the first loses, so that both hold the matrix to 16 bits. No ear notices an error
    in any other matrix, but one here goes straight into the probabilities: most of what bytes cost came from it.
    """
    if precision not in OF_BYTES:
        return matrix[None]
    rounded = round_columns(matrix, precision)
    first = (rounded.values * rounded.scales).astype(np.float32)
    return np.stack([first, matrix - first])


def panel_columns(n_vectors: int, panel: int) -> list[tuple[int, int]]:
    """(first, width) of every panel, in vectors."""
    columns, first, width = [], 0, panel
    while first < n_vectors:
        while width > n_vectors - first:
            width //= 2
        columns.append((first, width))
        first += width
    return columns


def pad(array: NDArray[np.float32], multiple: int, *axes: int, value: float = 0) -> NDArray[np.float32]:
    """Zeros, or another value, at the end of some axes, up to a multiple."""
    widths = [(0, -size % multiple if axis in axes else 0) for axis, size in enumerate(array.shape)]
    return np.pad(array, widths, constant_values=value)
