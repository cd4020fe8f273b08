"""From what a recipe says to a corpus that can be read: fetched, prepared and opened as need be."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wavegen import files
from wavegen.data import download, sources, store
from wavegen.data.audio import SoundFormat
from wavegen.data.cleaning import Cleaning
from wavegen.data.images import ImageFormat
from wavegen.data.item_format import ItemFormat
from wavegen.data.named import NamedCorpus, find_corpus
from wavegen.data.store import Item, Report, Store
from wavegen.errors import InputError
from wavegen.paths import user_path
from wavegen.progress import bar
from wavegen.recipe import AudioData, FolderData, ImageData, NamedData, RecordedData, SineData

logger = logging.getLogger(__name__)

FOLDERS = ("folder", "images")  # the corpora that are any folder, of recordings or of images


def prepare(corpus: str, source: Path, item_format: ItemFormat) -> tuple[Path, Report | None]:
    """Prepare a named corpus, or any part of it, or "folder" or "images", from a folder or archives.

    Returns where it lies, and the report.

    The report is None if this source was prepared before and has not changed.
    """
    source = user_path(source)
    files.remove_abandoned(store.root())
    fingerprint = sources.fingerprint(source)
    path = store.folder_of(corpus, item_format, source, fingerprint)
    if store.read_facts(path) is not None:
        return path, None
    with bar(f"Preparing {corpus}", sources.n_bytes(source)) as running:
        items = _folder_items(source, item_format) if corpus in FOLDERS else find_corpus(corpus).items(source)
        return store.prepare(corpus, items, item_format, source, fingerprint, running)


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
        logger.info(
            f"{corpus.name} was prepared from other parts before; what is fetched now joins them, as a new corpus"
        )
    for part in chosen:
        remote = corpus.parts[part]
        download.fetch(remote, folder, sources.check_archive if remote.sha256 is None else None)
    return folder


def downloads(corpus: NamedCorpus) -> Path:
    """Where the files of a corpus are kept as they were fetched."""
    return store.root() / "downloads" / corpus.name


def item_format_of(data: AudioData | ImageData) -> SoundFormat | ImageFormat:
    """What a recipe wants a corpus to be brought to."""
    if isinstance(data, RecordedData):
        return SoundFormat(
            data.sample_rate, Cleaning(data.highpass, data.normalize, data.trim_silence, data.longest_pause)
        )
    if isinstance(data, AudioData):
        return SoundFormat(data.sample_rate)
    return ImageFormat(*data.shape, is_binary=data.is_binary)


def open_corpus(data: AudioData | ImageData, may_prepare: bool = True) -> tuple[Store, Report | None]:
    """The store of a recipe's corpus, made or prepared first where need be; the report tells of a preparation.

    Raises: InputError if the corpus is neither prepared nor to be found, or not prepared where that may not be done.
    """
    if isinstance(data, SineData):
        return _sine(data), None
    assert isinstance(data, NamedData | FolderData | ImageData)  # the recipe knows no other corpus
    item_format = item_format_of(data)
    if data.source is not None:
        if not may_prepare:
            return store.load(_prepared_from(data.corpus, data.source, item_format)), None
        path, report = prepare(data.corpus, data.source, item_format)
        return store.load(path), report
    if data.corpus in FOLDERS:
        raise InputError(f"the recipe names no folder of {item_format.items}; add --set data.source=FOLDER")
    elsewhere = {facts["source"] for _, facts in store.prepared(data.corpus)}
    if (
        may_prepare and len(elsewhere) == 1 and not store.prepared(data.corpus, item_format)
    ):  # in another item_format, at another rate
        path, report = prepare(data.corpus, Path(elsewhere.pop()), item_format)
        return store.load(path), report
    return store.load(_only_prepared(data.corpus, item_format)), None


def _prepared_from(corpus: str, source: Path, item_format: ItemFormat) -> Path:
    """Where the store of a source lies, which must be there and of the source as it is now."""
    source = user_path(source)
    path = store.folder_of(corpus, item_format, source, sources.fingerprint(source))
    if store.read_facts(path) is None:
        raise InputError(f"{source} is not prepared as it is now; `wavegen data prepare {corpus} --from {source}` does")
    return path


def _only_prepared(corpus: str, item_format: ItemFormat) -> Path:
    """The one store of a named corpus."""
    stores = store.prepared(corpus, item_format)
    if not stores:
        raise InputError(
            f"the corpus {corpus} is not prepared at {item_format.title}; `wavegen data prepare {corpus}` fetches it "
            f"from {find_corpus(corpus).home} and prepares it, or takes what you have with --from ARCHIVE_OR_FOLDER"
        )
    if len(stores) > 1:
        choices = " or ".join(f"data.source={facts['source']}" for _, facts in stores)
        raise InputError(
            f"{corpus} is prepared from {len(stores)} sources at {item_format.title}; choose with --set {choices}"
        )
    return stores[0][0]


def _folder_items(source: Path, item_format: ItemFormat) -> Iterator[Item]:
    for name, file, n_bytes, fault, passed_over in sources.items_in(source, item_format):
        labels = {"folder": name.parts[0]} if len(name.parts) > 1 else {}
        yield Item(str(name), file, n_bytes, labels, "", fault, passed_over)


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
