"""Compiled code that is kept on disk, so that only the first run on a machine compiles."""

import hashlib
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.errors import NumbaWarning

from wavegen import files, sampling
from wavegen.engines.cpu import simd
from wavegen.features import linear_prediction

COMPLETE = "complete"
COMPILED = ("simd.py", "draws.py", "packing.py", "kernel.py", "compiled.py")


def folder() -> Path:
    """Where this version's code lies. Numba does not see that what a function calls has changed, so the name does."""
    read = (sampling.__file__, linear_prediction.__file__)  # of whose numbers some are compiled in
    sources = [*(Path(__file__).with_name(name) for name in COMPILED), *map(Path, read)]
    digest = hashlib.sha256(f"{numba.__version__} {simd.CPU_NAME} {sorted(simd.FEATURES)}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    return files.user_cache() / f"compiled-{digest.hexdigest()[:12]}"


def cached_njit(function: Callable[..., None]) -> Any:
    """Compile a function for numba's nopython mode without the interpreter's lock, and keep the result on disk.

    Where nothing can be written it is compiled anew by every process, which is said.
    """
    where, before = folder(), numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(where)
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba found no folder that it can write to
        warnings.warn(f"cannot keep compiled code in {where}", NumbaWarning, stacklevel=2)
        return numba.njit(nogil=True, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before


def is_cached() -> bool:
    """Whether the step has been compiled here before."""
    return (folder() / COMPLETE).exists()


def mark_cached() -> None:
    """Remember that the step has been compiled."""
    with suppress(OSError):  # it is only asked in order to say that a run compiles
        (folder() / COMPLETE).touch()
