"""What keys and tensors were called before, in recipes, model files and training states that people have.

Each function takes what was read, of whatever format, and returns what this version would have written.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")

# Keys of a recipe, by section. They were renamed with format 2 of model files and format 3 of training states.
RECIPE_KEYS = {
    "model": {"reach": "kernel_width", "places": "position_embedding"},
    "training": {"true_starts": "start_share", "true_ends": "learn_endings"},
}
TENSORS = (  # with the same formats; (pattern, replacement)
    (r"^above\.", "vertical."),
    (r"\bblocks\.(\d+)\.", r"layers.\1."),
    (r"^row_place$", "row_position"),
    (r"^column_place$", "column_position"),
)
MIXTURE_SIZES = ("n_mixtures", "mean_unit")


def rename_recipe_keys(recipe: dict[str, Any]) -> list[str]:
    """Rename the keys of a recipe, in the mapping itself; returns a sentence for each that had its old name."""
    remarks = []
    for section, names in RECIPE_KEYS.items():
        values = recipe.get(section)
        for old, new in names.items():
            if isinstance(values, dict) and old in values and new not in values:
                values[new] = values.pop(old)
                remarks.append(f"{section}.{old} is called {section}.{new} now")
    return remarks


def new_recipe_key(key: str) -> str:
    """What a key such as "training.true_starts" is called now."""
    section, dot, name = key.partition(".")
    return section + dot + RECIPE_KEYS.get(section, {}).get(name, name)


def rename_tensors(tensors: Mapping[str, ValueT]) -> dict[str, ValueT]:
    """The same tensors under the names that they have now."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in TENSORS:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def description_of_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a model file as format 2 has it; what is no description stays as it is.

    Format 1 had the sizes of a mixture beside a categorical head, too; the height of the images only where their rows
    had positions; and no frame sizes where there were no frames.
    """
    values = dict(values)
    sizes = values.get("architecture")
    if not isinstance(sizes, dict):
        return values
    sizes = dict(sizes)
    if sizes.get("head", "categorical") == "categorical":
        for name in MIXTURE_SIZES:
            sizes.pop(name, None)
    if "mean_unit" in sizes:
        sizes["mean_scale"] = sizes.pop("mean_unit")
    if values.get("kind") == "pixelcnn":
        if "reach" in sizes:
            sizes["kernel_width"] = sizes.pop("reach")
        height, shape = sizes.pop("height", None), values.get("shape")
        sizes["position_embedding"] = height is not None
        sizes["height"] = height if height is not None or not isinstance(shape, list) or not shape else shape[0]
    return {**values, "architecture": sizes}


def state_of_format_2(state: Mapping[str, Any]) -> dict[str, Any]:
    """A training state as format 3 has it."""
    state = dict(state)
    state["mean_scale"] = state.pop("mean_unit", 1.0)  # 1: as it was before there was any
    for part in ("model", "averaged"):
        state[part] = rename_tensors(state[part])
    return state
