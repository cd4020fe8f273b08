"""wavegen export"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError

from .options import Model, check_out
from .terminal import show_result


class Target(NamedTuple):
    """What a model can be exported to: the suffix of OUT, the options of the line that it takes, and what writes it and
    returns the files."""

    suffix: str
    options: tuple[str, ...]
    write: Callable[..., list[Path]]


def _write_safetensors(model: Checkpoint, out: Path) -> list[Path]:
    from wavegen.export import safetensors

    return safetensors.write(model, out)


def _write_onnx(model: Checkpoint, out: Path, part: str = "step") -> list[Path]:
    from wavegen.export import onnx

    return onnx.write(model, out, part)


TARGETS = {
    "safetensors": Target(".safetensors", (), _write_safetensors),
    "onnx": Target(".onnx", ("part",), _write_onnx),
}


def export(
    model: Model,
    out: Annotated[Path, typer.Argument(help="the file to write", metavar="OUT", show_default=False)],
    to: Annotated[str, typer.Option("--to", help=f"what to write: {', '.join(TARGETS)}", show_default=False)],
    part: Annotated[
        str | None,
        typer.Option(help="of onnx: step makes code after code, likelihood tells the bits of whole sequences (step)"),
    ] = None,
) -> None:
    """Write a model for another program: as ONNX, or as a model file of half the size.

    safetensors: one file that wavegen reads, weights as float16, for shipping. onnx: one step of the network (or the
    likelihood), for ONNX Runtime; of a vocoder, and of what draws images, there is a second file beside it. More is in
    docs/export.md.

    Examples:
        wavegen export runs/speech --to safetensors speech.safetensors
        wavegen export digits --to onnx digits.onnx
    """
    if to not in TARGETS:
        raise InputError(f"--to is {to}; expected one of {', '.join(TARGETS)}")
    target = TARGETS[to]
    options = {name: value for name, value in {"part": part}.items() if value is not None}
    for name in options:
        if name not in target.options:
            takers = ", ".join(other for other, one in TARGETS.items() if name in one.options)
            raise InputError(f"--{name} is for --to {takers}; leave it out with --to {to}")
    loaded = checkpoint.load(model)
    check_out("OUT", target.suffix, out, loaded.path)
    for path in target.write(loaded, out, **options):
        show_result(path)
