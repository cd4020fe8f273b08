"""The program that damages files counts what happens to their readers."""

import os
import signal
import time
from pathlib import Path

import pytest

from tools import fuzz
from wavegen.errors import InputError


def refuses(path: Path) -> None:
    if path.read_bytes() != b"good":
        raise InputError("no")


def fails(path: Path) -> None:
    if path.read_bytes() != b"good":
        raise KeyError("no")


def dies(path: Path) -> None:
    if path.read_bytes() != b"good":
        os.kill(os.getpid(), signal.SIGKILL)


def hangs(path: Path) -> None:
    if path.read_bytes() != b"good":
        time.sleep(60)


def swells(path: Path) -> None:
    if path.read_bytes() != b"good":
        bytearray(8 << 30)


@pytest.mark.parametrize(
    ("reader", "outcome"),
    [
        (refuses, "refused"),
        (fails, "traceback"),
        (dies, "crash"),
        (hangs, "hang"),
        (swells, "traceback"),
        (fuzz.void, "read"),
    ],
)
def test_every_end_of_a_reader_is_told(tmp_path, monkeypatch, reader, outcome):
    monkeypatch.setattr(fuzz, "LIMIT_S", 0.3 if outcome == "hang" else 30)
    path = tmp_path / "x.wav"
    path.write_bytes(b"good")
    counts = fuzz.try_all("x", path, reader, 3, tmp_path / "kept")
    assert counts == {outcome: 3}
    kept = sorted(tmp_path.glob("kept/*"))
    assert len(kept) == (0 if outcome in ("refused", "read") else 3)
    for number, one in enumerate(kept):
        assert one.read_bytes() == fuzz.mutate(b"good", "x", number) != b"good"


def test_seeds_are_good_and_some_mutations_of_each_kind_are_survived(tmp_path):
    seeds = fuzz.make_seeds(tmp_path / "seeds")
    assert {"wav", "flac", "png", "tiff", "recipe", "npy", "zip"} <= seeds.keys()
    for name, (path, reader) in seeds.items():
        counts = fuzz.try_all(name, path, reader, 6, None)
        assert counts["refused"] + counts["read"] == 6, name
