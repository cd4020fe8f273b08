"""What a job writes beside its files before it makes any: of what they are. So the same job can go on later.

A file that is there, and of which the record of the same options knows, is complete: files appear whole or not at all.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from wavegen import files
from wavegen.errors import InputError, shortened
from wavegen.generation.sound_file import picture_of
from wavegen.jobs.work import Piece, Work

RECORD_FORMAT = 1


def begin(path: Path, options: Mapping[str, Any], pieces: Sequence[Piece], work: Work, option: str) -> list[Piece]:
    """Write the record of a job to `path`; returns the pieces that are yet to be made.

    `options`: whatever the files depend on, beside their sources, as JSON has it. A source that has changed since is
    made again. `option` of the command says where files are written.

    Raises: InputError if the record that is there is of other options, or a file is there that it does not know.
    """
    before = _read(path)
    known: dict[str, Any] = {} if before is None else before["files"]
    if before is not None:
        for name in {**before["options"], **options}:
            old, new = before["options"].get(name), options.get(name)
            if old != new:
                raise InputError(
                    f"{path} is of a job whose {name} is {shortened(old)}, and here it is {shortened(new)}; expected "
                    f"the same, to go on with it, or another {option}"
                )
    there = cache(_there)
    missing, stale, now = [], [], dict(known)
    for piece in pieces:
        name, of = piece.path.relative_to(path.parent).as_posix(), _state(piece.source)
        is_known = name in known
        is_there = _is_file(there, piece.path)
        if is_there and not is_known:
            raise InputError(
                f"{piece.path} is there, and {path.name} does not say of what it was made; "
                f"remove it, or choose another {option}"
            )
        if is_there and known[name] != of:
            stale.append(piece.path)
        elif is_there and (not work.plot or _is_file(there, picture_of(piece.path))):
            continue
        missing.append(piece)
        now[name] = of
    for one in stale:
        one.unlink(missing_ok=True)
    if now != known or before is None:
        record = {"format": RECORD_FORMAT, "options": dict(options), "files": now}
        files.write(path, json.dumps(record, ensure_ascii=False, indent=0).encode())
    return missing


def _read(path: Path) -> dict[str, Any] | None:
    """Raises: InputError if what is there is no record."""
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != RECORD_FORMAT or not isinstance(record["options"], dict):
            raise ValueError(f"its format is {shortened(record['format'])}")
        if not isinstance(record["files"], dict):
            raise ValueError("its files are no mapping")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is no record of a job ({error}); remove it, or choose another name") from error
    loaded: dict[str, Any] = record
    return loaded


def _state(source: Path | None) -> list[int] | None:
    """By what a change of a source is seen: its bytes, and when it was written, ns."""
    if source is None:
        return None
    try:
        found = source.stat()
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    return [found.st_size, found.st_mtime_ns]


def _there(folder: Path) -> dict[str, bool]:
    """The names in a folder, and whether each is a folder itself; one look for a million files."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_dir() for entry in entries}
    except FileNotFoundError:
        return {}


def _is_file(there: Any, path: Path) -> bool:
    """Raises: InputError if it is a folder."""
    is_folder = there(path.parent).get(path.name)
    if is_folder:
        raise InputError(f"{path} would be a file, and is a folder; rename it")
    return is_folder is not None
