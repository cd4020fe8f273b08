"""What somebody would use without wavegen's engine: the same step with the tools at hand, each written well.

Each makes codes from draws as an engine does, with categorical heads and gated residual blocks only, on one core.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

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

    Raises: InputError if onnx and onnxruntime are not installed.
    """

    def __init__(self, weights: StackWeights, n_streams: int) -> None:
        check(weights)
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise InputError("the rival ONNX Runtime needs: pip install 'wavegen[bench]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = step_graph(weights, n_streams, onnx)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        n_layers, n_taps, _, channels = weights.convolution.shape
        self._embedding, self._n_taps, self._dilations = weights.embedding, n_taps, weights.dilations
        self._rings = [np.zeros(((n_taps - 1) * d, n_streams, channels), dtype=np.float32) for d in weights.dilations]
        self._past = np.zeros((n_layers, n_taps - 1, n_streams, channels), dtype=np.float32)
        self._x = np.zeros((n_streams, channels), dtype=np.float32)
        self._step = 0

    def advance(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Uniforms (B, n) -> codes (B, n)."""
        made = np.empty(uniforms.shape, dtype=np.int64)
        for index in range(uniforms.shape[1]):
            for layer, (ring, dilation) in enumerate(zip(self._rings, self._dilations, strict=True)):
                for tap in range(self._n_taps - 1):
                    self._past[layer, tap] = ring[(self._step + tap * dilation) % len(ring)]
            logits, rows = self._session.run(None, {"x": self._x, "past": self._past})
            for layer, ring in enumerate(self._rings):
                ring[self._step % len(ring)] = rows[layer]
            codes = draw_categorical(logits, uniforms[:, index], Decoding())
            made[:, index] = codes
            self._x = self._embedding[codes]
            self._step += 1
        return made


def step_graph(weights: StackWeights, n_streams: int, onnx: Any) -> bytes:
    """One step as an ONNX model: x (B, R) and past (L, k - 1, B, R) -> logits (B, P) and rows (L, B, R)."""
    n_layers, n_taps, _, channels = weights.convolution.shape
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, array: NDArray[Any]) -> str:
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, list(outputs), **attributes))
        return outputs[0]

    def linear(x: str, name: str, matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        return node("Gemm", [x, constant(f"{name}.w", matrix.T), constant(f"{name}.b", bias)], name)

    x, skip = "x", constant("skip.b", weights.skip_bias)
    skips = np.split(weights.skip, n_layers, axis=1)
    halves = constant("halves", np.full(2, weights.convolution.shape[2] // 2))
    parts = constant("parts", np.array([channels, len(weights.skip)]))
    rows = []
    for layer in range(n_layers):
        pasts = []
        for tap in range(n_taps - 1):
            index = constant(f"{layer}.{tap}.at", np.array([layer, tap]))
            pasts.append(node("GatherND", ["past", index], f"{layer}.{tap}.past"))
        axis = constant(f"{layer}.axis", np.array([0]))
        rows.append(node("Unsqueeze", [x, axis], f"{layer}.row"))
        joined = node("Concat", [*pasts, x], f"{layer}.joined", axis=1)
        matrix = np.concatenate(list(weights.convolution[layer]), axis=1)
        h = linear(joined, f"{layer}.h", matrix, weights.convolution_bias[layer])
        node("Split", [h, halves], f"{layer}.f", f"{layer}.g", axis=1)
        filtered, gate = node("Tanh", [f"{layer}.f"], f"{layer}.tanh"), node("Sigmoid", [f"{layer}.g"], f"{layer}.s")
        z = node("Mul", [filtered, gate], f"{layer}.z")
        bias = np.concatenate([weights.projection_bias[layer], np.zeros(len(weights.skip), dtype=np.float32)])
        both = linear(z, f"{layer}.both", np.concatenate([weights.projection[layer], skips[layer]]), bias)
        node("Split", [both, parts], f"{layer}.r", f"{layer}.k", axis=1)
        x = node("Add", [x, f"{layer}.r"], f"{layer}.out")
        skip = node("Add", [skip, f"{layer}.k"], f"{layer}.skip")
    node("Concat", rows, "rows", axis=0)
    hidden = linear(node("Relu", [skip], "skip.relu"), "hidden", weights.hidden, weights.hidden_bias)
    linear(node("Relu", [hidden], "hidden.relu"), "logits", weights.out, weights.out_bias)
    graph = helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info("x", kind, [n_streams, channels]),
            helper.make_tensor_value_info("past", kind, [n_layers, n_taps - 1, n_streams, channels]),
        ],
        [
            helper.make_tensor_value_info("logits", kind, [n_streams, len(weights.out)]),
            helper.make_tensor_value_info("rows", kind, [n_layers, n_streams, channels]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


def check(weights: StackWeights) -> None:
    """Raises: InputError for a network that the rivals are not written for."""
    if (
        weights.n_mixtures is not None
        or not weights.is_gated
        or not weights.is_residual
        or weights.convolution.shape[1] < 2
    ):
        raise InputError("the rivals know gated residual blocks with a kernel of 2 or more and a categorical head only")
