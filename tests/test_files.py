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
