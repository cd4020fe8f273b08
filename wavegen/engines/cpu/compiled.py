"""The compiled functions of the engine, kept on disk, so that only the first run on a machine compiles.

Each is an object file, which numba makes in a process of its own (ahead_of_time.py) and LLVM alone loads: importing
numba takes longer than all that is done before the first sample. Behind the object lies a checksum, for what a bad disk
or a power cut has left would run.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from wavegen import files, sampling
from wavegen.engines.cpu import host
from wavegen.errors import InputError
from wavegen.features import linear_prediction

logger = logging.getLogger(__name__)

COMPILE_S = 20
N_SUM = hashlib.sha256().digest_size  # bytes
SOURCES = ("ahead_of_time", "arguments", "draws", "host", "kernel", "packing", "simd", "tuples")
N_ARGUMENTS = {"run": 5, "run_products": 4}  # of the functions, which are all 64-bit integers
_loading = threading.Lock()


def folder() -> Path:
    """Where this version's code lies: what it depends on is in the name."""
    read = (sampling.__file__, linear_prediction.__file__)  # of whose numbers some are compiled in
    sources = [*(Path(__file__).with_name(f"{name}.py") for name in SOURCES), *map(Path, read)]
    versions = f"{importlib.metadata.version('numba')} {llvmlite.__version__}"
    digest = hashlib.sha256(f"{versions} {host.TRIPLE} {host.CPU_NAME} {host.CPU_FEATURES}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    return files.user_cache() / f"compiled-{digest.hexdigest()[:12]}"


def load(name: str) -> Callable[..., None]:
    """A function of `kernel.py` that is compiled for this CPU, by its name: from the disk, or compiled now.

    It takes the addresses of tuples (`arguments.in_memory`), and runs without the interpreter's lock.
    Where nothing can be written it is compiled anew by every process, which is said.

    Raises: InputError if it cannot be compiled.
    """
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * N_ARGUMENTS[name])
    with _loading:
        return kind(_linked(name).get_function_address(name))


@functools.cache
def _linked(name: str) -> llvm.ExecutionEngine:
    """The object of a function in memory, which it stays in as long as this does."""
    return link(_object(name))


def link(data: bytes) -> llvm.ExecutionEngine:
    """An object file for this CPU in memory, which its functions stay in as long as this does."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(host.TRIPLE).create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return engine


def _object(name: str) -> bytes:
    def make() -> bytes:
        from wavegen.engines.cpu.ahead_of_time import compiled_for  # not before: it imports numba

        return compiled_for("native", f"wavegen.engines.cpu.kernel:{name.upper()}")

    return kept(folder() / f"{name}.o", make, "the engine for this CPU", f"about {COMPILE_S} s")


def kept(path: Path, make: Callable[[], bytes], what: str, takes: str) -> bytes:
    """Compiled code from the disk, or made now and kept there, with its checksum behind it; either is said, with what
    it is and how long that takes."""
    if (found := _read_whole(path)) is not None:
        return found
    if path.exists():
        logger.warning(f"compiled code in {path.parent} was damaged ({path.name}); compiling it anew, {takes}")
    else:
        logger.info(f"compiling {what}; {takes}, the first time only")
    made = make()
    try:
        files.write(path, made + hashlib.sha256(made).digest())
    except (InputError, OSError) as error:
        logger.warning(f"compiled code cannot be kept ({error}); every process compiles it anew")
    return made


def damaged() -> list[Path]:
    """Files of compiled code that are not what was written."""
    return [path for path in sorted(folder().glob("*.o")) if _read_whole(path) is None]


def _read_whole(path: Path) -> bytes | None:
    """What was written there, without its checksum; None if it is not there, or damaged."""
    try:
        contents = path.read_bytes()
    except OSError:
        return None
    return contents[:-N_SUM] if hashlib.sha256(contents[:-N_SUM]).digest() == contents[-N_SUM:] else None
