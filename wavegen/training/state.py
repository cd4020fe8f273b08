"""What steps change, and its file, training.pt: all that a run needs to go on to the same bits.

The file is the zip archive that torch writes, with a checksum of its bytes as the archive's comment, which torch passes
over: torch looks at none of the sums inside, and a state with a flipped bit would be trained on and saved as a model.
The state before it is kept as training.previous.pt, from which a run goes on if the newest is damaged.
"""

import errno
import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping, Sequence
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

logger = logging.getLogger(__name__)

STATE_FILE = "training.pt"
PREVIOUS_FILE = "training.previous.pt"
DAMAGED_FILE = "training.damaged.pt"
STATE_PARTS = frozenset(["step", "recipe", "corpus", "model", "averaged", "optimizers", "bits"])
STATE_FORMAT = 4  # 3 had no checksum; 2: see migrations.py
CHECKSUM, N_DIGITS = b"sha256:", 64  # hexadecimal ones, behind it: what a file ends in
LENGTH = 2  # bytes before the comment of a zip archive, that tell how long it is


@dataclass
class State:
    """What the steps of a run change.

    `averaged` is the model whose weights follow those of `model`, and what is validated and shared; `bits` by split and
    `precision_costs` by precision are what was last measured of it. `n_processes` train it.
    """

    model: Model
    averaged: Model
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    bits: dict[str, float] = field(default_factory=dict)
    precision_costs: dict[str, float] = field(default_factory=dict)
    n_processes: int = 1

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """The averaged weights as the arrays of a model file."""
        return {name: tensor.cpu().numpy() for name, tensor in self.averaged.state_dict().items()}

    def save(self, folder: Path, recipe: Recipe, store: Store, mean_scale: float) -> None:
        """Write it to a run folder, with what to know it by: the recipe, the corpus, and the scale of a relative
        head. The state that was there is kept as the previous one."""
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
            "processes": self.n_processes,
        }
        encoded = io.BytesIO()
        torch.save(values, encoded)
        files.write(folder / STATE_FILE, _with_checksum(encoded.getvalue()), keep=folder / PREVIOUS_FILE)

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
        before = values.get("processes", 1)
        if before != self.n_processes:
            logger.info(
                f"{folder} was trained by {before} process{'es' if before > 1 else ''} and goes on with "
                f"{self.n_processes}: gradients are summed in another order, so the weights will differ by rounding"
            )


def is_saved(folder: Path) -> bool:
    """Whether a run folder holds anything to go on from, damaged or not."""
    return any((folder / name).exists() for name in (STATE_FILE, PREVIOUS_FILE))


def read(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """What a run folder holds to go on from, or None in a folder without a run.

    If the newest state is damaged it is the previous one, which is said; the damaged file is kept under another name.

    Raises: InputError if all there is is damaged, of another format, or of another recipe's run.
    """
    damages = []
    for path in (folder / STATE_FILE, folder / PREVIOUS_FILE):
        if not path.exists():
            continue
        try:
            values = _load(path)
        except _DamagedError as damage:
            damages.append(str(damage))
            continue
        _check_recipe(parse_recipe(values["recipe"], str(path)), recipe, folder)
        if path.name == PREVIOUS_FILE:
            _set_damaged_aside(folder, damages, values["step"])
        return values
    if damages:
        raise InputError(
            f"{' and '.join(damages)}; begin a new run in another folder, --from {folder} to keep its weights"
        )
    return None


def _set_damaged_aside(folder: Path, damages: Sequence[str], step: int) -> None:
    """Say that a run goes on from its previous state, which the newest one must not replace if it is damaged."""
    what = f"{folder / STATE_FILE} is gone"
    if damages:
        (folder / STATE_FILE).replace(folder / DAMAGED_FILE)
        what = f"{damages[0]}; it is called {DAMAGED_FILE} now"
    logger.warning(f"{what}; the run goes on from step {step}, which {folder / PREVIOUS_FILE} holds")


class _DamagedError(Exception):
    """A state that cannot be gone on from; the text names its file."""


def _with_checksum(archive: bytes) -> bytes:
    """A zip archive without a comment, as torch writes it, with its checksum as one."""
    body = archive[:-LENGTH] + (len(CHECKSUM) + N_DIGITS).to_bytes(LENGTH, "little")
    return body + CHECKSUM + _digits(body)


def _digits(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _load(path: Path) -> dict[str, Any]:
    """A state file as this version would have written it.

    Raises: _DamagedError; InputError if it is of a newer format, or may not be read.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        if error.errno == errno.EIO:
            raise _DamagedError(f"{path} is damaged: {error.strerror}") from error
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    end = len(stored) - N_DIGITS
    has_checksum = stored[end - len(CHECKSUM) : end] == CHECKSUM
    if has_checksum and stored[end:] != _digits(stored[: end - len(CHECKSUM)]):
        raise _DamagedError(f"{path} is damaged: its checksum is not that of its contents")
    try:
        if not has_checksum and zipfile.ZipFile(io.BytesIO(stored)).testzip() is not None:
            raise ValueError("a sum inside the archive is wrong")
        values: dict[str, Any] = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        number = values["format"]
        if number > STATE_FORMAT:
            raise InputError(f"{path} has format {number}; this wavegen reads up to {STATE_FORMAT}")
        if number == 2:
            values = migrations.state_of_format_2(values)
        if number == STATE_FORMAT and not has_checksum:
            raise ValueError("it has no checksum")
        if missing := STATE_PARTS - values.keys():
            raise KeyError(*missing)
    except InputError:
        raise
    except Exception as error:  # torch documents none; a damaged file raises whatever its pickle reader meets
        raise _DamagedError(f"{path} is damaged, or no training state") from error
    return values


def _check_recipe(before: Recipe, recipe: Recipe, folder: Path) -> None:
    """Raises: InputError if a run was begun by another recipe."""
    for section in ("data", "model", "training"):
        old, new = getattr(before, section).model_dump(), getattr(recipe, section).model_dump()
        for key in new:
            if key != "source" and old.get(key) != new[key]:  # the corpus is known by its fingerprint
                raise InputError(
                    f"{folder} was trained with {section}.{key} = {old.get(key)}, the recipe now says {new[key]}; "
                    "resume with the same recipe, or start a new run with --from"
                )
