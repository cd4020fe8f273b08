"""A network as plain arrays, which is all that an engine needs to know of it. numpy only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import (
    FAMILIES,
    Architecture,
    CategoricalHead,
    Head,
    LogisticMixtureHead,
    PixelCNNArchitecture,
    PredictionSizes,
    SequenceArchitecture,
    find,
)
from wavegen.checkpoint import Checkpoint
from wavegen.codec import coarse_and_offset
from wavegen.errors import InputError
from wavegen.features.linear_prediction import N_EMBEDDED, N_LEVELS

Array = NDArray[np.float32]
DRAWN_HEADS = (CategoricalHead, LogisticMixtureHead)  # those that compiled engines draw from


@dataclass(frozen=True)
class PredictionWeights:
    """What brings past codes and a prediction into a network (models/prediction.py), in float32; letters as below."""

    sizes: PredictionSizes
    linear: Array  # (R, n_inputs)
    linear_bias: Array  # (R,)
    embeddings: Array  # (N_EMBEDDED, N_LEVELS, R)


@dataclass(frozen=True)
class StackWeights:
    """The tensors of a WaveNet (models/wavenet.py) in float32, layers stacked.

    L layers, k taps, R residual, G gate, S skip and A head channels, H = 2 G (filter, then gate) or G for ReLU layers,
    P parameters of the head. A matrix is (out, in). A network with a prediction has no row for any code in
    `embedding`, which is (0, R): its past codes enter by `prediction`, which is None for all others.
    """

    dilations: tuple[int, ...]
    is_gated: bool
    is_residual: bool
    n_classes: int
    head: Head
    embedding: Array  # (n_classes, R), or (0, R) with a prediction
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
    prediction: PredictionWeights | None = None

    @property
    def n_mixtures(self) -> int | None:
        """Distributions in the mixture, or None where the head is none."""
        return self.head.n_mixtures if isinstance(self.head, LogisticMixtureHead) else None


def why_not(architecture: Architecture) -> str | None:
    """Why compiled engines cannot run a network; None where they can."""
    if architecture.engine_weights is None:
        runnable = [family.kind for family in FAMILIES.values() if family.engine_weights is not None]
        return f"it is a {architecture.kind}, and they run {', '.join(runnable[:-1])} and {runnable[-1]}"
    if not isinstance(architecture.head, DRAWN_HEADS):
        drawn = " and ".join(head.kind for head in DRAWN_HEADS)
        return f"it has a {architecture.head.kind} head, and they draw from {drawn}"
    return None


@dataclass(frozen=True)
class VerticalWeights:
    """The tensors of a PixelCNN (models/pixelcnn.py) outside its row, in float32, layers stacked; letters as above.

    C colours, and J pixels of the row above that a layer sees. `position` is None for a network without its embedding.
    """

    width: int
    dilations: tuple[int, ...]
    is_gated: bool
    embedding: Array  # (C, n_classes, R)
    position: Array | None  # (height, width, R)
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
    shape, source = cast(PixelCNNArchitecture, checkpoint.description.architecture), _Source(checkpoint)
    R, G, J, C = shape.residual_channels, shape.gate_channels, shape.kernel_width, shape.n_colours
    H = shape.condition_channels
    layers = [(f"vertical.layers.{index}", f"enter.{index}") for index in range(len(shape.dilations))]
    return VerticalWeights(
        width=shape.width,
        dilations=shape.dilations,
        is_gated=shape.activation == "gated",
        embedding=np.stack([source.take(f"embed.{colour}.weight", shape.n_classes, R) for colour in range(C)]),
        position=_position(source, shape),
        convolution=np.stack([source.take(f"{layer}.conv.weight", 2, J, H, R) for layer, _ in layers]),
        convolution_bias=np.stack([source.take(f"{layer}.conv.bias", H) for layer, _ in layers]),
        projection=np.stack([source.take(f"{layer}.project.weight", R, G) for layer, _ in layers]),
        projection_bias=np.stack([source.take(f"{layer}.project.bias", R) for layer, _ in layers]),
        entering=np.stack([source.take(f"{enter}.weight", H, G) for _, enter in layers]),
        entering_bias=np.stack([source.take(f"{enter}.bias", H) for _, enter in layers]),
        colour=source.take("colour", C, len(layers), H),
    )


def _position(source: "_Source", shape: PixelCNNArchitecture) -> Array | None:
    """What a network adds at each position of an image."""
    if not shape.position_embedding:
        return None
    row = source.take("row_position", shape.height, 1, shape.residual_channels)
    return row + source.take("column_position", shape.width, shape.residual_channels)


def stack_weights(checkpoint: Checkpoint) -> StackWeights:
    """The arrays of a WaveNet's model file, or of the row of a PixelCNN's: what compiled engines step.

    Raises: InputError for a network that they do not run (`why_not`), or naming the first tensor that is missing or of
    another shape than the architecture says.
    """
    architecture = checkpoint.description.architecture
    if (reason := why_not(architecture)) is not None:
        raise InputError(f"compiled engines do not run this network: {reason}; take the engine reference")
    assert architecture.engine_weights is not None  # `why_not` has seen to it
    make: Callable[[Checkpoint], StackWeights] = find(architecture.engine_weights)
    return make(checkpoint)


def sequence_weights(checkpoint: Checkpoint) -> StackWeights:
    """`stack_weights` of a WaveNet or a planner."""
    return _stack(cast(SequenceArchitecture, checkpoint.description.architecture), _Source(checkpoint))


def row_weights(checkpoint: Checkpoint) -> StackWeights:
    """`stack_weights` of a PixelCNN."""
    return _stack(cast(PixelCNNArchitecture, checkpoint.description.architecture).row, _Source(checkpoint, "row."))


def _stack(shape: SequenceArchitecture, source: "_Source") -> StackWeights:
    R, G, S, A = shape.residual_channels, shape.gate_channels, shape.skip_channels, shape.head_channels
    k, H, P = shape.kernel_size, shape.condition_channels, shape.n_parameters_of_head
    layers = [f"stack.layers.{index}" for index in range(len(shape.dilations))]
    scales = _output_scales(shape.head, P) if shape.prediction is None else np.ones(P, dtype=np.float32)
    prediction = None if shape.prediction is None else _prediction(source, shape.prediction, R)
    return StackWeights(
        dilations=shape.dilations,
        is_gated=shape.activation == "gated",
        is_residual=shape.residual,
        n_classes=shape.n_classes,
        head=shape.head,
        embedding=_embedding(source, shape.n_classes, R) if prediction is None else np.zeros((0, R), dtype=np.float32),
        convolution=np.stack([source.take(f"{layer}.conv.weight", k, H, R) for layer in layers]),
        convolution_bias=np.stack([source.take(f"{layer}.conv.bias", H) for layer in layers]),
        projection=np.stack([source.take(f"{layer}.project.weight", R, G) for layer in layers]),
        projection_bias=np.stack([source.take(f"{layer}.project.bias", R) for layer in layers]),
        skip=source.take("skip.weight", S, len(layers) * G),
        skip_bias=source.take("skip.bias", S),
        hidden=source.take("head_hidden.weight", A, S),
        hidden_bias=source.take("head_hidden.bias", A),
        out=source.take("head_out.weight", P, A) * scales[:, None],
        out_bias=source.take("head_out.bias", P) * scales,
        prediction=prediction,
    )


def _prediction(source: "_Source", sizes: PredictionSizes, channels: int) -> PredictionWeights:
    return PredictionWeights(
        sizes=sizes,
        linear=source.take("prediction.linear.weight", channels, sizes.n_inputs),
        linear_bias=source.take("prediction.linear.bias", channels),
        embeddings=source.take("prediction.embeddings", N_EMBEDDED, N_LEVELS, channels),
    )


def _output_scales(head: Head, n_parameters: int) -> Array:
    """What each output of a network is multiplied with: the means of a mixture with their scale, (P,)."""
    scales = np.ones(n_parameters, dtype=np.float32)
    if isinstance(head, LogisticMixtureHead):
        scales[head.n_mixtures : 2 * head.n_mixtures] = head.mean_scale
    return scales


class _Source:
    """The tensors of a model file whose names begin alike, each looked at before it is taken."""

    def __init__(self, checkpoint: Checkpoint, prefix: str = "") -> None:
        self._checkpoint, self._prefix = checkpoint, prefix

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._checkpoint.weights

    def take(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(self._prefix + name, *shape)


def _embedding(source: _Source, n_classes: int, channels: int) -> Array:
    """A row for every class; one of many classes is put together from its interval and its offset there."""
    if "embed.weight" in source or "embed.coarse.weight" not in source:
        return source.take("embed.weight", n_classes, channels)
    coarse, offset = coarse_and_offset(n_classes)
    n_coarse = int(coarse.max()) + 1
    table = source.take("embed.coarse.weight", n_coarse, channels)[coarse]
    table += offset[:, None] * source.take("embed.fine.weight", n_coarse, channels)[coarse]
    return table
