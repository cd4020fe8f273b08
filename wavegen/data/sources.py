"""The files of a corpus, from a folder or from archives, which are read as they stream by and never unpacked.

Nothing from an archive is written under a name of the archive's choosing, so no entry can escape a folder.
"""

import hashlib
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, NamedTuple

from wavegen.data.audio import SUFFIXES
from wavegen.errors import InputError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
IN_MEMORY = 64 << 20  # bytes of an archive's entry kept in memory; longer ones go through a temporary file


class SourceFile(NamedTuple):
    """One recording: its name within the corpus, where to read it, and roughly its share of the source in bytes."""

    name: PurePosixPath
    file: Path | BinaryIO
    n_bytes: int


def recordings_in(source: Path, is_wanted: Callable[[str], bool] = lambda path: True) -> Iterator[SourceFile]:
    """Every file named like a recording, in sorted order for folders and in stored order for archives.

    A folder that holds no recordings but archives stands for the archives; `is_wanted` is asked for the full path of
    each recording outside archives, so that a song beside them does not hide them.

    Raises: InputError if the source does not exist, holds no recordings, or an archive is damaged.
    """
    paths = _walk(source)
    recordings = [path for path in paths if path.suffix.lower() in SUFFIXES and is_wanted(path.resolve().as_posix())]
    archives = [path for path in paths if path.name.lower().endswith(ARCHIVES)]
    if not any(path.suffix.lower() in SUFFIXES for path in paths) and not archives:
        raise InputError(
            f"{source} holds no recordings; expected files such as .wav or .flac, or a .tar.gz or .zip of them"
        )
    for path in recordings:
        name = path.relative_to(source) if path != source else Path(path.name)
        yield SourceFile(PurePosixPath(_readable(name.as_posix())), path, path.stat().st_size)
    for path in archives if not recordings else []:
        yield from _entries(path)


def fingerprint(source: Path) -> str:
    """A hash of the names, sizes and times of a source's files: cheap, and different when the source has changed."""
    digest = hashlib.sha256()
    for path in _walk(source):
        status = path.stat()
        digest.update(os.fsencode(path.relative_to(source)) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def n_bytes(source: Path) -> int:
    """Size of what `recordings_in` will read, for a progress bar; archives count by their stored size."""
    return sum(path.stat().st_size for path in _walk(source))


def _walk(source: Path) -> list[Path]:
    """All files below a folder, sorted, links followed but none twice; or the file itself."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"there is no {source}; expected a folder of recordings or an archive")
    found, seen = [], set()
    for folder, subfolders, names in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        found += [Path(folder) / name for name in names]
    return sorted(path for path in found if path.is_file())


def _entries(archive: Path) -> Iterator[SourceFile]:
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as zipped:
                for info in zipped.infolist():
                    if PurePosixPath(info.filename).suffix.lower() in SUFFIXES:
                        with zipped.open(info) as entry:
                            yield _in_reach(info.filename, entry, info.compress_size)
        else:
            with tarfile.open(archive, "r|*") as tar:
                for member in tar:
                    if member.isfile() and PurePosixPath(member.name).suffix.lower() in SUFFIXES:
                        contents = tar.extractfile(member)
                        assert contents is not None  # isfile() says that it has some
                        yield _in_reach(member.name, contents, member.size)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
    ) as error:
        raise InputError(f"the archive {archive} is damaged or incomplete ({error}); fetch it again") from error


def _in_reach(name: str, entry: IO[bytes], size: int) -> SourceFile:
    """Copy an entry to where libsndfile can seek in it."""
    copy = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed when the caller drops it
    while block := entry.read(1 << 20):
        copy.write(block)
    copy.seek(0)
    return SourceFile(PurePosixPath(_readable(name)), copy, size)  # type: ignore[arg-type]


def _readable(name: str) -> str:
    """A file's name as text that can be printed, whatever bytes it holds."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
