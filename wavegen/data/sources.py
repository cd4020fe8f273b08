"""The files of a corpus, from a folder or from archives, which are read as they stream by and never unpacked.

Nothing from an archive is written under a name of the archive's choosing, so no entry can escape a folder.
"""

import gzip
import hashlib
import lzma
import os
import posixpath
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from wavegen import files
from wavegen.data import store
from wavegen.data.item_format import HIDDEN, ItemFormat
from wavegen.errors import InputError
from wavegen.paths import resolved

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
IN_MEMORY = 64 << 20  # bytes of an archive's entry kept in memory; longer ones go through a temporary file
DAMAGES = (  # what reading a broken archive raises; an encrypted one is a RuntimeError
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeError,
)
SYSTEM_FOLDERS = frozenset(["@eadir", "__macosx", "#recycle", "$recycle.bin"])  # of network disks, macOS, Windows
ZIP_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES encryption"}
MAX_ENTRY = 4 << 30  # bytes that an archive's entry may unpack to: what a WAV file can hold


class SourceFile(NamedTuple):
    """A recording or image: its name within the corpus, where to read it, roughly its share of the source in bytes.

    Or something that cannot be one, with the reason in `fault`. Or one that nobody meant or can read, with the reason
    in `passed_over`: HIDDEN, or a sentence.
    """

    name: PurePosixPath
    file: Path | IO[bytes]
    n_bytes: int
    fault: str | None = None
    passed_over: str | None = None


def items_in(
    source: Path, item_format: ItemFormat, is_wanted: Callable[[str], bool] = lambda path: True
) -> Iterator[SourceFile]:
    """Every file named like a recording (or an image), in sorted order for folders and stored order for archives.

    What is named like one and cannot be read (a link to nothing, a folder without permission) comes with its fault.
    What lies in hidden or system folders, is hidden itself, or is of a format that cannot be read, comes as passed
    over.

    A folder that holds no recordings but archives stands for the archives; `is_wanted` is asked for the full path of
    each recording outside archives, so that a song beside them does not hide them.

    Raises: InputError if the source does not exist, holds no recordings, or an archive is damaged.
    """
    unreadable: list[Path] = []
    paths = _walk(source, item_format.suffixes, unreadable)
    inside = {path: path.relative_to(source) if path != source else Path(path.name) for path in (*paths, *unreadable)}
    hidden = {path for path in inside if path != source and is_hidden(inside[path].as_posix())}
    shown = [path for path in paths if path not in hidden]
    named = [path for path in shown if path.suffix.lower() in item_format.suffixes]
    recordings = [path for path in named if is_wanted((resolved(path.parent) / path.name).as_posix())]
    archives = [path for path in shown if path.name.lower().endswith(ARCHIVES)]
    others = [path for path in shown if path.suffix.lower() in item_format.unread_suffixes]
    if not named and not archives:
        raise InputError(_nothing(source, item_format, others))
    for path in recordings:
        yield SourceFile(readable(inside[path].as_posix()), path, path.stat().st_size)
    for path in archives if not recordings else []:
        yield from _entries(path, item_format)
    for path in unreadable:
        if path not in hidden:
            yield SourceFile(readable(inside[path].as_posix()), path, 0, _fault(path))
    for path in others if recordings else []:
        yield SourceFile(readable(inside[path].as_posix()), path, 0, passed_over=_unread(path.suffix, item_format))
    for path in sorted(hidden):
        if path.suffix.lower() in item_format.suffixes:
            yield SourceFile(readable(inside[path].as_posix()), path, 0, passed_over=HIDDEN)


def _nothing(source: Path, item_format: ItemFormat, others: list[Path]) -> str:
    """What to say of a source that holds nothing to be read."""
    examples = " or ".join(suffix for suffix in (".wav", ".flac", ".png", ".jpg") if suffix in item_format.suffixes)
    counts = Counter(path.suffix.lower() for path in others)
    beside = " but " + " and ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items())) if counts else ""
    return (
        f"{source} holds no {item_format.items} that can be read{beside}; expected files such as {examples}, or a "
        ".tar.gz or .zip of them"
    )


def _unread(suffix: str, item_format: ItemFormat) -> str:
    target = next(one for one in (".flac", ".png") if one in item_format.suffixes)
    return f"{suffix.lower()} is not read here; convert it, for example to {target}"


def is_hidden(name: str) -> bool:
    """Whether a name within a source is hidden, or lies in a folder that is, or in one that a system made."""
    parts = [part for part in PurePosixPath(name).parts if part != ".."]
    return any(part.startswith(".") or part.lower() in SYSTEM_FOLDERS for part in parts)


def fingerprint(source: Path) -> str:
    """A hash of the names, sizes and times of a source's files: cheap, and different when the source has changed."""
    digest = hashlib.sha256()
    for path in _walk(source):
        status = path.stat()
        digest.update(os.fsencode(path.relative_to(source)) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def n_bytes(source: Path) -> int:
    """Size of what `items_in` will read, for a progress bar; archives count by their stored size."""
    return sum(path.stat().st_size for path in _walk(source))


def _walk(source: Path, suffixes: frozenset[str] = frozenset(), unreadable: list[Path] | None = None) -> list[Path]:
    """All files below a folder, sorted, links followed but no folder twice; or the file itself.

    Folders that cannot be listed, and what has one of the suffixes but is no file, are added to `unreadable`.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"there is no {source}; expected a folder or an archive")
    paths, seen = [], set()
    others: list[Path] = []

    def note(error: OSError) -> None:
        others.append(Path(os.fsdecode(error.filename)))

    for folder, subfolders, names in os.walk(source, onerror=note, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        for path in (Path(folder) / name for name in names if not _is_passed_over(name)):
            try:
                is_file = path.is_file()
            except OSError:
                is_file = False
            if is_file:
                paths.append(path)
            elif path.suffix.lower() in suffixes:
                others.append(path)
    if unreadable is not None:
        unreadable += sorted(others)
    return sorted(paths)


def _fault(path: Path) -> str:
    try:
        if path.is_dir():
            return "this folder may not be read"
        if path.is_symlink():
            return f"it is a link to {readable(str(path.readlink()))}, where nothing is"
    except OSError as error:
        return f"it may not be read ({error.strerror})"
    return "it is a device or a pipe, not a file"


def _is_passed_over(name: str) -> bool:
    """Whether a file is a system's or a download's own, whatever its ending: "._x.wav" of macOS, half a download."""
    return name.startswith("._") or name == ".lock" or name.endswith(".part")


def _entries(archive: Path, item_format: ItemFormat) -> Iterator[SourceFile]:
    try:
        yield from (_zip_entries if archive.suffix.lower() == ".zip" else _tar_entries)(archive, item_format)
    except DAMAGES as error:
        if files.is_disk_fault(error):
            raise InputError(f"cannot read the archive {archive}: {error.strerror}") from error
        raise InputError(f"the archive {archive} is damaged or incomplete ({error}); fetch it again") from error


def _zip_entries(archive: Path, item_format: ItemFormat) -> Iterator[SourceFile]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            name = info.filename.replace("\\", "/")  # Windows' own packer wrote these for years
            if (passed := _passed(name, item_format)) is not None:
                yield passed
            if not _is_named_like_one(name, item_format.suffixes):
                continue
            if info.flag_bits & 1:
                raise InputError(f"the archive {archive} is encrypted; unpack it and name the folder")
            try:
                opened = zipped.open(info)
            except NotImplementedError as error:
                method = ZIP_METHODS.get(info.compress_type, f"method {info.compress_type}")
                raise InputError(
                    f"the archive {archive} is packed by {method}, which cannot be read here; unpack it and name the "
                    "folder"
                ) from error
            with opened as entry:
                yield _in_reach(name, entry, info.compress_size)


def _tar_entries(archive: Path, item_format: ItemFormat) -> Iterator[SourceFile]:
    links: dict[str, list[str]] = {}  # names of hard links, by what they lead to
    with _tar(archive) as tar:
        for member in tar:
            if (passed := _passed(member.name, item_format)) is not None:
                yield passed
            if not _is_named_like_one(member.name, item_format.suffixes):
                continue
            if member.isfile():
                yield _in_reach(member.name, _contents(tar, member), member.size)
            elif member.islnk():
                links.setdefault(posixpath.normpath(member.linkname), []).append(member.name)
    if not links:
        return
    with _tar(archive) as tar:  # what they lead to has streamed by
        for member in tar:
            if member.isfile() and (names := links.pop(posixpath.normpath(member.name), None)):
                entry = _in_reach(names[0], _contents(tar, member), 0)
                for name in names:
                    if not isinstance(entry.file, Path):
                        entry.file.seek(0)
                    yield entry._replace(name=readable(name))
    for target, names in links.items():
        for name in names:
            fault = f"it is a hard link to {readable(target)}, which is not in the archive"
            yield SourceFile(readable(name), archive, 0, fault)


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    contents = tar.extractfile(member)
    assert contents is not None  # isfile() says that it has some
    return contents


def _passed(name: str, item_format: ItemFormat) -> SourceFile | None:
    """An entry of an archive that is passed over."""
    path = readable(name)
    suffix = path.suffix.lower()
    if is_hidden(name):
        is_item = suffix in item_format.suffixes and not _is_passed_over(path.name)
        return SourceFile(path, Path(name), 0, passed_over=HIDDEN) if is_item else None
    if suffix in item_format.unread_suffixes:
        return SourceFile(path, Path(name), 0, passed_over=_unread(suffix, item_format))
    return None


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar archive to be read once, in order, and through to its end.

    gzip's check sum stands there, which the stream reader of tarfile passes over.
    """
    with archive.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip:
        with tarfile.open(archive, "r|*") as tar:
            yield tar
        return
    with gzip.open(archive) as unpacked:
        with tarfile.open(fileobj=unpacked, mode="r|") as tar:
            yield tar
        while unpacked.read(1 << 20):
            pass


def check_archive(archive: Path) -> None:
    """Read a tar archive through, whatever it is called.

    Raises: InputError if it is damaged or incomplete.
    """
    try:
        with _tar(archive) as tar:
            for _ in tar:
                pass
    except DAMAGES as error:
        raise InputError(f"what was fetched as {archive} is no whole archive ({error}); it was deleted") from error


def _is_named_like_one(name: str, suffixes: frozenset[str]) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in suffixes and not is_hidden(name) and not _is_passed_over(path.name)


def _in_reach(name: str, entry: IO[bytes], size: int) -> SourceFile:
    """Copy an entry to where libsndfile can seek in it; one that swells beyond all measure is a fault."""
    files.make_folder(store.root())  # where there is room for it; /tmp may lie in memory
    # Closed when the caller drops it.
    copy: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(store.root()))  # noqa: SIM115
    while block := entry.read(1 << 20):
        copy.write(block)
        if copy.tell() > MAX_ENTRY:
            copy.truncate(0)
            fault = f"it unpacks to more than {MAX_ENTRY >> 30} GiB"
            return SourceFile(readable(name), copy, size, fault)
    copy.seek(0)
    return SourceFile(readable(name), copy, size)


def readable(name: str) -> PurePosixPath:
    """A file's name as text that can be printed, whatever bytes it holds; of the spellings that Unicode has for an
    accent the composed one (NFC), which is not what macOS writes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return PurePosixPath(unicodedata.normalize("NFC", text))
