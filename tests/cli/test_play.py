"""`wavegen play` with a fake sound card: what it plays, writes and shows, and what its keys do."""

import io
import os
import pty
import re
import socket
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from tests.conftest import PREDICTION, tiny_checkpoint
from tests.test_microphone import FakeSoundDevice
from tests.test_playback import FakeCard
from wavegen import checkpoint, microphone
from wavegen.cli import keys, osc, play_input, play_screen
from wavegen.cli import play as command
from wavegen.cli.main import make_app
from wavegen.errors import InputError
from wavegen.generation import blocks
from wavegen.generation.live import Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.generation.sound_input import RecordingInput
from wavegen.playback import Player


class FakeOutput:
    """Stands for `playback.Card`."""

    name = "a fake"

    def __init__(self, device, sample_rate, n_channels):
        self.n_channels = n_channels
        self.sample_rate = 16000 if device == "fast" else sample_rate

    def opener(self, blocksize, latency_s):
        return FakeCard


@pytest.fixture(autouse=True)
def _fake_card(monkeypatch):
    monkeypatch.setattr(command, "Card", FakeOutput)
    monkeypatch.setattr(blocks, "TRIAL_S", 0.01)


def play(*words):
    result = CliRunner().invoke(make_app(), ["play", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_what_is_played_is_recorded_and_is_the_sound_of_its_seed(tiny_run, tmp_path):
    shown = play(tiny_run, "--seconds", "0.1", "--seed", 3, "--headless", "--record", tmp_path / "x.wav").stderr
    assert "times real time" in shown
    assert "Played 0.1 s" in shown
    words = ["generate", str(tiny_run), "--seconds", "0.1", "--seed", "3", "--out", str(tmp_path / "y.wav")]
    assert CliRunner().invoke(make_app(), words).exit_code == 0
    np.testing.assert_array_equal(*(soundfile.read(tmp_path / name)[0] for name in ("x.wav", "y.wav")))


def test_another_rate_and_more_voices_are_played(tiny_run, tmp_path):
    assert "plays 16000 Hz" in play(tiny_run, "--seconds", "0.05", "--output", "fast").stderr
    words = (tiny_run, "--seconds", "0.05", "--n", 3, "--record")
    play(*words, tmp_path / "mixed.wav")
    assert soundfile.info(tmp_path / "mixed.wav").channels == 1
    play(*words, tmp_path / "spread.wav", "--output", "-", "--spread")
    assert soundfile.info(tmp_path / "spread.wav").channels == 3


def test_raw_samples_go_to_a_pipe(tiny_run):
    result = play(tiny_run, "--seconds", "0.05", "--seed", 3, "--output", "-")
    assert len(result.stdout_bytes) == 2 * 400
    assert "16 bits, signed, little-endian, 8000 Hz, 1 channels" in result.stderr


def test_a_record_that_is_no_wav_file_is_refused_before_anything_sounds(tiny_run, tmp_path):
    with pytest.raises(InputError, match=r"--record is x\.mp3; expected the name of a \.wav file"):
        play(tiny_run, "--record", "x.mp3")


def test_a_card_that_goes_leaves_the_take(tiny_run, tmp_path, monkeypatch):
    class Gone(FakeOutput):
        def opener(self, blocksize, latency_s):
            def open_stream(callback, finished):
                raise InputError("the sound card does not open: it is gone")

            return open_stream

    monkeypatch.setattr(command, "Card", Gone)
    with pytest.raises(InputError, match="it is gone"):
        play(tiny_run, "--record", tmp_path / "kept.wav")
    assert soundfile.info(tmp_path / "kept.wav").frames > 0


@pytest.fixture
def scene():
    live = Live(Session(tiny_checkpoint(labels={"who": 2}), GenerationOptions(seed=3)))
    blocks = live.blocks()
    for _ in range(3):
        next(blocks)
    player = Player(blocks, 1, 64, FakeCard)
    return live, player, play_screen.PlayScreen(live, player, 8000, "tiny on a fake")


def shown(scene) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(scene[2].picture())
    return console.file.getvalue()


def test_keys_change_the_sound(scene, tmp_path, monkeypatch):
    live, player, at = scene
    monkeypatch.chdir(tmp_path)
    for key in ("up", "up", "down", "p", "p", "P", "+", "l", "l", "L", "k", "?", "f"):
        at.press(key)
    now = live.controls
    assert now.decoding.temperature == pytest.approx(1.05)
    assert now.decoding.top_p == pytest.approx(0.95)
    assert now.gain == pytest.approx(1.25)
    assert now.labels == {"who": "0"}
    assert now.is_frozen
    at.press("r")
    assert live.controls.seed != 3
    assert not live.controls.is_frozen
    (tmp_path / f"take-{live.controls.seed}-1.wav").touch()  # of a session before
    at.press("w")
    assert soundfile.info(tmp_path / f"take-{live.controls.seed}-2.wav").frames == 768
    at.press("q")
    player.run()  # ends at once


def test_guidance_has_keys_where_it_was_begun_with(scene):
    scene[2].press("G")
    assert "guidance is off; restart with --guidance 1.5" in shown(scene)
    assert "g/G" not in shown(scene)
    live = Live(
        Session(tiny_checkpoint(labels={"who": 2}), GenerationOptions(seed=3, labels={"who": "0"}, guidance=1.5))
    )
    guided = live, None, play_screen.PlayScreen(live, scene[1], 8000, "guided")
    for key in ("G", "g", "g"):
        guided[2].press(key)
    assert live.controls.decoding.guidance == 1.25
    assert "g/G\u00a0guidance" in shown(guided)


def test_every_key_is_on_the_screen_of_a_narrow_terminal(scene, monkeypatch):
    monkeypatch.setattr(play_screen, "console", Console(width=60))
    text = shown(scene)
    assert all(key.replace(" ", play_screen.UNBROKEN) in text for key in scene[2].keys)
    assert all(len(line.rstrip()) <= 60 for line in text.splitlines() if play_screen.UNBROKEN in line)


def test_the_screen_tells_what_sounds(scene):
    text = shown(scene)
    for words in (
        "tiny on a fake",
        "temperature 1.00",
        "seed 3",
        "x real time",
        "buffer",
        "drop-outs 0",
        "bits/sample",
        "dBFS",
        "l/L\u00a0who",
    ):
        assert words in text
    scene[2].press("up")
    assert "temperature 1.05" in shown(scene)


def test_a_spectrogram_column_is_dark_where_the_sound_is():
    tone = np.sin(np.arange(512) * 2 * np.pi * 0.25).astype(np.float32)
    column = play_screen.spectrum(tone)
    assert len(column) == play_screen.ROWS
    assert column[8] in "▓█"
    assert column[0] == " "
    assert play_screen.spectrum(np.zeros(512, dtype=np.float32)) == " " * play_screen.ROWS
    assert play_screen.level_bar(np.zeros(9, dtype=np.float32)).endswith("-70.0 dBFS")


def test_keys_are_split():
    assert keys.split("q\x1b[Ar\x1b[B\x1b") == ["q", "up", "r", "down"]
    assert keys.split("\x1bOA\x1bOP\x1b[1;2P\x1b[3~\x1bqG") == ["up", "G"]  # F1, shift-F1, delete and alt-q are none
    assert keys.split("") == []


def test_keys_come_from_a_terminal_without_enter(monkeypatch):
    leader, follower = pty.openpty()
    monkeypatch.setattr(sys, "stdin", os.fdopen(follower))
    with keys.pressed() as newest:
        os.write(leader, b"r\x1b[A")
        deadline, found = time.monotonic() + 5, []
        while len(found) < 2 and time.monotonic() < deadline:
            found += newest()
        assert found == ["r", "up"]
    os.close(leader)


def test_a_flood_of_osc_messages_is_no_flood_of_remarks(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(osc.time, "monotonic", lambda: now)
    remark = osc.Remarks()
    for _ in range(20_000):
        remark("OSC /\x1b[2J: expected one of /gain")
    now = 2 * osc.REMARKS_EVERY_S
    remark("OSC /late: expected one of /gain")
    remark.end()
    told = capsys.readouterr().err.splitlines()
    assert told[:-2] == [r"OSC /\x1b[2J: expected one of /gain"] * osc.MOST_REMARKS
    assert told[-2:] == ["OSC: 19,995 more messages made no sense", "OSC /late: expected one of /gain"]


def test_osc_messages_change_the_sound(scene, capsys):
    live = scene[0]
    known = osc.actions(live)
    known["/temperature"](0.5)
    known["/label"]("who", "1")
    known["/freeze"](1)
    assert live.controls.decoding.temperature == 0.5
    assert live.controls.labels == {"who": "1"}
    assert live.controls.is_frozen
    known["/restart"](7)
    assert live.controls.seed == 7
    client = pytest.importorskip("pythonosc.udp_client")
    with osc.listening(live, 9123):
        sender = client.SimpleUDPClient(osc.HOST, 9123)
        sender.send_message("/loudness", 1)
        sender.send_message("/temperature", [])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.sendto(b"/temperature\0\0\0\0,s\0\0\xff\xff\0\0", (osc.HOST, 9123))
        sender.send_message("/top_k", float("inf"))
        sender.send_message("/gain", 0.25)  # the last, so that all have come when it has
        deadline = time.monotonic() + 5
        while live.controls.gain != 0.25 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert live.controls.gain == 0.25
    told = capsys.readouterr().err
    assert "/temperature comes with 0 arguments; expected /temperature VALUE" in told.replace("\n", " ")
    assert "a message that is damaged" in told
    assert "Traceback" not in told


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    """A model file of a tiny vocoder with a pitch and a label."""
    model = tiny_checkpoint(**PREDICTION, labels={"speaker": 2})
    path = tmp_path_factory.mktemp("models") / "vocoder.safetensors"
    checkpoint.save(path, model.description, model.weights, "")
    return path


@pytest.fixture
def voice(tmp_path):
    path = tmp_path / "voice.wav"
    tone = 0.4 * np.sin(2 * np.pi * 1250 * np.arange(1203) / 8000)
    soundfile.write(path, tone + 0.01 * np.random.default_rng(0).standard_normal(1203), 8000)
    return path


def test_a_recording_and_a_pipe_are_made_again_as_long_as_they_are(vocoder, voice, tmp_path, monkeypatch):
    words = ("play", vocoder, "--seed", 3, "--label", "speaker=1", "--output", "-", "--input")
    result = play(*words[1:], voice, "--record", tmp_path / "take.wav")
    made = np.frombuffer(result.stdout_bytes, "<i2")
    assert len(made) == 1203
    np.testing.assert_array_equal(soundfile.read(tmp_path / "take.wav", dtype="int16")[0], made)
    raw = soundfile.read(voice, dtype="int16")[0].astype("<i2").tobytes()
    piped = CliRunner().invoke(make_app(), list(map(str, (*words, "-"))), input=raw)
    assert piped.exit_code == 0
    assert piped.stdout_bytes == result.stdout_bytes
    # 329 samples for the frames: a block of 255, two frames ahead of 5, and half a window of 64; 255 for matching
    delay = "73 ms from the input to the output, of which 41 until there are frames, 32 for matching"
    assert delay in " ".join(result.stderr.split())
    sooner = play(*words[1:], voice, "--no-match", "--seconds", 0.1)
    assert len(sooner.stdout_bytes) == 2 * 800
    assert "41 ms from the input to the output, of which 41 until there are frames" in " ".join(sooner.stderr.split())


@pytest.mark.parametrize("device", [None, "a fake", "1"])
def test_a_microphone_is_made_again_until_it_goes(vocoder, monkeypatch, tmp_path, device):
    fake = FakeSoundDevice()
    monkeypatch.setattr(microphone, "import_sounddevice", lambda: fake)
    noise = 0.1 * np.random.default_rng(0).standard_normal(4000)
    opened = fake.InputStream

    def brings_half_a_second(**settings):
        stream = opened(**settings)
        stream.start = lambda: (fake.bring(noise), fake.finish())
        return stream

    fake.InputStream = brings_half_a_second
    words = ["--headless", "--record", str(tmp_path / "take.wav"), "--input", *([] if device is None else [device])]
    result = CliRunner().invoke(make_app(), ["play", str(vocoder), *words])
    assert isinstance(result.exception, InputError)
    assert "the microphone has stopped by itself; it seems to be gone" in str(result.exception)
    assert 500 < soundfile.info(tmp_path / "take.wav").frames <= 4000
    told = " ".join(result.stderr.split())
    assert "frames passed over" in told
    assert "digital silence" not in told


def test_the_delay_is_told_once_the_buffers_have_been_looked_at(vocoder, monkeypatch):
    fake = FakeSoundDevice()
    monkeypatch.setattr(microphone, "import_sounddevice", lambda: fake)
    monkeypatch.setattr(play_input, "N_LOOKS", 4)
    player = Player(iter([]), 1, 800, FakeCard)
    with microphone.Microphone(None, 8000, 0.02) as opened:
        delay = play_input.Delay(Session(checkpoint.load(vocoder), GenerationOptions(), frames_follow=True), opened)
        assert [delay.measure(player, 8000, 0.0) for _ in range(10)] == [None] * 10  # nothing is asked for yet
        clock = 5.0
        monkeypatch.setattr("time.perf_counter", lambda: clock)
        fake.bring(np.zeros(200))  # 25 ms that wait, the newest of which sounded 12 ms ago
        player.ring.write(np.zeros((400, 1), dtype=np.float32))
        when = SimpleNamespace(outputBufferDacTime=2.03, currentTime=2.0)
        player._callback(np.zeros((80, 1), dtype=np.float32), 80, when, None)  # 40 ms stay; 10 ms are heard 30 ms later
        told = [delay.measure(player, 8000, 0.0) for _ in range(6)]
    # 25 + 12 + 40 + 10 + 30 ms, less the block of 32 ms with which the frames begin
    line = (
        "158 ms from the microphone to the loudspeaker, of which 41 until there are frames, 32 for matching, 85 in the"
    )
    assert told[:3] + told[4:] == [None] * 5
    assert told[3] == f"{line} buffers of the sound cards"


def test_the_screen_tells_of_the_sound_that_comes_in(vocoder, voice):
    model = checkpoint.load(vocoder)
    live = Live(Session(model, GenerationOptions(seed=3), frames_follow=True), RecordingInput(soundfile.read(voice)[0]))
    next(live.blocks())
    text = shown((live, None, play_screen.PlayScreen(live, Player(live.blocks(), 1, 64, FakeCard), 8000, "in")))
    assert "input " in text


def test_inputs_and_outputs_are_listed(monkeypatch):
    monkeypatch.setattr(command, "output_devices", lambda: [(0, "speakers", 2, 48000, True)])
    monkeypatch.setattr(command, "input_devices", lambda: [(1, "a fake", 1, 44100, False)])
    lines = play("--list-devices").stdout.splitlines()
    assert lines[-2].split() == ["0", "speakers", "--output", "2", "48000", "default"]
    assert lines[-1].split() == ["1", "a", "fake", "--input", "1", "44100"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--prime", "x.wav"),
            "--prime has no meaning with --input, whose frames are those of the sound; leave it out",
        ),
        (("--frames", "x.wav"), "--frames has no meaning with --input"),
        (("--n", 2), "--n has no meaning with --input"),
        (("--temperature-frames", 0.9), "--temperature-frames has no meaning with --input"),
        (("--label", "speaker=9"), "label speaker has no value '9'"),
        (("--input", "no.wav"), "there is no recording no.wav"),
        (("--record", "VOICE"), "which is also what is read"),
    ],
)
def test_what_makes_no_sense_with_an_input_is_refused(vocoder, voice, words, sentence):
    given = [str(voice) if word == "VOICE" else word for word in words]
    with pytest.raises(InputError, match=re.escape(sentence)):
        play(vocoder, "--input", voice, "--output", "-", *given)


def test_a_model_without_frames_takes_no_input(tiny_run, voice):
    with pytest.raises(
        InputError, match="--input is for a model that makes sound of frames, such as speech or vocoder"
    ):
        play(tiny_run, "--input", voice)
