"""wavegen data"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wavegen.progress import say

app = typer.Typer(no_args_is_help=True, help="Prepare corpora, and list those that are prepared.")


@app.command("list")
def list_corpora() -> None:
    """List the corpora that wavegen knows, and those prepared on this machine.

    Examples:
        wavegen data list
    """
    from wavegen.data import corpora, store

    known = Table("corpus", "what it is", "where to get it", title="Known corpora")
    for corpus in corpora.NAMED:
        known.add_row(corpus.name, corpus.about, corpus.get)
    prepared = Table("store", "recordings", "hours", "left out", "from", title=f"Prepared in {store.root()}")
    for folder, facts in store.prepared():
        left_out = len((folder / "left_out.jsonl").read_text().splitlines())
        prepared.add_row(
            folder.name,
            f"{facts['n_recordings']:,}",
            f"{facts['seconds'] / 3600:.2f}",
            str(left_out),
            facts["source"],
        )
    Console(markup=False).print(known, prepared)


@app.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="name of the corpus; `wavegen data list` shows them")],
    source: Annotated[Path, typer.Option("--from", help="its folder, or an archive of it, or a folder of archives")],
    sample_rate: Annotated[int | None, typer.Option(min=1, help="Hz (default: the corpus' own)")] = None,
) -> None:
    """Decode a corpus once, into one file that training can map into memory.

    Recordings that cannot be used are left out, and named with the reason.

    Examples:
        wavegen data prepare librispeech --from ~/Downloads/train-clean-100.tar.gz
    """
    from wavegen.data import corpora

    corpus = corpora.find_corpus(name)
    path, report = corpora.prepare_librispeech(source, sample_rate or corpus.sample_rate)
    for line in report.lines(most=1000) if report else [f"{source} is prepared already and has not changed"]:
        say(line)
    print(path)
