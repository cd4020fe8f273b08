"""Files that appear whole or not at all."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeGuard

from wavegen.errors import DiskError, InputError

DISK_FAULTS = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG])


def user_cache() -> Path:
    """wavegen's folder in the user's cache: what can be made again.

    Raises: InputError if the user has no home.
    """
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home) / "wavegen"
    try:
        return Path.home() / ".cache" / "wavegen"
    except RuntimeError as error:
        raise InputError("this user has no home folder; set XDG_CACHE_HOME to a folder to keep things in") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbour of `path` to write to; on success it is flushed to disk and renamed to `path`.

    Whatever happens in between (an exception, a full disk, kill -9), `path` is either what it was before or the
    complete new file, and a full disk is an InputError. An exception removes the temporary file; kill -9 can leave it
    behind under its `.partial` name, where the next write of the same path replaces it.

    Raises: InputError if the folder cannot be made or written to, DiskError if the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield partial
        flush_to_disk(partial)
        partial.replace(path)
        flush_to_disk(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if is_disk_fault(error):
            raise DiskError(f"cannot write {path}: {error.strerror}") from error
        raise


def write(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all.

    Writing bytes through Python's own file, rather than letting a library write, makes a full disk an OSError whatever
    the format.
    """
    with atomic(path) as partial:
        partial.write_bytes(data)


def append(path: Path, line: str) -> None:
    """Add a line to a file. A full disk can leave a part of it, which who reads such a file passes over.

    Raises: DiskError if it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Keep other processes out of a folder, made if need be, while the block runs; kill -9 frees it.

    Folders made for a block that then fails without writing anything to them go again.

    Raises: InputError, saying `busy`, if another process is in it; or if the folder cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(busy) from None
        try:
            yield
        except BaseException:
            if missing and [path.name for path in folder.iterdir()] == [".lock"]:
                (folder / ".lock").unlink()
                with suppress(OSError):  # another process may have put something beside it
                    for empty in missing:
                        empty.rmdir()
            raise


def is_disk_fault(error: BaseException) -> TypeGuard[OSError]:
    """Whether an error says that a disk is full, over its quota, broken or not to be written to."""
    return isinstance(error, OSError) and error.errno in DISK_FAULTS


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it.

    Raises: InputError if something is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error


def check_writable(folder: Path) -> None:
    """Find out whether files can be written to a folder that may not exist yet, without making it.

    Raises: InputError naming what is in the way.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"cannot write to {folder}: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {folder}: no permission to write to {existing}")


def flush_to_disk(path: Path) -> None:
    """Have the operating system write a file's contents, or a folder's entries, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
