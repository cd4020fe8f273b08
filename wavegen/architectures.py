"""What a model family and a head are: one frozen dataclass each, in the tables `FAMILIES` and `HEADS`. No torch.

A dataclass holds the sizes of its networks, each field with its type, default, bounds and meaning, and what follows
from them. The recipe's schema, the checks of a model file, `wavegen models inspect`, the engines' weights and the
network's constructor are derived from it. Nobody asks for the name of a family or a head to decide what to do, but for
a fact: what it makes, whether labels reach it, whether it lists probabilities.

>>> network = make_architecture("wavenet", {
...     "n_classes": 256, "n_blocks": 3, "layers_per_block": 10, "residual_channels": 64, "gate_channels": 64,
...     "skip_channels": 256, "head_channels": 256,
... })
>>> network.receptive_field, network.multiply_adds
(3070, 1236992)
"""

import importlib
import math
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from wavegen.errors import InputError, shortened

MAX_REMEMBERED = 1 << 28  # numbers in the queues of one stream: 1 GiB
MAX_SMOOTHING = 24  # frames to either side; player/model.N_DRAWN has room for no more
MAX_WEIGHTS = 1 << 31  # of a network: 8 GiB

Activation = Literal["gated", "relu"]
Makes = Literal["sound", "frames", "images"]
HeadT = TypeVar("HeadT", bound="type[Head]")


@dataclass(frozen=True)
class Size:
    """What is known of a field beside its type and its default.

    `ge`, `gt`, `le`, `lt` bound a number as in pydantic. `is_from_corpus`: no recipe states it, because it follows from
    the data. `odd` says why it has to be odd. `only_with` names a field without which this one means nothing.
    """

    meaning: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    is_from_corpus: bool = False
    odd: str | None = None
    only_with: str | None = None

    @property
    def bounds(self) -> dict[str, float]:
        """Those that it has, by name."""
        named = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}
        return {name: bound for name, bound in named.items() if bound is not None}

    @property
    def range(self) -> str:
        """The bounds, for people: "0 or more", "1 to 1000", "more than 0 and at most 1"."""

        def number(bound: float) -> str:
            return str(int(bound)) if bound == int(bound) else f"{bound:g}"

        if self.ge is not None and self.le is not None:
            return f"{number(self.ge)} to {number(self.le)}"
        low = [f"more than {number(self.gt)}"] if self.gt is not None else []
        low += [f"{number(self.ge)} or more"] if self.ge is not None else []
        high = [f"at most {number(self.le)}"] if self.le is not None else []
        high += [f"below {number(self.lt)}"] if self.lt is not None and math.isfinite(self.lt) else []
        return " and ".join(low + high)

    def holds(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )


class Sized(NamedTuple):
    """A field of an architecture or a head: its name, its type, its default (MISSING: required), and its `Size`."""

    name: str
    type: Any
    default: Any
    size: Size

    def check(self, value: Any) -> None:
        """Raises: InputError if the field cannot have this value."""
        if get_origin(self.type) is Literal:
            choices = get_args(self.type)
            is_good = isinstance(value, str) and value in choices
            expected = f"one of {', '.join(choices)}"
        elif self.type is bool:
            is_good, expected = type(value) is bool, "true or false"
        elif self.type is int:
            lowest = self.size.ge if self.size.gt is None else self.size.gt + 1
            is_good = type(value) is int and self.size.holds(value)
            expected = "an integer" + ("" if lowest is None else f" from {lowest}")
            expected += "" if self.size.le is None else f" to {self.size.le:,}"
        else:
            is_good = type(value) in (int, float) and abs(value) <= sys.float_info.max and self.size.holds(value)
            words = {"gt": "above", "ge": "from", "lt": "below", "le": "at most"}
            limits = [f"{words[name]} {bound:g}" for name, bound in self.size.bounds.items()]
            expected = " ".join(["a number", " and ".join(limits)]).rstrip()
        if not is_good:
            raise InputError(f"{self.name} is {shortened(value)}, expected {expected}")
        self.check_odd(value)

    def check_odd(self, value: int, section: str = "") -> None:
        """Raises: InputError for an even value of a field that has to be odd; `section` stands before its name."""
        if self.size.odd is not None and value % 2 == 0:
            raise InputError(f"{section}{self.name} is {value}; expected an odd number: {self.size.odd}")


def sized_fields(owner: type) -> list[Sized]:
    """The fields of a dataclass (a family, a head, `sampling.Decoding`) that have a `Size`, in order."""
    hints = get_type_hints(owner, include_extras=True)
    sized = []
    for one in fields(owner):
        annotation = hints[one.name]
        if get_origin(annotation) is Annotated:
            kind, size = get_args(annotation)
            sized.append(Sized(one.name, kind, _default(one), size))
    return sized


def _default(one: "Field[Any]") -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


@dataclass(frozen=True)
class Head:
    """What a network says of the next code. A head derives from this, and `HEADS` lists it.

    `distribution` is where the probabilities are computed in torch, as "module:class" (models/heads.py).
    """

    kind: ClassVar[str]
    distribution: ClassVar[str]
    lists_probabilities: ClassVar[bool] = False
    """Whether it has a probability for each code, from which top_k, top_p, guidance and beam search choose."""
    is_precise: ClassVar[bool] = False
    """Whether its parameters need float32 where the network computes in less: a mean says more than 8 bits."""

    def n_parameters(self, n_classes: int) -> int:
        """Numbers that the network gives for each code."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises: InputError for a size that cannot be."""
        for one in sized_fields(type(self)):
            one.check(getattr(self, one.name))


@dataclass(frozen=True)
class CategoricalHead(Head):
    """A probability for each code."""

    kind: ClassVar[str] = "categorical"
    distribution: ClassVar[str] = "wavegen.models.heads:Categorical"
    lists_probabilities: ClassVar[bool] = True

    def n_parameters(self, n_classes: int) -> int:
        return n_classes


@dataclass(frozen=True)
class RelativeHead(Head):
    """A head that says how far the next code departs from the one before, in units of `mean_scale`."""

    mean_scale: Annotated[
        float,
        Size("how far a code departs from the one before, on an axis from -1 to 1", gt=0, le=1, is_from_corpus=True),
    ] = 1.0


@dataclass(frozen=True)
class LogisticMixtureHead(RelativeHead):
    """A mixture of logistic distributions, for so many classes that most are rarely seen."""

    kind: ClassVar[str] = "logistic-mixture"
    distribution: ClassVar[str] = "wavegen.models.heads:LogisticMixture"
    is_precise: ClassVar[bool] = True

    n_mixtures: Annotated[int, Size("distributions in the mixture", gt=0, le=1000)] = 10

    def n_parameters(self, n_classes: int) -> int:
        return 3 * self.n_mixtures


HEADS: dict[str, type[Head]] = {head.kind: head for head in (CategoricalHead, LogisticMixtureHead)}


class FrameSizes(NamedTuple):
    """The frames that condition a network, and the network at their rate that reads them (models/conditions.py)."""

    n_features: int
    hop: int
    channels: int
    look_ahead: int


class PredictionSizes(NamedTuple):
    """What a network is told of the next code beforehand (features/linear_prediction.py): the order of the linear
    prediction, the samples to either side of one period ago, and the longest period."""

    order: int
    lag_taps: int
    longest_period: int

    @property
    def n_past(self) -> int:
        """Past codes that have to be known, and their excitations, of which the inputs are made."""
        return max(self.order, 2 * self.longest_period + self.lag_taps // 2) if self.lag_taps else self.order

    @property
    def reach(self) -> int:
        """Codes before one that its inputs depend on: an excitation depends on codes before it."""
        return self.n_past + self.order

    @property
    def n_inputs(self) -> int:
        """Numbers that enter the network: past codes and excitations, the prediction, and those around one period ago
        and around two."""
        around = (2 * self.lag_taps + 1) + (2 * (self.lag_taps // 2) + 1) if self.lag_taps else 0
        return 2 * self.order + 1 + 2 * around


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a network. A family derives from this, and `FAMILIES` lists it.

    `network` is the class of its networks, and `engine_weights` and `vertical_weights` are what turns a model file into
    the plain arrays that compiled engines run (engines/weights.py), each as "module:name", imported when it is needed.
    A family without `engine_weights` runs on the engines that step the network itself.
    """

    kind: ClassVar[str]
    makes: ClassVar[Makes]
    network: ClassVar[str]
    engine_weights: ClassVar[str | None] = None
    vertical_weights: ClassVar[str | None] = None
    reads_frames: ClassVar[bool] = False
    """Whether feature frames can condition its networks."""

    n_classes: Annotated[int, Size("number of codes", ge=2, le=65536, is_from_corpus=True)]
    labels: Mapping[str, int] = field(default_factory=dict)
    """The number of known values of each label."""
    head: Head = CategoricalHead()

    @property
    def receptive_field(self) -> int:
        """Codes that the prediction of the next one can see."""
        raise NotImplementedError

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per generated code: one for each weight of every matrix that a code passes through.

        Embeddings are looked up, and conditions are projected once per change, so neither counts.
        """
        raise NotImplementedError

    @property
    def row_length(self) -> int:
        """Codes that are observed together: those of a row of an image."""
        return 1

    @property
    def unit(self) -> int:
        """Codes that chunks begin and end at multiples of: those of a row, or of a frame."""
        return self.row_length

    @property
    def shape(self) -> list[int]:
        """Height, width and number of colours of what it draws; empty for sound."""
        return []

    @property
    def n_conditions(self) -> int:
        """Layers that labels reach; 0 for a family that has no use for labels."""
        return 0

    @property
    def condition_channels(self) -> int:
        """Numbers that enter each such layer."""
        return 0

    @property
    def frames(self) -> FrameSizes | None:
        """The feature frames that condition the network, or None."""
        return None

    @property
    def prediction(self) -> PredictionSizes | None:
        """What the network is told of the next code beforehand, or None."""
        return None

    @property
    def n_parameters_of_head(self) -> int:
        """Numbers that the network gives for each code."""
        return self.head.n_parameters(self.n_classes)

    @property
    def n_numbers_of_stream(self) -> int:
        """Numbers that an engine keeps for each stream, about: of what conditions a row, or a code, and of the next."""
        return self.row_length * self.n_conditions * self.condition_channels + self.n_parameters_of_head

    def values(self) -> dict[str, Any]:
        """Everything as in a model file, where the sizes of the head stand beside those of the network."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("head", "labels")}
        head = {one.name: getattr(self.head, one.name) for one in fields(self.head)}
        return {**own, "labels": dict(self.labels), "head": self.head.kind, **head}

    def shown(self) -> dict[str, Any]:
        """The values that people are told: those that mean something in this network."""
        values = self.values()
        idle = {
            one.name
            for one in (*sized_fields(type(self)), *sized_fields(type(self.head)))
            if one.size.only_with is not None and not values[one.size.only_with]
        }
        return {name: value for name, value in values.items() if name not in (*idle, "n_classes", "labels")}

    def check(self) -> None:
        """Raises: InputError for sizes that cannot be, contradict each other, or are more than a network may have."""
        for one in sized_fields(type(self)):
            one.check(getattr(self, one.name))
        self.head.check()
        if self.labels and not self.n_conditions:
            raise InputError(f"a {self.kind} takes no labels, and has {', '.join(self.labels)}")

    def check_prediction(self, codec: str, n_mels: int, periods: tuple[int, int] | None) -> None:
        """Whether there is what `prediction` is made of: `codec` by its name, `n_mels` log-mel bands in a frame, and
        `periods` with the samples of the shortest and the longest that the frames' pitch can have, None without pitch.

        Raises: InputError for what is missing, by the keys of a recipe.
        """

    def check_tensors(self, tensors: Mapping[str, Any]) -> None:
        """Look at a model file's tensors, before a network is made of them.

        Raises: InputError if they cannot be those of such a network.
        """


@dataclass(frozen=True, kw_only=True)
class ImageArchitecture(Architecture):
    """What families of images have in common: the size of an image, and that its codes come in rows.

    Their networks derive from `ImageModel` (models/base.py).
    """

    makes: ClassVar[Makes] = "images"

    height: Annotated[int, Size("pixels of a column", gt=0, le=65536, is_from_corpus=True)]
    width: Annotated[int, Size("pixels of a row", gt=0, le=65536, is_from_corpus=True)]
    n_colours: Annotated[int, Size("1 for grey, 3 for red, green, blue", ge=1, le=3, is_from_corpus=True)]

    @property
    def shape(self) -> list[int]:
        return [self.height, self.width, self.n_colours]

    @property
    def row_length(self) -> int:
        return self.width * self.n_colours


@dataclass(frozen=True, kw_only=True)
class GatedArchitecture(Architecture):
    """What WaveNet and PixelCNN have in common: gated layers whose dilations repeat, and layers behind their sum."""

    n_blocks: Annotated[int, Size("how often the dilations 1, 2, 4, ... repeat", gt=0, le=1000)]
    layers_per_block: Annotated[int, Size("dilations in a block; the last is 2^(this - 1)", gt=0, le=20)]
    residual_channels: Annotated[int, Size("channels between the layers", gt=0, le=65536)]
    gate_channels: Annotated[int, Size("channels of the gated activation inside a layer", gt=0, le=65536)]
    skip_channels: Annotated[int, Size("channels of the sum over layers", gt=0, le=65536)]
    head_channels: Annotated[int, Size("channels of the hidden layer behind the sum", gt=0, le=65536)]
    activation: Annotated[Activation, Size("tanh * sigmoid, or a plain ReLU")] = "gated"
    dropout: Annotated[
        float, Size("share of a layer's activations that training zeroes, against overfitting", ge=0, lt=1)
    ] = 0.0
    label_channels: Annotated[int, Size("size of each label's embedding", gt=0, le=65536, only_with="labels")] = 16

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each layer, the first one first."""
        return tuple(2**layer for layer in range(self.layers_per_block)) * self.n_blocks

    @property
    def n_conditions(self) -> int:
        return len(self.dilations)

    @property
    def condition_channels(self) -> int:
        """Channels that a layer's convolution makes, and that its condition has: filter and gate, or one for ReLU."""
        return 2 * self.gate_channels if self.activation == "gated" else self.gate_channels

    @property
    def n_remembered(self) -> int:
        """Steps that the queues of one stream hold at most, with `residual_channels` numbers each."""
        raise NotImplementedError

    @property
    def n_numbers_of_stream(self) -> int:
        return super().n_numbers_of_stream + self.n_remembered * self.residual_channels

    def check(self) -> None:
        super().check()
        if self.n_remembered * self.residual_channels > MAX_REMEMBERED:
            raise InputError(
                f"a stream would have to remember {self.n_remembered:,} x {self.residual_channels:,} numbers"
            )
        if self.n_weights > MAX_WEIGHTS:
            raise InputError(f"a network of such sizes has {self.n_weights:,} weights, expected up to {MAX_WEIGHTS:,}")

    @property
    def n_weights(self) -> int:
        """Numbers of all matrices, about: those that a code passes through, and those of its embedding and labels."""
        of_labels = sum(self.labels.values()) + self.n_conditions * self.condition_channels * len(self.labels)
        return self.multiply_adds + self.n_classes * self.residual_channels + of_labels * self.label_channels

    def check_tensors(self, tensors: Mapping[str, Any]) -> None:
        n_found = sum(name.endswith(".conv.weight") for name in tensors)
        if n_found != self.n_conditions:
            raise InputError(f"{self.n_blocks} x {self.layers_per_block} layers, but the weights of {n_found}")
        for label, n_values in self.labels.items():
            embedding = tensors.get(f"labels.{label}.weight")
            n_rows = 0 if embedding is None or not embedding.ndim else embedding.shape[0]
            if n_rows != n_values + 1:  # one for "unknown"
                raise InputError(f"the label {label} has {n_values:,} values, but an embedding of {n_rows:,} rows")

    def _matrices_of_layer(self, n_taps: int) -> int:
        """Weights of a layer's convolution and of its projection."""
        return (n_taps * self.condition_channels + self.gate_channels) * self.residual_channels


@dataclass(frozen=True, kw_only=True)
class SequenceArchitecture(GatedArchitecture):
    """What families over one sequence of codes have in common: a single stack, on which engines run."""

    engine_weights: ClassVar[str | None] = "wavegen.engines.weights:sequence_weights"

    kernel_size: Annotated[int, Size("taps of each convolution", ge=2, le=1024)] = 2
    residual: Annotated[bool, Size("false: layers without the connection around them")] = True

    @property
    def receptive_field(self) -> int:
        """Codes: (kernel_size - 1) * sum(dilations), and before those the one code, or the past of a prediction, that
        enters a step."""
        entering = 1 if self.prediction is None else self.prediction.reach
        return (self.kernel_size - 1) * sum(self.dilations) + entering

    @property
    def multiply_adds(self) -> int:
        layer = self._matrices_of_layer(self.kernel_size) + self.gate_channels * self.skip_channels
        behind = (self.skip_channels + self.n_parameters_of_head) * self.head_channels
        entering = 0 if self.prediction is None else self.prediction.n_inputs * self.residual_channels
        return entering + len(self.dilations) * layer + behind


@dataclass(frozen=True, kw_only=True)
class WaveNetArchitecture(SequenceArchitecture):
    """A WaveNet (models/wavenet.py), which makes sound."""

    kind: ClassVar[str] = "wavenet"
    makes: ClassVar[Makes] = "sound"
    network: ClassVar[str] = "wavegen.models.wavenet:WaveNet"
    reads_frames: ClassVar[bool] = True

    dilated: Annotated[bool, Size("false: every dilation is 1")] = True
    n_features: Annotated[
        int, Size("numbers in a feature frame", ge=0, le=65536, is_from_corpus=True, only_with="n_features")
    ] = 0
    hop: Annotated[
        int, Size("samples from a frame to the next", gt=0, le=65536, is_from_corpus=True, only_with="n_features")
    ] = 1
    frame_channels: Annotated[
        int, Size("channels of the network over data.features", gt=0, le=65536, only_with="n_features")
    ] = 64
    look_ahead: Annotated[
        int, Size("frames of data.features that it sees to either side of one", ge=0, le=64, only_with="n_features")
    ] = 2
    prediction_order: Annotated[
        int,
        Size(
            "order of the linear prediction that the next code departs from, made of the log-mel frames; 0 for none",
            ge=0,
            le=64,
            only_with="n_features",
        ),
    ] = 0
    lag_taps: Annotated[
        int,
        Size(
            "samples to either side of one period ago, and half as many of two, that are inputs beside the prediction; "
            "0 for none (needs data.features.pitch)",
            ge=0,
            le=64,
            only_with="prediction_order",
        ),
    ] = 0
    longest_period: Annotated[
        int, Size("samples of the longest period", ge=0, le=65536, is_from_corpus=True, only_with="lag_taps")
    ] = 0

    @property
    def dilations(self) -> tuple[int, ...]:
        return super().dilations if self.dilated else (1,) * (self.n_blocks * self.layers_per_block)

    @property
    def n_remembered(self) -> int:
        return (self.kernel_size - 1) * self.n_blocks * 2**self.layers_per_block

    @property
    def n_weights(self) -> int:
        if self.frames is None:
            return super().n_weights
        n_inputs = (1 + 2 * self.look_ahead) * self.n_features
        n_outputs = self.n_conditions * self.condition_channels
        return super().n_weights + self.frame_channels * (n_inputs + self.frame_channels + n_outputs)

    @property
    def prediction(self) -> PredictionSizes | None:
        if not self.prediction_order:
            return None
        return PredictionSizes(self.prediction_order, self.lag_taps, self.longest_period)

    def check_prediction(self, codec: str, n_mels: int, periods: tuple[int, int] | None) -> None:
        if self.lag_taps and not self.prediction_order:
            raise InputError(f"model.lag_taps is {self.lag_taps}, which needs model.prediction_order")
        if not self.prediction_order:
            return
        if not n_mels or codec != "linear":
            raise InputError(
                "model.prediction_order needs data.features with log-mel bands, and data.codec: linear; "
                f"there are {n_mels} bands, and the codec is {codec}"
            )
        if not isinstance(self.head, RelativeHead):
            raise InputError(
                f"model.prediction_order needs model.head: {LogisticMixtureHead.kind}; it is {self.head.kind}"
            )
        if not self.lag_taps:
            return
        if periods is None:
            raise InputError(f"model.lag_taps is {self.lag_taps}, which needs data.features.pitch; it can be {{}}")
        shortest, longest = periods
        if shortest <= self.lag_taps:
            raise InputError(
                f"model.lag_taps is {self.lag_taps}; expected fewer than the shortest period has samples, {shortest}"
            )
        if longest > self.longest_period:
            raise InputError(
                f"longest_period is {self.longest_period}; periods of the pitch have up to {longest} samples"
            )

    @property
    def frames(self) -> FrameSizes | None:
        if not self.n_features:
            return None
        return FrameSizes(self.n_features, self.hop, self.frame_channels, self.look_ahead)


@dataclass(frozen=True, kw_only=True)
class PlannerArchitecture(SequenceArchitecture):
    """A planner (models/planner.py), which makes the feature frames of a sound. Its dilations are in frames."""

    kind: ClassVar[str] = "planner"
    makes: ClassVar[Makes] = "frames"
    network: ClassVar[str] = "wavegen.models.planner:Planner"

    n_channels: Annotated[int, Size("codes of a frame", gt=0, le=65536, is_from_corpus=True)]
    channel_layers: Annotated[
        int, Size("layers behind those over frames, with dilations 1, 2, 4, ... in the codes of a frame", gt=0, le=20)
    ]
    smoothing: Annotated[
        int, Size("frames to either side that each is smoothed with before it is made sound of", ge=0, le=MAX_SMOOTHING)
    ] = 4
    pitch_smoothing: Annotated[
        int, Size("frames to either side that its pitch is smoothed with; few let it tremble", ge=0, le=MAX_SMOOTHING)
    ] = 16

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each layer, in codes. The first looks at the same channel one frame ago, beside the code before."""
        frames = [self.n_channels * frames for frames in super().dilations]
        first = max(1, self.n_channels - 1)
        return (first, *frames[1:], *(2**layer for layer in range(self.channel_layers)))

    @property
    def n_remembered(self) -> int:
        return (self.kernel_size - 1) * sum(self.dilations)

    @property
    def unit(self) -> int:
        return self.n_channels

    @property
    def n_ahead(self) -> int:
        """Frames that are made before one is smoothed."""
        return max(self.smoothing, self.pitch_smoothing)


@dataclass(frozen=True, kw_only=True)
class PixelCNNArchitecture(ImageArchitecture, GatedArchitecture):
    """A PixelCNN (models/pixelcnn.py), which draws images."""

    kind: ClassVar[str] = "pixelcnn"
    network: ClassVar[str] = "wavegen.models.pixelcnn:PixelCNN"
    engine_weights: ClassVar[str | None] = "wavegen.engines.weights:row_weights"
    vertical_weights: ClassVar[str | None] = "wavegen.engines.weights:vertical_weights"

    kernel_width: Annotated[
        int,
        Size(
            "pixels of the row above that a layer sees, an odd number",
            ge=1,
            le=99,
            odd="the pixel above, as many on each side",
        ),
    ] = 3
    position_embedding: Annotated[
        bool, Size("a pixel's row and column are inputs: for images that are all framed alike")
    ] = False

    @property
    def row(self) -> WaveNetArchitecture:
        """The network over the codes of a row, which labels reach as a condition."""
        return WaveNetArchitecture(
            n_classes=self.n_classes,
            head=self.head,
            n_blocks=self.n_blocks,
            layers_per_block=self.layers_per_block,
            residual_channels=self.residual_channels,
            gate_channels=self.gate_channels,
            skip_channels=self.skip_channels,
            head_channels=self.head_channels,
            activation=self.activation,
            dropout=self.dropout,
        )

    @property
    def receptive_field(self) -> int:
        """Codes from the farthest that a prediction can see up to itself: at most so many rows, counted whole."""
        return (2 + sum(self.dilations)) * self.row_length

    @property
    def n_conditions(self) -> int:
        """Layers of both stacks, the vertical one first."""
        return 2 * len(self.dilations)

    @property
    def multiply_adds(self) -> int:
        """Those of the row, and per pixel those of the vertical stack and of what enters the row from it."""
        entering = self.condition_channels * self.gate_channels
        vertical = len(self.dilations) * (self._matrices_of_layer(2 * self.kernel_width) + entering)
        return self.row.multiply_adds + vertical // self.n_colours

    @property
    def n_remembered(self) -> int:
        return self.row.n_remembered * self.width


FAMILIES: dict[str, type[Architecture]] = {
    family.kind: family for family in (WaveNetArchitecture, PlannerArchitecture, PixelCNNArchitecture)
}


def make_architecture(kind: Any, values: Any) -> Architecture:
    """The architecture that a model file or a recipe describes; `Architecture.values` is the way back.

    Raises: InputError for a family or a head that is not known here, and for values that are no sizes of theirs.
    """
    if not isinstance(kind, str):
        raise InputError("its kind is no text")
    if kind not in FAMILIES:
        raise InputError(f"unknown kind of model {kind!r}; this wavegen knows {', '.join(FAMILIES)}")
    if not isinstance(values, dict):
        raise InputError(f"its architecture is {type(values).__name__}, expected a mapping")
    own = dict(values)
    name = own.pop("head", CategoricalHead.kind)
    if not isinstance(name, str) or name not in HEADS:
        raise InputError(f"unknown head {name!r}; expected one of {', '.join(HEADS)}")
    sizes = {one.name: own.pop(one.name) for one in fields(HEADS[name]) if one.name in own}
    try:
        return FAMILIES[kind](**own, head=HEADS[name](**sizes))
    except TypeError as error:
        raise InputError(f"the description of the {kind} does not fit this wavegen: {error}") from error


def find(reference: str) -> Any:
    """What a "module:name" of a family or a head stands for."""
    module, _, name = reference.partition(":")
    imported: types.ModuleType = importlib.import_module(module)
    return getattr(imported, name)
