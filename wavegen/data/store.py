"""Prepared corpora on disk: memory-mapped samples, an index of recordings, and seeded windows over them.

A store is a folder that appears whole or not at all:

    samples.i16      all recordings one after another, 16-bit little-endian
    index.jsonl      a line per recording: name, start, n_samples, labels, subset
    left_out.jsonl   a line per file left out: name, reason
    store.json       corpus, sample rate, fingerprints, totals

Codec and windows apply when it is read, so recipes that differ in them share a store.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen import files
from wavegen.codec import Codec
from wavegen.data import audio
from wavegen.errors import InputError
from wavegen.progress import Bar

FORMAT = 1


class Item(NamedTuple):
    """A recording about to be prepared."""

    name: str
    file: Path | BinaryIO
    n_bytes: int
    labels: Mapping[str, str]
    subset: str


class Recording(NamedTuple):
    """A prepared recording: where its samples lie in the store, and what is known about it."""

    name: str
    start: int
    n_samples: int
    labels: Mapping[str, str]
    subset: str


@dataclass
class Report:
    """What preparing a corpus found."""

    n_recordings: int = 0
    seconds: float = 0.0
    n_resampled: int = 0
    n_mixed_down: int = 0
    clipped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Store:
    """A corpus ready to be read. `fingerprint` is a hash of samples and index."""

    corpus: str
    sample_rate: int
    samples: NDArray[np.int16]
    recordings: Sequence[Recording]
    fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def root() -> Path:
    """Where stores are kept: $WAVEGEN_DATA, or wavegen's folder in the user's cache."""
    if "WAVEGEN_DATA" in os.environ:
        return Path(os.environ["WAVEGEN_DATA"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wavegen"


def prepare(
    path: Path,
    corpus: str,
    items: Iterable[Item],
    sample_rate: int,
    source: str,
    source_fingerprint: str,
    bar: Bar,
) -> Report:
    """Decode every recording into a new store at `path`, replacing an older one once the new one is complete.

    Memory stays bounded whatever the corpus holds: recordings go to disk block by block.

    Raises: InputError if more than half of the recordings are bad, or the folder cannot be written to.
    """
    report = Report()
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write the store {path}: {error.strerror}") from error
    digest = hashlib.sha256(f"{corpus} {sample_rate}\n".encode())
    n_samples = n_bytes = 0
    try:
        with (partial / "samples.i16").open("wb") as samples, (partial / "index.jsonl").open("w") as index:
            for item in items:
                facts = audio.Facts()
                try:
                    for block in audio.decode(item.file, sample_rate, facts):
                        samples.write(block.astype("<i2").tobytes())
                except InputError as error:
                    report.left_out[item.name] = str(error)
                    samples.seek(2 * n_samples)
                    samples.truncate()
                else:
                    recording = Recording(item.name, n_samples, facts.n_samples, item.labels, item.subset)
                    line = json.dumps(recording._asdict())
                    index.write(line + "\n")
                    digest.update(line.encode())
                    n_samples += facts.n_samples
                    report.n_recordings += 1
                    report.n_resampled += facts.sample_rate != sample_rate
                    report.n_mixed_down += facts.n_channels > 1
                    if facts.n_clipped:
                        report.clipped[item.name] = facts.n_clipped
                n_bytes += item.n_bytes
                bar.update(n_bytes, f"{report.n_recordings} recordings, {n_samples / sample_rate / 3600:.2f} h")
        if report.n_recordings < len(report.left_out) or report.n_recordings == 0:
            name, reason = next(iter(report.left_out.items()), ("none", "no recordings"))
            raise InputError(
                f"{len(report.left_out)} of {len(report.left_out) + report.n_recordings} recordings of {source} "
                f"cannot be used, for example {name}: {reason}"
            )
        report.seconds = n_samples / sample_rate
        _hash_file(partial / "samples.i16", digest)
        lines = [json.dumps({"name": name, "reason": reason}) for name, reason in report.left_out.items()]
        (partial / "left_out.jsonl").write_text("".join(line + "\n" for line in lines))
        meta = {
            "format": FORMAT,
            "corpus": corpus,
            "sample_rate": sample_rate,
            "source": source,
            "source_fingerprint": source_fingerprint,
            "fingerprint": digest.hexdigest(),
            **{key: value for key, value in asdict(report).items() if key != "left_out"},
        }
        (partial / "store.json").write_text(json.dumps(meta, indent=1))
        for file in partial.iterdir():
            files.flush_to_disk(file)
        replaced = path.with_name(path.name + ".replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        partial.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write the store {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def read_facts(path: Path) -> dict[str, Any] | None:
    """What store.json says, or None where there is no store."""
    try:
        facts: dict[str, Any] = json.loads((path / "store.json").read_text())
    except (OSError, ValueError):
        return None
    return facts


def load(path: Path) -> Store:
    """Open a store; its samples are mapped into memory, not read.

    Raises: InputError if the store is damaged or of a newer format.
    """
    facts = read_facts(path)
    if facts is None:
        raise InputError(f"{path} holds no prepared corpus; expected what `wavegen data prepare` makes")
    if facts["format"] != FORMAT:
        raise InputError(f"{path} has store format {facts['format']}, this wavegen reads {FORMAT}; prepare it again")
    with (path / "index.jsonl").open() as index:
        recordings = [Recording(**json.loads(line)) for line in index]
    try:
        samples = np.memmap(path / "samples.i16", dtype="<i2", mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); prepare it again") from error
    if recordings and recordings[-1].start + recordings[-1].n_samples != len(samples):
        raise InputError(f"{path} is damaged: samples and index disagree; prepare it again")
    return Store(facts["corpus"], facts["sample_rate"], samples, recordings, facts["fingerprint"], facts)


def in_memory(corpus: str, sample_rate: int, waveforms: Sequence[NDArray[np.floating]]) -> Store:
    """A store of waveforms (T,) in [-1, 1] that exist only in memory."""
    recordings, start = [], 0
    for number, waveform in enumerate(waveforms):
        recordings.append(Recording(f"{corpus}-{number:04d}", start, len(waveform), {}, ""))
        start += len(waveform)
    samples = np.clip(np.rint(np.concatenate(waveforms) * 32768), -32768, 32767).astype(np.int16)
    return Store(corpus, sample_rate, samples, recordings, hashlib.sha256(samples.tobytes()).hexdigest())


class Segment(NamedTuple):
    """A stretch of a recording that belongs to one split.

    `at_start` says that it begins where the recording begins; `group` is whose it is: the speaker, or the first
    sub-folder.
    """

    name: str
    start: int
    n_samples: int
    labels: Mapping[str, str]
    at_start: bool
    group: str = ""


def codes_of(store: Store, segment: Segment, codec: Codec) -> NDArray[np.int64]:
    """All codes of a segment, (n_samples,)."""
    return code_table(codec)[store.samples[segment.start : segment.start + segment.n_samples]]


def code_table(codec: Codec) -> NDArray[np.int64]:
    """The code of every 16-bit sample; negative samples index from the end, as numpy does."""
    samples = np.concatenate([np.arange(0, 32768), np.arange(-32768, 0)])
    return codec.encode(samples / 32768)


class Batch(NamedTuple):
    """Windows ready to train on: codes (B, window), which of them count as targets, label rows, where they are from."""

    codes: NDArray[np.int64]
    counted: NDArray[np.bool_]
    labels: dict[str, NDArray[np.int64]]
    origins: list[str]


class _Group(NamedTuple):
    """Segments to choose from by their lengths, and those among them that begin a recording."""

    segments: list[Segment]
    ends: NDArray[np.int64]
    starting: list[Segment]

    @classmethod
    def of(cls, segments: list[Segment]) -> "_Group":
        ends = np.cumsum([segment.n_samples for segment in segments])
        return cls(segments, ends, [segment for segment in segments if segment.at_start])


class Windows:
    """Windows of codes as a pure function of (seed, step): a resumed run sees what an uninterrupted one would have.

    A window either begins where a recording begins, with nothing before it, and counts every code, or it begins
    anywhere else and its first `context` codes count for nothing: they are there to be seen. With `context` equal to
    the receptive field, every counted code is predicted from its full past. A recording shorter than the window is
    padded with silence that does not count. Every second of sound is equally likely to be heard, or, with
    `is_balanced`, every group of recordings, however much of each there is.

    Raises: InputError if no segment is long enough to hold a code that counts.
    """

    def __init__(
        self,
        store: Store,
        segments: Sequence[Segment],
        codec: Codec,
        window: int,
        context: int,
        true_starts: float,
        labels: Mapping[str, Sequence[str]],
        label_dropout: float,
        is_balanced: bool,
        seed: int,
    ) -> None:
        if window <= context:
            raise InputError(
                f"training.window is {window} samples; it must exceed the receptive field, which is {context}"
            )
        usable = [segment for segment in segments if segment.at_start or segment.n_samples > context]
        if not usable:
            raise InputError(f"no recording of {store.corpus} is longer than the receptive field of {context} samples")
        self._store, self._codec = store, codec
        self._window, self._context, self._true_starts = window, context, true_starts
        self._label_dropout, self._seed = label_dropout, seed
        self._rows = {name: {value: row for row, value in enumerate(values)} for name, values in labels.items()}
        self._table = code_table(codec).astype(np.int64)
        groups: dict[str, list[Segment]] = {}
        for segment in usable:
            groups.setdefault(segment.group if is_balanced else "", []).append(segment)
        self._groups = [_Group.of(segments) for _, segments in sorted(groups.items())]

    def batch(self, step: int, size: int) -> Batch:
        """The windows of one step."""
        codes = np.full((size, self._window), self._codec.silence, dtype=np.int64)
        counted = np.zeros((size, self._window), dtype=bool)
        labels = {name: np.empty(size, dtype=np.int64) for name in self._rows}
        origins = []
        for row in range(size):
            random = np.random.Generator(
                np.random.Philox(key=np.array([self._seed, step], dtype=np.uint64), counter=[0, 0, 0, row])
            )
            segment, offset = self._choose(random)
            n = min(self._window, segment.n_samples - offset)
            start = segment.start + offset
            codes[row, :n] = self._table[self._store.samples[start : start + n]]
            is_start = segment.at_start and offset == 0
            counted[row, 0 if is_start else self._context : n] = True
            is_hidden = random.random() < self._label_dropout
            for name, rows in self._rows.items():
                unknown = len(rows)
                labels[name][row] = unknown if is_hidden else rows.get(segment.labels.get(name, ""), unknown)
            origins.append(f"{segment.name} from sample {offset}")
        return Batch(codes, counted, labels, origins)

    def _choose(self, random: np.random.Generator) -> tuple[Segment, int]:
        """A segment and an offset into it."""
        group = self._groups[random.integers(len(self._groups))]
        if group.starting and random.random() < self._true_starts:
            return group.starting[random.integers(len(group.starting))], 0
        position = random.integers(group.ends[-1])
        segment = group.segments[int(np.searchsorted(group.ends, position, side="right"))]
        return segment, int(random.integers(max(1, segment.n_samples - self._window + 1)))


def _hash_file(path: Path, digest: Any) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
