"""wavegen doctor"""

from rich.console import Console
from rich.table import Table


def doctor() -> None:
    """Tell what works on this machine, and what to install for the rest.

    Examples:
        wavegen doctor
    """
    from wavegen.doctor import examine

    marks = {True: "[green]ok[/]", False: "[red]missing[/]", None: "[yellow]-[/]"}
    table = Table(show_header=False, box=None)
    for finding in examine():
        table.add_row(finding.what, marks[finding.ok], finding.detail)
    Console().print(table)
