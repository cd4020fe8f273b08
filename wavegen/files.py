"""Files that appear whole or not at all, and folders that belong to one process.

What is being made and not complete yet has a temporary name and a lock that the process which makes it holds (flock).
The lock ends with the process, however that ends, and other hosts and containers see it where the file system is
shared, so what nobody holds is known to be abandoned. Where a file system has no locks, what is not complete counts as
abandoned after a day in which nothing was written to it.
"""

import errno
import fcntl
import hashlib
import itertools
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TypeGuard

from wavegen.errors import DiskError, InputError

logger = logging.getLogger(__name__)

DISK_FAULTS = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG])
NOT_SUPPORTED = frozenset([errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])  # by a file system
NO_LOCKS = NOT_SUPPORTED | {errno.ENOLCK}
LOCK_FILE = ".lock"
ABANDONED_S = 86400.0  # without a write, where there are no locks
LONG_NAME = 100  # bytes; a file system allows 255, some that encrypt 143, and a temporary name is longer than the final


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
def atomic(path: Path, keep: Path | None = None) -> Iterator[Path]:
    """Yield a temporary neighbour of `path` to write to; on success it is flushed to disk and renamed to `path`.

    Whatever happens in between (an exception, a full disk, kill -9), `path` is either what it was before or the
    complete new file, and a full disk is an InputError. An exception removes the temporary file; kill -9 can leave it
    behind under its `.partial` name, where the next write of the same path replaces it. Writers of one path have a
    temporary file each, and the last one to end wins. A symbolic link stays, and what it leads to is replaced.

    `keep` is what the file that is replaced is called from then on; a kill between the two renames leaves that alone.

    Raises: InputError if the folder cannot be made or written to, DiskError if the disk is full.
    """
    try:
        target = _behind_link(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, lock = _claim_partial(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    with lock:
        try:
            yield partial
            flush_to_disk(partial)
            if keep is not None:
                with suppress(FileNotFoundError):
                    target.replace(keep)
            partial.replace(target)
            flush_to_disk(target.parent)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if is_disk_fault(error):
                raise DiskError(f"cannot write {path}: {error.strerror}") from error
            raise


def _behind_link(path: Path) -> Path:
    """What a symbolic link leads to, be it there or not; any other path as it is.

    Raises: OSError for links in a circle.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _claim_partial(path: Path) -> tuple[Path, IO[bytes]]:
    """Make an empty temporary file for `path` that no other writer has: one that a killed process left, or a new one.

    Returns it, and the file whose being open is the lock on it.
    """
    for number in itertools.count():
        partial = path.with_name(_partial_name(path.name, number))
        lock: IO[bytes]
        try:
            lock, is_new = partial.open("xb"), True
        except FileExistsError:
            try:
                lock, is_new = os.fdopen(os.open(partial, os.O_RDWR | os.O_NOFOLLOW), "r+b"), False
            except OSError:  # somebody else's, or just renamed
                continue
        is_locked = try_lock(lock)
        if (is_locked and _is_at(lock, partial)) or (is_locked is None and is_new):
            lock.truncate(0)
            return partial, lock
        lock.close()
    raise AssertionError  # numbers have no end


def _partial_name(name: str, number: int) -> str:
    suffix = Path(name).suffix
    if len(os.fsencode(name)) > LONG_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
        suffix = suffix if len(os.fsencode(suffix)) <= LONG_NAME // 2 else ""
    return f".{name}{f'.{number}' if number else ''}.partial{suffix}"


def try_lock(file: IO[bytes]) -> bool | None:
    """Take the lock on a file until it is closed: whether that could be had; None if the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one at a path, and was neither renamed nor removed before it was locked."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, `NAME.*.partial`, that other processes leave alone while the block runs.

    What is there under its name at the end of the block is removed.

    Raises: OSError if it cannot be made.
    """
    while True:
        partial = path.with_name(f"{path.name}.w{secrets.token_hex(4)}.partial")
        partial.mkdir()
        lock = (partial / LOCK_FILE).open("wb")
        is_locked = try_lock(lock)
        if is_locked is None:
            (partial / LOCK_FILE).unlink()  # which would seem to be nobody's to a host that has locks
            _warn_once(f"{path.parent} has no locks (flock); a day without a write, and this work counts as abandoned")
        if is_locked is None or (is_locked and _is_at(lock, partial / LOCK_FILE)):
            break
        lock.close()  # another process took it for abandoned in the moment before it was locked
    with lock:
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Delete the working folders in a folder that nobody works on any more."""
    for partial in folder.glob("*.partial"):
        try:
            with (partial / LOCK_FILE).open("r+b") as lock:
                is_locked = try_lock(lock)
                if is_locked:
                    shutil.rmtree(partial, ignore_errors=True)
        except OSError:  # no lock, or somebody else's
            is_locked = None
        if is_locked is None and time.time() - _last_write(partial) > ABANDONED_S:
            shutil.rmtree(partial, ignore_errors=True)


def _last_write(folder: Path) -> float:
    """When something was last written to a folder or a file in it, s; now, if that cannot be told."""
    try:
        return max(one.stat().st_mtime for one in (folder, *folder.iterdir()))
    except OSError:
        return time.time()


def write(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Write a file that appears whole or not at all; `keep` as in `atomic`.

    Writing bytes through Python's own file, rather than letting a library write, makes a full disk an OSError whatever
    the format.
    """
    with atomic(path, keep) as partial:
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

    Folders made for a block that then fails without writing anything to them go again. Where the file system has no
    locks nobody is kept out, which is said.

    Raises: InputError, saying `busy`, if another process is in it; or if the folder cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("wb")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        is_locked = try_lock(lock)
        if is_locked is None:
            _warn_once(f"{folder} has no locks (flock): let no other process work in it at the same time")
        elif not is_locked:
            raise InputError(busy)
        try:
            yield
        except BaseException:
            if missing and [path.name for path in folder.iterdir()] == [LOCK_FILE]:
                (folder / LOCK_FILE).unlink()
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
    """Have the operating system write a file's contents, or a folder's entries, to the disk (fsync).

    Some file systems cannot, and some folders may be written to and not be opened: that is said, once.

    Raises: OSError for a disk that fails.
    """
    forgiven = NOT_SUPPORTED | {errno.EACCES, errno.EPERM} if path.is_dir() else NOT_SUPPORTED
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in forgiven:
            raise
        folder = path if path.is_dir() else path.parent
        _warn_once(f"{folder} cannot be flushed ({error.strerror}): a power cut may undo the newest writes to it")


@cache
def _warn_once(sentence: str) -> None:
    logger.warning(sentence)
