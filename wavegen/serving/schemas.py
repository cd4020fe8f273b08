"""What requests are made of: the fields of their JSON, their bounds and examples."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wavegen.generation.options import SoundKeywords

FormatName = Literal["wav", "flac", "pcm", "opus"]
ImageForm = Literal["grid", "png", "json"]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
OPTIONS = (*SoundKeywords.__annotations__.keys() - {"prime", "frames"},)
Labels = dict[str, str | int | None]


class Asked(BaseModel):
    """A JSON object without keys that nobody knows."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Decoding(Asked):
    """How codes are chosen; what is left out is the model's own."""

    temperature: float | None = Field(None, description="1 is as learnt, lower is safer and duller, 0 is greedy")
    top_k: int | None = Field(None, description="draw from the k most probable codes only")
    top_p: float | None = Field(None, description="draw from the most probable codes that hold this probability")
    guidance: float | None = Field(None, description="classifier-free guidance scale; 1 is off")

    def options(self) -> dict[str, Any]:
        """The fields that were given of those that `GenerationOptions` has, but for `prime`, which is a file there."""
        return {name: value for name, value in self if name in OPTIONS and value is not None}


class SoundRequest(Decoding):
    """Sounds of one model."""

    model: str = Field(examples=["digits"])
    seconds: float = Field(5.0, gt=0, description="length of each, s", examples=[0.6])
    n: int = Field(1, ge=1, description="how many; more than one come as an archive or in parts")
    first: int = Field(0, ge=0, description="the number of the first: sound i of n has the number first + i")
    seed: Seed | None = Field(None, description="the same seed and number make the same sound", examples=[1])
    labels: Labels | None = Field(None, examples=[{"digit": "7", "speaker": "theo"}])
    temperature_frames: float | None = Field(None, description="of the frames that a model plans")
    voiced_temperature: float | None = None
    transpose: float | None = Field(None, description="semitones by which a voice is raised")
    prime: str | None = Field(None, description="a recording to go on from: the bytes of a file, in base64")
    format: FormatName = "wav"
    stream: bool = Field(False, description="send the sound as it is made, behind one header")
    bundle: Literal["zip", "multipart"] = Field("zip", description="how several sounds come")


class ImageOptions(Decoding):
    """How images are drawn."""

    seed: Seed | None = Field(None, examples=[1])
    format: ImageForm = Field(
        "grid", description="one PNG of all, a PNG of each (in a zip where there are several), or rows of numbers"
    )


class ImageRequest(ImageOptions):
    """Images of one model."""

    model: str = Field(examples=["mnist"])
    n: int = Field(16, ge=1)
    first: int = Field(0, ge=0, description="the number of the first image")
    labels: Labels | list[Labels] | None = Field(
        None, description="of all images, or a list that takes turns", examples=[[{"digit": "3"}, {"digit": "5"}]]
    )


class CompletionRequest(ImageOptions):
    """Ways to complete an image, which comes beside."""

    model: str
    rows: int | None = None
    n: int = Field(8, ge=1)
    labels: Labels | None = None


class VocodeRequest(Decoding):
    """A sound that is to be made again of a recording, which comes beside."""

    model: str
    seed: Seed | None = None
    labels: Labels | None = None
    voiced_temperature: float | None = None
    transpose: float | None = None
    match: bool = True
    format: FormatName = "wav"
    stream: bool = False


class Hello(Decoding):
    """The first message of a live stream."""

    type: Literal["hello"]
    model: str
    format: Literal["s16le", "f32le"] = "s16le"
    seed: Seed | None = None
    labels: Labels | None = None
    temperature_frames: float | None = None
    voiced_temperature: float | None = None
    transpose: float | None = None
    ahead: float = Field(0.25, ge=0.02, le=5, description="seconds that are made ahead of who listens")
    input: bool = Field(False, description="whether what is sent is to be made again, samples of 16 bits")


class Change(Asked):
    """What is to be changed of a live stream from its next block on."""

    type: Literal["change"]
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    temperature_frames: float | None = None
    gain: float | None = None
    labels: Labels | None = Field(None, description="those that change; null is unknown")


class Restart(Asked):
    """Begin anew, with another seed or a fresh one."""

    type: Literal["restart"]
    seed: Seed | None = None


class Freeze(Asked):
    """Repeat the newest half second, or go on."""

    type: Literal["freeze"]
    frozen: bool = True


class Again(Asked):
    """Whether to begin again, with the next seed, where the sound has ended."""

    type: Literal["again"]
    again: bool = True


class Played(Asked):
    """How many samples were played; from then on no more than `ahead` seconds beyond are made."""

    type: Literal["played"]
    samples: int = Field(ge=0)
    ahead: float | None = Field(None, ge=0.02, le=5)


class Cancel(Asked):
    """End the stream."""

    type: Literal["cancel"]


class End(Asked):
    """Of a stream of what is sent: there is no more of that."""

    type: Literal["end"]


MESSAGES: dict[str, type[Asked]] = {
    "change": Change,
    "restart": Restart,
    "freeze": Freeze,
    "again": Again,
    "played": Played,
    "cancel": Cancel,
    "end": End,
}
