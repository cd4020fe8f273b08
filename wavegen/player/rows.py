"""The rows of an image, compiled: what is above a row (`engines/cpu/vertical_stack.py`), and the codes of the row."""

import numpy as np
from numba import njit

from wavegen.engines.cpu.kernel import broadcast_bias, multiply, quantise_gated, rectify
from wavegen.engines.cpu.simd import LANES, load, pointer, read, store, write
from wavegen.player.model import image_of, labels_of, sound_of


@njit(error_model="numpy")
def begin(model: int) -> None:
    """Know nothing of the image, and be given nothing of it."""
    own = image_of(model)
    given, rings = pointer(own.given, np.int64, 0), pointer(own.rings, np.float32, 0)
    for index in range(own.height * own.row_length):
        write(given, index, -1)
    for index in range(2 * own.n_ring_rows * (own.width + 2 * own.side) * own.n_channels):
        write(rings, index, np.float32(0))


@njit(error_model="numpy")
def condition_row(model: int, stream: int, row: int) -> None:
    """What the codes of a row are made under, in `condition`: all rows above, and the labels of one of both streams."""
    own = image_of(model)
    look_up(model, row)
    dilations = pointer(own.dilations, np.int64, 0)
    ring = stream * own.n_ring_rows
    for layer in range(own.n_layers):
        run_layer(model, stream, layer, row, ring, read(dilations, layer))
        ring += read(dilations, layer) + 1
    join(model, stream)


@njit(error_model="numpy")
def look_up(model: int, row: int) -> None:
    """Begin with the colours of the row before, which are in `codes`, and the places of this one's pixels."""
    own, zero = image_of(model), np.float32(0)
    R, n_colours = own.n_channels, own.row_length // own.width
    x, codes = pointer(own.x, np.float32, 0), pointer(own.codes, np.int64, 0)
    embedding, position = pointer(own.embedding, np.float32, 0), pointer(own.position, np.float32, 0)
    for pixel in range(own.width):
        for channel in range(R):
            total = zero
            for colour in range(n_colours if row > 0 else 0):
                code = read(codes, pixel * n_colours + colour)
                total += read(embedding, (colour * own.n_classes + code) * R + channel)
            if own.has_position:
                total += read(position, (row * own.width + pixel) * R + channel)
            write(x, pixel * R + channel, total)


@njit(error_model="numpy")
def run_layer(model: int, stream: int, layer: int, row: int, ring: int, dilation: int) -> None:
    """One layer of the vertical stack: from the pixels `x` to what enters the row, and to `x` of the next layer."""
    own, zero = image_of(model), np.int64(0)
    width, R, H, G = own.width, own.n_channels, own.convolution.n_columns, own.projection.n_rows
    row_size = (width + 2 * own.side) * R
    x, h, rings = pointer(own.x, np.float32, 0), pointer(own.h, np.float32, 0), pointer(own.rings, np.float32, 0)
    now, before = ring + row % (dilation + 1), ring + (row + 1) % (dilation + 1)
    for index in range(width * R):
        write(rings, now * row_size + own.side * R + index, read(x, index))
    bias = pointer(own.convolution_bias, np.float32, layer * H)
    of_labels = pointer(sound_of(model).of_labels, np.float32, (stream * 2 * own.n_layers + layer) * H)
    for pixel in range(width):
        for offset in range(0, H, LANES):
            value = load(bias, offset)
            if labels_of(model).n > 0:
                value = value + load(of_labels, offset)
            store(h, pixel * H + offset, value)
    for tap in range(2):
        at = (before if tap == 0 else now) * row_size
        multiply(own.convolution, 2 * layer + tap, own.rings, at, R, own.ones, zero, zero, own.h, zero, H, width)
    for pixel in range(width):
        if own.is_gated:
            quantise_gated(h, pixel * H, own.z, pixel * G, G, False)
        else:
            rectify(h, pixel * H, H)
            for index in range(G):
                write(pointer(own.z, np.float32, 0), pixel * G + index, read(h, pixel * H + index))
    seen = layer * width * H
    for index in range(width * H):
        write(pointer(own.seen, np.float32, seen), index, np.float32(0))
    multiply(own.entering, layer, own.z, zero, G, own.ones, zero, zero, own.seen, seen, H, width)
    projected = pointer(own.projected, np.float32, 0)
    broadcast_bias(pointer(own.projection_bias, np.float32, layer * R), projected, zero, width, R)
    multiply(own.projection, layer, own.z, zero, G, own.ones, zero, zero, own.projected, zero, R, width)
    for index in range(width * R):
        write(x, index, read(x, index) + read(projected, index))


@njit(error_model="numpy")
def join(model: int, stream: int) -> None:
    """What is seen from above, the colour that comes next, and the labels: the condition of every code of a row."""
    own = image_of(model)
    L, H, n_colours = own.n_layers, own.convolution.n_columns, own.row_length // own.width
    condition = pointer(own.condition, np.float32, stream * own.row_length * L * H)
    colours, seen = pointer(own.colours, np.float32, 0), pointer(own.seen, np.float32, 0)
    of_labels = pointer(sound_of(model).of_labels, np.float32, (2 * stream + 1) * L * H)
    for code in range(own.row_length):
        pixel, colour = code // n_colours, code % n_colours
        for layer in range(L):
            for index in range(H):
                value = read(colours, (colour * L + layer) * H + index)
                if labels_of(model).n > 0:
                    value += read(of_labels, layer * H + index)
                value += read(seen, (layer * own.width + pixel) * H + index)
                write(condition, (code * L + layer) * H + index, value)
