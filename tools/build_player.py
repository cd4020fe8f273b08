"""Build the WebAssembly module that plays exported models in a page (wavegen/export/page/player.wasm).

    pip install ziglang
    python -m tools.build_player

It is part of the package, so that whoever exports a model needs no linker. It is made of the code of the CPU engine
(engines/cpu/ahead_of_time.py), whenever that or wavegen/export changes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from wavegen import files
from wavegen.engines.cpu.ahead_of_time import compile_to
from wavegen.export.native import FUNCTIONS, NAMES
from wavegen.export.web import PLAYER


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files.write(PLAYER, build(Path(folder)).read_bytes())
    print(f"{PLAYER}: {PLAYER.stat().st_size / 1024:.0f} kB")


def build(folder: Path) -> Path:
    """The module, in a folder: an object, and the C library's mathematics, by the linker in the package ziglang."""
    compiled, module = folder / "player.o", folder / "player.wasm"
    compile_to(compiled, FUNCTIONS, "wasm32")
    exported = [f"-Wl,--export={name}" for name in (*NAMES, "__heap_base")]
    zig = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi", "-O3", "-mexec-model=reactor"]
    options = [*exported, "-Wl,--export-memory", "-Wl,--strip-all"]
    subprocess.run([*zig, str(compiled), "-o", str(module), *options], check=True)
    return module


if __name__ == "__main__":
    main()
