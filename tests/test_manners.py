"""What the library says and draws: nothing, unless it was asked."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wavegen
from tests.conftest import write_recordings
from wavegen import progress
from wavegen.cli.main import make_app
from wavegen.cli.terminal import library_on_stderr
from wavegen.data import audio

USE = """
import logging, sys
from pathlib import Path
import wavegen
from wavegen import progress
from wavegen.data import audio, corpora
sys.stderr.isatty = lambda: True
{asked}
corpora.prepare("folder", Path(sys.argv[1]), audio.SoundFormat(8000))
wavegen.load("digits").generate(seconds=0.01)
with audio.recording(Path(sys.argv[2]), 8000, 1):
    pass
logging.getLogger("wavegen.engines").warning("a warning")
"""


def use_from_python(asked: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Prepare, generate and record as a Python program on a terminal would, after the lines `asked`."""
    code = USE.format(asked=asked)
    command = [sys.executable, "-c", code, str(write_recordings(folder)), str(folder / "out.wav")]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_from_python_nothing_is_said_unless_asked(tmp_path):
    silent = use_from_python("", tmp_path / "silent")
    assert silent.stdout + silent.stderr == ""


def test_from_python_logging_tells_and_bars_are_drawn_when_asked(tmp_path):
    told = use_from_python("logging.basicConfig(level=logging.INFO)", tmp_path / "told")
    assert "INFO:wavegen.data.audio:Wrote" in told.stderr
    assert "WARNING:wavegen.engines:a warning" in told.stderr
    assert "Preparing" not in told.stderr
    drawn = use_from_python("progress.show_bars()", tmp_path / "drawn")
    assert "Preparing" in drawn.stderr
    assert "a warning" not in drawn.stderr


def test_a_bar_without_a_terminal_is_a_line_now_and_then(monkeypatch, caplog):
    monkeypatch.setattr(progress, "LOGGED_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, "wavegen"), progress.bar("Working", 4) as running:
        running.update(1, "well")
    assert caplog.messages == ["Working: 25% well"]


def test_commands_say_what_the_library_logs_as_it_is(capsys, tmp_path):
    with library_on_stderr():
        logging.getLogger("wavegen.data").info("[red]50% of x:smile:")
        logging.getLogger("wavegen.data").warning("beware")
        logging.getLogger("wavegen.data").debug("unheard")
    assert capsys.readouterr().err == "[red]50% of x:smile:\nbeware\n"
    with audio.recording(tmp_path / "x.wav", 8000, 1):
        pass
    assert capsys.readouterr().err == ""


def test_a_command_leaves_logging_and_bars_as_they_were(tiny_run):
    logger = logging.getLogger("wavegen")
    before = (logger.level, list(logger.handlers), progress._console)
    assert CliRunner().invoke(make_app(), ["models", "inspect", str(tiny_run)]).exit_code == 0
    assert (logger.level, logger.handlers, progress._console) == before


@pytest.mark.parametrize(
    "command", ([sys.executable, "-m", "wavegen"], [str(Path(sys.executable).with_name("wavegen"))])
)
def test_the_version_is_told(command):
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"wavegen {wavegen.__version__}\n"
