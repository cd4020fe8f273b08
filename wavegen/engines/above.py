"""What a PixelCNN knows of the rows above (models/pixelcnn.py), in numpy: a row at a time, all images at once."""

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.weights import AboveWeights


class NumpyAbove:
    """The rows above (engines/base.py) of B images, each product one matrix over all their pixels.

    `condition` (B, 1, 2 * n_layers, channels) is that of their labels (conditioning.py), or None.
    """

    def __init__(self, weights: AboveWeights, n_streams: int, condition: NDArray[np.float32] | None = None) -> None:
        self._weights = weights
        n_layers, _, reach, channels, residual = weights.convolution.shape
        self._convolution = weights.convolution.transpose(0, 1, 2, 4, 3).reshape(n_layers, -1, channels).copy()
        self._projection = weights.projection.transpose(0, 2, 1).copy()
        self._entering = weights.entering.transpose(0, 2, 1).copy()
        self._of_layers = np.zeros((n_streams, 1, n_layers, channels), dtype=np.float32)
        self._of_row = weights.colour  # broadcast over images and pixels
        if condition is not None:
            self._of_layers = condition[:, :, :n_layers]
            self._of_row = condition[:, :, None, n_layers:] + weights.colour
        width, side = weights.width, reach // 2
        # The inputs of a layer, this row's and those of `dilation` rows before, with zeros to either side.
        self._rings = [
            np.zeros((dilation + 1, n_streams, width + 2 * side, residual), dtype=np.float32)
            for dilation in weights.dilations
        ]
        self._inside = slice(side, side + width)
        self._taps = np.zeros((n_streams, width, 2, reach, residual), dtype=np.float32)
        self.start()

    def start(self) -> None:
        for ring in self._rings:
            ring[:] = 0
        self._x = np.zeros_like(self._taps[:, :, 0, 0])  # nothing is above
        self._row = 0

    def look(self) -> NDArray[np.float32]:
        weights = self._weights
        x = self._x if weights.place is None else self._x + weights.place[self._row]
        n_streams, width, n_layers = len(x), weights.width, len(weights.dilations)
        seen = np.empty((n_streams, width, 1, n_layers, weights.convolution_bias.shape[1]), dtype=np.float32)
        for layer, ring in enumerate(self._rings):
            now, before = ring[self._row % len(ring)], ring[(self._row + 1) % len(ring)]
            now[:, self._inside] = x
            for tap, rows in enumerate((before, now)):
                for offset in range(self._taps.shape[3]):
                    self._taps[:, :, tap, offset] = rows[:, offset : offset + width]
            h = self._taps.reshape(n_streams * width, -1) @ self._convolution[layer] + weights.convolution_bias[layer]
            h = h.reshape(n_streams, width, -1) + self._of_layers[:, :, layer]
            z = _gate(h) if weights.is_gated else np.maximum(h, 0)
            seen[:, :, 0, layer] = z @ self._entering[layer] + weights.entering_bias[layer]
            x = x + z @ self._projection[layer] + weights.projection_bias[layer]
        self._row += 1
        return (seen + self._of_row).reshape(n_streams, -1, *seen.shape[3:])

    def observe(self, row: NDArray[np.int64]) -> None:
        colours = row.reshape(len(row), self._weights.width, -1)
        self._x = np.sum(
            [table[colours[..., colour]] for colour, table in enumerate(self._weights.embedding)],
            axis=0,
            dtype=np.float32,
        )


def _gate(h: NDArray[np.float32]) -> NDArray[np.float32]:
    """tanh of the first half of the channels times the sigmoid of the second."""
    filtered, gate = np.split(h, 2, axis=-1)
    return np.tanh(filtered) * (0.5 + 0.5 * np.tanh(0.5 * gate))
