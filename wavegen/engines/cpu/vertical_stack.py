"""What a PixelCNN knows of the rows above (models/pixelcnn.py), in numpy: a row at a time, all images at once."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from wavegen.engines.cache import OncePer
from wavegen.engines.weights import VerticalWeights

_of_weights = OncePer()  # what stacks share


class NumpyVerticalStack:
    """The rows above (engines/base.py) of B images, each product one matrix over all their pixels.

    `condition` (B, 1, 2 * n_layers, channels) is that of their labels (generation/conditioning.py), or None.

    Images of the same labels have the same above them as long as their rows are the same, as the black ones at the top
    of digits are. Until two of them differ, one of each kind is worked out, for all.
    """

    def __init__(self, weights: VerticalWeights, n_streams: int, condition: NDArray[np.float32] | None = None) -> None:
        self._weights = weights
        n_layers, _, kernel_width, channels, residual = weights.convolution.shape
        self._matrices = _of_weights.get(weights, "matrices", lambda: _matrices(weights))
        if condition is None:
            condition = np.zeros((n_streams, 1, 2 * n_layers, channels), dtype=np.float32)
        # The kind of each image, and the first image of each kind, in their order.
        kinds: dict[bytes, int] = {}
        rows = condition.reshape(n_streams, -1)
        self._kind = np.array([kinds.setdefault(row.tobytes(), len(kinds)) for row in rows])
        self._first = np.unique(self._kind, return_index=True)[1]
        # What is added to every pixel of each image: biases and labels.
        self._of_layers = (weights.convolution_bias + condition[:, :, :n_layers]) * _halved(weights)
        self._of_row = condition[:, :, None, n_layers:] + (weights.colour + weights.entering_bias)
        width, side = weights.width, kernel_width // 2
        # The inputs of a layer, this row's and those of `dilation` rows before, with zeros to either side.
        self._rings = [
            np.zeros((dilation + 1, n_streams, width + 2 * side, residual), dtype=np.float32)
            for dilation in weights.dilations
        ]
        # Of every row of a ring, what each pixel sees of it: neighbours lie side by side.
        self._windows = [
            sliding_window_view(ring.reshape(*ring.shape[:2], -1), kernel_width * residual, axis=2)[:, :, ::residual]
            for ring in self._rings
        ]
        self._inside = slice(side, side + width)
        self._taps = np.zeros((n_streams, width, 2, kernel_width * residual), dtype=np.float32)
        self.start()

    def start(self) -> None:
        for ring in self._rings:
            ring[:] = 0
        # The images that are worked out, and which of them stands for each.
        self._worked_out, self._stands_for = self._first, self._kind
        self._x = np.zeros_like(self._rings[0][0, : len(self._first), self._inside])  # nothing is above
        self._row = 0

    def condition(self) -> NDArray[np.float32]:
        weights, (convolution, projection, entering) = self._weights, self._matrices
        x = self._x if weights.position is None else self._x + weights.position[self._row]
        n_streams, width, n_layers = len(x), weights.width, len(weights.dilations)
        seen = np.empty((n_streams, width, 1, n_layers, weights.convolution_bias.shape[1]), dtype=np.float32)
        for layer, ring in enumerate(self._rings):
            now, before = self._row % len(ring), (self._row + 1) % len(ring)
            ring[now, :n_streams, self._inside] = x
            for tap, row in enumerate((before, now)):
                self._taps[:n_streams, :, tap] = self._windows[layer][row, :n_streams]
            products = self._taps[:n_streams].reshape(n_streams * width, -1) @ convolution[layer]
            h = products.reshape(n_streams, width, -1)
            h += self._of_layers[self._worked_out, :, layer]
            z = _gate(h) if weights.is_gated else np.maximum(h, 0)
            z = z.reshape(n_streams * width, -1)
            seen[:, :, 0, layer] = (z @ entering[layer]).reshape(n_streams, width, -1)
            x = x + (z @ projection[layer] + weights.projection_bias[layer]).reshape(x.shape)
        self._row += 1
        condition = (seen + self._of_row[self._worked_out]).reshape(n_streams, -1, *seen.shape[3:])
        return condition if n_streams == len(self._stands_for) else condition[self._stands_for]

    def feed(self, row: NDArray[np.int64]) -> None:
        if len(self._worked_out) < len(row) and (row != row[self._worked_out][self._stands_for]).any():
            for ring in self._rings:
                ring[:] = ring[:, self._stands_for]
            self._worked_out = self._stands_for = np.arange(len(row))
        colours = row[self._worked_out].reshape(len(self._worked_out), self._weights.width, -1)
        self._x = np.add.reduce(
            [table[colours[..., colour]] for colour, table in enumerate(self._weights.embedding)],
            axis=0,
            dtype=np.float32,
        )


def _halved(weights: VerticalWeights) -> NDArray[np.float32]:
    """What the channels of a layer are multiplied by: a sigmoid is a tanh of half its input, so halved (which rounds
    nothing) both gates are one tanh."""
    channels = weights.convolution.shape[3]
    halved = np.ones(channels, dtype=np.float32)
    halved[channels // 2 :] = 0.5 if weights.is_gated else 1
    return halved


def _matrices(weights: VerticalWeights) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What the pixels are multiplied by: of the convolutions, of what goes to the next layer, and of what is seen."""
    n_layers, channels = weights.convolution.shape[0], weights.convolution.shape[3]
    convolution = weights.convolution.transpose(0, 1, 2, 4, 3).reshape(n_layers, -1, channels)
    return (
        convolution * _halved(weights),
        weights.projection.transpose(0, 2, 1).copy(),
        weights.entering.transpose(0, 2, 1).copy(),
    )


def _gate(h: NDArray[np.float32]) -> NDArray[np.float32]:
    """tanh of the first half of the channels times the sigmoid of the second, which comes halved."""
    np.tanh(h, out=h)
    half = h.shape[-1] // 2
    gate = h[..., half:]
    gate *= 0.5
    gate += 0.5
    gate *= h[..., :half]
    return gate
