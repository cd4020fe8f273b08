"""Options that several commands share, declared once."""

from pathlib import Path
from typing import Annotated

import typer

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session

from .terminal import say

Model = Annotated[
    Path,
    typer.Argument(
        help="a run folder, a .safetensors file, or the name of a model that ships", metavar="MODEL", show_default=False
    ),
]
MAX_SECONDS = 1e6  # keeps "inf" out
Seconds = Annotated[float, typer.Option(min=0.001, max=MAX_SECONDS, help="length of the sound, s")]
Temperature = Annotated[
    float | None,
    typer.Option(help="1 is as learnt, lower is safer and duller, 0 is greedy (default: the model's own)"),
]
TopK = Annotated[int | None, typer.Option(help="draw from the k most probable codes only")]
TopP = Annotated[
    float | None, typer.Option(help="draw from the most probable codes that together hold this probability")
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help="how much labels count, of a network that lists probabilities: 1 as learnt, 1.5 or 2 more, at twice the "
        "work (default: the model's own, where there are labels)"
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="the same seed gives the same result (default: a new one, printed)")
]
Prime = Annotated[Path | None, typer.Option(help="a recording to continue; the sound starts where the recording ends")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="NAME=VALUE, such as speaker=118; repeat for more (default: unknown)"),
]
Plot = Annotated[bool, typer.Option("--plot", help="also draw waveform and spectrogram, to a PNG beside")]
EngineName = Annotated[str, typer.Option("--engine", help="auto, numba, reference, cuda-graph or triton")]
PrecisionName = Annotated[
    str,
    typer.Option(
        "--precision",
        help="of numba float32, float16, int8, int8x8, of triton float32, float16, bfloat16; "
        "auto takes the fastest that costs less than 0.01 bit",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="KEY=VALUE overrides a value of the recipe, such as training.steps=100; repeat for more"
    ),
]


def parse_labels(given: list[str] | None) -> dict[str, str | None]:
    """Turn NAME=VALUE options into a mapping.

    Raises: InputError for one without an equals sign, or a name that comes twice.
    """
    labels: dict[str, str | None] = {}
    for one in given or []:
        name, equals, value = one.partition("=")
        if not equals:
            raise InputError(f"--label {one}: expected NAME=VALUE, such as speaker=118")
        if name in labels:
            raise InputError(f"--label {name} is given as {labels[name]} and as {value}; expected it once")
        labels[name] = value
    return labels


def check_out(option: str, suffix: str, path: Path, *given: Path | None) -> Path:
    """The path, known to be one that can be written before work goes into its contents.

    Raises: InputError if its name ends otherwise, it is a folder, lies in one that cannot be written to, or is one of
        the files `given` to read.
    """
    if any(one is not None and path.resolve() == one.resolve() for one in given):
        raise InputError(f"{option} is {path}, which is also what is read; expected another name, which keeps it")
    if path.suffix.lower() != suffix or path.is_dir():
        raise InputError(f"{option} is {path}; expected the name of a {suffix} file")
    files.check_writable(path.absolute().parent)
    return path


def open_session(
    model: Path,
    wish: GenerationOptions,
    loaded: Checkpoint | None = None,
    *,
    frames_follow: bool = False,
    labels_follow: bool = False,
) -> Session:
    """Make a model ready to sound, and say what is about to; `loaded` is what lies at `model`, if that was read before.

    Raises: InputError for whatever does not fit the model; nothing has been written by then.
    """
    session = Session(loaded or checkpoint.load(model), wish, frames_follow=frames_follow, labels_follow=labels_follow)
    say(
        f"{model}: {session.description.kind}, {session.description.sample_rate} Hz, engine {session.engine_title}, "
        f"{session.decoding.title}, seed {session.seed}"
    )
    return session
