"""What somebody would use without wavegen's engine: the same step with the tools at hand, each written well.

Each makes codes from draws as an engine does, with categorical heads and gated residual blocks only, on one core.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from wavegen.engines.onnx import make_session
from wavegen.engines.onnx_graph import Graph, add_network
from wavegen.engines.weights import StackWeights
from wavegen.errors import InputError
from wavegen.sampling import Decoding, draw_categorical


class CachedTorch:
    """A step in PyTorch with a ring buffer per layer; the taps of a convolution in one product, skips summed."""

    def __init__(self, weights: StackWeights, n_streams: int) -> None:
        check(weights)
        n_layers, n_taps, _, channels = weights.convolution.shape
        self._n_taps, self._dilations = n_taps, weights.dilations
        self._embedding = torch.from_numpy(weights.embedding)
        self._convolution = [torch.from_numpy(np.concatenate(list(taps), axis=1)) for taps in weights.convolution]
        self._convolution_bias = torch.from_numpy(weights.convolution_bias)
        # Residual and skip share their input, so they are one product.
        skips = np.split(weights.skip, n_layers, axis=1)
        self._project = [
            torch.from_numpy(np.concatenate([residual, skip]))
            for residual, skip in zip(weights.projection, skips, strict=True)
        ]
        self._project_bias = [F.pad(torch.from_numpy(bias), (0, len(weights.skip))) for bias in weights.projection_bias]
        self._n_channels = channels
        self._skip_bias, self._hidden_bias, self._out_bias = (
            torch.from_numpy(bias) for bias in (weights.skip_bias, weights.hidden_bias, weights.out_bias)
        )
        self._hidden, self._out = torch.from_numpy(weights.hidden), torch.from_numpy(weights.out)
        self._rings = [torch.zeros((n_taps - 1) * d, n_streams, channels) for d in weights.dilations]
        self._step = 0
        self._x = torch.zeros(n_streams, channels)

    @torch.inference_mode()
    def advance(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Uniforms (B, n) -> codes (B, n)."""
        made = np.empty(uniforms.shape, dtype=np.int64)
        for index in range(uniforms.shape[1]):
            x, skip = self._x, self._skip_bias
            for layer, ring in enumerate(self._rings):
                row, dilation = self._step % len(ring), self._dilations[layer]
                past = [ring[(row + tap * dilation) % len(ring)] for tap in range(self._n_taps - 1)]
                h = F.linear(torch.cat([*past, x], dim=-1), self._convolution[layer], self._convolution_bias[layer])
                ring[row] = x
                filtered, gate = h.chunk(2, dim=-1)
                z = torch.tanh(filtered).mul_(torch.sigmoid(gate))
                both = F.linear(z, self._project[layer], self._project_bias[layer])
                x = x + both[:, : self._n_channels]
                skip = skip + both[:, self._n_channels :]
            hidden = F.linear(torch.relu(skip), self._hidden, self._hidden_bias)
            logits = F.linear(torch.relu(hidden), self._out, self._out_bias)
            cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)
            drawn = torch.searchsorted(cumulative, torch.from_numpy(uniforms[:, index : index + 1]).float())
            codes = drawn[:, 0].clamp(max=logits.shape[1] - 1)
            made[:, index] = codes.numpy()
            self._x = self._embedding[codes]
            self._step += 1
        return made


class Onnx:
    """The same step as one graph in ONNX Runtime; the pasts of all layers go in and their new rows come out.

    Unlike the engine onnx it copies no past: rings outside the graph hold it.

    Raises: InputError if onnx and onnxruntime are not installed.
    """

    def __init__(self, weights: StackWeights, n_streams: int) -> None:
        check(weights)
        self._session = make_session(step_model(weights))
        n_layers, n_taps, _, channels = weights.convolution.shape
        self._n_taps, self._dilations = n_taps, weights.dilations
        self._rings = [np.zeros(((n_taps - 1) * d, n_streams, channels), dtype=np.float32) for d in weights.dilations]
        self._past = np.zeros((n_layers, n_taps - 1, n_streams, channels), dtype=np.float32)
        self._code = np.full(n_streams, -1)
        self._step = 0

    def advance(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Uniforms (B, n) -> codes (B, n)."""
        made = np.empty(uniforms.shape, dtype=np.int64)
        for index in range(uniforms.shape[1]):
            for layer, (ring, dilation) in enumerate(zip(self._rings, self._dilations, strict=True)):
                for tap in range(self._n_taps - 1):
                    self._past[layer, tap] = ring[(self._step + tap * dilation) % len(ring)]
            logits, rows = self._session.run(None, {"code": self._code, "past": self._past})
            for layer, ring in enumerate(self._rings):
                ring[self._step % len(ring)] = rows[layer]
            self._code = draw_categorical(logits, uniforms[:, index], Decoding())
            made[:, index] = self._code
            self._step += 1
        return made


class _GivenPast:
    """The older taps of every layer as an input of a graph, past (L, k - 1, B, R); `rows` (1, B, R) are the newest."""

    def __init__(self, graph: Graph, weights: StackWeights) -> None:
        n_layers, n_taps, _, channels = weights.convolution.shape
        past = graph.input("past", np.float32, [n_layers, n_taps - 1, "batch", channels], "older taps")
        self._graph, self._past, self._n_taps = graph, past, n_taps
        self.rows: list[str] = []

    def joined(self, layer: int, x: str) -> str:
        graph = self._graph
        self.rows.append(graph.add("Unsqueeze", x, graph.constant([0], np.int64)))
        older = [
            graph.add("GatherND", self._past, graph.constant([layer, tap], np.int64)) for tap in range(self._n_taps - 1)
        ]
        return graph.concat([*older, x], axis=1)


def step_model(weights: StackWeights) -> bytes:
    """One step: code (B,) before and past (L, k - 1, B, R) -> parameters (B, P) and rows (L, B, R)."""
    graph = Graph()
    n_layers, _, _, channels = weights.convolution.shape
    code = graph.input("code", np.int64, ["batch"], "the code before, -1 at the beginning")
    taps = _GivenPast(graph, weights)
    parameters = add_network(graph, weights, code, taps)
    graph.output("parameters", parameters, np.float32, ["batch", len(weights.out)], "of the next code's distribution")
    rows = graph.concat(taps.rows, axis=0)
    graph.output("rows", rows, np.float32, [n_layers, "batch", channels], "the newest input of each layer")
    return graph.model("step", "")


def check(weights: StackWeights) -> None:
    """Raises: InputError for a network that the rivals are not written for."""
    if (
        weights.n_mixtures is not None
        or not weights.is_gated
        or not weights.is_residual
        or weights.convolution.shape[1] < 2
    ):
        raise InputError("the rivals know gated residual blocks with a kernel of 2 or more and a categorical head only")
