"""wavegen doctor"""

from rich.console import Console
from rich.table import Table
from rich.text import Text


def doctor() -> None:
    """Tell what works on this machine, and what to install for the rest.

    Examples:
        wavegen doctor
    """
    from wavegen.doctor import examine

    marks = {True: Text("ok", "green"), False: Text("missing", "red"), None: Text("-", "yellow")}
    table = Table(show_header=False, box=None)
    for finding in examine():
        table.add_row(finding.what, marks[finding.ok], finding.detail)
    Console(markup=False).print(table)
