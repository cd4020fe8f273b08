"""Standard streams whose reader goes, in encodings that lack characters, and closed ones."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY_RECIPE
from wavegen.cli.streams import NAMES, LastingFile, has_reader, make_lasting


def test_what_nobody_reads_goes_nowhere():
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(io.BufferedWriter(LastingFile(writer)), "utf-8", write_through=True)
    print("heard", file=stream, flush=True)
    assert os.read(reader, 99) == b"heard\n"
    assert has_reader(stream)
    os.close(reader)
    for _ in range(3):
        print("unheard" * 99999, file=stream, flush=True)
    assert not has_reader(stream)
    os.close(writer)


def test_a_full_disk_is_no_reader_that_went():
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as raised:
        LastingFile(full.fileno()).write(b"x")
    assert raised.value.errno == errno.ENOSPC


SHOW = """
import os, sys, warnings
from wavegen.cli import streams
streams.make_lasting()
{}
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", SHOW.format(code)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=True)


def test_characters_that_an_encoding_lacks_are_codes_and_bytes_of_names_are_bytes():
    code = r"print('M\xfcller \u6f22 \udcff.wav'); print('\xfc\u6f22', file=sys.stderr)"
    assert run(code, PYTHONIOENCODING="ascii").stdout == b"M\\xfcller \\u6f22 \xff.wav\n"
    assert run(code, PYTHONIOENCODING="latin-1").stdout == b"M\xfcller \\u6f22 \xff.wav\n"
    told = run(code, PYTHONIOENCODING="utf-8")
    assert told.stdout == b"M\xc3\xbcller \xe6\xbc\xa2 \xff.wav\n"
    assert run(code, PYTHONIOENCODING="ascii").stderr == b"\\xfc\\u6f22\n"


def test_what_libraries_write_to_stderr_by_themselves_is_not_heard():
    told = run("os.write(2, b'Xing stream size off'); print('mine', file=sys.stderr)")
    assert told.stderr == b"mine\n"


def test_streams_of_somebody_else_are_left_alone(capsys):
    before = sys.stdout, sys.stderr
    make_lasting()
    assert (sys.stdout, sys.stderr) == before
    assert NAMES not in (sys.stdout.errors, sys.stderr.errors)


QUICK = [
    "--set",
    "training.steps=40",
    "--set",
    "training.validate_every=1",
    "--set",
    "training.validation_seconds=0.01",
]


def test_training_goes_on_when_its_reader_goes(tmp_path):
    """As in `wavegen train ... 2>&1 | head -1`, here with a stdin that is closed as well."""
    (tmp_path / "tiny.yaml").write_text(TINY_RECIPE)
    command = ["sh", "-c", '"$@" 2>&1 <&-', "sh", sys.executable, "-m", "wavegen", "train", "tiny.yaml", "--out", "r"]
    with subprocess.Popen([*command, *QUICK], stdout=subprocess.PIPE, cwd=tmp_path) as training:
        assert b"sine" in training.stdout.readline()
        training.stdout.close()
        assert training.wait(500) == 0
    assert (tmp_path / "r" / "sample.wav").exists()
    assert '"step": 20' in (tmp_path / "r" / "metrics.jsonl").read_text()


def test_a_sound_is_made_without_stderr(tmp_path, tiny_run):
    command = ["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-m", "wavegen"]
    words = ["generate", str(tiny_run), "--seconds", "0.01", "--out", "x.wav"]
    ended = subprocess.run([*command, *words], cwd=tmp_path, stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stdout) == (0, b"x.wav\n")
    assert (tmp_path / "x.wav").exists()
