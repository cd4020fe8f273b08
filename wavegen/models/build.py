"""From what a recipe or a model file says to a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint, Description
from wavegen.errors import InputError
from wavegen.models.pixelcnn import PixelCNN
from wavegen.models.wavenet import WaveNet

Model = WaveNet | PixelCNN
KINDS: dict[str, type[WaveNet] | type[PixelCNN]] = {"wavenet": WaveNet, "pixelcnn": PixelCNN}


def build(kind: str, architecture: Mapping[str, Any]) -> Model:
    """A network with fresh weights.

    Raises: InputError for a kind or sizes that this version does not know.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of model {kind!r}; this wavegen knows {', '.join(KINDS)}")
    try:
        return KINDS[kind](**architecture)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the description of the {kind} does not fit this wavegen: {error}") from error


def from_checkpoint(checkpoint: Checkpoint) -> Model:
    """The network of a model file, in evaluation mode.

    Nothing of the sizes it claims is made before its tensors are seen to have them.

    Raises: InputError naming what does not fit.
    """
    described = checkpoint.description
    with torch.device("meta"):
        claimed = build(described.kind, described.architecture)
    check_weights(claimed, checkpoint.weights, str(checkpoint.path))
    model = build(described.kind, described.architecture)
    load_weights(model, checkpoint.weights, str(checkpoint.path))
    return model.eval()


def with_random_weights(architecture: Mapping[str, Any], sample_rate: int = 0, shape: Sequence[int] = ()) -> Checkpoint:
    """A model file in memory that was never trained, to be timed: a WaveNet, or with a shape of images a PixelCNN."""
    kind, codec = ("pixelcnn", "linear") if shape else ("wavenet", "mu-law")
    model = build(kind, architecture)
    description = Description(kind, architecture, codec, architecture["n_classes"], sample_rate, shape=list(shape))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return Checkpoint(description, weights, "", Path("random weights"))


def load_weights(model: Model, weights: Mapping[str, NDArray[Any]], name: str) -> None:
    """Fill a network with the tensors of a model file.

    Raises: InputError naming the first tensor that is missing, unknown or of another shape.
    """
    check_weights(model, weights, name)
    model.load_state_dict({key: torch.from_numpy(weights[key].astype(np.float32)) for key in model.state_dict()})


def check_weights(model: Model, weights: Mapping[str, NDArray[Any]], name: str) -> None:
    """Raises: InputError naming the first tensor that is missing, unknown or of another shape."""
    own = model.state_dict()
    for key, tensor in own.items():
        if key not in weights:
            raise InputError(f"{name} lacks the tensor {key}; expected shape {tuple(tensor.shape)}")
        if tuple(tensor.shape) != weights[key].shape:
            raise InputError(f"{name} has {key} of shape {weights[key].shape}; expected {tuple(tensor.shape)}")
    if unknown := sorted(set(weights) - set(own)):
        raise InputError(f"{name} has a tensor {unknown[0]} that the {type(model).__name__} does not know")
