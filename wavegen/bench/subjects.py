"""What is timed: a model of yours, or the network of a recipe, with random weights."""

from pathlib import Path

import numpy as np

from wavegen import checkpoint, recipes
from wavegen.architectures import Architecture
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition, Prediction
from wavegen.features.linear_prediction import SHIFT
from wavegen.models.build import with_random_weights
from wavegen.recipe import AudioData, ImageData, Recipe, load

RECIPE_SUFFIXES = (".yaml", ".yml")
# For each size a recipe and what of it is set otherwise; "large" has 40 layers.
SIZES: dict[str, tuple[str, list[str]]] = {
    "small": ("librispeech-small", []),
    "full": ("librispeech", []),
    "large": ("librispeech", ["model.n_blocks=4", "model.skip_channels=1024", "model.head_channels=512"]),
}


def recipe_of(size: str) -> Recipe:
    """The recipe of a size.

    Raises: InputError for an unknown size.
    """
    if size not in SIZES:
        raise InputError(f"unknown size {size!r}; expected one of {', '.join(SIZES)}")
    name, settings = SIZES[size]
    return load(recipes.find(name), settings)


def sound_model(model: Path | None, size: str) -> Checkpoint:
    """The model at a path, the network of the recipe at one, or without a path a network of a size.

    Raises: InputError if the model or the recipe draws images, or for an unknown size.
    """
    if model is None or model.suffix in RECIPE_SUFFIXES:
        recipe = recipe_of(size) if model is None else load(model)
        if not isinstance(recipe.data, AudioData):
            raise InputError(f"{model} draws images; expected --image to time it")
        return with_random_weights(recipe.architecture({}), recipe.data.sample_rate)
    loaded = checkpoint.load(model)
    if loaded.description.shape:
        raise InputError(f"{model} draws images; expected --image to time it")
    return loaded


def image_model(model: Path | None) -> Checkpoint:
    """The model at a path, or without one the network of the MNIST recipe.

    Raises: InputError if the model makes sound.
    """
    if model is None:
        recipe = load(recipes.find("mnist"))
        assert isinstance(recipe.data, ImageData)
        return with_random_weights(recipe.architecture({}))
    loaded = checkpoint.load(model)
    if not loaded.description.shape:
        raise InputError(f"{loaded.path} makes sound; leave out --image")
    return loaded


def frames_for(architecture: Architecture, n_streams: int, n_steps: int) -> FrameCondition | None:
    """Frames for some steps of a network that reads them, all alike: what they say takes no time. None for others."""
    if architecture.frames is None:
        return None
    hop, sizes = architecture.frames.hop, architecture.prediction
    shape = (n_streams, -(-n_steps // hop))
    values = np.zeros((*shape, architecture.n_conditions, architecture.condition_channels), dtype=np.float32)
    if sizes is None:
        return FrameCondition(values, hop)
    coefficients = np.zeros((*shape, sizes.order), dtype=np.int32)
    coefficients[..., 0] = round(0.9 * (1 << SHIFT))
    gains = np.full((*shape, 2), [0.1, np.log(0.1)], dtype=np.float32)
    periods = np.full((*shape, hop), sizes.longest_period if sizes.lag_taps else 0, dtype=np.int32)
    voicing = np.ones(shape, dtype=np.float32)
    return FrameCondition(values, hop, prediction=Prediction(coefficients, gains, periods, voicing))
