"""The models that are served: what is told of them, and what the options of a request make of them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.data.windows import pixel_table
from wavegen.engines.cpu.engine import choose_precision
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, StreamMaker
from wavegen.player import player_file
from wavegen.player.native import Program
from wavegen.sampling import DECODING

if TYPE_CHECKING:
    from wavegen.models.base import Model


logger = logging.getLogger(__name__)


class ServedModel:
    """One model, by the name that requests call it by, which stands in sentences in place of its file."""

    def __init__(self, name: str, loaded: Checkpoint) -> None:
        self.name = name
        self.loaded = replace(loaded, path=Path(name))
        self.labels = LoadedModel(self.loaded).labels

    @property
    def draws(self) -> bool:
        """Whether it draws images; others make sound."""
        return bool(self.loaded.description.shape)

    @property
    def copies(self) -> bool:
        """Whether it makes recordings again, of their frames."""
        return bool(self.loaded.description.features)

    @property
    def speaks(self) -> bool:
        """Whether it makes sound of itself."""
        return not self.draws and (not self.copies or self.loaded.planner is not None)

    @property
    def sample_rate(self) -> int:
        """Hz; 0 of images."""
        return self.loaded.description.sample_rate

    @property
    def hop(self) -> int:
        """Samples from a frame to the next; 1 where there are none."""
        features = self.loaded.description.features
        return int(features["hop"]) if features else 1

    @cached_property
    def program(self) -> Program | None:
        """What its live streams are played by: none where it makes no sound of itself, or where its engine computes in
        what no player does, for the same seed is to be the same sound."""
        if not self.speaks:
            return None
        try:
            networks = [one for one in (self.loaded, self.loaded.planner) if one is not None]
            precision, *others = {choose_precision(one.description.precision_costs) for one in networks}
            if others or precision not in player_file.ASKED_FOR:
                raise InputError(
                    f"{self.name} is computed in {' and '.join([precision, *others])}, which no player does"
                )
            program = Program(self.loaded, precision)
            if self.can_be_guided and not program.can_be_guided:
                raise InputError(f"{self.name} takes guidance that no player knows")
        except InputError as error:
            logger.info(f"{error}, so the engine makes its live streams")
            return None
        return program

    @cached_property
    def is_guided_live(self) -> bool:
        """Whether its streams take pairs of an engine's where labels may follow and guidance is the model's own."""
        return self.speaks and self.maker(labels_follow=True).stream().needs_guided_engine

    def maker(
        self, options: Mapping[str, Any] | None = None, *, frames_follow: bool = False, labels_follow: bool = False
    ) -> StreamMaker:
        """What makes its streams by the options of a request, fields of `GenerationOptions`.

        Raises: InputError for whatever in them does not fit it.
        """
        made = GenerationOptions(**{**(options or {}), "n_threads": 1})
        return StreamMaker(self.loaded, made, frames_follow=frames_follow, labels_follow=labels_follow)

    def codes_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The codes (height, row_length) of an image (height, width, colours) of its size."""
        codes: NDArray[np.int64] = pixel_table(self.loaded.description.make_codec())[pixels]
        return codes.reshape(len(pixels), -1)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How probable each value of its one label is, of an image (height, width, colours); by Bayes' rule."""
        from wavegen.evaluation.classify import bits_by_label

        bits = bits_by_label(self._network, self.codes_of(pixels).reshape(1, -1))[0]
        shares: NDArray[np.float64] = np.exp2(bits.min() - bits)
        return shares / shares.sum()

    @cached_property
    def _network(self) -> "Model":
        from wavegen.models.build import from_checkpoint

        return from_checkpoint(self.loaded)

    def told(self) -> dict[str, Any]:
        """What the list of models says of it."""
        trained = self.loaded.trained.description
        description = self.loaded.description
        told: dict[str, Any] = {
            "name": self.name,
            "about": trained.about,
            "credit": trained.credit,
            "makes": "images" if self.draws else "sound",
            "takes": ["recordings"] if self.copies else [],
            "speaks": self.speaks,
            "sample_rate": self.sample_rate,
            "shape": list(description.shape),
            "labels": self.labels,
            "bits": dict(trained.bits),
            "decoding": self._decoding(),
            "temperature_frames": self.maker().temperature_frames if self.speaks else None,
            "n_parameters": checkpoint.n_parameters(self.loaded),
            "has_top": description.head.lists_probabilities,
            "can_be_guided": self.can_be_guided,
        }
        return told

    @property
    def can_be_guided(self) -> bool:
        """Whether guidance may be other than 1."""
        of_labels = (self.loaded.planner or self.loaded).description
        return bool(of_labels.labels) and of_labels.label_dropout != 0 and of_labels.head.lists_probabilities

    def _decoding(self) -> dict[str, float | int | None]:
        """How it draws unless a request says otherwise."""
        decoding = self.loaded.description.make_decoding()
        own = {name: getattr(decoding, name) for name in DECODING}
        if self.loaded.planner is not None:
            own["guidance"] = self.loaded.planner.description.make_decoding().guidance
        return own


class ServedModels:
    """The models of a service, by name.

    Raises: InputError for two of one name, or none.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._by_name: dict[str, ServedModel] = {}
        for path in paths:
            loaded = checkpoint.load(path)
            name = path.resolve().stem
            if name in self._by_name:
                raise InputError(f"two models are called {name}; expected each name once, so rename one of the two")
            self._by_name[name] = ServedModel(name, loaded)
        if not self._by_name:
            raise InputError("0 models are to be served; expected 1 or more")

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    def find(self, name: str) -> ServedModel:
        """Raises: UnknownModelError if there is none of the name."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownModelError(f"there is no model {name!r}; expected one of {', '.join(self._by_name)}") from None

    def draws(self, name: str) -> ServedModel:
        """One that draws images. Raises: InputError if it makes sound; UnknownModelError."""
        return self._of_kind(name, lambda model: model.draws, "makes sound", "one that draws images")

    def speaks(self, name: str) -> ServedModel:
        """One that makes sound of itself. Raises: InputError if it does not; UnknownModelError."""
        model = self.find(name)
        what = "draws images" if model.draws else "makes recordings again (vocode)"
        return self._of_kind(name, lambda model: model.speaks, what, "one that makes sound of itself")

    def copies(self, name: str) -> ServedModel:
        """One that makes recordings again. Raises: InputError if it does not; UnknownModelError."""
        model = self.find(name)
        what = "draws images" if model.draws else "takes no frames"
        return self._of_kind(name, lambda model: model.copies, what, "one that makes recordings again")

    def _of_kind(self, name: str, is_one: Callable[[ServedModel], bool], what: str, expected: str) -> ServedModel:
        model = self.find(name)
        if not is_one(model):
            names = [other.name for other in self if is_one(other)]
            raise InputError(f"{name} {what}; expected {expected}" + (f": {', '.join(names)}" if names else ""))
        return model


class UnknownModelError(InputError):
    """No model has the name that a request gives."""


def shipped() -> list[Path]:
    """All models that ship."""
    return [Path(name) for name in checkpoint.shipped()]
