"""From what a recipe or a model file says to a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wavegen.architectures import Architecture, find
from wavegen.checkpoint import Checkpoint, Description
from wavegen.errors import InputError
from wavegen.models.base import ImageModel, Model


def build(architecture: Architecture) -> Model:
    """A network with fresh weights.

    Raises: InputError for a family of images whose network is not made of rows.
    """
    network: Model = find(architecture.network)(architecture)
    if architecture.makes == "images" and not isinstance(network, ImageModel):
        raise InputError(
            f"a {architecture.kind} draws images; expected its network to derive from models.base.ImageModel"
        )
    return network


def from_checkpoint(checkpoint: Checkpoint) -> Model:
    """The network of a model file, in evaluation mode.

    Nothing of the sizes it claims is made before its tensors are seen to have them.

    Raises: InputError naming what does not fit.
    """
    architecture = checkpoint.description.architecture
    with torch.device("meta"):
        claimed = build(architecture)
    check_weights(claimed, checkpoint.weights, str(checkpoint.path))
    model = build(architecture)
    load_weights(model, checkpoint.weights, str(checkpoint.path))
    return model.eval()


def with_random_weights(architecture: Architecture, sample_rate: int = 0) -> Checkpoint:
    """A model file in memory that was never trained, to be timed; `sample_rate` is for sound."""
    codec = "mu-law" if architecture.makes == "sound" and architecture.prediction is None else "linear"
    model = build(architecture)
    description = Description(architecture, codec, architecture.n_classes, sample_rate, shape=architecture.shape)
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
