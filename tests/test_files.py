import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
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


def fail_with(number: int):
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def unheard(caplog):
    """What is said once is said again, for this test."""
    files._warn_once.cache_clear()
    return caplog


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "x.txt"
    with files.atomic(path) as first, files.atomic(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert first != second
    assert path.read_text() == "first"  # the last one to end
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_two_processes_write_one_file_again_and_again(tmp_path):
    code = (
        "import sys; from pathlib import Path; from wavegen import files\n"
        "for n in range(100): files.write(Path(sys.argv[1]), b'x' * n)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "x.bin"]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]


def test_what_a_killed_writer_left_is_taken_by_the_next(tmp_path):
    path = tmp_path / "x.txt"
    with files.atomic(path) as partial:
        partial.write_text("new")
        name = partial.name
    (tmp_path / name).write_text("the beginning of something longer")
    files.write(path, b"newer")
    assert path.read_text() == "newer"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("name", ["x" * 251 + ".wav", "é" * 125 + "x.wav", "x." + "w" * 253])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path, name):
    files.write(tmp_path / name, b"data")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with pytest.raises(InputError, match="File name too long"):
        files.write(tmp_path / ("x" + name), b"data")


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").write_text("old")
    for name in ("old", "new"):
        link = tmp_path / name
        link.symlink_to(Path("there") / name)
        files.write(link, b"data")
        assert link.is_symlink()
        assert (tmp_path / "there" / name).read_bytes() == b"data"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"cannot write .*loop: Too many levels of symbolic links"):
        files.write(tmp_path / "loop", b"data")
    assert {one.name for one in tmp_path.iterdir()} == {"there", "old", "new", "loop"}


def test_what_is_replaced_can_be_kept(tmp_path):
    path, kept = tmp_path / "x", tmp_path / "before"
    for data in (b"1", b"2", b"3"):
        files.write(path, data, keep=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"3", b"2")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_is_written_where_folders_cannot_be_flushed_and_that_is_said_once(
    tmp_path, monkeypatch, unheard, number
):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            fail_with(number)()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(2):
        files.write(tmp_path / "x", b"data")
    assert (tmp_path / "x").read_bytes() == b"data"
    assert [record.levelname for record in unheard.records] == ["WARNING"]
    assert "a power cut may undo the newest writes" in unheard.text


def test_a_disk_that_fails_while_flushing_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(InputError, match="Input/output error"):
        files.write(tmp_path / "x", b"data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_files_are_written_and_folders_used_and_that_is_said(tmp_path, monkeypatch, unheard, number):
    monkeypatch.setattr(fcntl, "flock", fail_with(number))
    path = tmp_path / "x"
    with files.atomic(path) as first, files.atomic(path) as second:
        assert first != second
    with files.locked(tmp_path / "run", "busy"):
        pass
    assert "run has no locks (flock): let no other process work in it" in unheard.text


def abandoned_ago(folder: Path, seconds: float) -> Path:
    """A working folder with a file in it, in which nothing was written for so long."""
    folder.mkdir()
    (folder / "samples").touch()
    for path in (folder / "samples", folder):
        os.utime(path, (time.time() - seconds,) * 2)
    return folder


def test_a_working_folder_is_removed_by_others_only_once_nobody_holds_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from wavegen import files\n"
        "with files.working_folder(Path(sys.argv[1])) as folder: print(folder, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "x"], stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    files.remove_abandoned(tmp_path)
    assert folder.is_dir()
    process.kill()
    process.wait()
    assert folder.is_dir()
    files.remove_abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_working_folder_without_a_lock_is_left_alone_for_a_day(tmp_path, monkeypatch):
    young, old = (abandoned_ago(tmp_path / f"x.{n}.partial", hours * 3600) for n, hours in ((1, 23), (2, 25)))
    files.remove_abandoned(tmp_path)
    assert (young.exists(), old.exists()) == (True, False)
    monkeypatch.setattr(fcntl, "flock", fail_with(errno.ENOLCK))
    with files.working_folder(tmp_path / "y") as mine:
        files.remove_abandoned(tmp_path)
        assert mine.exists()
        monkeypatch.undo()
        files.remove_abandoned(tmp_path)  # as another host would, that has locks
        assert mine.exists()
    assert not mine.exists()


def test_a_working_folder_goes_when_its_block_fails(tmp_path):
    with pytest.raises(RuntimeError), files.working_folder(tmp_path / "x") as folder:
        assert folder.name.startswith("x.")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
