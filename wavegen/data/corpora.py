"""Where each corpus comes from: its layout, labels and splits."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wavegen.data import sources, store
from wavegen.data.store import Item, Recording, Report, Store
from wavegen.data.windows import Segment
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


def prepare_librispeech(source: Path, sample_rate: int) -> tuple[Path, Report | None]:
    """Prepare LibriSpeech, or any part of it, from its folder or its archives; returns where, and what was found.

    The report is None if this source was prepared before and has not changed.
    """
    return _prepare("librispeech", source.expanduser(), sample_rate, _librispeech_items)


def open_corpus(data: AudioData) -> tuple[Store, Report | None]:
    """The store of a recipe's corpus, made or prepared first where need be; the report tells of a preparation.

    Raises: InputError if the corpus is neither prepared nor to be found.
    """
    if isinstance(data, SineData):
        return _sine(data), None
    if isinstance(data, LibriSpeechData):
        if data.source is None:
            return store.load(_only_prepared("librispeech", data.sample_rate)), None
        path, report = prepare_librispeech(data.source, data.sample_rate)
        return store.load(path), report
    assert isinstance(data, FolderData)  # the recipe knows no other corpus
    if data.source is None:
        raise InputError("the recipe names no folder of recordings; add --set data.source=FOLDER")
    path, report = _prepare("folder", data.source.expanduser(), data.sample_rate, _folder_items)
    return store.load(path), report


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
    if isinstance(data, FolderData) and data.labels_from_folders and not label_values(segments["train"]):
        raise InputError(
            f"data.labels_from_folders is {data.labels_from_folders!r}, but the recordings lie in no sub-folders"
        )
    if empty:
        raise InputError(
            f"data.split is {rule!r}, which leaves nothing to the {' and '.join(empty)} split of these "
            f"{len(recordings)} recordings; choose another rule (`wavegen recipes fields`)"
        )
    return segments


def label_values(segments: Sequence[Segment]) -> dict[str, list[str]]:
    """The values of every label in some segments, sorted."""
    names = sorted({name for segment in segments for name in segment.labels})
    return {name: sorted({segment.labels[name] for segment in segments if name in segment.labels}) for name in names}


def _prepare(
    corpus: str, source: Path, sample_rate: int, items: Callable[[Path], Iterator[Item]]
) -> tuple[Path, Report | None]:
    """The store of a source, prepared if this state of it is not yet."""
    fingerprint = sources.fingerprint(source)
    path = store.folder_of(corpus, sample_rate, source, fingerprint)
    if store.read_facts(path) is not None:
        return path, None
    with bar(f"Preparing {corpus}", sources.n_bytes(source)) as running:
        return store.prepare(corpus, items(source), sample_rate, source, fingerprint, running)


def _only_prepared(corpus: str, sample_rate: int) -> Path:
    """The one store of a named corpus."""
    found = store.prepared(corpus, sample_rate)
    if not found:
        raise InputError(
            f"the corpus {corpus} is not prepared at {sample_rate} Hz; get it from {find_corpus(corpus).get}, "
            f"then run `wavegen data prepare {corpus} --from ARCHIVE_OR_FOLDER`"
        )
    if len(found) > 1:
        places = " or ".join(f"data.source={facts['source']}" for _, facts in found)
        raise InputError(
            f"{corpus} is prepared from {len(found)} sources at {sample_rate} Hz; choose with --set {places}"
        )
    return found[0][0]


def _librispeech_items(source: Path) -> Iterator[Item]:
    """Utterances by the layout <subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac."""
    found = False
    for name, file, n_bytes in sources.recordings_in(source, lambda path: _UTTERANCE.search(path) is not None):
        match = _UTTERANCE.search(f"/{source.resolve().as_posix()}/{name}" if source.is_dir() else str(name))
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
    """What a split keeps together."""
    if rule == "official":
        return recording.subset
    if rule == "speaker":
        return recording.labels["speaker"]
    return recording.subset or recording.name


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
