"""A folder with everything a disk can hold: the good is prepared, the bad is named with its reason."""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tools.full_disk import assert_one_sentence, run_on_full_disk
from wavegen import files
from wavegen.data import corpora, sources, store
from wavegen.data.audio import SoundFormat
from wavegen.errors import InputError

RATE = 16000


def tone(n_channels: int = 1, rate: int = RATE, seconds: float = 0.5, peak: float = 0.5) -> np.ndarray:
    wave = peak * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], n_channels, axis=1)


def write_mixed_folder(folder: Path) -> tuple[set[str], dict[str, str]]:
    """Fill a folder; returns the names of the good files, and of the bad ones with a word of the reason."""
    (folder / "deeper" / "still").mkdir(parents=True)
    soundfile.write(folder / "plain.wav", tone(), RATE)
    soundfile.write(folder / "deeper" / "music.flac", tone(2, 44100), 44100)
    soundfile.write(folder / "deeper" / "still" / "surround.wav", tone(6, 48000), 48000)
    soundfile.write(folder / "high.wav", tone(1, 192000), 192000, subtype="PCM_24")
    soundfile.write(folder / "over.wav", tone(peak=3.0), RATE, subtype="FLOAT")
    soundfile.write(folder / "speech.ogg", tone(), RATE)
    soundfile.write(folder / "telephone.wav", tone(1, 8000), 8000, subtype="ULAW")
    soundfile.write(folder / "mp3 named.wav", tone(), RATE, format="MP3")
    odd = os.fsdecode(b"odd \xff\n name \xe2\x98\x83.wav")
    soundfile.write(folder / "made.wav", tone(), RATE)
    (folder / "made.wav").rename(folder / odd)
    soundfile.write(folder / "SHOUTED.WAV", tone(), RATE)
    for number in range(4):
        soundfile.write(folder / f"more{number}.wav", tone(), RATE)
    good = {
        "plain.wav", "deeper/music.flac", "deeper/still/surround.wav", "high.wav", "over.wav", "speech.ogg",
        "telephone.wav", "mp3 named.wav", "odd \\xff\n name ☃.wav", "SHOUTED.WAV", *(f"more{n}.wav" for n in range(4)),
    }  # fmt: skip

    whole = (folder / "plain.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[:5000])
    flac = (folder / "deeper" / "music.flac").read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "header only.wav").write_bytes(whole[:44])
    (folder / "text.wav").write_text("dear diary")
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT")
    soundfile.write(folder / "infinite.wav", np.array([0.1, np.inf]), RATE, subtype="FLOAT")
    for name, offset in (("no channels.wav", 22), ("no rate.wav", 24)):
        broken = bytearray(whole)
        broken[offset : offset + (2 if offset == 22 else 4)] = b"\0" * (2 if offset == 22 else 4)
        (folder / name).write_bytes(broken)
    huge = bytearray(whole)
    huge[22:24] = (65535).to_bytes(2, "little")
    (folder / "65535 channels.wav").write_bytes(huge)
    (folder / "nothing there.wav").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe.wav")
    bad = {
        "cut.wav": "cut short", "cut.flac": "", "empty.wav": "cannot read", "header only.wav": "cut short",
        "text.wav": "cannot read", "nan.wav": "NaN", "infinite.wav": "infinity", "no channels.wav": "Channel",
        "no rate.wav": "rate", "65535 channels.wav": "", "nothing there.wav": "link", "pipe.wav": "pipe",
    }  # fmt: skip

    (folder / "deeper" / "circle").symlink_to(folder)
    (folder / "notes.txt").write_text("no recording")
    return good, bad


def test_a_folder_of_everything_prepares_and_names_what_is_bad(tmp_path):
    good, bad = write_mixed_folder(tmp_path / "in")
    path, report = corpora.prepare("folder", tmp_path / "in", SoundFormat(RATE))
    assert {recording.name for recording in store.load(path).recordings} == good
    assert set(report.left_out) == set(bad)
    for name, word in bad.items():
        assert word in report.left_out[name], (name, report.left_out[name])
    assert set(report.clipped) == {"over.wav"}
    assert report.changed == {"resampled": 4, "mixed down to mono": 2}
    text = "\n".join(report.lines(most=1000))
    for name in bad:
        assert f"left out {name}: " in text
    assert sum(report.levels.values()) == len(good)


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident sizes are read as Linux tells them")
def test_the_command_stays_small_and_shows_no_traceback(tmp_path):
    write_mixed_folder(tmp_path / "in")
    code = (  # getrusage would tell the peak of the process that started this one
        "import sys; from wavegen.cli.main import make_app\n"
        "try: make_app()(sys.argv[1:], standalone_mode=False)\n"
        "finally: print('peak', open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "data", "prepare", "folder", "--from", str(tmp_path / "in")],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, "WAVEGEN_DATA": str(tmp_path / "stores")},
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "12 left out" in result.stderr
    assert int(result.stdout.split("peak")[1]) < 1_000_000  # kB


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path):
    folder = tmp_path / "in"
    (folder / "locked").mkdir(parents=True)
    for name in ("a.wav", "b.wav", "c.wav", "secret.wav"):
        soundfile.write(folder / name, tone(), RATE)
    (folder / "secret.wav").chmod(0)
    (folder / "locked").chmod(0)
    try:
        _, report = corpora.prepare("folder", folder, SoundFormat(RATE))
        assert set(report.left_out) == {"secret.wav", "locked"}
        assert "may not be read" in report.left_out["locked"]
    finally:
        (folder / "locked").chmod(stat.S_IRWXU)


def test_an_entry_that_swells_beyond_measure_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_ENTRY", 1 << 20)
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", tone(), RATE)
    soundfile.write(tmp_path / "bomb.wav", np.zeros(1 << 20), RATE)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in ("bomb.wav", "0.wav", "1.wav"):
            zipped.write(tmp_path / name, name)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for name in ("bomb.wav", "0.wav", "1.wav"):
            tar.add(tmp_path / name, name)
    for archive in ("x.zip", "x.tar.gz"):
        _, report = corpora.prepare("folder", tmp_path / archive, SoundFormat(RATE))
        assert report.n_recordings == 2
        assert "unpacks to more than" in report.left_out["bomb.wav"]


@pytest.mark.exhaustive
def test_a_full_disk_leaves_no_store_and_one_sentence(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "in" / f"{number}.wav", tone(seconds=5), RATE)
    result = run_on_full_disk(
        200_000, "data", "prepare", "folder", "--from", tmp_path / "in", stores=tmp_path / "stores"
    )
    assert_one_sentence(result, "cannot write the store", "stores", "nothing of it was kept")
    assert not list((tmp_path / "stores").iterdir())


def test_damaged_and_encrypted_archives_are_one_sentence(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as zipped:
        zipped.write(tmp_path / "a.wav", "a.wav")
    whole = (tmp_path / "x.zip").read_bytes()
    for number, damage in enumerate([whole[: len(whole) // 2], whole[:200] + b"\0" * 100 + whole[300:]]):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(damage)
        with pytest.raises(InputError, match="is damaged or incomplete"):
            corpora.prepare("folder", path, SoundFormat(RATE))
    encrypted = bytearray(whole)
    encrypted[6] |= 1  # the flag in the local header, and in the directory
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(encrypted)
    with pytest.raises(InputError, match="encrypted"):
        corpora.prepare("folder", tmp_path / "locked.zip", SoundFormat(RATE))


def test_what_a_killed_preparation_left_is_deleted_by_the_next_and_others_work_is_not(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    stores = tmp_path / "stores"

    def leave() -> Path:
        abandoned = stores / "folder-16000-abc.w1234.partial"
        abandoned.mkdir(parents=True)
        (abandoned / ".lock").touch()
        return abandoned

    abandoned = leave()
    with files.working_folder(stores / "folder-16000-abc") as alive:
        prepared, _ = corpora.prepare("folder", tmp_path / "a.wav", SoundFormat(RATE))
        assert alive.exists()
    assert not abandoned.exists()
    assert {path.name for path in prepared.iterdir()} == {
        "samples.i16", "index.jsonl", "left_out.jsonl", "store.json"
    }  # fmt: skip
    abandoned = leave()
    assert corpora.prepare("folder", tmp_path / "a.wav", SoundFormat(RATE)) == (prepared, None)  # it is there already
    assert [path.name for path in stores.iterdir()] == [prepared.name]


def test_a_store_is_held_until_it_has_its_name(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    original = store._put_in_place

    def beside_another(partial, path):
        files.remove_abandoned(path.parent)
        assert partial.exists()
        assert (partial / ".lock").exists()  # a kill now, and the next one knows
        original(partial, path)

    monkeypatch.setattr(store, "_put_in_place", beside_another)
    path, _ = corpora.prepare("folder", tmp_path / "a.wav", SoundFormat(RATE))
    assert not (path / ".lock").exists()


def test_a_store_that_another_process_completes_at_the_last_moment_stays(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    path, _ = corpora.prepare("folder", tmp_path / "a.wav", SoundFormat(RATE))
    theirs = path.stat().st_ino
    mine = shutil.copytree(path, path.with_name("mine.partial"))
    original = store.read_facts

    def not_yet(path: Path) -> None:
        monkeypatch.setattr(store, "read_facts", original)

    monkeypatch.setattr(store, "read_facts", not_yet)
    store._put_in_place(mine, path)
    assert path.stat().st_ino == theirs


def test_who_prepares_the_same_meanwhile_is_no_trouble(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    original = store._decode_all

    def with_another(*arguments):
        monkeypatch.setattr(store, "_decode_all", original)
        corpora.prepare("folder", tmp_path / "a.wav", SoundFormat(RATE))
        return original(*arguments)

    monkeypatch.setattr(store, "_decode_all", with_another)
    path, _ = corpora.prepare("folder", tmp_path / "a.wav", SoundFormat(RATE))
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert len(store.load(path).recordings) == 1
