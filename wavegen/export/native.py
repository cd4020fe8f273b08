"""A model as a library for other programs: a C header, the compiled player, the model as one file, and an example."""

import hashlib
import logging
import struct
from pathlib import Path

from wavegen import files
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu import compiled
from wavegen.engines.cpu.ahead_of_time import TARGETS, compiled_for
from wavegen.errors import InputError
from wavegen.player import player_file
from wavegen.progress import bar

logger = logging.getLogger(__name__)

LIBRARY = Path(__file__).parent / "library"
FUNCTIONS = "wavegen.player.entry:FUNCTIONS"
NAMES = (  # of `entry.FUNCTIONS`, whose import would import numba
    "wavegen_room",
    "wavegen_start",
    "wavegen_restart",
    "wavegen_change",
    "wavegen_give",
    "wavegen_bits",
    "wavegen_make",
)
MACHINES = ("native", "x86-64", "aarch64")
SOURCES = {  # that compiled code depends on
    "engines/cpu": (*compiled.SOURCES, "philox"),
    "player": ("entry", "matching", "model", "networks", "plan", "player_file", "rows", "stream"),
    "features": ("frame_codes", "linear_prediction", "log_mel", "matching", "pitch"),
    "generation": ("planning",),
    ".": ("sampling",),
}


def export_native(model: Checkpoint, out: Path, machine: str = "native", precision: str | None = None) -> list[Path]:
    """Write to a folder what a program needs to play a model: `wavegen.h`, `libwavegen.a`, the model file, `example.c`.

    `machine`: native for this CPU with all that it can; x86-64 and aarch64 for every one of those under Linux. What is
    compiled is kept, so only the first time takes a minute.

    Returns the files.
    Raises: InputError for a model that no player plays, a machine or a precision that there is not, one that cannot be
        compiled for, or if the folder cannot be written to.
    """
    if machine not in MACHINES:
        raise InputError(f"machine is {machine}; expected one of {', '.join(MACHINES)}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder to write the library to")
    chosen = player_file.choose_precision(model, precision)
    data = player_file.encode(model, chosen, TARGETS[machine].unit)
    library = archive("wavegen.o", _compiled(machine), NAMES)
    example = (LIBRARY / "example.c").read_text().replace("@RATE@", str(model.description.sample_rate))
    written = {
        out / "wavegen.h": (LIBRARY / "wavegen.h").read_bytes(),
        out / "libwavegen.a": library,
        out / f"{player_file.name_of(model)}.wavegen": data,
    }
    if model.description.sample_rate:  # there is no example of images
        written[out / "example.c"] = example.encode()
    for path, contents in written.items():
        files.write(path, contents)
    return list(written)


def _compiled(machine: str) -> bytes:
    """The object file for a machine, which is compiled if it was not before."""
    digest = hashlib.sha256(f"{compiled.folder()} {digest_of_sources().hex()}".encode())
    path = files.user_cache() / f"players-{digest.hexdigest()[:12]}" / f"{machine}.o"

    def make() -> bytes:
        with bar("Compiling", 0):
            return compiled_for(machine, FUNCTIONS)

    return compiled.kept(path, make, f"for {machine}", "about a minute")


def digest_of_sources() -> bytes:
    """The SHA-256 of the sources that compiled code depends on: 32 bytes."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for folder, names in SOURCES.items():
        for name in names:
            digest.update((package / folder / f"{name}.py").read_bytes())
    return digest.digest()


def archive(name: str, member: bytes, symbols: tuple[str, ...]) -> bytes:
    """A library of one object file, in the common format of `ar`, with the index that linkers look symbols up in."""
    names = b"".join(symbol.encode() + b"\0" for symbol in symbols)
    size = 4 * (1 + len(symbols)) + len(names)
    begin = len(MAGIC) + 60 + size + size % 2  # where the object's own header lies
    index = struct.pack(f">I{len(symbols)}I", len(symbols), *[begin] * len(symbols)) + names
    return MAGIC + _entry("/", index) + _entry(f"{name}/", member)


MAGIC = b"!<arch>\n"


def _entry(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
