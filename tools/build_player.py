"""Build the WebAssembly modules that play exported models in a page (wavegen/export/page/player*.wasm).

    pip install ziglang
    python -m tools.build_player

They are part of the package, so that whoever exports a model needs no linker. They are made of the code of the CPU
engine (engines/cpu/ahead_of_time.py), whenever that or wavegen/player changes. Each ends in a section that holds the
digest of the sources it was made of, by which a test finds out that one is out of date.
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wavegen import files
from wavegen.engines.cpu.ahead_of_time import compiled_for
from wavegen.export.web import PLAYERS
from wavegen.player.native import FUNCTIONS, NAMES, digest_of_sources


def main() -> None:
    with ThreadPoolExecutor() as pool:
        for path, module in zip(PLAYERS.values(), pool.map(build, PLAYERS), strict=True):
            files.write(path, module)
            print(f"{path}: {len(module) / 1024:.0f} kB")


def build(target: str) -> bytes:
    """The module for a target: an object, and the C library's mathematics, by the linker in the package ziglang."""
    sources = sources_section()
    exported = [f"-Wl,--export={name}" for name in (*NAMES, "__heap_base")]
    zig = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi", "-O3", "-mexec-model=reactor"]
    options = [*exported, "-Wl,--export-memory", "-Wl,--strip-all"]
    with tempfile.TemporaryDirectory() as folder:
        compiled, module = Path(folder) / "player.o", Path(folder) / "player.wasm"
        compiled.write_bytes(compiled_for(target, FUNCTIONS))
        subprocess.run([*zig, str(compiled), "-o", str(module), *options], check=True)
        return module.read_bytes() + sources


def sources_section() -> bytes:
    """A custom section of WebAssembly: a 0, its size, the size of its name, its name, and what it holds."""
    name, digest = b"sources", digest_of_sources()
    return bytes([0, 1 + len(name) + len(digest), len(name)]) + name + digest


if __name__ == "__main__":
    main()
