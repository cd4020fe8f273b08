"""What is timed: a model of yours, or the networks of the recipes that ship, with random weights."""

from pathlib import Path

from wavegen import checkpoint, recipes
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.models.build import with_random_weights
from wavegen.recipe import AudioData, ImageData, Recipe, load

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
    """The model at a path, or without one a network of a size.

    Raises: InputError if the model draws images, or for an unknown size.
    """
    recipe = recipe_of(size)
    assert isinstance(recipe.data, AudioData)
    if model is None:
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
