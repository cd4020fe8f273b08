"""wavegen data"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from wavegen.data.audio import SoundFormat
from wavegen.data.images import ImageFormat
from wavegen.errors import InputError

from .tables import Table
from .terminal import say, show_result

FOLDER_FORMATS: dict[str, SoundFormat | ImageFormat] = {  # as in recipes/folder.yaml and images.yaml
    "folder": SoundFormat(16000),
    "images": ImageFormat(32, 32, 3),
}

app = typer.Typer(name="data", no_args_is_help=True, help="Prepare corpora, and list those that are prepared.")


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
    prepared = Table("store", "items", "amount", "left out", "from", title=f"Prepared in {store.root()}")
    for folder, facts in store.prepared():
        left_out = len((folder / "left_out.jsonl").read_text().splitlines())
        prepared.add_row(
            folder.name,
            f"{facts['n_recordings']:,}",
            facts.get("amount", ""),
            str(left_out),
            facts["source"],
        )
    known.show()
    prepared.show()


@app.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="name of the corpus, see `wavegen data list`, or folder, or images")],
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
        int | None,
        typer.Option(min=1, max=1_000_000, help="of sound, Hz (default: the corpus' own, of a folder 16000)"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="of images, HEIGHTxWIDTHx1 for grey or x3 for colour (default: the corpus' own, of a folder 32x32x3)"
        ),
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
    if name in corpora.FOLDERS:
        if source is None:
            raise InputError("a folder of your own cannot be fetched; name it with --from FOLDER")
        item_format = _item_format(FOLDER_FORMATS[name], sample_rate, size)
    else:
        corpus = find_corpus(name)
        item_format = _item_format(corpus.item_format, sample_rate, size)
        source = source or corpora.fetch_named(corpus, parts or [])
    path, report = corpora.prepare(name, source, item_format)
    for line in report.lines(most=1000) if report else [f"{source} is prepared already and has not changed"]:
        say(line)
    show_result(path)


def _item_format(
    own: SoundFormat | ImageFormat, sample_rate: int | None, size: str | None
) -> SoundFormat | ImageFormat:
    """A corpus' own item_format, or the one that is asked for.

    Raises: InputError for a rate of images, a size of sound, or a size that is none.
    """
    if isinstance(own, SoundFormat):
        if size is not None:
            raise InputError(f"--size is {size}, and these are recordings; expected --sample-rate")
        return replace(own, sample_rate=sample_rate) if sample_rate else own
    if sample_rate is not None:
        raise InputError(f"--sample-rate is {sample_rate}, and these are images; expected --size")
    if size is None:
        return own
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})(?:x([13]))?", size)
    if match is None:
        raise InputError(f"--size is {size}; expected HEIGHTxWIDTHx1 or HEIGHTxWIDTHx3, such as 28x28x1")
    return ImageFormat(int(match[1]), int(match[2]), int(match[3] or own.n_colours))
