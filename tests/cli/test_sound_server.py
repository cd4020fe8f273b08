"""`wavegen play` through PortAudio to a real sound server, whose monitor hears what arrives."""

import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import tiny_checkpoint
from tools import sound_server
from wavegen import checkpoint
from wavegen.data.audio import as_int16

SECONDS = 30
LATENCY_MS = 200


@pytest.fixture
def server(tmp_path):
    reason = sound_server.missing()
    if reason:
        pytest.skip(reason)
    stop = sound_server.longest_stop()
    if stop > sound_server.STILL_S:
        pytest.skip(f"this machine stands still for {1000 * stop:.0f} ms at a time, longer than a sound can wait")
    running = sound_server.SoundServer(tmp_path)
    yield running
    running.stop()


def voice(path: Path) -> Path:
    """A recording for a vocoder: a tone with harmonics that comes and goes, in noise."""
    time_s = np.arange(SECONDS * 16000) / 16000
    tone = sum(np.sin(2 * np.pi * 130 * k * time_s) / k for k in range(1, 20))
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    soundfile.write(path, 0.1 * tone * (np.sin(2 * np.pi * time_s) > 0) + 0.01 * noise, 16000)
    return path


@pytest.mark.parametrize("model", ["speech", "vocoder"])
def test_what_the_engine_makes_arrives_without_a_gap_bit_by_bit(server, tmp_path, model):
    made_of = ("--frames", voice(tmp_path / "voice.wav")) if model == "vocoder" else ("--temperature", 0.8)
    with server.heard() as listener:
        words = (model, *made_of, "--seed", 3, "--seconds", SECONDS, "--record", tmp_path / "take.wav")
        words += ("--latency", LATENCY_MS)  # other tests run beside this one
        process = sound_server.play(server, *words, cwd=tmp_path)
        with sound_server.overslept() as late:
            _, shown = process.communicate()
        time.sleep(0.5)  # for what is on its way to the monitor
    assert process.returncode == 0, shown
    if max(late) > LATENCY_MS / 2000:
        pytest.skip(f"this machine stood still for {1000 * max(late):.0f} ms")
    assert f"Played {SECONDS}.0 s; 0 drop-outs (0.00 s of silence), 0 underflows reported" in shown
    made, rate = soundfile.read(tmp_path / "take.wav", dtype="int16")
    assert len(made) == SECONDS * rate
    # The take is written in 16 bits, the monitor hears float32; what the server had rendered ahead as silence when the
    # sound began, the monitor does not hear again.
    heard, missed = as_int16(listener.samples), rate // 10
    begin = sound_server.place_of(made[missed : missed + rate], heard) - missed
    assert begin >= -missed
    np.testing.assert_array_equal(heard[begin + missed : begin + len(made)], made[missed:])


def assert_told_gone(process, what):
    """It ends with a sentence that says of what it is gone."""
    _, shown = process.communicate(timeout=30)
    assert process.returncode == 2, shown
    assert "Traceback" not in shown
    last = shown.splitlines()[-1]
    assert last.startswith(f"wavegen: {what}") and "gone" in last


@pytest.mark.parametrize("end", ["remove_sink", "stop"])
def test_a_card_that_goes_while_playing_is_told_and_the_take_is_kept(server, tmp_path, end):
    with server.heard() as listener:
        process = sound_server.play(server, "--seed", 3, "--record", tmp_path / "take.wav", cwd=tmp_path)
        while not listener.samples.any():
            time.sleep(0.01)
            assert process.poll() is None
        time.sleep(0.5)
        getattr(server, end)()
        assert_told_gone(process, "the sound card")
    assert soundfile.info(tmp_path / "take.wav").frames > 4000


@pytest.fixture
def echo(server, tmp_path):
    """`play --input` of a vocoder that has learnt nothing, but is loud when what it makes again is; in its room."""
    model = tiny_checkpoint(n_features=6, hop=40, frame_channels=4, look_ahead=2)
    checkpoint.save(tmp_path / "echo.safetensors", model.description, model.weights, "")
    server.add_room()
    words = (tmp_path / "echo.safetensors", "--input", "pulse", "--record", tmp_path / "take.wav", "--headless")
    process = sound_server.play(server, *words, "--latency", LATENCY_MS, cwd=tmp_path)
    yield process
    process.kill()


def delay_said(process) -> float:
    """What it says of its delay, in s, once it does."""
    for line in process.stderr:
        if found := re.match(r"(\d+) ms from the microphone to the loudspeaker, of which", line):
            return int(found[1]) / 1000
    raise AssertionError("it ended before it told its delay")


def onset(listener) -> float:
    """When the first sound of half its peak arrived."""
    samples = np.abs(listener.samples)
    return listener.arrival(int(np.argmax(samples > samples.max() / 2)))


def test_what_a_microphone_takes_is_heard_as_late_as_is_said(server, echo, tmp_path):
    bursts = np.zeros(3 * 16000)
    bursts[16000:24000] = 0.3 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(tmp_path / "burst.wav", bursts, 16000)
    with server.heard() as loudspeaker, server.heard(sound_server.ROOM) as room, sound_server.overslept() as late:
        said = delay_said(echo)
        time.sleep(0.5)
        server.sound_in_room(tmp_path / "burst.wav")
        time.sleep(said)
        delay = onset(loudspeaker) - onset(room)
    if max(late) > LATENCY_MS / 4000:
        pytest.skip(f"this machine stood still for {1000 * max(late):.0f} ms")
    # A null sink's monitor hears what is rendered, which is a good deal before it would sound.
    assert said - 0.15 < delay < said + 0.05


def test_a_microphone_that_goes_is_told_and_the_take_is_kept(server, echo, tmp_path):
    delay_said(echo)
    server.stop()
    assert_told_gone(echo, "the")
    assert soundfile.info(tmp_path / "take.wav").frames > 0


@pytest.mark.skipif(shutil.which("tmux") is None, reason="not installed: tmux")
def test_keys_pressed_in_a_terminal_change_what_is_shown_and_heard(server, tmp_path):
    socket = str(tmp_path / "tmux")

    def tmux(*words):
        command = ["tmux", "-S", socket, *words]
        return subprocess.run(command, env=server.environment, capture_output=True, text=True, check=True).stdout

    def wait_for(text):
        began = time.monotonic()
        while text not in tmux("capture-pane", "-p"):
            assert time.monotonic() - began < 30, tmux("capture-pane", "-p")
            time.sleep(0.05)

    command = shlex.join(sound_server.command("--temperature", 0.8, "--seed", 3))
    tmux("new-session", "-d", "-x", "110", "-y", "24", "-c", str(tmp_path), f"{command}; sleep 30")
    try:
        with server.heard() as listener:
            wait_for("temperature 0.80")
            tmux("send-keys", "Up")
            wait_for("temperature 0.85")
            tmux("send-keys", "w")
            wait_for("wrote take-3-1.wav")
            tmux("send-keys", "-l", "--", "-" * 40)
            wait_for("gain 0.00")
            time.sleep(1)
            assert np.abs(listener.samples[-2000:]).max() < 1e-3
            tmux("send-keys", "q")
            wait_for("0 drop-outs")
    finally:
        tmux("kill-server")
    assert soundfile.info(tmp_path / "take-3-1.wav").samplerate == 16000
