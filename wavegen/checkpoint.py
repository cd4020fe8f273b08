"""A model in one safetensors file: averaged weights, what they are, and the recipe that made them.

Loading runs no code from the file and needs neither torch nor pydantic. The metadata of the file holds one string under
the name `wavegen`: a JSON object with the number of the format, a checksum, the fields of `Description`, and the recipe
as YAML. (One string, because safetensors writes several in random order, and equal models should be equal files.)

The checksum is the SHA-256 of that string, with zeros in place of the checksum itself, and then of every tensor in the
order of their names: a line with name, type and shape, and the bytes. So no bit can change without being noticed.

A model that speaks by itself is two in one file: a vocoder as any other, and its planner (models/planner.py), whose
description and recipe stand under `planner` and whose tensors have names that begin so.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from wavegen import files, migrations
from wavegen.architectures import Architecture, Head, PlannerArchitecture, make_architecture
from wavegen.codec import Codec, make_codec
from wavegen.errors import InputError, shortened
from wavegen.features.frame_codes import FrameCodes
from wavegen.features.frames import Features, make_features
from wavegen.features.linear_prediction import Predictor
from wavegen.features.log_mel import BREAK_RANGE, MEL_BREAK_HZ, RANGES
from wavegen.sampling import DECODING, Decoding

logger = logging.getLogger(__name__)

MODEL_FORMAT = 3  # 2 had no checksum; 1: see migrations.py
NO_CHECKSUM = "0" * 64
MODEL_FILE = "model.safetensors"
RECIPE_FILE = "recipe.yaml"
OF_PLANNER = "planner."  # before the names of its tensors
PRETRAINED = Path(__file__).parent / "pretrained"
MAX_STEPS = 10**12
MAX_BITS = 1e6  # of a code
MAX_DECODING = 1e9
SAMPLE_RATES = (1, 1_000_000)  # Hz


@dataclass(frozen=True)
class Description:
    """What a model file says about itself.

    `architecture` holds the sizes of the network, `labels` the values each label had in training, `bits` the bits per
    sample by split, `step` the training step that the weights come from, `corpus_fingerprint` the hash of the prepared
    corpus, by which `evaluate` knows that its splits are those of the training.
    `precision_costs` holds the bits per sample that the CPU engine's reduced precisions were measured to cost.
    `sample_rate` is in Hz, 0 for images; `shape` is height, width and colours of an image, empty for sound.
    `features` holds the parameters of the frames that condition a vocoder or that a planner makes (features/frames.py);
    empty for none.
    `pre_emphasis` is that of the codec (codec.PreEmphasised).
    """

    architecture: Architecture
    codec: str
    n_classes: int
    sample_rate: int = 0
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    corpus: str = ""
    corpus_fingerprint: str = ""
    credit: str = ""
    about: str = ""
    label_dropout: float | None = None
    step: int = 0
    bits: Mapping[str, float] = field(default_factory=dict)
    precision_costs: Mapping[str, float] = field(default_factory=dict)
    shape: list[int] = field(default_factory=list)
    features: Mapping[str, Any] = field(default_factory=dict)
    pre_emphasis: float = 0.0

    @property
    def kind(self) -> str:
        """The name of the network's family."""
        return self.architecture.kind

    @property
    def head(self) -> Head:
        """What the network says of the next code."""
        return self.architecture.head

    @property
    def code_rate(self) -> float:
        """Codes of a second of sound: samples, or what a planner makes of frames."""
        if self.architecture.makes != "frames":
            return self.sample_rate
        return self.architecture.unit * self.sample_rate / float(self.features["hop"])

    def make_codec(self) -> Codec:
        return make_codec(self.codec, self.n_classes, self.pre_emphasis)

    def make_features(self) -> Features | None:
        """What takes the frames that a vocoder needs, or None for a model that needs none; the same object each time,
        which keeps its tables.

        Raises: InputError for parameters that this wavegen does not know.
        """
        return self._made_features

    def make_predictor(self) -> Predictor | None:
        """What predicts the next code of the frames, or None for a network that is told no prediction; the same object
        each time, which keeps its tables."""
        return self._made_predictor

    @cached_property
    def _made_features(self) -> Features | None:
        if not self.features:
            return None
        try:
            return make_features(self.sample_rate, self.features)
        except (TypeError, KeyError, OverflowError) as error:
            raise InputError(f"the description of the features does not fit this wavegen: {error}") from error

    @cached_property
    def _made_predictor(self) -> Predictor | None:
        sizes, features = self.architecture.prediction, self.make_features()
        if sizes is None or features is None or features.log_mel is None:
            return None
        pitch = features.pitch if sizes.lag_taps else None
        return Predictor(features.log_mel, sizes.order, self.pre_emphasis, self.n_classes, pitch)

    def make_decoding(self, **overrides: float | int | None) -> Decoding:
        """The model's decoding defaults, with those overrides that are not None."""
        return Decoding(**{**self.decoding, **{key: value for key, value in overrides.items() if value is not None}})


@dataclass(frozen=True)
class Checkpoint:
    """A model file in memory: tensors by name, the description, and the recipe as YAML text. `planner` is what makes
    the frames that a vocoder makes sound of, if it has one."""

    description: Description
    weights: dict[str, NDArray[Any]]
    recipe: str
    path: Path
    planner: "Checkpoint | None" = None

    @property
    def trained(self) -> "Checkpoint":
        """The one of its models that its run folder trains, by the recipe there."""
        return self.planner or self

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """A tensor in float32; not to be written to.

        Raises: InputError if it is missing or of another shape.
        """
        if name not in self.weights:
            raise InputError(f"{self.path} lacks the tensor {name}; expected shape {shape}")
        if self.weights[name].shape != shape:
            raise InputError(f"{self.path} has {name} of shape {self.weights[name].shape}; expected {shape}")
        return self.weights[name].astype(np.float32, copy=False)


def save(
    path: Path,
    description: Description,
    weights: Mapping[str, NDArray[Any]],
    recipe: str,
    planner: Checkpoint | None = None,
) -> None:
    """Write a model file, with a planner if the model has one; it appears whole or not at all."""
    values, tensors = {"format": MODEL_FORMAT, **_values(description, recipe)}, dict(weights)
    if planner is not None:
        values["planner"] = _values(planner.description, planner.recipe)
        tensors |= {OF_PLANNER + name: weight for name, weight in planner.weights.items()}
    files.write(path, encode(values, tensors))


def _values(description: Description, recipe: str) -> dict[str, Any]:
    """What a model file says of a network, beside the number of its format."""
    facts = {one.name: getattr(description, one.name) for one in fields(Description) if one.name != "architecture"}
    network = {"kind": description.kind, "architecture": description.architecture.values()}
    return {**network, **facts, "recipe": recipe}


def encode(values: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> bytes:
    """A model file: the values of its metadata as they are, with their checksum, and the tensors."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    text = json.dumps({"sha256": NO_CHECKSUM, **values})
    text = text.replace(NO_CHECKSUM, _checksum(text, contiguous), 1)
    return serialise(contiguous, {"wavegen": text})


def _checksum(text: str, weights: Mapping[str, NDArray[Any]]) -> str:
    """The SHA-256 of the description without its checksum, and of C-contiguous tensors."""
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(weights.items()):
        digest.update(f"\n{name} {array.dtype.str} {list(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_sum(path: Path, text: str, stated: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raises: InputError for a file that does not hold what it was written with."""
    if not isinstance(stated, str) or stated != _checksum(text.replace(stated, NO_CHECKSUM, 1), weights):
        raise InputError(
            f"{path} is damaged: its checksum is not that of its contents; copy it again, or in a run folder have "
            "`wavegen train --resume` write it again"
        )


def shipped() -> dict[str, Path]:
    """The models that ship with wavegen, by name."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def find(model: Path) -> Path:
    """The model file that a path means: the file itself, the one in a run folder, or one that ships with wavegen.

    A file or a run that is called like a model that ships means itself, and a folder without a run the model that
    ships; either is said.

    Raises: InputError if there is none; it names those that ship.
    """
    by_name = shipped()
    is_there = model.is_file() or any((model / name).exists() for name in (MODEL_FILE, RECIPE_FILE))
    if str(model) in by_name:
        if not is_there:
            if model.is_dir():
                logger.info(f"{model} is the model that ships with wavegen; the folder of this name holds no run")
            return by_name[str(model)]
        what = "file" if model.is_file() else "run"
        logger.info(f"{model} is the {what} here, and not the model of this name that ships with wavegen")
    path = model / MODEL_FILE if model.is_dir() else model
    if not path.is_file():
        if model.is_dir():
            raise InputError(f"{model} holds no {MODEL_FILE}; expected a run folder of wavegen train, or a model file")
        names = ", ".join(by_name)
        raise InputError(f"there is no model {model}; expected a run folder, a .safetensors file, or one of {names}")
    return path


def load(model: Path) -> Checkpoint:
    """Read a model file, or the model of a run folder.

    Raises: InputError if it is missing, damaged, of another program, or of a newer format; the sentence says which.

    >>> digits = load(Path("digits"))
    >>> digits.description.sample_rate, digits.description.corpus
    (8000, 'digits')
    """
    path = find(model)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        # The last three are for dtypes that numpy does not have.
        raise InputError(f"{path} is {_what_it_is(path)}; expected a safetensors file by wavegen") from error
    if "wavegen" not in metadata:
        raise InputError(f"{path} is a safetensors file of another program; expected one by wavegen")
    try:
        values = json.loads(metadata["wavegen"])
        number = values.pop("format")
        if type(number) is not int or number < 1:
            raise ValueError(f"its format is {shortened(number)}")
        if number > MODEL_FORMAT:
            raise InputError(
                f"{path} has model format {number}; this wavegen reads up to {MODEL_FORMAT}, so install a newer one"
            )
        if number >= 3 or "sha256" in values:
            _check_sum(path, metadata["wavegen"], values.pop("sha256", None), weights)
        if number == 1:
            values, weights = migrations.description_of_format_1(values), migrations.rename_tensors(weights)
        of_planner = values.pop("planner", None)
        parts = [_stated(one) for one in (values, of_planner) if one is not None]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} has damaged metadata ({error}); expected a model description") from error
    own = {name: weight for name, weight in weights.items() if of_planner is None or not name.startswith(OF_PLANNER)}
    rest = {name.removeprefix(OF_PLANNER): weight for name, weight in weights.items() if name not in own}
    try:
        vocoder, *planner = [_made(*part, path) for part in zip(parts, (own, rest), strict=False)]
        return with_planner(vocoder, planner[0]) if planner else _alone(vocoder)
    except InputError as error:
        raise InputError(f"{path} describes what cannot be: {error}") from error


class _Stated(NamedTuple):
    """What the metadata says of a model: its family, the sizes of its network, the rest of it, its recipe."""

    kind: Any
    sizes: Any
    facts: dict[str, Any]
    recipe: str


def _stated(values: Mapping[str, Any]) -> _Stated:
    """Raises: KeyError for what is missing, TypeError for a recipe that is none."""
    required = [one.name for one in fields(Description) if one.default is one.default_factory is MISSING]
    facts = {one.name: values[one.name] for one in fields(Description) if one.name in (*values, *required)}
    recipe = values["recipe"]
    if not isinstance(recipe, str):
        raise TypeError(f"expected its recipe as text, found {type(recipe).__name__}")
    return _Stated(values["kind"], facts.pop("architecture"), facts, recipe)


def _made(stated: _Stated, weights: dict[str, NDArray[Any]], path: Path) -> Checkpoint:
    """Raises: InputError for what cannot be."""
    description = Description(make_architecture(stated.kind, stated.sizes), **stated.facts)
    validate(description, weights)
    return Checkpoint(description, weights, stated.recipe, path)


def _alone(model: Checkpoint) -> Checkpoint:
    """Raises: InputError for a planner without what makes the sound of its frames."""
    if model.description.architecture.makes == "frames":
        raise InputError("it has a planner, and no vocoder")
    return model


def with_planner(vocoder: Checkpoint, planner: Checkpoint) -> Checkpoint:
    """A vocoder and what plans its frames, as one model.

    Raises: InputError if they do not fit each other.
    """
    if planner.description.architecture.makes != "frames":
        raise InputError(f"its planner is a {planner.description.kind}, which makes no frames")
    for name in ("sample_rate", "features"):
        planned, wanted = getattr(planner.description, name), getattr(vocoder.description, name)
        if planned != wanted:
            raise InputError(f"its planner has {name} {planned}, and its vocoder {wanted}")
    return replace(vocoder, planner=planner)


def n_parameters(checkpoint: Checkpoint) -> int:
    """Numbers that a model's networks have learnt."""
    own = sum(weight.size for weight in checkpoint.weights.values())
    return own if checkpoint.planner is None else own + n_parameters(checkpoint.planner)


def validate(description: Description, weights: Mapping[str, NDArray[Any]]) -> None:
    """Look at what a model file says, before anything of such sizes is made.

    Raises: InputError for what contradicts itself, or is more than a model may have.
    """
    architecture = description.architecture
    _check_labels(description)
    architecture.check()
    if description.n_classes != architecture.n_classes:
        raise InputError(f"the codec has n_classes {description.n_classes}, the network {architecture.n_classes}")
    _check_format(description)
    _check_texts_and_numbers(description)
    description.make_codec()
    _check_features(description)
    features = description.make_features()
    n_mels, periods = (0, None) if features is None else (features.n_mels, features.periods)
    architecture.check_prediction(description.codec, n_mels, periods)
    architecture.check_tensors(weights)
    for name, weight in weights.items():
        if weight.dtype.kind != "f":
            raise InputError(f"the tensor {name} holds {weight.dtype}, expected floating point numbers")
        if not np.isfinite(weight).all():
            raise InputError(f"the tensor {name} holds NaN or infinity")


def _is_number(value: Any, lowest: float, highest: float) -> bool:
    """Whether a value of JSON is a number in a range; NaN is not, nor is an integer beyond what a float can hold."""
    return type(value) in (int, float) and lowest <= value <= highest


def _check_integer(name: str, value: Any, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise InputError(f"{name} is {shortened(value)}, expected an integer from {lowest} to {highest:,}")


def _check_labels(description: Description) -> None:
    labels, known = description.labels, description.architecture.labels
    if not isinstance(labels, dict) or not all(
        isinstance(values, list) and all(isinstance(value, str) for value in values) for values in labels.values()
    ):
        raise InputError("its labels are no lists of values by name")
    if known != {name: len(values) for name, values in labels.items()}:
        raise InputError(f"the network has labels {known}, the description {', '.join(labels) or 'none'}")


def _check_format(description: Description) -> None:
    """Whether the network makes what the description says: sound of a rate, or images of a shape."""
    shape, architecture = description.shape, description.architecture
    _check_integer("sample_rate", description.sample_rate, 0, SAMPLE_RATES[1])
    if not isinstance(shape, list):
        raise InputError(f"its shape is {shape!r}, expected height, width and colours")
    if architecture.makes != "images":
        _check_integer("sample_rate", description.sample_rate, *SAMPLE_RATES)
        if shape:
            raise InputError(f"it makes {architecture.makes}, and its shape is {shape}")
    elif shape != architecture.shape:
        raise InputError(f"its shape is {shape}, and the network's images have {architecture.shape}")


def _check_texts_and_numbers(description: Description) -> None:
    _check_integer("step", description.step, 0, MAX_STEPS)
    for name in ("codec", "corpus", "corpus_fingerprint", "credit", "about"):
        if not isinstance(getattr(description, name), str):
            raise InputError(f"its {name} is no text")
    for name, what in (("bits", "split"), ("precision_costs", "precision")):
        by_name = getattr(description, name)
        if not isinstance(by_name, dict) or not all(_is_number(bits, -MAX_BITS, MAX_BITS) for bits in by_name.values()):
            raise InputError(f"its {name} are no numbers by {what}, from {-MAX_BITS:,.0f} to {MAX_BITS:,.0f}")
    decoding, dropout = description.decoding, description.label_dropout
    if not isinstance(decoding, dict) or set(decoding) - set(DECODING):
        raise InputError(f"its decoding is {shortened(decoding)}, expected {', '.join(DECODING)}")
    can_be_none = {one.name for one in fields(Decoding) if one.default is None}
    for name, value in decoding.items():
        if not _is_number(value, 0, MAX_DECODING) and not (value is None and name in can_be_none):
            raise InputError(f"its decoding is {shortened(decoding)}, expected numbers from 0 to {MAX_DECODING:,.0f}")
    if not _is_number(description.pre_emphasis, 0, 1) or description.pre_emphasis == 1:
        raise InputError(
            f"its pre_emphasis is {shortened(description.pre_emphasis)}, expected a number from 0 to below 1"
        )
    if not (dropout is None or _is_number(dropout, 0, 1)):
        raise InputError(f"its label_dropout is {shortened(dropout)}, expected a number from 0 to 1")


def _check_features(description: Description) -> None:
    """Whether the frames that condition the network are those that it reads."""
    features, frames = description.features, description.architecture.frames
    is_planner = isinstance(description.architecture, PlannerArchitecture)
    if not isinstance(features, dict):
        raise InputError(f"its features are {type(features).__name__}, expected a mapping")
    if not features:
        if is_planner:
            raise InputError("it makes frames, and the description has no features")
        if frames is not None:
            raise InputError(f"the network reads {frames.n_features} features, the description has none")
        return
    n_mels, hop, pitch = features.get("n_mels"), features.get("hop"), features.get("pitch")
    for name, (lowest, highest) in RANGES.items():
        is_optional = name == "n_mels" and pitch is not None
        _check_integer(name, features.get(name), 0 if is_optional else lowest, highest)
    low, high, half = features.get("f_min", 0), features.get("f_max"), description.sample_rate / 2
    high = half if high is None else high
    if not all(type(value) in (int, float) for value in (low, high)) or not 0 <= low < high <= half:
        raise InputError(f"its features span {low!r} to {high!r} Hz, expected a rise within 0 to {half:g}")
    break_frequency = features.get("break_frequency", MEL_BREAK_HZ)
    if not _is_number(break_frequency, *BREAK_RANGE):
        least, most = BREAK_RANGE
        raise InputError(f"its break_frequency is {shortened(break_frequency)}, expected {least} to {most} Hz")
    if not (pitch is None or isinstance(pitch, dict)):
        raise InputError(f"its pitch is {pitch!r}, expected the parameters of one")
    if frames is None and not is_planner:
        raise InputError(f"the description has {n_mels} features, and the network reads none")
    made = description.make_features()
    assert made is not None  # there are parameters
    if isinstance(description.architecture, PlannerArchitecture):
        n_channels = description.architecture.n_channels
        if n_channels != FrameCodes(made).n_channels or description.codec != "levels":
            raise InputError(
                f"the network makes frames of {n_channels} codes ({description.codec}), the description says "
                f"{FrameCodes(made).n_channels} (levels)"
            )
        return
    assert frames is not None  # see above
    if (frames.n_features, frames.hop) != (made.n_features, hop):
        raise InputError(
            f"the network reads {frames.n_features} features every {frames.hop} samples, "
            f"the description says {made.n_features} every {hop}"
        )


def _what_it_is(path: Path) -> str:
    """Name a file that does not load by its first bytes, so that the user recognises the mix-up."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if not start:
        return "empty"
    if path.suffix.lower() == ".onnx":
        return "an ONNX file, which wavegen writes and does not read"
    if start[:4] == b"PK\x03\x04":
        return "a PyTorch checkpoint or another zip archive, which could run code when loaded"
    if start[:1] == b"\x80":
        return "a Python pickle, which could run code when loaded"
    if start[:4] == b"RIFF":
        return "a RIFF (WAV) file"
    return "damaged or of another format"
