"""The `wavegen` command: its sub-commands, and how a mistake ends."""

import importlib
import sys
import warnings
from collections.abc import Iterable
from typing import Annotated

import typer

import wavegen
from wavegen.errors import InputError

from .help import make_plain
from .home import expand_home
from .signals import ending_as_ctrl_c
from .streams import lead_nowhere, make_lasting
from .terminal import has_terminal, library_on_stderr, say, show_result, show_text

COMMANDS = (  # in the order of their help
    *("train", "generate", "play", "vocode", "evaluate", "image"),
    *("data", "recipes", "models", "export", "serve", "bench", "doctor"),
)
UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # of the click that typer brings, or of the one beside it


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        show_result(f"wavegen {wavegen.__version__}")
        raise typer.Exit


def _wavegen(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train a WaveNet on any folder of recordings, and generate sound from it, sample by sample; or draw images."""
    context.with_resource(library_on_stderr())


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The `wavegen` command with sub-commands, each of which is the `app` of the file of its name."""
    app = typer.Typer(
        name="wavegen",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Begin with: wavegen train sine, then wavegen play runs/sine. `wavegen COMMAND --help` shows examples.",
    )
    app.callback()(_wavegen)
    for name in names:
        app.add_typer(importlib.import_module(f".{name}", __package__).app)
    expand_home(app)
    return app


def main() -> None:
    """Run the command; what the user can put right ends in one sentence on stderr and exit code 2.

    Ctrl-C, SIGTERM and SIGHUP end in what a shell expects of them, 128 and the signal's number, unless the command has
    ended well by then.
    """
    make_lasting()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell each other; ours goes to the log
    with ending_as_ctrl_c() as signal_that_came:
        try:
            code = _run(sys.argv[1:])
        except KeyboardInterrupt:
            code = 128 + signal_that_came()
    sys.exit(code)


def _run(words: list[str]) -> int:
    """Run the command of a line; returns the exit code.

    Of the sub-commands only the one that is called is imported, where it is the first word.

    typer's own way of running it is not taken: it has words of its own for an EOFError and for a pipe without a reader.
    """
    called = [word for word in words[:1] if word in COMMANDS]  # alone it is imported sooner
    command = typer.main.get_command(make_app(called or COMMANDS))
    settings = {} if has_terminal() else make_plain(command)
    try:
        with command.make_context("wavegen", words, **settings) as context:
            command.invoke(context)
        _flush()
    except typer.Exit as end:
        return end.exit_code
    except UsageError as error:
        _say_usage(error)
    except InputError as error:
        say(f"wavegen: {error}")
    except MemoryError as error:
        say(f"wavegen: not enough memory for so much at once ({error or 'allocating'})")
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        say(f"wavegen: the system refused{where}: {error.strerror or error}")
    else:
        return 0
    return 2


def _flush() -> None:
    """Have written what was printed.

    Raises: InputError if that is not possible, as on a full disk.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        lead_nowhere(sys.stdout.fileno())  # or Python tries it again when it ends
        raise InputError(f"cannot write to stdout: {error.strerror}") from error


def _say_usage(error: Exception) -> None:
    """Say what is wrong with the words of the line; a command without any has shown its help instead."""
    if type(error).__name__ == "NoArgsIsHelpError":
        show_text(error.format_message())  # type: ignore[attr-defined]
        return
    context, message = getattr(error, "ctx", None), " ".join(error.format_message().split())  # type: ignore[attr-defined]
    if context is None:
        say(f"wavegen: {message}")
        return
    for line in context.get_usage().splitlines():
        say(line)
    say(f"wavegen: {message[:1].lower()}{message[1:].rstrip('.')}; `{context.command_path} --help` shows what it takes")


if __name__ == "__main__":
    main()
