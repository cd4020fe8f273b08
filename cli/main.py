"""The `wavegen` command: its sub-commands, and how a mistake ends."""

import io
import sys
from typing import Annotated

import typer

import wavegen
from wavegen.errors import InputError

from . import bench, data, doctor, evaluate, generate, image, models, play, recipes, train, vocode
from .terminal import library_on_stderr

app = typer.Typer(
    name="wavegen",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: wavegen train sine, then wavegen play runs/sine. `wavegen COMMAND --help` shows examples.",
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"wavegen {wavegen.__version__}")
        raise typer.Exit


@app.callback()
def _wavegen(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train a WaveNet on any folder of recordings, and generate sound from it, sample by sample; or draw images."""
    context.with_resource(library_on_stderr())


app.command("train")(train.train)
app.command("generate")(generate.generate)
app.command("play")(play.play)
app.command("vocode")(vocode.vocode)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(image.app, name="image")
app.add_typer(data.app, name="data")
app.add_typer(recipes.app, name="recipes")
app.add_typer(models.app, name="models")
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command; what the user can put right ends in one sentence on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # files may be called what no character stands for
    try:
        app()
    except InputError as error:
        print(f"wavegen: {error}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        print(f"wavegen: not enough memory for so much at once ({error or 'allocating'})", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"wavegen: the system refused{where}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
