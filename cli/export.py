"""wavegen export"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError

from .options import check_out
from .terminal import show_result

app = typer.Typer()


class Target(NamedTuple):
    """What a model can be exported to: the suffix of OUT, the options of the line that it takes, and what writes it and
    returns the files."""

    suffix: str | None  # None: it is a folder
    options: tuple[str, ...]
    write: Callable[..., list[Path]]


def _write_safetensors(model: Checkpoint, out: Path) -> list[Path]:
    from wavegen.export import safetensors

    return safetensors.write(model, out)


def _write_onnx(model: Checkpoint, out: Path, part: str = "step") -> list[Path]:
    from wavegen.export import onnx

    return onnx.write(model, out, part)


def _write_web(models: list[Checkpoint], out: Path, precision: str | None = None) -> list[Path]:
    from wavegen.export import web

    return web.export_web(models, out, precision)


def _write_native(model: Checkpoint, out: Path, machine: str = "native", precision: str | None = None) -> list[Path]:
    from wavegen.export import native

    return native.export_native(model, out, machine, precision)


TARGETS = {
    "safetensors": Target(".safetensors", (), _write_safetensors),
    "onnx": Target(".onnx", ("part",), _write_onnx),
    "web": Target(None, ("precision", "all"), _write_web),
    "native": Target(None, ("machine", "precision"), _write_native),
}


@app.command("export")
def export(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="a run folder, a .safetensors file, or the name of a model that ships (for a page several of them), "
            "and the file or folder to write",
            metavar="MODEL OUT",
            show_default=False,
        ),
    ],
    to: Annotated[str, typer.Option("--to", help=f"what to write: {', '.join(TARGETS)}", show_default=False)],
    part: Annotated[
        str | None,
        typer.Option(help="of onnx: step makes code after code, likelihood tells the bits of whole sequences (step)"),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(help="of native: native is this CPU with all it can; x86-64 and aarch64 are any such (native)"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="of web and native: int8x8, int8x7, int8, float32 (the fastest that costs little)"),
    ] = None,
    all_models: Annotated[
        bool, typer.Option("--all", help="of web: all models that ship, in one page; give OUT alone")
    ] = False,
) -> None:
    """Write a model for places without wavegen: a web page, a C library, ONNX, or a model file of half the size.

    web: a folder that any static host serves and that plays the model in a browser. native: a C header, a library, the
    model as one file and an example. onnx: one step of the network (or the likelihood), for ONNX Runtime; of a vocoder,
    and of what draws images, there is a second file beside it. safetensors: one file that wavegen reads, weights as
    float16, for shipping. More is in docs/export.md.

    Examples:
        wavegen export runs/speech --to safetensors speech.safetensors
        wavegen export digits --to onnx digits.onnx
        wavegen export speech --to web site
        wavegen export --to web --all site
        wavegen export speech --to native speech-library
    """
    if to not in TARGETS:
        raise InputError(f"--to is {to}; expected one of {', '.join(TARGETS)}")
    target, given = TARGETS[to], {"part": part, "machine": machine, "precision": precision, "all": all_models or None}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in target.options:
            takers = " and ".join(other for other, one in TARGETS.items() if name in one.options)
            raise InputError(f"--{name} is for --to {takers}; leave it out with --to {to}")
    *names, out = paths
    if options.pop("all", None):
        if names:
            raise InputError(f"--all takes no MODEL, and {names[0]} is given; expected OUT alone")
        models = _shipped_playable()
    else:
        if not names or (len(names) > 1 and to != "web"):
            raise InputError(f"{len(paths)} paths are given; expected MODEL OUT")
        models = [checkpoint.load(name) for name in names]
    if target.suffix is not None:
        check_out("OUT", target.suffix, out, models[0].path)
    for path in target.write(models if to == "web" else models[0], out, **options):
        show_result(path)


def _shipped_playable() -> list[Checkpoint]:
    from wavegen.export import web

    return web.playable_models()
