"""A model as a library for other programs: a C header, the compiled player, the model as one file, and an example."""

import logging
import struct
from pathlib import Path

from wavegen import files
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu.ahead_of_time import TARGETS
from wavegen.errors import InputError
from wavegen.player import player_file
from wavegen.player.native import NAMES, object_for

logger = logging.getLogger(__name__)

LIBRARY = Path(__file__).parent / "library"
MACHINES = ("native", "x86-64", "aarch64")


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
    library = archive("wavegen.o", object_for(machine), NAMES)
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
