"""Which files of a folder or an archive are recordings or images, and what they are called."""

import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.conftest import write_recordings
from wavegen.data import corpora, splits, store
from wavegen.data.audio import SoundFormat
from wavegen.data.images import ImageFormat
from wavegen.errors import InputError
from wavegen.generation.conditioning import known_labels, label_indices
from wavegen.recipe import FolderData

RATE = 8000
FORMAT = SoundFormat(RATE)
NFC = unicodedata.normalize("NFC", "Müller")
NFD = unicodedata.normalize("NFD", NFC)


def tone(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(800) / 6), RATE, format="WAV")
    return path


def packed(folder: Path, archive: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in files:
                zipped.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w") as tar:
            for path in files:
                tar.add(path, path.relative_to(folder))
    return archive


def names(path: Path) -> list[str]:
    return sorted(recording.name for recording in store.load(path).recordings)


HIDDEN = (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails", "deep/.hidden/deeper")


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_what_is_hidden_is_passed_over_and_counted(tmp_path, kind):
    folder = tmp_path / ".mine"  # which the user named, so it is not hidden
    for name in ("wren/1.wav", "owl/2.wav", "and more.wav"):
        tone(folder / name)
    for number, hidden in enumerate(HIDDEN):
        tone(folder / hidden / f"{number}.wav")
    tone(folder / "wren" / ".3.wav")
    source = folder if kind == "folder" else packed(folder, tmp_path / f"x.{kind}")
    path, report = corpora.prepare("folder", source, FORMAT)
    assert names(path) == ["and more.wav", "owl/2.wav", "wren/1.wav"]
    assert report.n_hidden == 6
    assert report.lines()[0].endswith("6 hidden, passed over")


def test_hidden_images_are_passed_over_too(tmp_path):
    for name in ("a/1.png", "a/@eaDir/1.png", ".thumbnails/2.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / name)
    path, report = corpora.prepare("images", tmp_path / "in", ImageFormat(4, 4, 3))
    assert (names(path), report.n_hidden) == (["a/1.png"], 2)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_formats_that_cannot_be_read_are_named_and_an_odd_ending_is_not_one(tmp_path, kind):
    for suffix in ("wav", "WAVE", "m4a", "wma", "webm", "AAC", "txt"):
        tone(tmp_path / "in" / f"x.{suffix}")
    source = tmp_path / "in" if kind == "folder" else packed(tmp_path / "in", tmp_path / f"x.{kind}")
    path, report = corpora.prepare("folder", source, FORMAT)
    assert names(path) == ["x.WAVE", "x.wav"]
    assert set(report.passed_over) == {"x.m4a", "x.wma", "x.webm", "x.AAC"}
    assert "4 passed over" in report.lines()[0]
    assert "passed over x.m4a: .m4a is not read here; convert it, for example to .flac" in report.lines()


def test_a_folder_of_nothing_else_says_so(tmp_path):
    for number in range(3):
        tone(tmp_path / f"{number}.m4a")
    with pytest.raises(InputError, match=r"holds no recordings that can be read but 3 \.m4a; expected files such as"):
        corpora.prepare("folder", tmp_path, FORMAT)


def test_hard_links_in_a_tar_are_read_as_what_they_lead_to(tmp_path):
    tone(tmp_path / "in" / "a" / "1.wav")
    (tmp_path / "in" / "b").mkdir()
    for name in ("b/2.wav", "b/3.wav"):
        os.link(tmp_path / "in" / "a" / "1.wav", tmp_path / "in" / name)
    archive = packed(tmp_path / "in", tmp_path / "x.tar")
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo("lost.wav")
        link.type, link.linkname = tarfile.LNKTYPE, "gone.wav"
        tar.addfile(link)
    path, report = corpora.prepare("folder", archive, FORMAT)
    assert names(path) == ["a/1.wav", "b/2.wav", "b/3.wav"]
    loaded = store.load(path)
    for recording in loaded.recordings:
        np.testing.assert_array_equal(loaded.samples[recording.start :][:800], loaded.samples[:800])
    assert report.left_out == {"lost.wav": "it is a hard link to gone.wav, which is not in the archive"}


def test_backslashes_in_a_zip_are_folders(tmp_path):
    contents = tone(tmp_path / "x.wav").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        for name in (r"birds\owl\1.wav", r"birds\wren\2.wav", r"birds\.git\3.wav"):
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            zipped.writestr(entry, contents)
    path, report = corpora.prepare("folder", tmp_path / "x.zip", FORMAT)
    assert (names(path), report.n_hidden) == (["birds/owl/1.wav", "birds/wren/2.wav"], 1)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        ((8, 10), 9, "is packed by Deflate64, which cannot be read here; unpack it and name the folder"),
        ((8, 10), 77, "is packed by method 77, which cannot"),
        ((6, 8), 1, "is encrypted; unpack it and name the folder"),
    ],
)
def test_what_no_zip_reader_of_python_knows_is_told_truly(tmp_path, at, value, words):
    tone(tmp_path / "in" / "x.wav")
    data = bytearray(packed(tmp_path / "in", tmp_path / "x.zip").read_bytes())
    data[data.index(b"PK\3\4") + at[0]] = data[data.index(b"PK\1\2") + at[1]] = value
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match=words):
        corpora.prepare("folder", tmp_path / "x.zip", FORMAT)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_names_have_one_spelling_whatever_the_disk_had(tmp_path, kind):
    for number in range(3):
        tone(tmp_path / "in" / NFD / f"{NFD}{number}.wav")
        tone(tmp_path / "in" / "wren" / f"{number}.wav")
    source = tmp_path / "in" if kind == "folder" else packed(tmp_path / "in", tmp_path / f"x.{kind}")
    data = FolderData(corpus="folder", sample_rate=RATE, source=source, labels_from_folders="who")
    opened, _ = corpora.open_corpus(data)
    assert f"{NFC}/{NFC}0.wav" in [recording.name for recording in opened.recordings]
    assert splits.label_values(splits.split(data, opened.recordings)["train"]) == {"who": [NFC, "wren"]}


@pytest.mark.parametrize("known", [NFC, NFD])
def test_a_label_is_found_in_either_spelling(known):
    for asked in (NFC, NFD):
        assert label_indices({"who": ["a", known]}, {"who": asked}) == {"who": 1}
        assert label_indices({known: ["a", "b"]}, {asked: "b"}) == {known: 1}
        assert known_labels({"who": ["a", known]}, {"who": asked}) == {"who": known}
    assert label_indices({"digit": ["6", "7"]}, {"digit": 7}) == {"digit": 1}
    assert known_labels({"who": ["a"]}, {"who": "b"}) == known_labels({"who": ["a"]}, {}) == {"who": None}


def test_a_source_may_be_written_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_recordings(tmp_path / "home" / "x")
    assert len(store.load(corpora.prepare("folder", Path("~/x"), FORMAT)[0]).recordings) == 6


def test_a_link_to_itself_is_one_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="there is no"):
        corpora.prepare("folder", tmp_path / "loop", FORMAT)


def test_text_that_is_called_mp3_is_named_as_what_it_is(tmp_path):
    (tmp_path / "x.mp3").write_text("Dear diary, " * 50)
    tone(tmp_path / "1.wav")
    _, report = corpora.prepare("folder", tmp_path, FORMAT)
    assert report.left_out == {"x.mp3": "libsndfile cannot read it (it holds no sound in any format that it knows)"}
