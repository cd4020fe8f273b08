"""Options that several commands share, declared once."""

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, Session
from wavegen.paths import is_same, resolved
from wavegen.sampling import fresh_seed

from .terminal import say

Model = Annotated[
    Path,
    typer.Argument(
        help="a run folder, a .safetensors file, or the name of a model that ships", metavar="MODEL", show_default=False
    ),
]
OF_FRAMES = ("voiced_temperature", "temperature_frames", "transpose")  # options that mean nothing for images
MAX_SECONDS = 1e6  # keeps "inf" out
Seconds = Annotated[float, typer.Option(min=0.001, max=MAX_SECONDS, help="length of the sound, s")]
Prime = Annotated[Path | None, typer.Option(help="a recording to continue; the sound starts where the recording ends")]
Plot = Annotated[bool, typer.Option("--plot", help="also draw waveform and spectrogram, to a PNG beside")]
SplitName = Annotated[str, typer.Option(help="train, validation or test")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="KEY=VALUE overrides a value of the recipe, such as training.steps=100; repeat for more"
    ),
]


def takes_generation_options(command: Callable[..., None], without: Collection[str] = ()) -> Callable[..., None]:
    """Let a command take the options of `_generation_options` on its line, and get them as one value, `options`.

    One that the command declares by itself is not among them, nor those that it goes `without`.
    """
    own = inspect.signature(command).parameters
    shared = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(_generation_options).parameters.items()
        if name not in own and name not in without
    ]

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        options = {parameter.name: values.pop(parameter.name) for parameter in shared}
        command(**values, options=_generation_options(values["model"], **options))

    parameters = [parameter for name, parameter in own.items() if name != "options"] + shared
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def takes_image_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that draws images."""
    return takes_generation_options(command, OF_FRAMES)


def _generation_options(
    model: Path,
    temperature: Annotated[
        float | None,
        typer.Option(help="1 is as learnt, lower is safer and duller, 0 is greedy (default: the model's own)"),
    ] = None,
    voiced_temperature: Annotated[
        float | None, typer.Option(help="temperature where the frames of a vocoder tell of a voice")
    ] = None,
    temperature_frames: Annotated[
        float | None,
        typer.Option(help="temperature of the frames that a model plans, such as speech (default: the model's own)"),
    ] = None,
    transpose: Annotated[
        float, typer.Option(help="semitones by which a voice is raised, of models whose frames have a pitch")
    ] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="draw from the k most probable codes only")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="draw from the most probable codes that together hold this probability")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="classifier-free guidance scale (categorical head only): 1 is off, others double the computation "
            "(default: the model's own, where there are labels)"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="the same seed gives the same result (default: a new one, printed)")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="NAME=VALUE, such as digit=7; repeat for more (default: unknown)"),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, numba, reference, onnx, cuda-graph or triton")] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="of numba float32, float16, int8, int8x8, int8x7, of triton float32, float16, bfloat16; "
            "auto takes the fastest that costs less than 0.01 bit",
        ),
    ] = "auto",
    device: Device = "auto",
) -> GenerationOptions:
    """What the line asks of a model. A seed is chosen if none is given, for names of files hold it."""
    return GenerationOptions(
        temperature=temperature,
        voiced_temperature=voiced_temperature,
        temperature_frames=temperature_frames,
        transpose=transpose,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
        seed=fresh_seed() if seed is None else seed,
        labels=parse_labels(labels, model),
        engine=engine,
        precision=precision,
        device=device,
    )


def parse_labels(texts: list[str] | None, model: Path) -> dict[str, str | None]:
    """Turn NAME=VALUE options into a mapping.

    Raises: InputError for one without an equals sign, which names the labels of the model, or a name that comes twice.
    """
    labels: dict[str, str | None] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--label {text}: {_expected_label(model)}")
        if name in labels:
            raise InputError(f"--label {name} is given as {labels[name]} and as {value}; expected it once")
        labels[name] = value
    return labels


def _expected_label(model: Path) -> str:
    known = LoadedModel(checkpoint.load(model)).labels
    if not known:
        return f"{model} has no labels; leave it out"
    name, values = next(iter(known.items()))
    return f"expected NAME=VALUE, such as {name}={values[0]} (labels of {model}: {', '.join(known)})"


def named_after(model: Path, options: GenerationOptions, suffix: str) -> Path:
    """The file that is written unless another is named: NAME-SEED, here."""
    return Path(f"{resolved(model).stem}-{options.seed}{suffix}")


def check_out(option: str, suffix: str, path: Path, *inputs: Path | None) -> Path:
    """The path, known to be one that can be written before work goes into its contents.

    Raises: InputError if its name ends otherwise, it is a folder, lies in one that cannot be written to, or is one of
        the files that are read (`inputs`).
    """
    if any(one is not None and is_same(path, one) for one in inputs):
        raise InputError(f"{option} is {path}, which is also what is read; expected another name, which keeps it")
    if path.suffix.lower() != suffix or path.is_dir():
        raise InputError(f"{option} is {path}; expected the name of a {suffix} file")
    files.check_writable(path.absolute().parent)
    return path


def open_session(
    model: Path,
    options: GenerationOptions,
    loaded: Checkpoint | None = None,
    *,
    frames_follow: bool = False,
    labels_follow: bool = False,
) -> Session:
    """Make a model ready to sound, and say what is about to; `loaded` is what lies at `model`, if that was read before.

    Raises: InputError for whatever does not fit the model; nothing has been written by then.
    """
    loaded = loaded or checkpoint.load(model)
    session = Session(loaded, options, frames_follow=frames_follow, labels_follow=labels_follow)
    frames = "" if session.temperature_frames is None else f", frames {session.temperature_frames:g}"
    say(
        f"{model}: {session.description.kind}, {session.description.sample_rate} Hz, engine {session.engine_title}, "
        f"{session.decoding.title}{frames}, seed {session.seed}"
    )
    return session
