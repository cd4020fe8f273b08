"""A model in one safetensors file: averaged weights, what they are, and the recipe that made them.

Loading runs no code from the file and needs neither torch nor pydantic. The metadata of the file holds one string under
the name `wavegen`: a JSON object with the number of the format, the fields of `Description`, and the recipe as YAML.
(One string, because safetensors writes several in random order, and equal models should be equal files.)
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from wavegen import files
from wavegen.codec import Codec, make_codec
from wavegen.errors import InputError
from wavegen.features.log_mel import LogMel
from wavegen.sampling import DECODING, Decoding

MODEL_FORMAT = 1
MODEL_FILE = "model.safetensors"
RECIPE_FILE = "recipe.yaml"
PRETRAINED = Path(__file__).parent / "pretrained"
MAX_REMEMBERED = 1 << 28  # numbers in the queues of one stream: 1 GiB
RANGES = {  # of the numbers in a description
    "n_classes": (2, 65536),
    "step": (0, 10**12),
    "n_blocks": (1, 1000),
    "layers_per_block": (1, 20),
    "residual_channels": (1, 65536),
    "gate_channels": (1, 65536),
    "skip_channels": (1, 65536),
    "head_channels": (1, 65536),
}
RANGES_OF_KIND = {
    "wavenet": {"sample_rate": (1, 1_000_000), "kernel_size": (2, 1024)},
    "pixelcnn": {"width": (1, 65536), "n_colours": (1, 3), "reach": (1, 99)},
}

FEATURE_RANGES = {"n_mels": (1, 512), "hop": (1, 65536), "n_fft": (16, 65536)}


@dataclass(frozen=True)
class Description:
    """What a model file says about itself.

    `architecture` holds the keyword arguments of the network's class, `labels` the values each label had in training,
    `bits` the bits per sample by split, `step` the training step that the weights come from, `corpus_fingerprint` the
    hash of the prepared corpus, by which `evaluate` knows that its splits are those of the training.
    `precision_costs` holds the bits per sample that the CPU engine's reduced precisions were measured to cost.
    `sample_rate` is in Hz, 0 for images; `shape` is height, width and colours of an image, empty for sound.
    `features` holds the parameters of the frames that condition a vocoder (features.LogMel), empty for none.
    """

    kind: str
    architecture: Mapping[str, Any]
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

    @property
    def n_conditions(self) -> int:
        """Layers that labels reach: of a PixelCNN those of both stacks, `above` first."""
        n_layers: int = self.architecture["n_blocks"] * self.architecture["layers_per_block"]
        return 2 * n_layers if self.kind == "pixelcnn" else n_layers

    @property
    def head(self) -> str:
        """The kind of the network's head (models/heads.py)."""
        return str(self.architecture.get("head", "categorical"))

    def make_codec(self) -> Codec:
        return make_codec(self.codec, self.n_classes)

    def make_features(self) -> LogMel | None:
        """What takes the frames that a vocoder needs, or None for a model that needs none.

        Raises: InputError for parameters that this wavegen does not know.
        """
        if not self.features:
            return None
        try:
            return LogMel(self.sample_rate, **self.features)
        except TypeError as error:
            raise InputError(f"the description of the features does not fit this wavegen: {error}") from error

    def make_decoding(self, **overrides: float | int | None) -> Decoding:
        """The model's decoding defaults, with those overrides that are not None."""
        return Decoding(**{**self.decoding, **{key: value for key, value in overrides.items() if value is not None}})


@dataclass(frozen=True)
class Checkpoint:
    """A model file in memory: tensors by name, the description, and the recipe as YAML text."""

    description: Description
    weights: dict[str, NDArray[Any]]
    recipe: str
    path: Path

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """A tensor in float32; not to be written to.

        Raises: InputError if it is missing or of another shape.
        """
        if name not in self.weights:
            raise InputError(f"{self.path} lacks the tensor {name}; expected shape {shape}")
        if self.weights[name].shape != shape:
            raise InputError(f"{self.path} has {name} of shape {self.weights[name].shape}; expected {shape}")
        return self.weights[name].astype(np.float32, copy=False)


def save(path: Path, description: Description, weights: Mapping[str, NDArray[Any]], recipe: str) -> None:
    """Write a model file; it appears whole or not at all."""
    metadata = {"wavegen": json.dumps({"format": MODEL_FORMAT, **asdict(description), "recipe": recipe})}
    contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    files.write(path, serialise(contiguous, metadata))


def shipped() -> dict[str, Path]:
    """The models that ship with wavegen, by name."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def find(model: Path) -> Path:
    """The model file that a path means: the file itself, the one in a run folder, or one that ships with wavegen.

    Raises: InputError if there is none; it names those that ship.
    """
    by_name = shipped()
    is_there = model.is_file() or any((model / name).exists() for name in (MODEL_FILE, RECIPE_FILE))
    if str(model) in by_name and not is_there:  # a folder without a run, such as one of data, hides no model
        return by_name[str(model)]
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
        found = values.pop("format")
        if found > MODEL_FORMAT:
            raise InputError(
                f"{path} has model format {found}; this wavegen reads up to {MODEL_FORMAT}, so install a newer one"
            )
        recipe = values.pop("recipe")
        known = {one.name for one in fields(Description)}
        description = Description(**{key: value for key, value in values.items() if key in known})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} has damaged metadata ({error}); expected a model description") from error
    if not isinstance(recipe, str):
        raise InputError(f"{path} has damaged metadata; expected its recipe as text, found {type(recipe).__name__}")
    if found_fault := fault(description, weights):
        raise InputError(f"{path} describes what cannot be: {found_fault}")
    return Checkpoint(description, weights, recipe, path)


class Size(NamedTuple):
    """How large a network is, and what a sample of it costs."""

    n_parameters: int
    receptive_field: int
    multiply_adds: int


def measure(checkpoint: Checkpoint) -> Size:
    """Sizes of a network: parameters, receptive field in codes, multiply-adds per generated code.

    Every matrix costs one multiply-add per weight and code (those above an image's row, per pixel); embeddings are
    looked up, and conditions are projected once per change, so neither counts.
    """
    shape = checkpoint.description.architecture
    per_block = 2 ** shape["layers_per_block"] - 1 if shape.get("dilated", True) else shape["layers_per_block"]
    dilations = shape["n_blocks"] * per_block
    is_image = checkpoint.description.kind == "pixelcnn"
    matrices = {name: weight.size for name, weight in checkpoint.weights.items() if weight.ndim > 1}
    free = (
        "embed.",
        "row.embed.",
        "labels.",
        "project_labels.",
        "row_place",
        "column_place",
        "colour",
        "frame_network.",
    )
    above = sum(size for name, size in matrices.items() if name.startswith(("above.", "enter.")))
    by_code = sum(size for name, size in matrices.items() if not name.startswith((*free, "above.", "enter.")))
    return Size(
        n_parameters=sum(weight.size for weight in checkpoint.weights.values()),
        receptive_field=(dilations + 2) * shape["width"] * shape["n_colours"]
        if is_image
        else 1 + (shape["kernel_size"] - 1) * dilations,
        multiply_adds=by_code + above // shape.get("n_colours", 1),
    )


def fault(described: Description, weights: Mapping[str, NDArray[Any]]) -> str | None:
    """What contradicts itself in a model file, or is more than one may hold, before anything of such sizes is made."""
    shape = described.architecture
    if not isinstance(shape, dict):
        return f"its architecture is {type(shape).__name__}, expected a mapping"
    if not isinstance(described.kind, str):
        return "its kind is no text"
    if described.kind not in RANGES_OF_KIND:
        return f"unknown kind of model {described.kind!r}; this wavegen knows {', '.join(RANGES_OF_KIND)}"
    if described.kind == "wavenet" and described.shape:
        return f"it makes sound, and its shape is {described.shape}"
    numbers = {**shape, "sample_rate": described.sample_rate, "step": described.step}
    for name, (lowest, highest) in {**RANGES, **RANGES_OF_KIND[described.kind]}.items():
        value = numbers.get(name)
        if type(value) is not int or not lowest <= value <= highest:
            return f"{name} is {value!r}, expected an integer from {lowest} to {highest:,}"
    unit = shape.get("mean_unit", 1.0)
    if not isinstance(unit, float) or not 0 < unit <= 1:
        return f"mean_unit is {unit!r}, expected a number above 0 and at most 1"
    if described.n_classes != shape["n_classes"]:
        return f"the codec has n_classes {described.n_classes}, the network {shape['n_classes']}"
    if not isinstance(described.shape, list):
        return f"its shape is {described.shape!r}, expected height, width and colours"
    width = shape.get("width", 1)
    if described.kind == "pixelcnn" and described.shape[1:] != [width, shape["n_colours"]]:
        return f"its shape is {described.shape}, and the network's rows have {width} x {shape['n_colours']} codes"
    if described.kind == "pixelcnn" and not (type(described.shape[0]) is int and 0 < described.shape[0] <= 65536):
        return f"the height of its images is {described.shape[0]!r}, expected an integer from 1 to 65,536"
    if described.kind == "pixelcnn" and shape.get("height") not in (None, described.shape[0]):
        return f"the network knows the places of images {shape['height']!r} high, and its shape is {described.shape}"
    if described.kind == "pixelcnn" and "kernel_size" in shape:
        return f"kernel_size is {shape['kernel_size']!r}, and the kernels of a pixelcnn are 2 rows of `reach` pixels"
    remembered = (shape.get("kernel_size", 2) - 1) * shape["n_blocks"] * 2 ** shape["layers_per_block"] * width
    if remembered * shape["residual_channels"] > MAX_REMEMBERED:
        return f"a stream would have to remember {remembered:,} x {shape['residual_channels']:,} numbers"
    for name in ("codec", "corpus", "corpus_fingerprint", "credit", "about"):
        if not isinstance(getattr(described, name), str):
            return f"its {name} is no text"
    for name, what in (("bits", "split"), ("precision_costs", "precision")):
        by_name = getattr(described, name)
        if not isinstance(by_name, dict) or not all(isinstance(bits, int | float) for bits in by_name.values()):
            return f"its {name} are no numbers by {what}"
    if not isinstance(described.decoding, dict) or set(described.decoding) - set(DECODING):
        return f"its decoding is {described.decoding}, expected {', '.join(DECODING)}"
    can_be_none = {one.name for one in fields(Decoding) if one.default is None}
    for name, value in described.decoding.items():
        if type(value) not in (int, float) and not (value is None and name in can_be_none):
            return f"its decoding is {described.decoding}, expected numbers"
    if not (described.label_dropout is None or type(described.label_dropout) in (int, float)):
        return f"its label_dropout is {described.label_dropout!r}, expected a number"
    if of_features := _fault_of_features(described):
        return of_features
    labels = described.labels
    if not isinstance(labels, dict) or not all(
        isinstance(values, list) and all(isinstance(value, str) for value in values) for values in labels.values()
    ):
        return "its labels are no lists of values by name"
    if shape.get("labels", {}) != {name: len(values) for name, values in labels.items()}:
        return f"the network has labels {shape.get('labels')}, the description {', '.join(labels) or 'none'}"
    n_layers = described.n_conditions
    n_found = sum(name.endswith(".conv.weight") for name in weights)
    if n_found != n_layers:
        return f"{shape['n_blocks']} x {shape['layers_per_block']} layers, but the weights of {n_found}"
    for name, weight in weights.items():
        if weight.dtype.kind != "f":
            return f"the tensor {name} holds {weight.dtype}, expected floating point numbers"
        if not np.isfinite(weight).all():
            return f"the tensor {name} holds NaN or infinity"
    return None


def _fault_of_features(described: Description) -> str | None:
    """What is wrong with the frames that condition it, if any do."""
    features, shape = described.features, described.architecture
    if not isinstance(features, dict):
        return f"its features are {type(features).__name__}, expected a mapping"
    n_features = shape.get("n_features", 0)
    if not features:
        return f"the network reads {n_features} features, the description has none" if n_features else None
    for name, (lowest, highest) in FEATURE_RANGES.items():
        value = features.get(name)
        if type(value) is not int or not lowest <= value <= highest:
            return f"{name} is {value!r}, expected an integer from {lowest} to {highest:,}"
    for name in ("frame_channels", "look_ahead"):
        if type(shape.get(name)) is not int or not 0 <= shape[name] <= 65536:
            return f"{name} is {shape.get(name)!r}, expected an integer from 0 to 65,536"
    low, high, half = features.get("f_min", 0), features.get("f_max"), described.sample_rate / 2
    high = half if high is None else high
    if not all(type(value) in (int, float) for value in (low, high)) or not 0 <= low < high <= half:
        return f"its features span {low!r} to {high!r} Hz, expected a rise within 0 to {half:g}"
    if (n_features, shape.get("hop")) != (features["n_mels"], features["hop"]):
        return (
            f"the network reads {n_features} features every {shape.get('hop')} samples, "
            f"the description says {features['n_mels']} every {features['hop']}"
        )
    return None


def _what_it_is(path: Path) -> str:
    """Name a file that does not load by its first bytes, so that the user recognises the mix-up."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if not start:
        return "empty"
    if start[:4] == b"PK\x03\x04":
        return "a PyTorch checkpoint or another zip archive, which could run code when loaded"
    if start[:1] == b"\x80":
        return "a Python pickle, which could run code when loaded"
    if start[:4] == b"RIFF":
        return "a RIFF (WAV) file"
    return "damaged or of another format"
