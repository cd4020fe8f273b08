"""The engine for a GPU: the kernel (triton_kernel.py) with the memory it needs, which stays on the card between calls.

Where there is no GPU, TRITON_INTERPRET=1 runs the same kernel step by step in numpy, which is what the tests do.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import triton
from numpy.typing import NDArray
from torch import Tensor

from wavegen.architectures import PredictionSizes
from wavegen.engines.base import Condition, as_frames, check_call, check_pairs, decoding_per_stream
from wavegen.engines.cache import OncePer
from wavegen.engines.gpu.triton_kernel import CODE, DRAWN_BY, EXCITATION, NOTHING, PREDICTED, read, run
from wavegen.engines.weights import PredictionWeights, StackWeights
from wavegen.errors import InputError
from wavegen.features.frame_condition import Prediction
from wavegen.features.linear_prediction import companding
from wavegen.sampling import Decoding, Decodings

_packed = OncePer()  # networks, of the weights that engines share
TILE = 16  # streams of a program, the least that a product on tensor cores takes
BLOCK = 32  # inputs of the wide layers of the head that are multiplied at a time
MAX_TILE = 1 << 17  # bytes of a matrix that a program holds at once, of the 163 KiB (sm_80) that it may
MAX_CLASSES = 1024  # that are drawn from in registers
CHUNK = 8192  # weights that a program reads at a time where nothing else is done
LAUNCH = {"num_stages": 1, "num_warps": 8}  # how the kernel is compiled
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class PredictionInput(NamedTuple):
    """How past codes and a prediction enter a network that is told one (models/prediction.py), always in float32."""

    matrix: Tensor  # (N_INPUTS, R)
    bias: Tensor  # (R,)
    embeddings: Tensor  # (4, N_LEVELS, R)
    values: Tensor  # (2 * n_classes - 1,) a number d companded, at d + n_classes - 1 (linear_prediction.companding)
    levels: Tensor  # (2 * n_classes - 1,)
    kinds: Tensor  # (N_INPUTS,) what each input is a number of (triton_kernel.py), from how long ago: so many
    periods: Tensor  # (N_INPUTS,) periods
    steps: Tensor  # (N_INPUTS,) and steps


class Network(NamedTuple):
    """Padded weights on the card; a matrix is (in, out), channels are padded to powers of two."""

    embedding: Tensor  # (n_classes, R), or (0, R) with a prediction
    convolution: Tensor  # (L, k, halves, R, G), a half for the filter and one for the gate
    convolution_bias: Tensor  # (L, halves, G)
    projection: Tensor  # (L, G, R)
    projection_bias: Tensor  # (L, R)
    skip: Tensor  # (L, G, S)
    skip_bias: Tensor  # (S,)
    hidden: Tensor  # (S, A)
    hidden_bias: Tensor  # (A,)
    out: Tensor  # (parts, A, P): one part, or those of a mixture: weights, means, scales
    out_bias: Tensor  # (parts, P)
    dilations: Tensor  # (L,)
    first_rows: Tensor  # (L,) where the ring buffer of each layer begins
    prediction: PredictionInput  # of one number each without a prediction


class Snapshot(NamedTuple):
    """The state of all streams at one instant."""

    ring: Tensor  # (rows, B, R)
    previous: Tensor  # (B,)
    past: Tensor  # (B, 4 * n_past), as in cpu/kernel.py
    companded: Tensor  # (B, 4 * n_past)
    clock: int


class TritonEngine:
    """An engine (engines/base.py) that runs a WaveNet on a GPU, thousands of streams at once.

    `precision` is that of the weights and of what they are multiplied with; sums, gates and the residual stream are
    float32. `is_guided`: the streams are pairs, with labels and without, for engines/guided.py.

    Raises: InputError without a GPU, and for networks that are too wide; the sentence names the limit.
    """

    can_wait = False

    def __init__(
        self, weights: StackWeights, n_streams: int = 1, precision: str = "float32", is_guided: bool = False
    ) -> None:
        self.n_streams, self.precision = n_streams, precision
        check_pairs(n_streams, is_guided)
        self._is_guided = is_guided
        self._device = _device()
        self._weights = weights
        dtype = PRECISIONS[precision]
        _check_sizes(weights, dtype.itemsize)
        key = (precision, self._device)
        self._network, n_rows = _packed.get(weights, key, lambda: pack(weights, dtype, self._device))
        R, A = self._network.embedding.shape[1], self._network.hidden.shape[1]
        S = self._network.hidden.shape[0]
        self._ring = torch.zeros((n_rows, n_streams, R), device=self._device)
        self._previous = torch.full((n_streams,), -1, dtype=torch.int64, device=self._device)
        self._sizes = None if weights.prediction is None else weights.prediction.sizes
        n_past = 0 if self._sizes is None else self._sizes.n_past
        self._past = torch.zeros((n_streams, 4 * n_past), dtype=torch.int32, device=self._device)
        self._companded = torch.zeros((n_streams, 4 * n_past), device=self._device)
        self._room = torch.zeros((n_streams, max(S, A)), device=self._device)
        self._clock = 0

    @property
    def n_bytes(self) -> int:
        """What weights and state take on the card."""
        state = (self._ring, self._previous, self._past, self._companded)
        return sum(tensor.nbytes for tensor in (*self._tensors(), *state, self._room))

    def start(self, streams: Sequence[int] | None = None) -> None:
        chosen = slice(None) if streams is None else list(streams)
        self._ring[:, chosen] = 0
        self._previous[chosen] = -1
        self._past[chosen] = 0
        self._companded[chosen] = 0

    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decodings,
        codes: NDArray[np.int64] | None = None,
        condition: Condition | None = None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        if streams is not None:
            raise InputError("the engine triton moves all streams on at once; expected no choice of streams")
        each = decoding_per_stream(decoding, self.n_streams, self._weights.head, self._is_guided, DRAWN_BY)
        codes = np.full(uniforms.shape, -1) if codes is None else np.array(codes, dtype=np.int64)
        parameters = self._run(uniforms, each, codes, condition, logits is not None)
        if logits is not None:
            logits[:] = parameters
        return codes

    def logits(self, codes: NDArray[np.int64], condition: Condition | None = None) -> NDArray[np.floating]:
        codes = np.array(codes, dtype=np.int64)
        return self._run(np.zeros(codes.shape), [Decoding()] * self.n_streams, codes, condition, True)

    def snapshot(self) -> Snapshot:
        past, companded = self._past.clone(), self._companded.clone()
        return Snapshot(self._ring.clone(), self._previous.clone(), past, companded, self._clock)

    def restore(self, state: Snapshot, streams: Sequence[int] | None = None) -> None:
        chosen = list(range(self.n_streams) if streams is None else streams)
        self._ring.copy_(state.ring[:, chosen])
        self._previous.copy_(state.previous[chosen])
        self._past.copy_(state.past[chosen])
        self._companded.copy_(state.companded[chosen])
        self._clock = state.clock

    def read_weights(self, n: int) -> float:
        """Only read the weights as often as n steps of all streams do: for `wavegen bench`. Returns their sum."""
        network = self._network
        matrices = (network.convolution, network.projection, network.skip, network.hidden, network.out)
        flat = torch.cat([matrix.flatten() for matrix in matrices])
        weights = F.pad(flat, (0, -len(flat) % CHUNK))
        sums = torch.zeros(triton.cdiv(self.n_streams, TILE), device=self._device)
        read[(len(sums),)](weights, len(weights) // CHUNK, n, sums, CHUNK=CHUNK, num_warps=LAUNCH["num_warps"])
        return float(sums.sum())

    def _tensors(self) -> tuple[Tensor, ...]:
        """The weights, in the order in which the kernel takes them."""
        *tensors, prediction = self._network
        return (*tensors, *prediction)

    def _run(
        self,
        uniforms: NDArray[np.float64],
        decoding: Sequence[Decoding],
        codes: NDArray[np.int64],
        condition: Condition | None,
        wants_logits: bool,
    ) -> NDArray[np.float32]:
        """Move all streams on; fills the codes that are -1. Returns (B, n, parameters), empty unless wanted."""
        check_call(self.n_streams, self._weights.n_classes, uniforms.shape, codes, condition, self._sizes)
        weights, network = self._weights, self._network
        n, n_parameters = codes.shape[1], len(weights.out_bias)
        frames = as_frames(condition)
        expected = weights.convolution_bias.shape
        if frames is not None and frames.values.shape[2:] != expected:
            raise InputError(f"condition has layers and channels {frames.values.shape[2:]}; expected {expected}")
        values = None if frames is None else self._move(frames.values.astype(np.float32))
        on_device = self._move(codes)
        prediction = None if frames is None or self._sizes is None else frames.prediction
        predictions = [on_device] * len(Prediction._fields) if prediction is None else self._move_prediction(prediction)
        logits = torch.empty((self.n_streams, n if wants_logits else 0, n_parameters), device=self._device)
        is_filtered = any(one.top_k is not None or one.top_p is not None for one in decoding)
        if n:
            run[(triton.cdiv(self.n_streams, TILE),)](
                *self._tensors(),
                self._ring,
                self._previous,
                self._past,
                self._companded,
                self._room,
                self._move(uniforms),
                on_device,
                logits,
                self._move(np.array([one.numbers for one in decoding], dtype=np.float64)),
                on_device if values is None else values,
                *predictions,
                0 if frames is None else frames.values.shape[1],
                1 if frames is None else frames.hop,
                0 if frames is None else frames.phase,
                self._clock,
                n,
                self.n_streams,
                N_CLASSES=weights.n_classes,
                N_MIXTURES=weights.n_mixtures or 0,
                LOG_PER_CODE=math.log(2 / (weights.n_classes - 1)),
                N_GATE=weights.projection.shape[2],
                L=len(weights.dilations),
                K=weights.convolution.shape[1],
                R=network.embedding.shape[1],
                G=network.projection.shape[1],
                S=network.hidden.shape[0],
                A=network.hidden.shape[1],
                P=network.out.shape[2],
                ROOM=self._room.shape[1],
                TILE=TILE,
                BLOCK=BLOCK,
                IS_GATED=weights.is_gated,
                IS_RESIDUAL=weights.is_residual,
                IS_CONDITIONED=frames is not None,
                IS_FILTERED=is_filtered,
                IS_GUIDED=self._is_guided,
                WANTS_LOGITS=wants_logits,
                ORDER=0 if self._sizes is None else self._sizes.order,
                N_PAST=0 if self._sizes is None else self._sizes.n_past,
                N_INPUTS=len(network.prediction.matrix),
                **LAUNCH,
            )
        self._clock += n
        codes[:] = on_device.cpu().numpy()
        return logits.cpu().numpy()

    def _move_prediction(self, prediction: Prediction[NDArray]) -> list[Tensor]:
        """The arrays of a prediction as the kernel reads them."""
        kinds = Prediction(np.int32, np.float32, np.int32, np.float32)
        return [self._move(array.astype(kind)) for array, kind in zip(prediction, kinds, strict=True)]

    def _move(self, array: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def pack(weights: StackWeights, dtype: torch.dtype, device: torch.device) -> tuple[Network, int]:
    """Pad channels to powers of two and lay the matrices out; returns how many rows the ring buffers have, too."""
    n_layers, n_taps, _, n_residual = weights.convolution.shape
    n_gate, halves = weights.projection.shape[2], 2 if weights.is_gated else 1
    R, G = _padded(n_residual), _padded(n_gate)
    S, A = _padded(len(weights.skip_bias), BLOCK), _padded(len(weights.hidden_bias), BLOCK)
    parts = 1 if weights.n_mixtures is None else 3
    P = _padded(len(weights.out_bias) // parts)
    # One row more than the past is long, so that what is read in a step lies elsewhere than what is written.
    rows = [(n_taps - 1) * dilation + 1 for dilation in weights.dilations]

    def matrix(array: NDArray, *shape: int) -> Tensor:
        return _pad(array, shape).to(device, dtype)

    def vector(array: NDArray, *shape: int) -> Tensor:
        return _pad(array, shape).to(device)

    convolution = weights.convolution.reshape(n_layers, n_taps, halves, n_gate, n_residual).transpose(0, 1, 2, 4, 3)
    skip = weights.skip.T.reshape(n_layers, n_gate, -1)
    out = weights.out.reshape(parts, -1, weights.out.shape[1]).transpose(0, 2, 1)
    network = Network(
        embedding=vector(weights.embedding, len(weights.embedding), R),
        convolution=matrix(convolution, n_layers, n_taps, halves, R, G),
        convolution_bias=vector(weights.convolution_bias.reshape(n_layers, halves, n_gate), n_layers, halves, G),
        projection=matrix(weights.projection.transpose(0, 2, 1), n_layers, G, R),
        projection_bias=vector(weights.projection_bias, n_layers, R),
        skip=matrix(skip, n_layers, G, S),
        skip_bias=vector(weights.skip_bias, S),
        hidden=matrix(weights.hidden.T, S, A),
        hidden_bias=vector(weights.hidden_bias, A),
        out=matrix(out, parts, A, P),
        out_bias=vector(weights.out_bias.reshape(parts, -1), parts, P),
        dilations=torch.tensor(weights.dilations, dtype=torch.int64, device=device),
        first_rows=torch.tensor(np.cumsum([0, *rows[:-1]]), dtype=torch.int64, device=device),
        prediction=_pack_prediction(weights.prediction, weights.n_classes, R, device),
    )
    return network, sum(rows)


def _pack_prediction(
    weights: PredictionWeights | None, n_classes: int, channels: int, device: torch.device
) -> PredictionInput:
    if weights is None:
        return PredictionInput(*(torch.zeros(1, device=device) for _ in PredictionInput._fields))
    inputs = _inputs(weights.sizes)
    n_inputs = BLOCK * -(-len(inputs) // BLOCK)
    inputs += [(int(NOTHING.value), 0, 0)] * (n_inputs - len(inputs))
    tables = torch.tensor(inputs, dtype=torch.int32).T.contiguous()
    values, levels = companding(n_classes)
    made = PredictionInput(
        matrix=_pad(weights.linear.T, (n_inputs, channels)),
        bias=_pad(weights.linear_bias, (channels,)),
        embeddings=_pad(weights.embeddings, (*weights.embeddings.shape[:2], channels)),
        values=torch.from_numpy(values),
        levels=torch.from_numpy(levels),
        kinds=tables[0],
        periods=tables[1],
        steps=tables[2],
    )
    return PredictionInput(*(tensor.to(device) for tensor in made))


def _inputs(sizes: PredictionSizes) -> list[tuple[int, int, int]]:
    """What each input of the linear layer is, in its order (models/prediction.py): of what it is a number, and from how
    many periods and how many steps ago."""
    excitation, code, predicted = (int(kind.value) for kind in (EXCITATION, CODE, PREDICTED))
    inputs = [(kind, 0, ago) for kind in (excitation, code) for ago in range(1, sizes.order + 1)]
    inputs.append((predicted, 0, 0))
    if sizes.lag_taps:
        for n_periods, reach in ((1, sizes.lag_taps), (2, sizes.lag_taps // 2)):
            inputs += [(kind, n_periods, -around) for kind in (excitation, code) for around in range(-reach, reach + 1)]
    return inputs


def _padded(n: int, least: int = 16) -> int:
    """The power of two that holds so many channels, and at least the 16 that a product takes."""
    return max(least, triton.next_power_of_2(n))


def _pad(array: NDArray, shape: Sequence[int]) -> Tensor:
    """Zeros behind the end of every axis, up to a shape."""
    padded = np.zeros(shape, dtype=np.float32)
    padded[tuple(slice(n) for n in array.shape)] = array
    return torch.from_numpy(padded)


def _check_sizes(weights: StackWeights, n_bytes: int) -> None:
    """Raises: InputError for a network of which a program could not hold a tile."""
    if weights.n_mixtures is None and weights.n_classes > MAX_CLASSES:
        raise InputError(
            f"the engine triton draws from up to {MAX_CLASSES:,} classes, and this network has {weights.n_classes:,}; "
            "take the engine reference, or a logistic-mixture head"
        )
    R, G = _padded(weights.projection.shape[1]), _padded(weights.projection.shape[2])
    S, A = _padded(len(weights.skip_bias), BLOCK), _padded(len(weights.hidden_bias), BLOCK)
    P = _padded(len(weights.out_bias))
    largest = max(R * G, G * S, BLOCK * A, BLOCK * P) * n_bytes
    if largest > MAX_TILE:
        raise InputError(
            f"the engine triton holds matrices of {MAX_TILE:,} bytes at once, and this network's take {largest:,} "
            f"({R} residual, {G} gate, {S} skip and {A} head channels); take the engine reference"
        )


def _device() -> torch.device:
    """Raises: InputError without a GPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if triton.knobs.runtime.interpret:
        return torch.device("cpu")
    raise InputError("the engine triton runs on a GPU, and torch finds none; leave it out to take the CPU's")
