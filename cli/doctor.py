"""wavegen doctor"""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from wavegen.progress import bar

from .tables import Table

app = typer.Typer()


@app.command("doctor")
def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(help="a run folder or a model of your own, to look into", metavar="[RUN]", show_default=False),
    ] = None,
) -> None:
    """Tell what works on this machine, and what to install for the rest; or what is wrong with a training run, and what
    helps.

    Of a run it looks at the log, the corpus, what the network makes by itself, and into the network: in a minute or so.
    The exit code is 1 if it finds something.

    Examples:
        wavegen doctor
        wavegen doctor runs/birds
    """
    if run is None:
        from wavegen.doctor.machine import examine

        findings, bad = examine(), "missing"
    else:
        from wavegen.doctor.run import diagnose

        with bar("Looking into it", 4) as running:
            findings, bad = diagnose(run, running), "symptom"

    marks = {True: Text("ok", "green"), False: Text(bad, "red"), None: Text("-", "yellow")}
    table = Table(show_header=False, box=None)
    for finding in findings:
        table.add_row(finding.what, marks[finding.ok], finding.detail)
    table.show()
    if run is not None and any(finding.ok is False for finding in findings):
        raise typer.Exit(1)
