"""What steps change, and its file, training.pt: all that a run needs to go on to the same bits."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from wavegen import files, migrations
from wavegen.data.store import Store
from wavegen.errors import InputError
from wavegen.models.base import Model
from wavegen.recipe import Recipe
from wavegen.recipe import parse as parse_recipe

STATE_FILE = "training.pt"
STATE_PARTS = frozenset(["step", "recipe", "corpus", "model", "averaged", "optimizers", "bits"])
STATE_FORMAT = 3  # 2: see migrations.py


@dataclass
class State:
    """What the steps of a run change.

    `averaged` is the model whose weights follow those of `model`, and what is validated and shared; `bits` by split and
    `precision_costs` by precision are what was last measured of it.
    """

    model: Model
    averaged: Model
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    bits: dict[str, float] = field(default_factory=dict)
    precision_costs: dict[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """The averaged weights as the arrays of a model file."""
        return {name: tensor.cpu().numpy() for name, tensor in self.averaged.state_dict().items()}

    def save(self, folder: Path, recipe: Recipe, store: Store, mean_scale: float) -> None:
        """Write it to a run folder, with what to know it by: the recipe, the corpus, and the scale of a relative
        head."""
        values = {
            "format": STATE_FORMAT,
            "step": self.step,
            "recipe": recipe.to_yaml(),
            "mean_scale": mean_scale,
            "corpus": store.fingerprint,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "bits": self.bits,
            "precision_costs": self.precision_costs,
        }
        encoded = io.BytesIO()
        torch.save(values, encoded)
        files.write(folder / STATE_FILE, encoded.getvalue())

    def restore(self, values: Mapping[str, Any], folder: Path, store: Store) -> None:
        """Become what `read` found in a run folder.

        Raises: InputError if it was trained on other recordings than those of the store.
        """
        if values["corpus"] != store.fingerprint:
            raise InputError(
                f"the corpus {store.corpus} has changed since {folder} was trained; "
                "start a new run, with --from to keep its weights"
            )
        self.model.load_state_dict(values["model"])
        self.averaged.load_state_dict(values["averaged"])
        for optimizer, saved in zip(self.optimizers, values["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.bits = values["step"], dict(values["bits"])
        self.precision_costs = dict(values.get("precision_costs", {}))


def read(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """What a run folder holds to go on from, or None in a folder without a run.

    Raises: InputError if it is damaged, of another format, or of another recipe's run.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    stored = path.read_bytes()
    try:
        values: dict[str, Any] = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        if values["format"] == 2:
            values = {**migrations.state_of_format_2(values), "format": STATE_FORMAT}
        number = values["format"]
        if number == STATE_FORMAT and (missing := STATE_PARTS - values.keys()):
            raise KeyError(*missing)
    except Exception as error:  # torch documents none; a damaged file raises whatever its pickle reader meets
        raise InputError(
            f"{path} is damaged, or no training state; begin a new run in another folder, --from {folder} to keep its "
            "weights"
        ) from error
    if number != STATE_FORMAT:
        raise InputError(f"{path} has format {number}; this wavegen reads {STATE_FORMAT}")
    before = parse_recipe(values["recipe"], str(path))
    for section in ("data", "model", "training"):
        old, new = getattr(before, section).model_dump(), getattr(recipe, section).model_dump()
        for key in new:
            if key != "source" and old.get(key) != new[key]:  # the corpus is known by its fingerprint
                raise InputError(
                    f"{folder} was trained with {section}.{key} = {old.get(key)}, the recipe now says {new[key]}; "
                    "resume with the same recipe, or start a new run with --from"
                )
    return values
