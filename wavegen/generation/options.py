"""What a model is asked for, sound and images alike: one value, and the keywords that Python users fill it with.

A new option is a field of `GenerationOptions` and a line of the keywords that it is for.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.sampling import DECODING


@dataclass(frozen=True)
class GenerationOptions:
    """How a model is to generate. None takes the model's own default (for `seed`: a new one each time; guidance only
    where there are labels).

    `temperature`, `voiced_temperature`, `top_k`, `top_p`, `guidance`: see `sampling.Decoding`. `temperature_frames`:
    that of the frames that a model plans. `labels`: values by name; left out, "unknown".
    `prime`: a recording to continue, a file or a waveform (T,) at the model's rate. `frames`: the feature frames
    (F, n_features) of what a vocoder is to say; `transpose`: semitones by which a voice is raised; `match`: scale the
    spectrum of what is made of log-mel frames until it has them (features/matching.py). `n`: how many sounds side by
    side. `beam`: search for a probable sound with so many candidates, instead of drawing (beam.py). `engine`, `device`,
    `precision`, `n_threads`: see `engines.options.EngineOptions`.
    """

    temperature: float | None = None
    voiced_temperature: float | None = None
    temperature_frames: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    seed: int | None = None
    labels: Mapping[str, str | None] | None = None
    prime: Path | str | NDArray[np.floating] | None = None
    frames: NDArray[np.floating] | None = None
    transpose: float = 0.0
    match: bool = True
    n: int = 1
    beam: int | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    n_threads: int | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None or one.default is not None:
                object.__setattr__(self, one.name, _checked(one.name, one.type, value))

    @property
    def engine_options(self) -> EngineOptions:
        return EngineOptions(self.engine, self.device, self.precision, self.n_threads)

    @property
    def decoding(self) -> dict[str, float | int | None]:
        """The fields of `sampling.Decoding`; None for those that are to be the model's own."""
        return {name: getattr(self, name) for name in DECODING}


class DecodingKeywords(TypedDict, total=False):
    """How codes are chosen."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    voiced_temperature: float | None
    guidance: float | None


class EngineKeywords(TypedDict, total=False):
    """What runs the network."""

    engine: str
    device: str
    precision: str
    n_threads: int | None


class SoundKeywords(DecodingKeywords, total=False):
    """One sound."""

    seed: int | None
    temperature_frames: float | None
    labels: Mapping[str, str | None] | None
    prime: Path | str | NDArray[np.floating] | None
    frames: NDArray[np.floating] | None
    transpose: float


class ImageKeywords(DecodingKeywords, EngineKeywords, total=False):
    """Images."""

    seed: int | None
    labels: Mapping[str, str | None] | None


class GenerationKeywords(SoundKeywords, EngineKeywords, total=False):
    """Sounds and what runs the network: every field of `GenerationOptions`."""

    match: bool
    n: int
    beam: int | None


def number(name: str, value: object) -> float:
    """A number that a caller was given, of Python or numpy.

    Raises: InputError for anything else, such as a text that looks like one.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputError(f"{name} is {value!r}; expected a number")
    return value if isinstance(value, int | float) else value.item()


def whole_number(name: str, value: object) -> int:
    """An integer that a caller was given; a float that is one will do.

    Raises: InputError for anything else.
    """
    given = number(name, value)
    if given != given or abs(given) == float("inf") or given != int(given):
        raise InputError(f"{name} is {value!r}; expected an integer")
    return int(given)


def _checked(name: str, kind: Any, value: Any) -> Any:
    """A field of the options, of the kind that its annotation says.

    Raises: InputError if it is of another.
    """
    kinds = get_args(kind) or (kind,)
    if float in kinds:
        return number(name, value)
    if int in kinds:
        return whole_number(name, value)
    if kind is str and not isinstance(value, str):
        raise InputError(f"{name} is {value!r}; expected a text such as 'auto'")
    if name == "labels":
        return _checked_labels(value)
    if (name == "prime" and not isinstance(value, Path | str | np.ndarray)) or (
        name == "frames" and not isinstance(value, np.ndarray)
    ):
        expected = "a file or a waveform (T,)" if name == "prime" else "frames (F, n_features)"
        raise InputError(f"{name} is of the type {type(value).__name__}; expected {expected} as a numpy array")
    return value


def _checked_labels(labels: object) -> dict[str, str | None]:
    """Values by name as texts, which is what models know: the digit 7 is "7".

    Raises: InputError if it is no mapping of names.
    """
    if not isinstance(labels, Mapping) or not all(isinstance(name, str) for name in labels):
        raise InputError(f"labels is {labels!r}; expected values by name, such as {{'digit': '7'}}")
    return {name: None if value is None else str(value) for name, value in labels.items()}


def make_options(keywords: Mapping[str, object], known: type = GenerationKeywords) -> GenerationOptions:
    """Options of keywords that a caller was given; `known` is one of the classes above.

    Raises: TypeError for one that is not among them, naming the nearest that is.
    """
    names = list(known.__annotations__)
    for name in keywords:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(names)}"
            raise TypeError(f"unknown option {name!r}; {hint}")
    fields: dict[str, Any] = dict(keywords)
    return GenerationOptions(**fields)
