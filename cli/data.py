"""wavegen data"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wavegen.errors import InputError
from wavegen.progress import say

FOLDER_RATE = 16000  # Hz, as in recipes/folder.yaml

app = typer.Typer(no_args_is_help=True, help="Prepare corpora, and list those that are prepared.")


@app.command("list")
def list_corpora() -> None:
    """List the corpora that wavegen knows, and those prepared on this machine.

    Examples:
        wavegen data list
    """
    from wavegen.data import store
    from wavegen.data.named import NAMED

    known = Table(
        "corpus", "what it is", "parts (* fetched unless --part says otherwise)", "home", title="Known corpora"
    )
    for corpus in NAMED.values():
        parts = ", ".join(part + "*" * (part in corpus.default_parts) for part in corpus.parts)
        known.add_row(corpus.name, corpus.about, parts, corpus.home)
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
    name: Annotated[str, typer.Argument(help="name of the corpus, see `wavegen data list`, or folder")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="its folder, or an archive of it, or a folder of archives (default: fetch it)",
            show_default=False,
        ),
    ] = None,
    parts: Annotated[
        list[str] | None, typer.Option("--part", help="a part to fetch, see `wavegen data list`; repeat for more")
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=1, help="Hz (default: the corpus' own, of a folder 16000)")
    ] = None,
) -> None:
    """Decode a corpus once, into one file that training can map into memory; fetch it first if need be.

    Recordings that cannot be used are left out, and named with the reason. A download that broke off goes on when the
    command is given again.

    Examples:
        wavegen data prepare digits
        wavegen data prepare librispeech --part train-clean-5 --part dev-clean-2
        wavegen data prepare librispeech --from ~/Downloads/train-clean-100.tar.gz
        wavegen data prepare folder --from ~/recordings
    """
    from wavegen.data import corpora
    from wavegen.data.named import find_corpus

    if source is not None and parts:
        raise InputError("--part chooses what to fetch, and --from names what is there; expected one of them")
    if name == corpora.FOLDER:
        if source is None:
            raise InputError("a folder of your own cannot be fetched; name it with --from FOLDER")
        sample_rate = sample_rate or FOLDER_RATE
    else:
        corpus = find_corpus(name)
        sample_rate = sample_rate or corpus.sample_rate
        source = source or corpora.fetch_named(corpus, parts or [])
    path, report = corpora.prepare(name, source, sample_rate)
    for line in report.lines(most=1000) if report else [f"{source} is prepared already and has not changed"]:
        say(line)
    print(path)
