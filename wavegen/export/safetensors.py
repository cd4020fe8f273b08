"""A model as one safetensors file of half the size, its weights in float16: what ships with wavegen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError


def write(model: Checkpoint, out: Path) -> list[Path]:
    """Write a model; returns the file.

    Raises: InputError for weights that float16 does not hold.
    """
    planner = None if model.planner is None else replace(model.planner, weights=_halved(model.planner))
    checkpoint.save(out, model.description, _halved(model), model.recipe, planner)
    return [out]


def _halved(model: Checkpoint) -> dict[str, NDArray[np.float16]]:
    """Raises: InputError for weights that float16 does not hold."""
    with np.errstate(over="ignore"):
        halved = {name: weight.astype(np.float16) for name, weight in model.weights.items()}
    for name, weight in halved.items():
        if not np.isfinite(weight).all():
            raise InputError(f"the tensor {name} holds values beyond float16's range, {np.finfo(np.float16).max:g}")
    return halved
