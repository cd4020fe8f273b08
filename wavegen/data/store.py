"""Prepared corpora on disk: memory-mapped samples or pixels, and an index of recordings or images.

A store is a folder that appears whole or not at all:

    samples.i16      all recordings one after another, 16-bit little-endian
    pixels.u8        or all images, 8-bit, row by row, colours together
    index.jsonl      a line per recording or image: name, start, n_samples, labels, subset
    left_out.jsonl   a line per file left out: name, reason
    store.json       corpus, sample rate or shape, fingerprints, totals

Its folder's name says the corpus, its format, and (as a hash) the source and its state, so a store is never changed.
Codec and windows apply when it is read, so recipes that differ in them share a store.
"""

import errno
import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen import files
from wavegen.data import cleaning
from wavegen.data.audio import SoundFormat, as_int16
from wavegen.data.images import ImageFormat
from wavegen.data.item_format import HIDDEN, ItemFormat, Notes, Source, Values
from wavegen.errors import InputError
from wavegen.paths import resolved, user_path
from wavegen.progress import Bar

STORE_FORMAT = 1
FACTS = frozenset(["corpus", "source", "fingerprint"])  # of store.json, without which a store cannot be found


class Item(NamedTuple):
    """A recording or an image about to be prepared."""

    name: str
    file: Source
    n_bytes: int
    labels: Mapping[str, str]
    subset: str
    fault: str | None = None
    passed_over: str | None = None  # why, see sources.SourceFile


class Recording(NamedTuple):
    """A prepared recording (or image): where its samples (or pixels) lie in the store, and what is known about it."""

    name: str
    start: int
    n_samples: int
    labels: Mapping[str, str]
    subset: str


@dataclass
class Report:
    """What preparing a corpus found."""

    n_recordings: int = 0
    items: str = "recordings"
    n_values: int = 0
    amount: str = ""
    n_speakers: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)  # of those that were clipped; full scale is 1
    offsets: dict[str, float] = field(default_factory=dict)
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)  # item_format.Notes.remarks, by name
    left_out: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    n_hidden: int = 0
    levels: dict[str, int] = field(default_factory=dict)

    def lines(self, most: int = 20) -> list[str]:
        """The report for a reader; of many faults the first few."""
        faults = [f"left out {name}: {reason}" for name, reason in self.left_out.items()]
        faults += [f"passed over {name}: {reason}" for name, reason in self.passed_over.items()]
        faults += [
            f"clipped {n} samples beyond full scale, by up to {20 * math.log10(self.peaks[name]):.1f} dB; "
            f"data.normalize: peak keeps them: {name}"
            for name, n in self.clipped.items()
        ]
        faults += [
            f"swings around {offset:+.2g} instead of 0, where 8-bit codes are coarse; data.highpass: 20 mends it: "
            f"{name}"
            for name, offset in self.offsets.items()
        ]
        faults += [f"{remark}: {name}" for name, remarks in self.remarks.items() for remark in remarks.values()]
        speakers = f" of {self.n_speakers} speakers" if self.n_speakers else ""
        tallest = max(self.levels.values(), default=1)
        more = [f"and {len(faults) - most} more"] if len(faults) > most else []
        counts = {**self.changed, "left out": len(self.left_out), "clipped": len(self.clipped)}
        kinds = Counter(kind for remarks in self.remarks.values() for kind in remarks)
        rare = {"around an offset": len(self.offsets), **kinds, "passed over": len(self.passed_over)}
        rare["hidden, passed over"] = self.n_hidden
        counts |= {what: n for what, n in rare.items() if n}
        heading = ["level (RMS, dB of full scale) and number of recordings:"] if self.levels else []
        return [
            f"{_counted(self.n_recordings, self.items + speakers, self.amount)}; "
            + ", ".join(f"{n} {what}" for what, n in counts.items()),
            *heading,
            *(f"{band:>12} {'█' * math.ceil(30 * n / tallest)} {n}" for band, n in self.levels.items()),
            *faults[:most],
            *more,
        ]


@dataclass(frozen=True)
class Store:
    """A corpus ready to be read. `fingerprint` is a hash of samples and index."""

    corpus: str
    item_format: Values
    samples: NDArray[Any]  # int16, or of images and of frames uint8
    recordings: Sequence[Recording]
    fingerprint: str


def root() -> Path:
    """Where stores are kept: $WAVEGEN_DATA, or wavegen's folder in the user's cache."""
    if named := os.environ.get("WAVEGEN_DATA"):
        return user_path(named)
    return files.user_cache()


def folder_of(corpus: str, item_format: ItemFormat, source: Path, source_fingerprint: str) -> Path:
    """Where the store of a source lies, or will lie once it is prepared."""
    key = hashlib.sha256(f"{absolute(source)}\n{source_fingerprint}".encode()).hexdigest()[:10]
    return root() / f"{corpus}-{item_format.name}-{key}"


def prepare(
    corpus: str, items: Iterable[Item], item_format: ItemFormat, source: Path, source_fingerprint: str, bar: Bar
) -> tuple[Path, Report]:
    """Decode every item into a new store; once it is complete, older stores of the same source go.

    Memory stays bounded whatever the corpus holds: items go to disk block by block.

    Raises: InputError if more than half of the items are bad, or the folder cannot be written to.
    """
    path = folder_of(corpus, item_format, source, source_fingerprint)
    files.make_folder(path.parent)
    try:
        with files.working_folder(path) as partial:
            report, fingerprint = _decode_all(partial, corpus, items, item_format, source, bar)
            lines = [json.dumps({"name": name, "reason": reason}) for name, reason in report.left_out.items()]
            (partial / "left_out.jsonl").write_text("".join(line + "\n" for line in lines))
            facts = {
                "format": STORE_FORMAT,
                "corpus": corpus,
                **item_format.facts,
                "source": absolute(source),
                "fingerprint": fingerprint,
                **{key: value for key, value in asdict(report).items() if key != "left_out"},
            }
            (partial / "store.json").write_text(json.dumps(facts, indent=1))
            for file in partial.iterdir():
                files.flush_to_disk(file)
            _put_in_place(partial, path)
            (path / files.LOCK_FILE).unlink(missing_ok=True)  # which is no part of a store
    except OSError as error:
        if files.is_disk_fault(error):
            raise InputError(f"cannot write the store {path}: {error.strerror}; nothing of it was kept") from error
        raise
    for folder, facts in prepared(corpus, item_format):
        if facts["source"] == absolute(source) and folder != path:
            shutil.rmtree(folder, ignore_errors=True)
    return path, report


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename a complete store to its name, unless another process has just made the same.

    Raises: OSError if that cannot be done.
    """
    while read_facts(path) is None:
        try:
            partial.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if read_facts(path) is not None:  # just now
                return
            if path.is_dir():  # damaged, or of another version
                shutil.rmtree(path)
            else:
                path.unlink()
        else:
            files.flush_to_disk(path.parent)


def prepared(corpus: str | None = None, item_format: ItemFormat | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """The folder of every prepared corpus (of one name and format), and what its store.json says; sorted by source."""
    folders = []
    for folder in root().iterdir() if root().is_dir() else []:
        facts = read_facts(folder)
        if facts is None or corpus not in (None, facts["corpus"]) or item_format not in (None, item_format_of(facts)):
            continue
        folders.append((folder, facts))
    return sorted(
        folders, key=lambda prepared: (prepared[1]["corpus"], prepared[1]["source"], item_format_of(prepared[1]).name)
    )


def read_facts(path: Path) -> dict[str, Any] | None:
    """What store.json says, or None where there is no complete store of a format that this wavegen knows."""
    try:
        facts: dict[str, Any] = json.loads((path / "store.json").read_text())
    except (OSError, ValueError):
        return None
    is_known = isinstance(facts, dict) and facts.get("format") == STORE_FORMAT and facts.keys() >= FACTS
    if not is_known or path.name.endswith(".partial"):
        return None
    return facts


def load(path: Path) -> Store:
    """Open a store; its samples or pixels are mapped into memory, not read.

    Raises: InputError if it is missing or damaged.
    """
    facts = read_facts(path)
    if facts is None:
        raise InputError(f"{path} holds no prepared corpus of this version; `wavegen data prepare` makes one")
    try:
        with (path / "index.jsonl").open() as index:
            recordings = [Recording(**json.loads(line)) for line in index]
        item_format = item_format_of(facts)
        samples = np.memmap(path / item_format.file, dtype=item_format.dtype, mode="r")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the store {path} is damaged ({error}); delete it and prepare it again") from error
    if not recordings or recordings[-1].start + recordings[-1].n_samples != len(samples):
        raise InputError(
            f"the store {path} is damaged: {item_format.file} and index disagree; delete it and prepare it again"
        )
    return Store(facts["corpus"], item_format, samples, recordings, facts["fingerprint"])


def item_format_of(facts: Mapping[str, Any]) -> SoundFormat | ImageFormat:
    """The format that store.json tells of."""
    if "shape" in facts:
        height, width, n_colours = facts["shape"]
        return ImageFormat(height, width, n_colours, facts["is_binary"])
    return SoundFormat(facts["sample_rate"], cleaning.from_facts(facts))


def in_memory(corpus: str, sample_rate: int, waveforms: Sequence[NDArray[np.floating]], n_kinds: int = 1) -> Store:
    """A store of waveforms (T,) in [-1, 1] that exist only in memory.

    They come in rounds of `n_kinds`, one of each kind; the round becomes the subset, so that splits take whole rounds.
    """
    recordings, start = [], 0
    for number, waveform in enumerate(waveforms):
        subset = f"round {number // n_kinds:04d}"
        recordings.append(Recording(f"{corpus}-{number:04d}", start, len(waveform), {}, subset))
        start += len(waveform)
    samples = as_int16(np.concatenate(waveforms))
    return Store(corpus, SoundFormat(sample_rate), samples, recordings, hashlib.sha256(samples.tobytes()).hexdigest())


def _decode_all(
    partial: Path, corpus: str, items: Iterable[Item], item_format: ItemFormat, source: Path, bar: Bar
) -> tuple[Report, str]:
    """Write the values and index.jsonl; returns the report and the hash of both."""
    report = Report(items=item_format.items, changed=dict.fromkeys(item_format.changes, 0))
    digest = hashlib.sha256(f"{corpus} {item_format.name}\n".encode())
    dtype = item_format.dtype
    n_values = n_bytes = 0
    bands: Counter[str] = Counter()
    speakers = set()
    with (partial / item_format.file).open("wb") as values, (partial / "index.jsonl").open("w") as index:
        for item in items:
            if item.passed_over is not None:
                if item.passed_over == HIDDEN:
                    report.n_hidden += 1
                else:
                    report.passed_over[item.name] = item.passed_over
                continue
            notes = Notes()
            try:
                if item.fault is not None:
                    raise InputError(item.fault)
                for block in item_format.decode(item.name, item.file, notes):
                    values.write(block.astype(dtype).tobytes())
            except InputError as error:
                report.left_out[item.name] = str(error)
                values.seek(dtype.itemsize * n_values)
                values.truncate()
            else:
                recording = Recording(item.name, n_values, notes.n_values, item.labels, item.subset)
                line = json.dumps(recording._asdict())
                index.write(line + "\n")
                digest.update(line.encode())
                n_values += notes.n_values
                report.n_recordings += 1
                if notes.band is not None:
                    bands[notes.band] += 1
                speakers.add(item.labels.get("speaker"))
                for change in notes.changes:
                    report.changed[change] += 1
                if notes.n_clipped:
                    report.clipped[item.name] = notes.n_clipped
                    report.peaks[item.name] = notes.peak
                if notes.offset:
                    report.offsets[item.name] = notes.offset
                if notes.remarks:
                    report.remarks[item.name] = notes.remarks
            n_bytes += item.n_bytes
            bar.update(n_bytes, _counted(report.n_recordings, item_format.items, item_format.amount(n_values)))
    n_bad = len(report.left_out)
    if report.n_recordings < n_bad or report.n_recordings == 0:
        name, reason = next(iter(report.left_out.items()), ("none", f"no {item_format.items}"))
        raise InputError(
            f"{n_bad} of {n_bad + report.n_recordings} {item_format.items} of {source} cannot be used, "
            f"for example {name}: {reason}"
        )
    report.n_values, report.amount = n_values, item_format.amount(n_values)
    report.n_speakers = len(speakers - {None})
    report.levels = {
        band: bands[band] for band in sorted(bands, key=lambda band: int(band.split()[0]) if " " in band else -1000)
    }
    with (partial / item_format.file).open("rb") as file:
        while read := file.read(1 << 20):
            digest.update(read)
    return report, digest.hexdigest()


def _counted(n: int, items: str, amount: str) -> str:
    """14 recordings, 0.25 h; or 14 images, whose amount is their number."""
    return amount if amount == f"{n:,} {items}" else f"{n:,} {items}, {amount}"


def absolute(source: Path) -> str:
    """A source's place as text that survives JSON, whatever bytes its name holds."""
    return os.fsencode(resolved(source)).decode("utf-8", "backslashreplace")
