from pathlib import Path

import pytest

from wavegen.data import store
from wavegen.errors import InputError
from wavegen.paths import resolved, user_path


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
