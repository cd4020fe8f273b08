"""From what a recipe says to a corpus that can be read: fetched, prepared and opened as need be."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wavegen.data import download, sources, store
from wavegen.data.named import NamedCorpus, find_corpus
from wavegen.data.store import Item, Report, Store
from wavegen.errors import InputError
from wavegen.progress import bar, say
from wavegen.recipe import AudioData, FolderData, NamedData, SineData

FOLDER = "folder"  # the corpus that is any folder of recordings


def prepare(corpus: str, source: Path, sample_rate: int) -> tuple[Path, Report | None]:
    """Prepare a named corpus, or any part of it, or "folder", from a folder or archives; returns where, and the report.

    The report is None if this source was prepared before and has not changed.
    """
    source = source.expanduser()
    items = _folder_items if corpus == FOLDER else find_corpus(corpus).items
    fingerprint = sources.fingerprint(source)
    path = store.folder_of(corpus, sample_rate, source, fingerprint)
    if store.read_facts(path) is not None:
        return path, None
    with bar(f"Preparing {corpus}", sources.n_bytes(source)) as running:
        return store.prepare(corpus, items(source), sample_rate, source, fingerprint, running)


def fetch_named(corpus: NamedCorpus, parts: Sequence[str]) -> Path:
    """Have parts of a named corpus, all of the default ones if none are given, on this machine; returns the folder.

    Raises: InputError for an unknown part; it names the known ones. See `download.fetch` for what a network can do.
    """
    folder = downloads(corpus)
    chosen = parts or corpus.default_parts
    for part in chosen:
        if part not in corpus.parts:
            raise InputError(f"{corpus.name} has no part {part!r}; its parts are {', '.join(corpus.parts)}")
    if any(facts["source"] == store.absolute(folder) for _, facts in store.prepared(corpus.name)) and not all(
        (folder / corpus.parts[part].name).exists() for part in chosen
    ):
        say(f"{corpus.name} was prepared from other parts before; what is fetched now joins them, as a new corpus")
    for part in chosen:
        remote = corpus.parts[part]
        download.fetch(remote, folder, sources.check_archive if remote.sha256 is None else None)
    return folder


def downloads(corpus: NamedCorpus) -> Path:
    """Where the files of a corpus are kept as they were fetched."""
    return store.root() / "downloads" / corpus.name


def open_corpus(data: AudioData) -> tuple[Store, Report | None]:
    """The store of a recipe's corpus, made or prepared first where need be; the report tells of a preparation.

    Raises: InputError if the corpus is neither prepared nor to be found.
    """
    if isinstance(data, SineData):
        return _sine(data), None
    assert isinstance(data, NamedData | FolderData)  # the recipe knows no other corpus
    if data.source is not None:
        path, report = prepare(data.corpus, data.source, data.sample_rate)
        return store.load(path), report
    if isinstance(data, FolderData):
        raise InputError("the recipe names no folder of recordings; add --set data.source=FOLDER")
    return store.load(_only_prepared(data.corpus, data.sample_rate)), None


def _only_prepared(corpus: str, sample_rate: int) -> Path:
    """The one store of a named corpus."""
    found = store.prepared(corpus, sample_rate)
    if not found:
        raise InputError(
            f"the corpus {corpus} is not prepared at {sample_rate} Hz; `wavegen data prepare {corpus}` fetches it from "
            f"{find_corpus(corpus).home} and prepares it, or takes what you have with --from ARCHIVE_OR_FOLDER"
        )
    if len(found) > 1:
        places = " or ".join(f"data.source={facts['source']}" for _, facts in found)
        raise InputError(
            f"{corpus} is prepared from {len(found)} sources at {sample_rate} Hz; choose with --set {places}"
        )
    return found[0][0]


def _folder_items(source: Path) -> Iterator[Item]:
    for name, file, n_bytes, fault in sources.recordings_in(source):
        labels = {"folder": name.parts[0]} if len(name.parts) > 1 else {}
        yield Item(str(name), file, n_bytes, labels, "", fault)


def _sine(data: SineData) -> Store:
    """Steady tones with harmonics and noise; recording i takes frequency i, and phase and noise from seed i."""
    n = round(data.seconds * data.sample_rate)
    if n < 1:
        raise InputError(f"data.seconds is {data.seconds}; too short for a sample at {data.sample_rate} Hz")
    if max(data.frequencies) >= data.sample_rate / 2:
        raise InputError(
            f"data.frequencies holds {max(data.frequencies):g} Hz; at {data.sample_rate} Hz they must lie below "
            f"{data.sample_rate / 2:g}"
        )
    if not any(data.harmonics):
        raise InputError(f"data.harmonics is {data.harmonics}; at least one amplitude must be above 0")
    waveforms = []
    for number in range(data.n_recordings):
        random = np.random.Generator(np.random.Philox(number))
        frequency = data.frequencies[number % len(data.frequencies)]
        phase = 2 * np.pi * (frequency * np.arange(n) / data.sample_rate + random.random())
        audible = [
            amplitude * np.sin(order * phase)
            for order, amplitude in enumerate(data.harmonics, start=1)
            if order * frequency < data.sample_rate / 2
        ]
        tone = np.sum(audible, axis=0)
        tone = tone * data.amplitude / max(np.abs(tone).max(), 1e-9)
        if data.noise_db is not None:
            level = np.sqrt(np.mean(tone**2)) * 10 ** (data.noise_db / 20)
            tone = tone + level * random.standard_normal(n)
        waveforms.append(np.clip(tone, -1, 1))
    return store.in_memory("sine", data.sample_rate, waveforms, n_kinds=len(data.frequencies))
