"""Where each corpus comes from: its layout, labels and splits."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wavegen.data import sources, store
from wavegen.data.store import Item, Recording, Report, Segment, Store
from wavegen.errors import InputError
from wavegen.progress import bar
from wavegen.recipe import AudioData, FolderData, LibriSpeechData, SineData

SPLITS = ("train", "validation", "test")
GAP_S = 1.0  # between the splits of one recording, so that no window reaches across

_UTTERANCE = re.compile(r"(?P<subset>[^/]+)/(?P<speaker>\d+)/(?P<chapter>\d+)/(?P=speaker)-(?P=chapter)-\d+\.flac$")


class Corpus(NamedTuple):
    """A corpus that `wavegen data prepare NAME` knows."""

    name: str
    about: str
    sample_rate: int
    get: str


NAMED = (
    Corpus(
        "librispeech",
        "read English speech, 16 kHz, CC BY 4.0 (Panayotov, Chen, Povey, Khudanpur, ICASSP 2015)",
        16000,
        "https://www.openslr.org/12, or a small part of it from https://www.openslr.org/31",
    ),
)


def find_corpus(name: str) -> Corpus:
    """Raises: InputError for an unknown name; it names the known ones."""
    for corpus in NAMED:
        if corpus.name == name:
            return corpus
    raise InputError(
        f"unknown corpus {name!r}; known ones are {', '.join(corpus.name for corpus in NAMED)} "
        "(a folder of your own needs no name: see `wavegen recipes show folder`)"
    )


def prepare_librispeech(source: Path, sample_rate: int) -> tuple[Path, Report]:
    """Prepare LibriSpeech, or any part of it, from its folder or its archives; returns where, and what was found."""
    path = store.root() / f"librispeech-{sample_rate}"
    return path, _prepare(path, "librispeech", source, _librispeech_items(source), sample_rate)


def open_corpus(data: AudioData) -> tuple[Store, Report | None]:
    """The store of a recipe's corpus, made or prepared first where need be; the report tells of a preparation.

    Raises: InputError if the corpus is neither prepared nor to be found.
    """
    if isinstance(data, SineData):
        return _sine(data), None
    if isinstance(data, LibriSpeechData):
        path = store.root() / f"librispeech-{data.sample_rate}"
        if data.source is None:
            if store.read_facts(path) is None:
                raise InputError(
                    f"the corpus librispeech is not prepared at {data.sample_rate} Hz; get it from "
                    f"{find_corpus('librispeech').get}, then run "
                    "`wavegen data prepare librispeech --from ARCHIVE_OR_FOLDER`"
                )
            return store.load(path), None
        source = data.source.expanduser()
        items = _librispeech_items(source)
    else:
        assert isinstance(data, FolderData)  # the recipe knows no other corpus
        if data.source is None:
            raise InputError("the recipe names no folder of recordings; add --set data.source=FOLDER")
        source = data.source.expanduser()
        place = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:8]
        path = store.root() / f"folder-{source.resolve().name}-{place}-{data.sample_rate}"
        items = _folder_items(source)
    facts = store.read_facts(path)
    report = None
    if facts is None or facts["source_fingerprint"] != sources.fingerprint(source):
        report = _prepare(path, data.corpus, source, items, data.sample_rate)
    return store.load(path), report


def prepared() -> list[tuple[Path, dict[str, Any]]]:
    """The folder of every prepared corpus, and what its store.json says."""
    folders = sorted(store.root().iterdir()) if store.root().is_dir() else []
    return [(folder, facts) for folder in folders if (facts := store.read_facts(folder)) is not None]


def split(data: AudioData, recordings: Sequence[Recording]) -> dict[str, list[Segment]]:
    """Divide the recordings into train, validation and test by the recipe's rule.

    No two splits share a recording (or a speaker, for rule "speaker"), but for rule "time", where they share recordings
    with a gap of a second between them. Labels are those that the recipe uses, under its names.

    Raises: InputError if a split that the rule promises stays empty.
    """
    rule = getattr(data, "split", "recording")
    if rule == "time":
        segments = {name: [s for r in recordings for s in _by_time(r, name, data)] for name in SPLITS}
    else:
        groups = [_group(recording, rule) for recording in recordings]
        names = _official(groups) if rule == "official" else _by_rank(sorted(set(groups)), rule)
        segments = {name: [] for name in SPLITS}
        for recording, group in zip(recordings, groups, strict=True):
            segments[names[group]].append(_segment(recording, 0, recording.n_samples, data))
    empty = [name for name in ("train", "validation") if not segments[name]]
    if empty:
        raise InputError(
            f"data.split is {rule!r}, which leaves nothing to the {' and '.join(empty)} split of these "
            f"{len(recordings)} recordings; choose another rule (`wavegen recipes fields`)"
        )
    return segments


def label_values(segments: Sequence[Segment]) -> dict[str, list[str]]:
    """The values of every label in some segments, sorted."""
    names = segments[0].labels if segments else {}
    return {name: sorted({segment.labels[name] for segment in segments if name in segment.labels}) for name in names}


def _prepare(path: Path, corpus: str, source: Path, items: Iterator[Item], sample_rate: int) -> Report:
    with bar(f"Preparing {corpus}", sources.n_bytes(source)) as running:
        fingerprint = sources.fingerprint(source)
        return store.prepare(path, corpus, items, sample_rate, str(source.resolve()), fingerprint, running)


def _librispeech_items(source: Path) -> Iterator[Item]:
    """Utterances by the layout <subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac."""
    found = False
    for name, file, n_bytes in sources.recordings_in(source):
        match = _UTTERANCE.search(("/" + str(source.resolve()) + "/" + str(name)) if source.is_dir() else str(name))
        if match:
            found = True
            yield Item(str(name), file, n_bytes, {"speaker": match["speaker"]}, match["subset"])
    if not found:
        raise InputError(
            f"{source} does not have LibriSpeech's layout; expected files such as "
            "train-clean-100/19/198/19-198-0000.flac (for other recordings use recipes/folder.yaml)"
        )


def _folder_items(source: Path) -> Iterator[Item]:
    for name, file, n_bytes in sources.recordings_in(source):
        labels = {"folder": name.parts[0]} if len(name.parts) > 1 else {}
        yield Item(str(name), file, n_bytes, labels, "")


def _sine(data: SineData) -> Store:
    """Steady tones with harmonics and noise; recording i takes frequency i, and phase and noise from seed i."""
    n = round(data.seconds * data.sample_rate)
    if n < 1:
        raise InputError(f"data.seconds is {data.seconds}; too short for a sample at {data.sample_rate} Hz")
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
        tone *= data.amplitude / np.abs(tone).max()
        if data.noise_db is not None:
            level = np.sqrt(np.mean(tone**2)) * 10 ** (data.noise_db / 20)
            tone = tone + level * random.standard_normal(n)
        waveforms.append(np.clip(tone, -1, 1))
    return store.in_memory("sine", data.sample_rate, waveforms)


def _segment(recording: Recording, first: int, last: int, data: AudioData) -> Segment:
    labels = dict(recording.labels)
    if isinstance(data, LibriSpeechData):
        labels = {name: labels[name] for name in data.labels}
    elif isinstance(data, FolderData):
        name = data.labels_from_folders
        labels = {name: labels["folder"]} if name is not None and "folder" in labels else {}
    group = recording.labels.get("speaker") or recording.labels.get("folder", "")
    return Segment(recording.name, recording.start + first, last - first, labels, first == 0, group)


def _by_time(recording: Recording, name: str, data: AudioData) -> list[Segment]:
    """The first 80 % of a recording train, the next 10 % validate, the last 10 % test."""
    n, gap = recording.n_samples, round(GAP_S * data.sample_rate)
    first, last = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}[name]
    begin = round(first * n) + (gap if first else 0)
    end = round(last * n)
    return [_segment(recording, begin, end, data)] if end > begin else []


def _group(recording: Recording, rule: str) -> str:
    return {"official": recording.subset, "speaker": recording.labels.get("speaker", "")}.get(rule, recording.name)


def _official(subsets: Sequence[str]) -> dict[str, str]:
    begins = {"train": "train", "dev": "validation", "test": "test"}
    return {subset: begins.get(subset.split("-")[0], "train") for subset in set(subsets)}


def _by_rank(groups: Sequence[str], rule: str) -> dict[str, str]:
    """Split groups by their place in sorted order: every fifth speaker tests and one in ten validates; of recordings,
    one in ten each (but at least one, where there are three or more)."""
    every = 5 if rule == "speaker" else min(10, max(3, len(groups)))
    names = {}
    for rank, group in enumerate(groups):
        if rank % every == 0:
            names[group] = "test"
        elif rank % (10 if rule == "speaker" else every) == 2:
            names[group] = "validation"
        else:
            names[group] = "train"
    return names
