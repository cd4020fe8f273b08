"""A network as plain arrays, which is all that an engine needs to know of it. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.codec import coarse_and_place
from wavegen.errors import InputError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class StackWeights:
    """The tensors of a WaveNet (models/wavenet.py) in float32, layers stacked.

    L layers, k taps, R residual, G gate, S skip and A head channels, H = 2 G (filter, then gate) or G for ReLU blocks,
    P parameters of the head. A matrix is (out, in). `n_mixtures` is 0 for a categorical head.
    """

    dilations: tuple[int, ...]
    is_gated: bool
    is_residual: bool
    n_classes: int
    n_mixtures: int
    embedding: Array  # (n_classes, R)
    convolution: Array  # (L, k, H, R), the oldest tap first
    convolution_bias: Array  # (L, H)
    projection: Array  # (L, R, G)
    projection_bias: Array  # (L, R)
    skip: Array  # (S, L * G)
    skip_bias: Array  # (S,)
    hidden: Array  # (A, S)
    hidden_bias: Array  # (A,)
    out: Array  # (P, A)
    out_bias: Array  # (P,)


def stack_weights(checkpoint: Checkpoint) -> StackWeights:
    """The arrays of a model file.

    Raises: InputError naming the first tensor that is missing or of another shape than its architecture says.
    """
    architecture, source = checkpoint.description.architecture, _Source(checkpoint)
    n_classes = architecture["n_classes"]
    R, G, S, A = (architecture[f"{name}_channels"] for name in ("residual", "gate", "skip", "head"))
    k = architecture.get("kernel_size", 2)
    is_gated = architecture.get("activation", "gated") == "gated"
    H = 2 * G if is_gated else G
    n_mixtures = architecture.get("n_mixtures", 10) if checkpoint.description.head != "categorical" else 0
    P = 3 * n_mixtures or n_classes
    block = [2**i if architecture.get("dilated", True) else 1 for i in range(architecture["layers_per_block"])]
    dilations = tuple(block * architecture["n_blocks"])
    layers = [f"stack.blocks.{index}" for index in range(len(dilations))]
    return StackWeights(
        dilations=dilations,
        is_gated=is_gated,
        is_residual=architecture.get("residual", True),
        n_classes=n_classes,
        n_mixtures=n_mixtures,
        embedding=_embedding(source, n_classes, R),
        convolution=np.stack([source.take(f"{layer}.conv.weight", k, H, R) for layer in layers]),
        convolution_bias=np.stack([source.take(f"{layer}.conv.bias", H) for layer in layers]),
        projection=np.stack([source.take(f"{layer}.project.weight", R, G) for layer in layers]),
        projection_bias=np.stack([source.take(f"{layer}.project.bias", R) for layer in layers]),
        skip=source.take("skip.weight", S, len(dilations) * G),
        skip_bias=source.take("skip.bias", S),
        hidden=source.take("head_hidden.weight", A, S),
        hidden_bias=source.take("head_hidden.bias", A),
        out=source.take("head_out.weight", P, A),
        out_bias=source.take("head_out.bias", P),
    )


class _Source:
    """The tensors of a model file, each looked at before it is taken."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._name = checkpoint.path
        self.tensors: Mapping[str, NDArray[Any]] = checkpoint.weights

    def take(self, name: str, *shape: int) -> Array:
        if name not in self.tensors:
            raise InputError(f"{self._name} lacks the tensor {name}; expected shape {shape}")
        tensor = self.tensors[name]
        if tensor.shape != shape:
            raise InputError(f"{self._name} has {name} of shape {tensor.shape}; expected {shape}")
        return tensor.astype(np.float32)


def _embedding(source: _Source, n_classes: int, channels: int) -> Array:
    """A row for every class; one of many classes is put together from its interval and its place there."""
    if "embed.weight" in source.tensors or "embed.coarse.weight" not in source.tensors:
        return source.take("embed.weight", n_classes, channels)
    coarse, place = coarse_and_place(n_classes)
    n_coarse = int(coarse.max()) + 1
    table = source.take("embed.coarse.weight", n_coarse, channels)[coarse]
    table += place[:, None] * source.take("embed.fine.weight", n_coarse, channels)[coarse]
    return table
