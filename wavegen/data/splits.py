"""Who trains, who validates, who tests: recordings -> segments of each split."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import get_args

from wavegen.data.store import Recording
from wavegen.data.windows import Segment
from wavegen.errors import InputError
from wavegen.recipe import AudioData, ImageData

SPLITS = ("train", "validation", "test")
GAP_S = 1.0  # between the splits of one recording, so that no window reaches across


def split(data: AudioData | ImageData, recordings: Sequence[Recording]) -> dict[str, list[Segment]]:
    """Divide the recordings into train, validation and test by the recipe's rule.

    No two splits share a recording (or a speaker, for rule "speaker"), but for rule "time", where they share recordings
    with a gap of a second between them (a twentieth of those of ten seconds and less). Labels are those that the recipe
    uses, under its names.

    Raises: InputError if a split that the rule promises stays empty.
    """
    rule = getattr(data, "split", "recording")
    named = getattr(data, "labels_from_folders", None)
    if named:
        recordings = _from_where_folders_differ(recordings)
    if rule == "time":
        segments = {name: [s for r in recordings for s in _by_time(r, name, data)] for name in SPLITS}
    else:
        groups = [_group(recording, rule) for recording in recordings]
        names = _official(groups) if rule == "official" else _by_rank(sorted(set(groups)), rule)
        segments = {name: [] for name in SPLITS}
        for recording, group in zip(recordings, groups, strict=True):
            segments[names[group]].append(_segment(recording, 0, recording.n_samples, data))
    empty = [name for name in ("train", "validation") if not segments[name]]
    if named and not label_values(segments["train"]):
        raise InputError(f"data.labels_from_folders is {named!r}, but the files lie in no sub-folders")
    if empty:
        files = "1 file" if len(recordings) == 1 else f"{len(recordings)} files"
        raise InputError(
            f"data.split is {rule!r}, which leaves nothing to the {' and '.join(empty)} split of {files}; "
            f"{_remedy(rule, data)}"
        )
    return segments


def _remedy(rule: str, data: AudioData | ImageData) -> str:
    if rule == "time":
        return "expected recordings that are longer"
    if rule == "recording":
        choices = getattr(type(data).model_fields.get("split"), "annotation", None)
        of_each = ", or data.split: time, which takes the last 20 % of each" if "time" in get_args(choices) else ""
        return f"expected at least 3{of_each}"
    others = ", or data.split: speaker" if rule == "official" and "labels" in type(data).model_fields else ""
    return "expected at least 3 speakers" if rule == "speaker" else f"expected parts of both{others}"


def _from_where_folders_differ(recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings whose "folder" is below what all of them share: an archive of a folder holds that folder too."""
    folders = [PurePosixPath(recording.name).parts[:-1] for recording in recordings]
    while len({parts[:1] for parts in folders}) == 1 and any(parts[1:] for parts in folders):
        folders = [parts[1:] for parts in folders]
    labelled = []
    for recording, parts in zip(recordings, folders, strict=True):
        labels = {name: value for name, value in recording.labels.items() if name != "folder"}
        labelled.append(recording._replace(labels=labels | ({"folder": parts[0]} if parts else {})))
    return labelled


def label_values(segments: Sequence[Segment]) -> dict[str, list[str]]:
    """The values of every label in some segments, sorted."""
    names = sorted({name for segment in segments for name in segment.labels})
    return {name: sorted({segment.labels[name] for segment in segments if name in segment.labels}) for name in names}


def _segment(recording: Recording, first: int, last: int, data: AudioData | ImageData) -> Segment:
    if hasattr(data, "labels_from_folders"):
        name = data.labels_from_folders
        labels = {name: recording.labels["folder"]} if name is not None and "folder" in recording.labels else {}
    else:
        labels = {name: recording.labels[name] for name in getattr(data, "labels", [])}
    group = recording.labels.get("speaker") or recording.labels.get("folder", "")
    return Segment(recording.name, recording.start + first, last - first, labels, first == 0, group)


def _by_time(recording: Recording, name: str, data: AudioData | ImageData) -> list[Segment]:
    """The first 80 % of a recording train, the next 10 % validate, the last 10 % test."""
    assert isinstance(data, AudioData)  # no image has this rule
    n, gap = recording.n_samples, round(GAP_S * data.sample_rate)
    if n <= 10 * gap:  # a tenth would be gap and nothing else
        gap = n // 20
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
