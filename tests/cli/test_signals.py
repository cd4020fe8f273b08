"""Signals of the system end a command as Ctrl-C does."""

import os
import signal
import sys

import pytest
import soundfile

from wavegen.cli.main import main
from wavegen.cli.signals import ending_as_ctrl_c
from wavegen.data import audio
from wavegen.generation import blocks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_first_one_ends_and_others_do_not_disturb_the_end(number):
    with ending_as_ctrl_c() as signal_that_came:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        for another in (signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), another)
        assert signal_that_came() == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_as_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN


def end(words: list[str], monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["wavegen", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_take_is_kept_under_its_name(tiny_run, tmp_path, monkeypatch, capfdbinary, number):
    monkeypatch.setattr(blocks, "TRIAL_S", 0.01)
    original, n = audio.as_int16, 0

    def as_int16(waveform):
        nonlocal n
        n += 1
        if n == 9:
            os.kill(os.getpid(), number)
        return original(waveform)

    monkeypatch.setattr(audio, "as_int16", as_int16)
    take = tmp_path / "take.wav"
    assert end(["play", str(tiny_run), "--output", "-", "--record", str(take)], monkeypatch) == 0
    assert soundfile.info(take).frames >= 256
    assert [path.name for path in tmp_path.iterdir() if "take" in path.name] == ["take.wav"]


def test_a_command_that_has_nothing_to_keep_ends_in_what_a_shell_expects(tiny_run, monkeypatch, capsys):
    monkeypatch.setattr("wavegen.checkpoint.load", lambda path: os.kill(os.getpid(), signal.SIGTERM))
    assert end(["models", "inspect", str(tiny_run)], monkeypatch) == 128 + signal.SIGTERM
    assert "Traceback" not in capsys.readouterr().err


def test_an_unexpected_end_of_a_file_is_no_abort(monkeypatch, capsys):
    def load(path):
        raise EOFError

    monkeypatch.setattr("wavegen.checkpoint.load", load)
    monkeypatch.setattr(sys, "argv", ["wavegen", "models", "inspect", "x"])
    with pytest.raises(EOFError):
        main()
    assert "Abort" not in capsys.readouterr().err
