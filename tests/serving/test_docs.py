"""docs/serving.md: its curl lines and its client work as written, but for the address and shorter sounds."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import REPOSITORY
from tests.serving.conftest import Running

PAGE = (REPOSITORY / "docs" / "serving.md").read_text()
INSTEAD = (('"speech"', '"digits"'), ('"seconds": 10', '"seconds": 1'), ('"seconds": 20', '"seconds": 2'))


def curl_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]


def test_curl_lines_work_as_written(running: Running, tmp_path: Path) -> None:
    assert len(curl_lines()) >= 12
    for line in curl_lines():
        command = line.replace("http://127.0.0.1:8000", running.address)
        for before, after in INSTEAD:
            command = command.replace(before, after)
        if "babble.raw" in command:
            samples, _ = soundfile.read(tmp_path / "again.wav", dtype="int16")
            (tmp_path / "babble.raw").write_bytes(samples.astype("<i2").tobytes())
        ended = subprocess.run(["bash", "-c", f"{command} --fail-with-body -sS"], cwd=tmp_path, capture_output=True)
        assert ended.returncode == 0, f"{command}: {ended.stdout!r} {ended.stderr!r}"
    for name, seconds in {"seven.wav": 0.6, "piano.flac": 1, "again.wav": 2}.items():
        assert soundfile.info(tmp_path / name).duration == pytest.approx(seconds, abs=0.01)
    assert (tmp_path / "babble.wav").stat().st_size == 44 + 2 * 2 * 8000
    assert (tmp_path / "copy.wav").stat().st_size == 44 + (tmp_path / "babble.raw").stat().st_size
    for name in ("threes.png", "completed.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_its_client_hears_two_digits(running: Running, tmp_path: Path) -> None:
    (code,) = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "client.py").write_text(code)
    ended = subprocess.run([sys.executable, tmp_path / "client.py", running.live, "4"], capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert np.frombuffer(ended.stdout, "<i2").size >= 4 * 8000
    assert b"silent" in ended.stderr and b"'8'" in ended.stderr


def test_every_address_is_named() -> None:
    for address in ("/v1/models", "/v1/sounds", "/v1/vocode", "/v1/likelihood", "/v1/images", "/v1/live", "/metrics"):
        assert address in PAGE
