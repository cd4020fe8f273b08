import platform
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from tests.conftest import tiny_checkpoint, tiny_speaker
from tests.player.test_stream import generated
from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.export.native import archive, export_native
from wavegen.player import native
from wavegen.player.native import NAMES

MATHEMATICS = {"exp", "log", "log1p", "pow", "floor", "rint", "memset", "memcpy", "memmove", "_GLOBAL_OFFSET_TABLE_"}
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
needs_a_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@needs_a_compiler
def test_an_archive_is_one_that_linkers_read(tmp_path):
    (tmp_path / "two.c").write_text("int two(void) { return 2; }\nint odd(void) { return 3; }\n")
    (tmp_path / "main.c").write_text("int two(void), odd(void);\nint main(void) { return two() * odd(); }\n")
    subprocess.run(["cc", "-c", "two.c"], cwd=tmp_path, check=True)
    for symbols in (("two", "odd"), ("two",)):  # whose names are of an odd length together, and of an even one
        (tmp_path / "libtwo.a").write_bytes(archive("two.o", (tmp_path / "two.o").read_bytes(), symbols))
        subprocess.run(["cc", "main.c", "libtwo.a", "-o", "main"], cwd=tmp_path, check=True)
        assert subprocess.run([tmp_path / "main"]).returncode == 6


def test_what_cannot_be_exported_is_refused_before_anything_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "compiled_for", lambda *_: pytest.fail("it compiled"))
    with pytest.raises(InputError, match="machine is pdp11; expected one of native, x86-64, aarch64"):
        export_native(tiny_checkpoint(), tmp_path, "pdp11")
    with pytest.raises(InputError, match="precision is float64; a player takes int8x8, int8, float32"):
        export_native(tiny_checkpoint(), tmp_path, precision="float64")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file; expected a folder"):
        export_native(tiny_checkpoint(), tmp_path / "file")


@pytest.mark.exhaustive
@needs_a_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="what is exported here is for x86-64")
def test_the_example_makes_what_the_engine_makes(tmp_path):
    cases, seconds = {}, 0.5
    models = {
        "speech": checkpoint.load(checkpoint.shipped()["speech"]),
        "tiny": tiny_checkpoint(),
        "planned": tiny_speaker(),
    }
    for name, model in models.items():
        for precision in ("int8x8", "float32"):
            key, path = f"{name}-{precision}", tmp_path / f"{name}.safetensors"
            checkpoint.save(path, model.description, model.weights, model.recipe, model.planner)
            out = tmp_path / key
            export_native(checkpoint.load(path), out, "x86-64", precision)
            line = ["cc", *STRICT, "example.c", "libwavegen.a", "-lm", "-o", "example"]
            subprocess.run(line, cwd=out, check=True)
            subprocess.run(["./example", f"{name}.wavegen", str(seconds), "out.wav"], cwd=out, check=True)
            cases[key] = (str(path), round(seconds * model.description.sample_rate), {}, {"precision": precision})
    undefined = subprocess.run(["nm", "-u", out / "libwavegen.a"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in undefined.splitlines() if " U " in line} <= MATHEMATICS
    defined = subprocess.run(
        ["nm", "-g", "--defined-only", out / "libwavegen.a"], capture_output=True, text=True
    ).stdout
    assert {line.split()[-1] for line in defined.splitlines() if " T " in line} == set(NAMES)
    for key, expected in generated(cases, tmp_path, seed=0).items():
        made, _ = soundfile.read(tmp_path / key / "out.wav", dtype="int16")
        written = np.clip(np.rint(expected[: len(made)] * np.float32(32768)), -32768, 32767)
        np.testing.assert_array_equal(made, written, err_msg=key)
    damaged = tmp_path / "tiny-float32" / "tiny.wavegen"
    damaged.write_bytes(damaged.read_bytes()[:-8])
    done = subprocess.run(
        ["./example", "tiny.wavegen", "1", "x.wav"], cwd=damaged.parent, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tiny.wavegen: is no model, damaged")
