"""The arrows of the design: who may import whom, and what works without torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.data.test_corpora import write_librispeech

# Each part of the library, and the parts it may import besides `errors` and its own.
ALLOWED = {
    "__main__": {"cli"},
    "printable": set(),
    "errors": {"printable"},
    "paths": set(),
    "cluster": {"checkpoint", "paths"},
    "architectures": set(),
    "migrations": set(),
    "files": set(),
    "progress": {"printable"},
    "codec": set(),
    "sampling": {"architectures"},
    "features": set(),
    "devices": set(),
    "playback": set(),
    "microphone": {"playback"},
    "pretrained": set(),
    "recipes": {"paths"},
    "plots": {"files"},
    "recipe": {"architectures", "checkpoint", "features", "migrations", "sampling"},
    "checkpoint": {"architectures", "codec", "features", "files", "migrations", "sampling"},
    "nn": {"features"},
    "models": {"architectures", "checkpoint", "codec", "features", "nn", "sampling"},
    "data": {"codec", "features", "files", "paths", "progress", "recipe"},
    "engines": {
        "architectures",
        "checkpoint",
        "codec",
        "devices",
        "features",
        "files",
        "models",
        "nn",
        "progress",
        "sampling",
    },
    "generation": {
        "architectures",
        "checkpoint",
        "codec",
        "data",
        "engines",
        "features",
        "files",
        "paths",
        "plots",
        "progress",
        "sampling",
    },
    "jobs": {"checkpoint", "engines", "files", "generation"},
    "player": {
        "architectures",
        "checkpoint",
        "codec",
        "engines",
        "features",
        "files",
        "generation",
        "progress",
        "sampling",
    },
    "export": {"architectures", "checkpoint", "engines", "features", "files", "generation", "player", "progress"}
    | {"sampling"},
    "evaluation": {
        "checkpoint",
        "codec",
        "data",
        "engines",
        "features",
        "generation",
        "models",
        "progress",
        "sampling",
    },
    "training": {
        "architectures",
        "features",
        "migrations",
        "checkpoint",
        "codec",
        "data",
        "devices",
        "engines",
        "evaluation",
        "files",
        "generation",
        "models",
    }
    | {"paths", "plots", "progress", "recipe", "sampling"},
    "serving": {
        "checkpoint",
        "cluster",
        "data",
        "engines",
        "evaluation",
        "generation",
        "models",
        "player",
        "sampling",
    },
    "doctor": {"checkpoint", "codec", "data", "devices", "engines", "evaluation", "features", "generation", "models"}
    | {"nn"}
    | {"playback", "progress", "recipe", "training"},
    "bench": {
        "architectures",
        "checkpoint",
        "devices",
        "engines",
        "export",
        "features",
        "generation",
        "models",
        "player",
        "progress",
        "recipe",
        "recipes",
    }
    | {"sampling", "training"},
}

# Heavy or optional libraries, each with the only modules that may import it.
ONLY_IN = {
    "matplotlib": {"plots"},
    "PIL": {"data"},
    "sounddevice": {"playback"},
    "soundfile": {"data", "doctor", "serving"},
    "soxr": {"data", "playback"},
    "numba": {"engines", "player"},
    "llvmlite": {"engines"},
    "onnx": {"engines"},
    "threadpoolctl": {"bench", "serving"},
    "onnxruntime": {"engines"},
    "triton": {"engines"},
    "safetensors": {"checkpoint", "features"},
    "yaml": {"recipe"},
    "pydantic": {"recipe", "serving"},
    "torch": {"bench", "devices", "doctor", "engines", "evaluation", "features", "models", "nn", "training"},
    "torchaudio": {"features"},
    "auraloss": {"evaluation"},
    **{name: {"serving"} for name in ("fastapi", "starlette", "uvicorn", "prometheus_client")},
    **{name: {"serving"} for name in ("grpc", "grpc_health", "grpc_reflection", "google")},
    "pesq": {"evaluation"},
    "ray": {"cluster", "jobs", "serving"},
    "pystoi": {"evaluation"},
}

WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked")
sys.meta_path.insert(0, Block())
"""


def modules() -> list[tuple[str, Path]]:
    """(part, file) of every module of the library."""
    files = sorted((REPOSITORY / "wavegen").rglob("*.py"))
    return [(path.relative_to(REPOSITORY / "wavegen").with_suffix("").parts[0], path) for path in files]


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, as dotted names; `from a import b` gives a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(("part", "path"), modules(), ids=lambda value: str(getattr(value, "stem", value)))
def test_arrows_point_one_way(part, path):
    if part == "__init__":  # `wavegen.load` only
        return
    targets = {name.split(".")[1] for name in imports_of(path) if name.startswith("wavegen.")}
    assert targets - {"errors", part} <= ALLOWED[part]


@pytest.mark.parametrize(("part", "path"), modules(), ids=lambda value: str(getattr(value, "stem", value)))
def test_heavy_libraries_are_imported_in_one_place(part, path):
    for name in imports_of(path):
        library = name.split(".")[0]
        assert part in ONLY_IN.get(library, {part}), f"{path} imports {library}"


def run_without_torch(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "WAVEGEN_DATA": str(folder)},
    )


def test_numpy_modules_import_without_torch(tmp_path):
    names = "codec, sampling, checkpoint, recipe, playback, plots, files, progress"
    more = "from wavegen.generation import session, live; from wavegen.doctor import machine"
    result = run_without_torch(
        f"from wavegen import {names}; from wavegen.data import corpora, store, audio; {more}", tmp_path
    )
    assert result.returncode == 0, result.stderr


COMMANDS = """
from wavegen.cli.main import make_app
for words in sys.argv[1:]:
    make_app()(words.split("|"), standalone_mode=False)
"""


def test_commands_that_train_nothing_need_no_torch(tmp_path, tiny_run):
    source, out = write_librispeech(tmp_path / "source"), tmp_path / "speech.wav"
    commands = [
        ["--help"], ["train", "--help"], ["recipes", "list"], ["recipes", "fields"], ["data", "list"], ["doctor"],
        ["models", "inspect", tiny_run], ["data", "prepare", "librispeech", "--from", source],
        ["generate", "music", "--seconds", "0.05", "--out", out],
        ["generate", "speech", "--seconds", "0.05", "--out", out],
    ]  # fmt: skip
    result = run_without_torch(COMMANDS, tmp_path, *("|".join(map(str, command)) for command in commands))
    assert result.returncode == 0, result.stderr
    for words in ("receptive field", "librispeech-16000-"):
        assert words in result.stdout
    assert "engine numba" in result.stderr
    assert out.stat().st_size > 1000
