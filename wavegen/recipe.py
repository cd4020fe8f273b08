"""What a recipe is: one YAML file with everything needed to repeat a result.

The classes below are the schema, and their field descriptions the reference; the keys of the section `model` are the
fields of the families in architectures.py. Loading is strict: an unknown, missing or wrong key stops it with the file,
the key, and the nearest known one.
"""

import difflib
import logging
import math
from collections.abc import Mapping
from dataclasses import MISSING, replace
from functools import cache, cached_property
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    model_validator,
)

from wavegen import checkpoint, migrations
from wavegen.architectures import (
    FAMILIES,
    HEADS,
    Architecture,
    CategoricalHead,
    Head,
    Sized,
    make_architecture,
    sized_fields,
)
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.features.frame_codes import N_LEVELS, FrameCodes
from wavegen.features.frames import Features, make_features
from wavegen.features.log_mel import BREAK_RANGE, MEL_BREAK_HZ, RANGES
from wavegen.sampling import Decoding

logger = logging.getLogger(__name__)

# Keys of the training section, and of the data.
SOUND_ONLY = (
    "window",
    "context",
    "gain_db",
    "start_share",
    "learn_endings",
    "validation_seconds",
    "sample_seconds",
    "astray",
)
IMAGES_ONLY = ("validation_images",)
OF_THE_VOCODER = ("codec", "n_classes", "pre_emphasis", "features")
CHOSEN_BY = {"data": "corpus", "model": "kind"}  # the key of a section that says what others it has
TEXT = {str, Path, type(None)}  # what a key takes that `--set` gives its text as it is
YAML_TAG = "tag:yaml.org,2002:"
MAX_CATEGORICAL = 4096  # classes that each have a probability of their own

# No result needs more; beyond them a slip of the pen would fill the memory before anything is said.
MAX_STEPS = 10**12
MAX_RATE = 1_000_000  # Hz
MAX_SIDE = 65536  # pixels
MAX_IMAGE = 1 << 24  # codes of an image
MAX_WINDOW = 1 << 24  # samples
MAX_BATCH = 65536  # windows
MAX_FORWARD = 1 << 26  # codes of a forward pass: 512 MiB of integers
MAX_MADE = 1 << 28  # samples of a corpus made on the fly, which is kept in memory: 2 GiB of floats

Steps = Annotated[int, Field(gt=0, le=MAX_STEPS)]
Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]
Speed = Annotated[float, Field(ge=0.5, le=2)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of a recipe: frozen, and without room for keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PitchFeatures(Section):
    """Pitch, voicing and loudness (features/pitch.py), behind the log-mel bands of a frame or in their place."""

    lowest: float = Field(60, gt=0, description="Hz, the lowest pitch that is looked for")
    highest: float = Field(400, gt=0, description="Hz, the highest")


class FrameFeatures(Section):
    """Frames (features/frames.py) that condition a network, which learns to make their sound: log-mel bands, the pitch,
    or both."""

    n_mels: int = Field(
        80, ge=0, le=RANGES["n_mels"][1], description="log-mel bands; 0 leaves them out, where there is the pitch"
    )
    hop: int = Field(200, ge=RANGES["hop"][0], le=RANGES["hop"][1], description="samples from a frame to the next")
    n_fft: int = Field(
        1024, ge=RANGES["n_fft"][0], le=RANGES["n_fft"][1], description="samples that a frame is made of"
    )
    f_min: float = Field(0, ge=0, description="Hz, where the lowest band begins")
    f_max: float | None = Field(None, gt=0, description="Hz, where the highest ends; null for half the sample rate")
    break_frequency: float = Field(
        MEL_BREAK_HZ,
        ge=BREAK_RANGE[0],
        le=BREAK_RANGE[1],
        description="Hz up to which bands are about equally wide; 700 for the mel scale",
    )
    pitch: PitchFeatures | None = Field(None, description="the pitch as well; see below; null for none")

    def parameters(self) -> dict[str, Any]:
        """As a model file holds them: without the pitch where there is none, nor what is as in the mel scale."""
        left_out = [("pitch", None), ("break_frequency", MEL_BREAK_HZ)]
        return {name: value for name, value in self.model_dump().items() if (name, value) not in left_out}


class AudioData(Section):
    """What every corpus of sound has in common."""

    corpus: str
    sample_rate: int = Field(gt=0, le=MAX_RATE, description="Hz; recordings at other rates are resampled")
    codec: Literal["mu-law", "linear"] = Field("mu-law", description="how samples become codes")
    n_classes: int = Field(256, ge=2, le=65536, description="number of codes; 256 is 8 bits")
    pre_emphasis: float = Field(
        0,
        ge=0,
        lt=1,
        description="share of a sample that is taken from the next before it is coded, and given back to what is made: "
        "0.85 suits speech at 16 kHz in 16 bits; 0 is off",
    )
    features: FrameFeatures | None = Field(
        None, description="frames that condition the network, for a vocoder; see below; null for none"
    )

    @model_validator(mode="after")
    def _features_fit_the_rate(self) -> "AudioData":
        self.make_features()
        return self

    def make_features(self) -> Features | None:
        """What takes the frames that condition the network, or None for a network that reads none."""
        return None if self.features is None else make_features(self.sample_rate, self.features.parameters())


class SineData(AudioData):
    """A corpus made on the fly: steady tones with noise, each recording at a random phase."""

    corpus: Literal["sine"]
    frequencies: list[Annotated[float, Field(gt=0)]] = Field(
        min_length=1, max_length=100_000, description="Hz; each recording takes one"
    )
    harmonics: list[Annotated[float, Field(ge=0)]] = Field(
        [1.0], min_length=1, max_length=1000, description="amplitude of the fundamental and of each harmonic above it"
    )
    amplitude: float = Field(0.5, gt=0, le=1, description="peak of the tone, 1 is full scale")
    noise_db: float | None = Field(None, description="white noise relative to the tone's power, dB; null for none")
    seconds: float = Field(2.0, gt=0, le=100_000, description="length of a recording")
    n_recordings: int = Field(32, ge=3, le=1_000_000, description="number of recordings; 10 % validation, 10 % test")

    @model_validator(mode="after")
    def _fits_into_memory(self) -> "SineData":
        n_samples = self.seconds * self.sample_rate * max(self.n_recordings, len(self.harmonics))
        if n_samples > MAX_MADE:
            raise ValueError(
                f"data.seconds, sample_rate and n_recordings (or harmonics) make {n_samples:,.0f} samples to be kept "
                f"in memory; expected at most {MAX_MADE:,}"
            )
        return self


class RecordedData(AudioData):
    """What every corpus of recordings has in common: what is done to them when they are prepared (data/cleaning.py)."""

    highpass: float | None = Field(
        None,
        ge=1,
        description="Hz, below which recordings are filtered, so that they swing around 0; 20 keeps all that is heard; "
        "null for none",
    )
    normalize: Literal["peak"] | None = Field(
        None,
        description="peak: every recording is brought to full scale by its largest sample, so that nothing of a float "
        "file beyond it is clipped; null for as they are",
    )
    trim_silence: bool = Field(
        False,
        description="cut off the silence at both ends of a recording, but for 50 ms; silence is what lies 30 dB below "
        "the recording's own loudness",
    )
    longest_pause: float | None = Field(
        None, ge=0.02, description="s, to which longer silences within a recording are shortened; null for as they are"
    )

    @model_validator(mode="after")
    def _highpass_fits_the_rate(self) -> "RecordedData":
        if self.highpass is not None and self.highpass >= self.sample_rate / 2:
            raise ValueError(
                f"data.highpass is {self.highpass:g} Hz; at {self.sample_rate} Hz expected less than "
                f"{self.sample_rate / 2:g}"
            )
        return self


class FolderData(RecordedData):
    """Any folder of recordings, in every format that libsndfile reads, sub-folders included."""

    corpus: Literal["folder"]
    source: Path | None = Field(None, description="the folder, or a tar or zip archive of one")
    labels_from_folders: str | None = Field(
        None, description="name of a label whose values are the names of the first sub-folders; null for none"
    )
    split: Literal["recording", "time"] = Field(
        "recording",
        description="recording: 10 % of them validation, 10 % test; time: the last 20 % of each recording",
    )


class NamedData(RecordedData):
    """What the corpora that wavegen knows by name have in common (data/named.py)."""

    source: Path | None = Field(None, description="folder or archive; null uses what `wavegen data prepare` made")


class LibriSpeechData(NamedData):
    """LibriSpeech (Panayotov et al., ICASSP 2015), or any part of it in its layout."""

    corpus: Literal["librispeech"]
    labels: list[Literal["speaker"]] = Field([], description="labels that condition the network")
    split: Literal["official", "speaker"] = Field(
        "official",
        description="official: the sets train-*, dev-*, test-*; speaker: 20 % of the speakers test, 10 % validation",
    )


class DigitsData(NamedData):
    """The Free Spoken Digit Dataset: 3,000 spoken digits by six speakers, 8 kHz; indices 0 to 4 test."""

    corpus: Literal["digits"]
    labels: list[Literal["digit", "speaker"]] = Field(
        ["digit", "speaker"], description="labels that condition the network"
    )
    split: Literal["official"] = Field("official", description="indices 0-4 test, 5 and 6 validate, 7-49 train")


class MusicData(NamedData):
    """Four recordings of music and of a whale, long enough to be split by time."""

    corpus: Literal["music"]
    labels: list[Literal["piece"]] = Field([], description="labels that condition the network")
    split: Literal["time"] = Field(
        "time", description="the first 80 % of each recording train, the next 10 % validate, the last 10 % test"
    )


class ImageData(Section):
    """What every corpus of images has in common."""

    corpus: str
    source: Path | None = Field(None, description="folder or archive; null uses what `wavegen data prepare` made")
    size: tuple[Side, Side] = Field(
        description="height and width, pixels; images of other sizes are cropped around their middle and resized"
    )
    colours: Literal["grey", "rgb"] = Field("grey", description="what images are converted to")
    n_classes: int = Field(256, ge=2, le=256, description="number of codes, levels of brightness; 256 is 8 bits")
    is_binary: bool = Field(
        False,
        description="make every pixel black or white, white with a probability of its brightness, drawn once for all; "
        "n_classes is 2 then",
    )
    mirrored: bool = Field(False, description="let every second image that trains be mirrored, left to right")

    @property
    def codec(self) -> str:
        """Brightness is quantised evenly."""
        return "linear"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of colours."""
        return (*self.size, 1 if self.colours == "grey" else 3)

    @model_validator(mode="after")
    def _shape_is_possible(self) -> "ImageData":
        if math.prod(self.shape) > MAX_IMAGE:
            raise ValueError(f"data.size is {list(self.size)}; expected at most {MAX_IMAGE:,} numbers an image")
        if self.is_binary and (self.n_classes != 2 or self.colours != "grey"):
            raise ValueError(f"data.is_binary goes with colours grey and n_classes 2, not {self.n_classes}")
        return self


class MnistData(ImageData):
    """MNIST: 60,000 handwritten digits to train on, the last 5,000 of which validate, and 10,000 to test on."""

    corpus: Literal["mnist"]
    size: tuple[Side, Side] = Field((28, 28), description="height and width, pixels")
    labels: list[Literal["digit"]] = Field([], description="labels that condition the network")
    split: Literal["official"] = Field("official", description="as the authors split it")


class Cifar10Data(ImageData):
    """CIFAR-10, or any part of it in the layout train/cat/NAME.png; 5 % of those for training are validation."""

    corpus: Literal["cifar10"]
    size: tuple[Side, Side] = Field((32, 32), description="height and width, pixels")
    colours: Literal["grey", "rgb"] = Field("rgb", description="what images are converted to")
    labels: list[Literal["object"]] = Field([], description="labels that condition the network")
    split: Literal["official"] = Field("official", description="as the authors split it")


class ImageFolderData(ImageData):
    """Any folder of images that Pillow reads (data/images.py lists the names), sub-folders included."""

    corpus: Literal["images"]
    labels_from_folders: str | None = Field(
        None, description="name of a label whose values are the names of the first sub-folders; null for none"
    )


CORPORA: dict[str, type[AudioData] | type[ImageData]] = {
    "sine": SineData,
    "folder": FolderData,
    "librispeech": LibriSpeechData,
    "digits": DigitsData,
    "music": MusicData,
    "images": ImageFolderData,
    "mnist": MnistData,
    "cifar10": Cifar10Data,
}
Data = Annotated[
    SineData | FolderData | LibriSpeechData | DigitsData | MusicData | ImageFolderData | MnistData | Cifar10Data,
    Field(discriminator="corpus"),
]


class ModelSizes(Section):
    """The network: the family, its sizes, and those of its head; `model_section` has the keys of one family."""

    kind: str
    head: str


def model_section(kind: str) -> type[ModelSizes]:
    """The schema of a family's sizes, from its dataclass (architectures.py) and those of all heads."""
    family: Any = FAMILIES[kind]
    return _model_section(kind, family, tuple(HEADS.values()))


@cache
def _model_section(kind: str, family: Any, heads: tuple[Any, ...]) -> type[ModelSizes]:
    """The families and heads of now, because a table may have grown since the last call."""
    of_heads = {one.name: one for head in heads for one in sized_fields(head)}
    stated = [one for one in (*sized_fields(family), *of_heads.values()) if not one.size.is_from_corpus]
    keys: dict[str, Any] = {
        "kind": (Literal[kind], ...),
        **{one.name: _key(one) for one in stated},
        "head": (
            Literal[tuple(head.kind for head in heads)],
            Field(
                CategoricalHead.kind,
                description="what the network says of the next code: a probability for each, or a mixture of logistic "
                "distributions, for so many classes that most are rarely seen (codec linear, n_classes 65536: 16-bit "
                "sound)",
            ),
        ),
    }
    section: type[ModelSizes] = create_model(
        f"{family.__name__}Sizes", __base__=ModelSizes, __doc__=family.__doc__, **keys
    )
    return section


def _key(one: Sized) -> Any:
    """A field of a dataclass as pydantic has it: the type, and the default with bounds and description."""

    def check_odd(value: int) -> int:
        one.check_odd(value, "model.")
        return value

    default: Any = ... if one.default is MISSING else one.default
    bounds: dict[str, Any] = one.size.bounds
    annotation = one.type if one.size.odd is None else Annotated[one.type, AfterValidator(check_odd)]
    return annotation, Field(default, description=one.size.meaning, **bounds)


class Training(Section):
    """The one training loop (training/loop.py): linear warm-up, cosine decay."""

    steps: Steps = Field(description="updates of the weights")
    batch_size: int = Field(gt=0, le=MAX_BATCH, description="windows per forward pass, of all processes together")
    accumulate: int = Field(
        1, gt=0, le=MAX_BATCH, description="forward passes per update, for batches that exceed memory"
    )
    window: int | None = Field(
        None,
        gt=0,
        le=MAX_WINDOW,
        description="samples per window, of a planner frames; must exceed the context (an image is always a window of "
        "its own)",
    )
    context: int | None = Field(
        None,
        ge=0,
        le=MAX_WINDOW,
        description="samples (of a planner frames) at the beginning of a window, unless a recording begins there, that "
        "are seen and do not count; null for the receptive field. With less, more of each window counts, some of it "
        "predicted from less than its full past",
    )
    start_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of windows that begin where a recording begins, with nothing before; the others begin "
        "with the context, which counts for nothing",
    )
    learn_endings: bool = Field(
        False,
        description="silence follows the end of a recording, as far as the window reaches, and counts: so the network "
        "learns to end words, calls or notes",
    )
    balance: bool = Field(
        False,
        description="draw windows from every speaker (or first sub-folder) equally often, instead of every second of "
        "sound; helps with speakers never heard where a few fill most of the corpus",
    )
    learning_rate: float = Field(gt=0, description="peak; with warm-up before and cosine decay after")
    warm_up: int = Field(100, ge=0, le=MAX_STEPS, description="steps over which the learning rate rises")
    final_learning_rate: float = Field(0.02, ge=0, le=1, description="share of the peak left at the last step")
    optimizer: Literal["muon", "adamw"] = Field(
        "muon",
        description="muon: orthogonalised momentum for the matrices between hidden channels, AdamW for the rest; "
        "adamw: AdamW for all",
    )
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    momentum: Share = Field(0.9, description="Muon's decay of the mean gradient")
    betas: tuple[Share, Share] = Field((0.9, 0.95), description="AdamW's decay of both moments")
    clip_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the averaged weights per step; 0.99 averages about 100 steps"
    )
    label_dropout: float = Field(0.1, ge=0, le=1, description="share of windows whose labels are hidden")
    gain_db: float = Field(
        0, ge=0, le=60, description="dB by which each window is made louder or softer at most, with its frames"
    )
    speeds: list[Speed] = Field(
        [],
        max_length=16,
        description="of a planner: how many times as fast the recordings are heard as well, by voices of no speaker: "
        "0.9 is slower, lower, and of a larger head; against overfitting",
    )
    input_noise: float = Field(
        0,
        ge=0,
        le=65536,
        description="standard deviation, in codes, of noise on the inputs of the network (not on the codes that it has "
        "to predict), so that it learns to go on from its own mistakes",
    )
    scheduled_sampling: Share = Field(
        0,
        description="share of the inputs that are the network's own draws instead of the recording's, rising from "
        "0 to this over the training; each step takes half as long again (see docs/exposure.md)",
    )
    astray: Path | None = Field(
        None,
        description="folder of the network's own sound where it went astray, in sub-folders named by the values of the "
        "first label: some windows begin with it, and the recording that follows is to be predicted (see "
        "docs/exposure.md)",
    )
    astray_share: Share = Field(0.25, description="share of windows that begin so, of labels of which there are such")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the products; auto takes bfloat16 where the hardware has it"
    )
    compile: Literal["auto", True, False] = Field(
        False,
        description="fuse the network's operations (torch.compile): a minute at the start, then about 1.6 times the "
        "speed on a processor; auto does it where there is a C++ compiler",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the initial weights and of the order of the data")
    validate_every: Steps = Field(500, description="steps between validations; each also saves")
    validation_seconds: float = Field(
        60, gt=0, le=1e9, description="how much of the validation split is predicted each time"
    )
    validation_images: int = Field(1000, gt=0, le=10**9, description="how many images of it are looked at each time")
    sample_every: Steps | None = Field(
        None, description="steps between free-running samples; null for only one at the end"
    )
    sample_seconds: float = Field(1.0, gt=0, le=3600, description="length of each")


class DecodingSection(Section):
    """How codes are drawn unless a command says otherwise (sampling.py)."""

    @property
    def decoding(self) -> Decoding:
        return Decoding(**self.model_dump())


_KEYS_OF_DECODING: dict[str, Any] = {one.name: _key(one) for one in sized_fields(Decoding)}
DecodingDefaults: type[DecodingSection] = create_model(
    "DecodingDefaults", __base__=DecodingSection, __doc__=DecodingSection.__doc__, **_KEYS_OF_DECODING
)


class Recipe(Section):
    """Everything needed to repeat a result, and nothing else. `recipe_schema` knows the keys of every family."""

    data: Data = Field(description="the corpus; see above")
    model: SerializeAsAny[ModelSizes] = Field(description="the network; see above")
    vocoder: Path | None = Field(
        None,
        description="for a planner: the model that makes the sound of the frames that it plans, trained with "
        "data.features; it becomes part of the planner's model file",
    )
    training: Training = Field(description="the training; see above")
    decoding: SerializeAsAny[DecodingSection] = Field(DecodingDefaults(), description="how codes are drawn; see above")
    about: str = Field("", description="what comes out, in one line; travels with the model")
    credit: str = Field("", description="whom to credit for the data, and its licence; travels with the model")

    @model_validator(mode="after")
    def _head_fits_codes(self) -> "Recipe":
        n = self.data.n_classes
        if n > MAX_CATEGORICAL and self.head.lists_probabilities:
            others = " or ".join(head.kind for head in HEADS.values() if not head.lists_probabilities)
            raise ValueError(
                f"data.n_classes is {n:,}; beyond {MAX_CATEGORICAL:,} take model.head: {others}, "
                "because a probability for each would not fit into memory"
            )
        if n > MAX_CATEGORICAL and self.data.codec != "linear":
            raise ValueError(
                f"data.codec is {self.data.codec} with {n:,} codes; beyond {MAX_CATEGORICAL:,} take linear"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> "Recipe":
        is_sound = isinstance(self.data, AudioData)
        fitting = [family.kind for family in FAMILIES.values() if (family.makes != "images") == is_sound]
        if self.model.kind not in fitting:
            needed = " or ".join(fitting)
            raise ValueError(f"model.kind is {self.model.kind}; the corpus {self.data.corpus} needs {needed}")
        if self.is_planner != (self.vocoder is not None):
            what = "needs a vocoder, which makes sound of its frames" if self.is_planner else "takes no vocoder"
            raise ValueError(f"model.kind is {self.model.kind}, which {what}")
        if self.training.speeds and not self.is_planner:
            raise ValueError("training.speeds is for a planner; leave it out")
        if self.is_planner:
            self._check_planner()
        elif self.features and not FAMILIES[self.model.kind].reads_frames:
            raise ValueError(f"model.kind is {self.model.kind}, which reads no data.features; leave them out")
        else:
            self._check_prediction()
        if self.training.astray is not None and (self.is_planner or self.features):
            raise ValueError("training.astray is for a network that makes sound of itself alone; leave it out")
        voiced = self.decoding.decoding.voiced_temperature
        if voiced is not None and not self.model.model_dump().get("lag_taps"):
            raise ValueError(f"decoding.voiced_temperature is {voiced:g}, which needs model.lag_taps")
        if is_sound and self.training.window is None:
            raise ValueError("the key 'training.window' is missing")
        for name in IMAGES_ONLY if is_sound else SOUND_ONLY:
            if getattr(self.training, name) != Training.model_fields[name].default:
                raise ValueError(f"training.{name} is for {'images' if is_sound else 'sound'}; leave it out")
        if (decoding := self.decoding.decoding).is_guided:
            has_labels = getattr(self.data, "labels", None) or getattr(self.data, "labels_from_folders", None)
            if not has_labels or not self.training.label_dropout or not self.head.lists_probabilities:
                raise ValueError(
                    f"decoding.guidance is {decoding.guidance:g}; but for 1 it needs labels, "
                    "training.label_dropout above 0, and model.head: categorical"
                )
        if self.training.learn_endings and getattr(self.data, "split", "") == "time":
            raise ValueError("training.learn_endings needs whole recordings, and data.split is time; leave it out")
        return self

    @model_validator(mode="after")
    def _sizes_fit_into_memory(self) -> "Recipe":
        if not self.is_planner:  # whose sizes follow from its vocoder, which need not be there to read a recipe
            self.check_sizes()
        return self

    def check_sizes(self) -> None:
        """Look at sizes before anything is made of them.

        Raises: InputError for more than a training may have, and as `vocoder_model`, of a planner.
        """
        n_codes = self.training.batch_size * self.window
        if n_codes > MAX_FORWARD:
            raise InputError(
                f"training.batch_size is {self.training.batch_size:,} with windows of {self.window:,} codes, "
                f"{n_codes:,} together; expected at most {MAX_FORWARD:,}"
            )
        self.architecture({}).check()

    def _check_planner(self) -> None:
        """Raises: ValueError for what a planner has from its vocoder, or does not have."""
        for name in OF_THE_VOCODER:
            if getattr(self.data, name) != AudioData.model_fields[name].default:
                raise ValueError(f"data.{name} is that of the vocoder, for a planner; leave it out")
        if self.training.gain_db or not self.head.lists_probabilities:
            what = "training.gain_db" if self.training.gain_db else f"model.head: {self.model.head}"
            raise ValueError(f"{what} is not for a planner; leave it out")

    def _check_prediction(self) -> None:
        """Raises: ValueError if there is not what the network is to be told of the next code."""
        features = self.data.make_features() if isinstance(self.data, AudioData) else None
        n_mels, periods = (0, None) if features is None else (features.n_mels, features.periods)
        self.architecture({}).check_prediction(self.data.codec, n_mels, periods)

    @property
    def head(self) -> type[Head]:
        """What the network says of the next code."""
        return HEADS[self.model.head]

    @property
    def is_planner(self) -> bool:
        """Whether it trains a network that makes frames, and not their sound."""
        return FAMILIES[self.model.kind].makes == "frames"

    @cached_property
    def vocoder_model(self) -> Checkpoint:
        """What makes the sound of a planner's frames.

        Raises: InputError if there is none, it takes no frames, or its sound has another rate.
        """
        assert isinstance(self.data, AudioData) and self.vocoder is not None  # see _parts_fit
        loaded = replace(checkpoint.load(self.vocoder.expanduser()), planner=None)  # of a pair, its vocoder
        if not loaded.description.features:
            raise InputError(f"the vocoder {loaded.path} takes no frames; expected one trained with data.features")
        if loaded.description.sample_rate != self.data.sample_rate:
            raise InputError(
                f"data.sample_rate is {self.data.sample_rate} Hz, and the vocoder {loaded.path} makes sound of "
                f"{loaded.description.sample_rate} Hz; expected the same"
            )
        return loaded

    @property
    def frame_codes(self) -> FrameCodes:
        """How a planner's frames become codes.

        Raises: as `vocoder_model`.
        """
        features = self.vocoder_model.description.make_features()
        assert features is not None  # `vocoder_model` has seen to it
        return FrameCodes(features)

    def architecture(self, labels: Mapping[str, int], mean_scale: float = 1.0) -> Architecture:
        """The sizes of the network; `labels` are their numbers of values, and `mean_scale` is for a relative head.

        Raises: as `vocoder_model`, of a planner.
        """
        facts: dict[str, Any] = {"n_classes": self.data.n_classes, "mean_scale": mean_scale}
        if self.is_planner:
            facts.update(n_classes=N_LEVELS, n_channels=self.frame_codes.n_channels)
        elif isinstance(self.data, ImageData):
            facts.update(zip(("height", "width", "n_colours"), self.data.shape, strict=True))
        elif (features := self.data.make_features()) is not None:
            facts.update(n_features=features.n_features, hop=features.hop)
            if features.periods is not None:
                facts["longest_period"] = features.periods[1]
        known = {**self.model.model_dump(exclude={"kind", "head"}), **facts}
        sizes = [*sized_fields(FAMILIES[self.model.kind]), *sized_fields(self.head)]
        chosen = {one.name: known[one.name] for one in sizes if one.name in known}
        return make_architecture(self.model.kind, {**chosen, "head": self.model.head, "labels": dict(labels)})

    @property
    def features(self) -> dict[str, Any]:
        """The parameters of the frames that condition the network, or that a planner makes; empty for none."""
        if self.is_planner:
            return dict(self.vocoder_model.description.features)
        own = self.data.features if isinstance(self.data, AudioData) else None
        return {} if own is None else own.parameters()

    @property
    def pre_emphasis(self) -> float:
        """That of the codec."""
        return self.data.pre_emphasis if isinstance(self.data, AudioData) else 0.0

    @property
    def window(self) -> int:
        """Codes in a window: what the training section says of sound, or of frames; a whole image."""
        if isinstance(self.data, ImageData):
            height, width, n_colours = self.data.shape
            return height * width * n_colours
        assert self.training.window is not None  # see _parts_fit
        return self.training.window * self._codes_of_a_step

    @property
    def context(self) -> int | None:
        """Codes at the beginning of a window that do not count; None for the receptive field."""
        return None if self.training.context is None else self.training.context * self._codes_of_a_step

    @property
    def _codes_of_a_step(self) -> int:
        """Codes of what `training.window` counts."""
        return self.frame_codes.n_channels if self.is_planner else 1

    @property
    def validation_amount(self) -> float:
        """How much of the validation split is predicted each time: s of sound, or images."""
        settings = self.training
        return settings.validation_images if isinstance(self.data, ImageData) else settings.validation_seconds

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def recipe_schema() -> type[Recipe]:
    """The schema of a whole recipe, with the families and heads that there are."""
    return _recipe_schema(tuple(map(model_section, FAMILIES)))


@cache
def _recipe_schema(sections: tuple[Any, ...]) -> type[Recipe]:
    choice: Any = Union[sections]  # noqa: UP007 - of what is known only now
    model: Any = (Annotated[choice, Field(discriminator="kind", description="the network; see above")], ...)
    decoding: Any = (DecodingDefaults, Recipe.model_fields["decoding"])
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, model=model, decoding=decoding)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, where PyYAML silently keeps the last, and knows no times: 1:00 is not
    60, and 2024-05-01 no date."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)
        is_time = tag == f"{YAML_TAG}timestamp" or (tag in (f"{YAML_TAG}int", f"{YAML_TAG}float") and ":" in value)
        return f"{YAML_TAG}str" if is_time else tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file and apply `--set` overrides such as "training.steps=100".

    Raises: InputError naming the file, the key and the nearest known key, or where the YAML breaks.

    >>> from wavegen import recipes
    >>> sine = load(recipes.find("sine"), ["training.steps=100"])
    >>> sine.data.sample_rate, sine.training.steps
    (16000, 100)
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the recipe {path}: {getattr(error, 'strerror', error)}") from error
    return parse(text, str(path), overrides)


def parse(text: str, name: str, overrides: list[str] | None = None) -> Recipe:
    """As `load`, from text; `name` is what errors call it."""
    values = _yaml(text, name)
    if not isinstance(values, dict):
        raise InputError(f"{name} holds {type(values).__name__}; expected a mapping with data, model and training")
    remarks = migrations.rename_recipe_keys(values)
    for override in overrides or []:
        _override(values, override)
    for remark in (*remarks, *migrations.rename_recipe_keys(values)):
        logger.info(f"{name}: {remark}")
    try:
        return recipe_schema().model_validate(values)
    except ValidationError as error:
        raise InputError(f"{name}: {_explain(error)}") from error


def _yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{name}{where}: {getattr(error, 'problem', None) or error}") from error
    except (ValueError, AttributeError, RecursionError) as error:  # 2020-13-45, 0x_, thousands of brackets
        raise InputError(f"{name} holds a value that is none ({error})") from error


def _override(values: dict[str, Any], override: str) -> None:
    """Set one value in the nested mapping, from KEY=VALUE with dots in KEY.

    VALUE is text where the key takes text, such as the name of a folder, whatever YAML would make of it, and YAML where
    it takes anything else; "null" or nothing is null where there may be nothing.
    """
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: expected KEY=VALUE, such as training.steps=100")
    *sections, last = key.split(".")
    target: Any = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise InputError(f"--set {key}: {section} is a value, not a section")
    new = migrations.new_recipe_key(key)
    target.pop(new.rpartition(".")[2], None)  # an old name sets the key of now
    takes = _takes(values, new.split("."))
    if not takes <= TEXT:
        target[last] = _yaml(value, f"--set {key}")
    elif type(None) in takes and value in ("", "null"):
        target[last] = None
    else:
        target[last] = value


def _takes(values: dict[str, Any], path: list[str]) -> set[type]:
    """The types that a key takes where the corpus and the network are those of now; none for an unknown key."""
    *location, key = path
    if location and location[0] in CHOSEN_BY:
        tag = CHOSEN_BY[location[0]]
        location.insert(1, str(values[location[0]].get(tag)))
    try:
        field = _section_at(location).model_fields.get(key)
    except KeyError:
        return set()
    return set() if field is None else _types(field.annotation)


def _types(annotation: Any) -> set[type]:
    """What an annotation allows, without the arguments of containers; the words of a choice are text."""
    if get_origin(annotation) is Literal:
        return {type(word) for word in get_args(annotation)}
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_types, get_args(annotation)))
    return {get_origin(annotation) or annotation}


def _explain(error: ValidationError) -> str:
    """The first fault of a recipe as one sentence."""
    fault = error.errors()[0]
    location = [str(part) for part in fault["loc"]]
    is_chosen = len(location) > 1 and location[0] in ("data", "model") and location[1] in (*CORPORA, *FAMILIES)
    path = location[:1] + location[2:] if is_chosen else location  # pydantic names what was chosen as a level
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        known = list(_section_at(location[:-1]).model_fields)
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {key!r}; {meant}"
    if fault["type"] == "missing":
        return f"the key {key!r} is missing"
    if fault["type"].startswith("union_tag"):
        tag, known = ("kind", list(FAMILIES)) if key == "model" else ("corpus", list(CORPORA))
        received = (
            f"{key}.{tag} is {fault['ctx']['tag']!r}" if "tag" in fault["ctx"] else f"the key '{key}.{tag}' is missing"
        )
        return f"{received}; expected one of {', '.join(known)}"
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{key} is {fault['input']!r}; {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _section_at(location: list[str]) -> type[BaseModel]:
    """The schema at a location such as ["data", "sine"] or ["training"]."""
    section: type[BaseModel] = recipe_schema()
    for part in location:
        annotation = (
            CORPORA.get(part)
            or (model_section(part) if part in FAMILIES else None)
            or section.model_fields[part].annotation
        )
        for choice in (annotation, *get_args(annotation)):  # an optional section is a union with None
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                section = choice
    return section


def sections() -> dict[str, type[BaseModel]]:
    """Every section of a recipe by its title, for a reference of the keys."""
    corpora = {f"data, corpus: {name}": section for name, section in CORPORA.items()}
    return {
        **corpora,
        "data.features": FrameFeatures,
        "data.features.pitch": PitchFeatures,
        **{f"model, kind: {kind}": model_section(kind) for kind in FAMILIES},
        "training": Training,
        "decoding": DecodingDefaults,
        "the whole": recipe_schema(),
    }
