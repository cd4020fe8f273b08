import os
from pathlib import Path

import pytest

from wavegen import paths
from wavegen.data import store
from wavegen.errors import InputError
from wavegen.paths import is_same, is_within, one_on_disk, resolved, user_path


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == tmp_path / "x"
    assert user_path("a~/~x").parts == ("a~", "~x")
    with pytest.raises(InputError, match=r"the home folder in ~nobody-here/x is not known; \./~ begins"):
        user_path("~nobody-here/x")
    monkeypatch.setenv("WAVEGEN_DATA", "~/data")
    assert store.root() == tmp_path / "data"


def test_variables_are_read_unless_a_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIRDS", str(tmp_path / "birds"))
    assert user_path("$BIRDS/x") == tmp_path / "birds" / "x"
    assert user_path("$NOT_THERE/x") == Path("$NOT_THERE/x")
    Path("$BIRDS").mkdir()
    assert user_path("$BIRDS") == Path("$BIRDS")


def test_an_empty_place_for_corpora_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("WAVEGEN_DATA", "")
    assert store.root() == tmp_path / "wavegen"


def test_links_are_followed_and_a_circle_of_them_is_no_error(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert resolved(tmp_path / "link" / "x") == tmp_path / "there" / "x"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert resolved(tmp_path / "loop").is_absolute()


NFC, NFD = "M\u00fcller.wav", "Mu\u0308ller.wav"


def test_a_disk_is_asked_whether_names_are_one_and_nothing_stays_of_that(tmp_path, monkeypatch):
    alike = [tmp_path / "new" / name for name in ("a/x.wav", "b/x.wav", NFC, "A/x.wav", NFD, "A/y.wav")]
    assert one_on_disk(tmp_path / "new", alike) is None  # on the disk of tests, which tells them apart
    assert not list(tmp_path.iterdir())
    asked = []

    def are_one_name(folder, one, other):
        asked.append((folder, one, other))
        return one == NFC

    monkeypatch.setattr(paths, "are_one_name", are_one_name)
    assert one_on_disk(tmp_path / "new", alike) == (alike[2], alike[4])
    assert asked == [(tmp_path, "a", "A"), (tmp_path, NFC, NFD)]


def test_a_name_that_a_disk_takes_for_another_is_the_same_file(tmp_path):
    """A hard link stands for what such a disk finds under the other name."""
    (tmp_path / "In.wav").touch()
    (tmp_path / "other.wav").touch()
    os.link(tmp_path / "other.wav", tmp_path / "linked.wav")
    assert not is_same(tmp_path / "In.wav", tmp_path / "in.wav")
    os.link(tmp_path / "In.wav", tmp_path / "in.wav")
    assert is_same(tmp_path / "In.wav", tmp_path / "in.wav")
    assert not is_same(tmp_path / "other.wav", tmp_path / "linked.wav")  # one of which can be replaced


def test_what_lies_in_a_folder_is_told_by_links_and_by_the_names_that_a_disk_takes_for_one(tmp_path, monkeypatch):
    (tmp_path / "Birds").mkdir()
    (tmp_path / "birds").mkdir()
    (tmp_path / "link").symlink_to("Birds")
    assert is_within(tmp_path / "link" / "new", tmp_path / "Birds")
    assert is_within(tmp_path / "Birds", tmp_path / "Birds")
    assert not is_within(tmp_path / "birds" / "new", tmp_path / "Birds")
    monkeypatch.setattr(Path, "samefile", lambda self, other: True)
    assert is_within(tmp_path / "birds" / "new", tmp_path / "Birds")
