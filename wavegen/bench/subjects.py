"""What is timed: a model of yours, or the network of a recipe, with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint, recipes
from wavegen.architectures import Architecture
from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Condition
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
        timed = with_random_weights(recipe.architecture({}), recipe.data.sample_rate)
        if not recipe.is_planner:
            return timed
        description = replace(timed.description, codec="levels", features=recipe.features)
        return checkpoint.with_planner(recipe.vocoder_model, replace(timed, description=description))
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


def frames_for(architecture: Architecture, n_streams: int, n_steps: int) -> Condition | None:
    """Frames for some steps of a network that reads them, all alike: what they say takes no time; of a planner, what
    enters with each step. None for others."""
    if architecture.makes == "frames":
        shape = (n_streams, n_steps, architecture.n_conditions, architecture.condition_channels)
        return np.zeros(shape, dtype=np.float32)
    if architecture.frames is None:
        return None
    hop, sizes = architecture.frames.hop, architecture.prediction
    of_frames = (n_streams, -(-n_steps // hop))
    values = np.zeros((*of_frames, architecture.n_conditions, architecture.condition_channels), dtype=np.float32)
    if sizes is None:
        return FrameCondition(values, hop)
    coefficients = np.zeros((*of_frames, sizes.order), dtype=np.int32)
    coefficients[..., 0] = round(0.9 * (1 << SHIFT))
    gains = np.full((*of_frames, 2), [0.1, np.log(0.1)], dtype=np.float32)
    periods = np.full((*of_frames, hop), sizes.longest_period if sizes.lag_taps else 0, dtype=np.int32)
    voicing = np.ones(of_frames, dtype=np.float32)
    prediction: Prediction[NDArray] = Prediction(coefficients, gains, periods, voicing)
    return FrameCondition(values, hop, prediction=prediction)
