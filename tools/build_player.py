"""Build what an exported model is played by: the page's WebAssembly module and the objects of native libraries.

    python -m tools.build_player

They lie in wavegen/export/page and wavegen/export/native, and are part of the package: whoever exports a model needs no
linker. Each is made of the code of the CPU engine (engines/cpu/ahead_of_time.py), in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from wavegen import files
from wavegen.engines.cpu.ahead_of_time import ENVIRONMENT

EXPORT = Path(__file__).parents[1] / "wavegen" / "export"
PLACES = {
    "wasm32": EXPORT / "page" / "player.wasm",
    "x86-64": EXPORT / "native" / "player-x86-64.o",
    "aarch64": EXPORT / "native" / "player-aarch64.o",
}
TO_OBJECT = """
import sys
from wavegen.engines.cpu.ahead_of_time import TARGETS, object_file
from wavegen.export.entry import FUNCTIONS
open(sys.argv[2], "wb").write(object_file(FUNCTIONS, TARGETS[sys.argv[1]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(PLACES), help=f"of {', '.join(PLACES)}; all by default")
    for target in parser.parse_args().targets:
        build(target, PLACES[target])
        print(f"{PLACES[target]}: {PLACES[target].stat().st_size / 1024:.0f} kB")


def build(target: str, path: Path) -> None:
    """Build what plays a model on a target."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "player.o"
        environment = {**os.environ, **ENVIRONMENT, "XDG_CACHE_HOME": folder}  # where no LLVM code was lost
        subprocess.run([sys.executable, "-c", TO_OBJECT, target, str(compiled)], env=environment, check=True)
        if target == "wasm32":
            compiled = link(compiled)
        path.parent.mkdir(exist_ok=True)
        files.write(path, compiled.read_bytes())


def link(compiled: Path) -> Path:
    """A WebAssembly module of an object, with the C library's mathematics, by the linker in the package ziglang."""
    names = subprocess.run(
        [sys.executable, "-c", "from wavegen.export.entry import FUNCTIONS; print(*FUNCTIONS)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    module = compiled.with_suffix(".wasm")
    exported = [f"-Wl,--export={name}" for name in (*names, "__heap_base")]
    zig = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi", "-O3", "-mexec-model=reactor"]
    subprocess.run(
        [*zig, str(compiled), "-o", str(module), *exported, "-Wl,--export-memory", "-Wl,--strip-all"], check=True
    )
    return module


if __name__ == "__main__":
    main()
