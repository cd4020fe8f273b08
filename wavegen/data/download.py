"""Fetch a file over HTTP: with progress, going on where it broke off, and checked before it gets its name."""

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wavegen import files
from wavegen.errors import InputError
from wavegen.progress import Bar, bar

logger = logging.getLogger(__name__)

ATTEMPTS = 5  # in a row that come no further
PAUSE_S = 1.0  # before the second attempt; doubles with each
TIMEOUT_S = 30.0
BLOCK = 1 << 18  # bytes


class RemoteFile(NamedTuple):
    """A file on a web server, by which name it is kept, and what its bytes must hash to (None: not known)."""

    url: str
    name: str
    sha256: str | None


def fetch(remote: RemoteFile, folder: Path, check: Callable[[Path], None] | None = None) -> Path:
    """Have a remote file in a folder; nothing is done if it is there already.

    What has arrived is kept beside it as NAME.part, whatever breaks off, and the next call asks the server for the
    rest only. `check` looks at the complete file before it gets its name; if it raises, the file goes.

    Raises: InputError if the server cannot be reached or has no such file, if it goes on breaking off, or if the bytes
        are not those expected (they are deleted).
    """
    path = folder / remote.name
    if path.exists():
        return path
    with files.locked(folder, f"another process is fetching into {folder}; wait for it"):
        _fetch(remote, path, check)
    return path


def _fetch(remote: RemoteFile, path: Path, check: Callable[[Path], None] | None) -> None:
    folder = path.parent
    part = folder / f"{remote.name}.part"
    failures, furthest = 0, _size(part)
    while True:
        try:
            _fetch_rest(remote, part)
            break
        except (OSError, http.client.HTTPException) as error:
            failures = 1 if _size(part) > furthest else failures + 1  # a server may also send everything again
            furthest = max(furthest, _size(part))
            if _is_hopeless(error, furthest > 0) or failures == ATTEMPTS:
                kept = (
                    f"; {_size(part):,} bytes are kept, and the same command goes on from there"
                    if part.exists()
                    else ""
                )
                raise InputError(f"cannot fetch {remote.url}: {_reason(error)}{kept}") from error
            logger.warning(f"{remote.url} broke off ({_reason(error)}); going on from byte {_size(part):,}")
            time.sleep(PAUSE_S * 2 ** (failures - 1))
    sha256 = _sha256(part)
    if remote.sha256 not in (None, sha256):
        part.unlink()
        raise InputError(
            f"{remote.url} is not the file expected: its SHA-256 is {sha256}, not {remote.sha256}; it was deleted"
        )
    try:
        if check is not None:
            check(part)
    except InputError:
        part.unlink()
        raise
    files.flush_to_disk(part)
    part.rename(path)


def _fetch_rest(remote: RemoteFile, part: Path) -> None:
    """Append to `part` what it lacks. Raises OSError or HTTPException if the connection ends before the file does."""
    done = _size(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "wavegen", "Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing lies beyond what we have: complete, or not what the server has
            return
        raise
    with response:
        if done and (response.status != 206 or not _begins_at(response, done)):
            done = 0  # the server sends everything again
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if done else "wb") as file, bar(f"Fetching {remote.name}", total or 0, done) as running:
            _copy(response, file, done, running)
    if total is not None and _size(part) != total:
        raise http.client.IncompleteRead(b"", total - _size(part))


def _copy(response: http.client.HTTPResponse, file: BinaryIO, done: int, running: Bar) -> None:
    while block := response.read1(BLOCK):
        file.write(block)
        done += len(block)
        running.update(done, f"{done / 1e6:,.1f} MB")


def _begins_at(response: http.client.HTTPResponse, first: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {first}-")


def _is_hopeless(error: Exception, has_bytes: bool) -> bool:
    """Whether asking again cannot help: the server has said no, or the disk has."""
    if isinstance(error, urllib.error.HTTPError):
        return 300 <= error.code < 500 and error.code not in (408, 429)
    if isinstance(error, urllib.error.URLError):  # no connection came about
        return not has_bytes
    return files.is_disk_fault(error)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        missing = f" {error.expected:,} bytes early" if error.expected else " early"
        return f"the connection ended{missing}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
