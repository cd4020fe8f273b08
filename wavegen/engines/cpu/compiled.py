"""Compiled code that is kept on disk, so that only the first run on a machine compiles.

numba reads whatever lies there, and what a bad disk or a power cut has left would end every command, or worse, run. So
each of its files ends in a checksum, which numba does not read, and those that do not match are thrown away.
"""

import functools
import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from wavegen import files, sampling
from wavegen.engines.cpu import simd
from wavegen.errors import InputError
from wavegen.features import linear_prediction

logger = logging.getLogger(__name__)

COMPLETE = "complete"
COMPILE_S = 20
N_SUM = hashlib.sha256().digest_size  # bytes
COMPILED = ("simd.py", "draws.py", "packing.py", "kernel.py", "compiled.py")


def folder() -> Path:
    """Where this version's code lies. Numba does not see that what a function calls has changed, so the name does."""
    read = (sampling.__file__, linear_prediction.__file__)  # of whose numbers some are compiled in
    sources = [*(Path(__file__).with_name(name) for name in COMPILED), *map(Path, read)]
    digest = hashlib.sha256(f"{numba.__version__} {simd.CPU_NAME} {sorted(simd.FEATURES)}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    return files.user_cache() / f"compiled-{digest.hexdigest()[:12]}"


class _SummedFiles(IndexDataCacheFile):
    """The files of a function's compiled code, each with the SHA-256 of its contents behind them."""

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        contents = io.BytesIO()
        yield contents
        written = contents.getvalue()
        with super()._open_for_write(filepath) as file:
            file.write(written + hashlib.sha256(written).digest())


class _SummedCache(FunctionCache):
    """numba's cache of a function, in such files."""

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        self._cache_file = _SummedFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )


def cached_njit(function: Callable[..., None]) -> Any:
    """Compile a function for numba's nopython mode without the interpreter's lock, and keep the result on disk.

    Where nothing can be written it is compiled anew by every process, which is said.
    """
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    if why_disabled():
        return compiled
    where, before = folder(), numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(where)
    try:
        compiled._cache = _SummedCache(function)
    except RuntimeError:  # numba found no folder that it can write to
        logger.warning(f"cannot keep compiled code in {where}; it is compiled by every process")
    finally:
        numba.config.CACHE_DIR = before
    return compiled


def why_disabled() -> str | None:
    """What keeps numba from compiling; None if nothing does."""
    if numba.config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set, and the CPU engine is compiled: unset it, or take the engine reference"
    return None


def damaged() -> list[Path]:
    """Files of compiled code that are not what was written."""
    return [path for path in sorted(folder().rglob("*.nb[ci]")) if not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    try:
        contents = path.read_bytes()
    except FileNotFoundError:  # another process has thrown it away
        return True
    except OSError:
        return False
    return hashlib.sha256(contents[:-N_SUM]).digest() == contents[-N_SUM:]


@functools.cache
def discard_damaged() -> None:
    """Throw away what is damaged, once in a process, and say so; it is compiled anew when it is needed.

    Raises: InputError if it cannot be deleted.
    """
    bad = damaged()
    if not bad:
        return
    try:
        for path in bad:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"the compiled code in {folder()} is damaged and cannot be deleted: {error.strerror}; set XDG_CACHE_HOME "
            "to another folder to compile it there"
        ) from error
    names = ", ".join(path.name for path in bad)
    logger.warning(f"compiled code in {folder()} was damaged ({names}); compiling it anew, about {COMPILE_S} s")


def is_cached() -> bool:
    """Whether the step has been compiled here before."""
    return (folder() / COMPLETE).exists()


def mark_cached() -> None:
    """Remember that the step has been compiled."""
    with suppress(OSError):  # it is only asked in order to say that a run compiles
        (folder() / COMPLETE).touch()
