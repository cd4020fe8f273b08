"""A network as plain arrays, which is all that an engine needs to know of it. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.codec import coarse_and_place
from wavegen.errors import InputError

Array = NDArray[np.float32]
KINDS = ("wavenet", "pixelcnn")  # as in models/build.py, which needs torch
HEADS = ("categorical", "logistic-mixture")  # as in models/heads.py, which needs torch


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

    @property
    def head(self) -> str:
        """The kind of it (models/heads.py)."""
        return "logistic-mixture" if self.n_mixtures else "categorical"


@dataclass(frozen=True)
class Architecture:
    """What a model file says of a WaveNet: the arguments of models/wavenet.py, which explains them."""

    n_classes: int
    n_blocks: int
    layers_per_block: int
    residual_channels: int
    gate_channels: int
    skip_channels: int
    head_channels: int
    kernel_size: int = 2
    activation: str = "gated"
    residual: bool = True
    dilated: bool = True
    labels: Mapping[str, int] | None = None
    label_channels: int = 16
    head: str = "categorical"
    n_mixtures: int = 10
    mean_unit: float = 1.0
    dropout: float = 0.0
    n_features: int = 0
    hop: int = 1
    frame_channels: int = 64
    look_ahead: int = 2


@dataclass(frozen=True)
class VerticalWeights:
    """The tensors of a PixelCNN (models/pixelcnn.py) outside its row, in float32, layers stacked; letters as above.

    C colours, and J pixels of the row above that a layer sees. `place` is None for a network that knows of none.
    """

    width: int
    dilations: tuple[int, ...]
    is_gated: bool
    embedding: Array  # (C, n_classes, R)
    place: Array | None  # (height, width, R)
    convolution: Array  # (L, 2, J, H, R), the row above first
    convolution_bias: Array  # (L, H)
    projection: Array  # (L, R, G)
    projection_bias: Array  # (L, R)
    entering: Array  # (L, H, G)
    entering_bias: Array  # (L, H)
    colour: Array  # (C, L, H)


def vertical_weights(checkpoint: Checkpoint) -> VerticalWeights:
    """The arrays of a PixelCNN's model file that `stack_weights` leaves.

    Raises: as `stack_weights`.
    """
    sizes = checkpoint.description.architecture
    shape, source = _architecture(checkpoint), _Source(checkpoint)
    R, G, J, C = shape.residual_channels, shape.gate_channels, sizes["reach"], sizes["n_colours"]
    is_gated, dilations = shape.activation == "gated", _dilations(shape)
    H = 2 * G if is_gated else G
    layers = [(f"above.blocks.{index}", f"enter.{index}") for index in range(len(dilations))]
    return VerticalWeights(
        width=sizes["width"],
        dilations=dilations,
        is_gated=is_gated,
        embedding=np.stack([source.take(f"embed.{colour}.weight", shape.n_classes, R) for colour in range(C)]),
        place=_place(source, sizes.get("height"), sizes["width"], R),
        convolution=np.stack([source.take(f"{above}.conv.weight", 2, J, H, R) for above, _ in layers]),
        convolution_bias=np.stack([source.take(f"{above}.conv.bias", H) for above, _ in layers]),
        projection=np.stack([source.take(f"{above}.project.weight", R, G) for above, _ in layers]),
        projection_bias=np.stack([source.take(f"{above}.project.bias", R) for above, _ in layers]),
        entering=np.stack([source.take(f"{enter}.weight", H, G) for _, enter in layers]),
        entering_bias=np.stack([source.take(f"{enter}.bias", H) for _, enter in layers]),
        colour=source.take("colour", C, len(dilations), H),
    )


def _place(source: "_Source", height: int | None, width: int, channels: int) -> Array | None:
    """What a network adds at each place of an image."""
    if height is None:
        return None
    return source.take("row_place", height, 1, channels) + source.take("column_place", width, channels)


def stack_weights(checkpoint: Checkpoint) -> StackWeights:
    """The arrays of a WaveNet's model file, or of the row of a PixelCNN's.

    Raises: InputError for a network that is not known here, or naming the first tensor that is missing or of another
    shape than the architecture says.
    """
    shape = _architecture(checkpoint)
    source = _Source(checkpoint, "row." if checkpoint.description.kind == "pixelcnn" else "")
    R, G, S, A = shape.residual_channels, shape.gate_channels, shape.skip_channels, shape.head_channels
    k, is_gated = shape.kernel_size, shape.activation == "gated"
    H = 2 * G if is_gated else G
    n_mixtures = 0 if shape.head == "categorical" else shape.n_mixtures
    P = 3 * n_mixtures or shape.n_classes
    units = np.ones(P, dtype=np.float32)
    units[n_mixtures : 2 * n_mixtures] = shape.mean_unit
    dilations = _dilations(shape)
    layers = [f"stack.blocks.{index}" for index in range(len(dilations))]
    return StackWeights(
        dilations=dilations,
        is_gated=is_gated,
        is_residual=shape.residual,
        n_classes=shape.n_classes,
        n_mixtures=n_mixtures,
        embedding=_embedding(source, shape.n_classes, R),
        convolution=np.stack([source.take(f"{layer}.conv.weight", k, H, R) for layer in layers]),
        convolution_bias=np.stack([source.take(f"{layer}.conv.bias", H) for layer in layers]),
        projection=np.stack([source.take(f"{layer}.project.weight", R, G) for layer in layers]),
        projection_bias=np.stack([source.take(f"{layer}.project.bias", R) for layer in layers]),
        skip=source.take("skip.weight", S, len(dilations) * G),
        skip_bias=source.take("skip.bias", S),
        hidden=source.take("head_hidden.weight", A, S),
        hidden_bias=source.take("head_hidden.bias", A),
        out=source.take("head_out.weight", P, A) * units[:, None],
        out_bias=source.take("head_out.bias", P) * units,
    )


def _architecture(checkpoint: Checkpoint) -> Architecture:
    """Raises: InputError for a kind of network or a head that is not known here."""
    described = checkpoint.description
    if described.kind not in KINDS:
        raise InputError(f"unknown kind of model {described.kind!r}; this wavegen knows {', '.join(KINDS)}")
    beside_the_row = ("width", "height", "n_colours", "reach") if described.kind == "pixelcnn" else ()
    try:
        shape = Architecture(
            **{name: value for name, value in described.architecture.items() if name not in beside_the_row}
        )
    except TypeError as error:
        raise InputError(f"the description of the {described.kind} does not fit this wavegen: {error}") from error
    if shape.head not in HEADS:
        raise InputError(f"unknown head {shape.head!r}; expected one of {', '.join(HEADS)}")
    return shape


def _dilations(shape: Architecture) -> tuple[int, ...]:
    block = [2**i if shape.dilated else 1 for i in range(shape.layers_per_block)]
    return tuple(block * shape.n_blocks)


class _Source:
    """The tensors of a model file whose names begin alike, each looked at before it is taken."""

    def __init__(self, checkpoint: Checkpoint, prefix: str = "") -> None:
        self._checkpoint, self._prefix = checkpoint, prefix

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._checkpoint.weights

    def take(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(self._prefix + name, *shape)


def _embedding(source: _Source, n_classes: int, channels: int) -> Array:
    """A row for every class; one of many classes is put together from its interval and its place there."""
    if "embed.weight" in source or "embed.coarse.weight" not in source:
        return source.take("embed.weight", n_classes, channels)
    coarse, place = coarse_and_place(n_classes)
    n_coarse = int(coarse.max()) + 1
    table = source.take("embed.coarse.weight", n_coarse, channels)[coarse]
    table += place[:, None] * source.take("embed.fine.weight", n_coarse, channels)[coarse]
    return table
