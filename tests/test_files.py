import errno
import os
from pathlib import Path

import pytest

from wavegen import files
from wavegen.errors import InputError


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "x.txt"
    with files.atomic(path) as partial:
        partial.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert [file.name for file in path.parent.iterdir()] == ["x.txt"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_without_a_home_the_cache_needs_a_name(monkeypatch):
    monkeypatch.setattr(files.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert files.user_cache() == Path("/somewhere/wavegen")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    with pytest.raises(InputError, match="no home folder; set XDG_CACHE_HOME"):
        files.user_cache()


def test_a_folder_is_checked_without_being_made(tmp_path):
    files.check_writable(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file, not a folder"):
        files.check_writable(tmp_path / "file" / "run")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file/x\.txt: "), files.atomic(tmp_path / "file" / "x.txt"):
        pass


def test_a_folder_made_for_a_block_that_fails_goes_again_unless_it_holds_something(tmp_path):
    with pytest.raises(RuntimeError), files.locked(tmp_path / "new" / "run", "busy"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError), files.locked(tmp_path / "new" / "run", "busy"):
        (tmp_path / "new" / "run" / "kept").touch()
        raise RuntimeError
    assert (tmp_path / "new" / "run" / "kept").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(RuntimeError), files.locked(tmp_path / "old", "busy"):
        raise RuntimeError
    assert (tmp_path / "old").exists()


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path, monkeypatch):
    def fail(self: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match=r"cannot write .*x\.bin: No space left on device"):
        files.write(tmp_path / "x.bin", b"data")
    assert not list(tmp_path.iterdir())
