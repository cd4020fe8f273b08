"""The microphone with a fake of sounddevice: what is read, late, passed over, and gone."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from wavegen import microphone
from wavegen.errors import InputError
from wavegen.microphone import Microphone
from wavegen.playback import resampling_delay_s

RATE = 8000


class FakeSoundDevice:
    """Stands for the module: one microphone, whose samples a test brings by `bring`."""

    PortAudioError = type("PortAudioError", (Exception,), {})
    default = SimpleNamespace(device=(1, 0))

    def __init__(self) -> None:
        self.refuses_rate = self.is_forbidden = False
        self.latency = 0.012

    def query_devices(self, device=None, kind=None):
        devices = [
            {"name": "speakers", "max_input_channels": 0, "default_samplerate": 48000.0},
            {"name": "a fake", "max_input_channels": 2, "default_samplerate": 48000.0},
        ]
        if kind is None:
            return devices
        if device not in (None, 1, "a fake"):
            raise ValueError(f"No input device matching {device!r}")
        return devices[1]

    def check_input_settings(self, samplerate, **settings):
        if self.refuses_rate and samplerate == RATE:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, callback, finished_callback, **settings):  # noqa: N802 - sounddevice's name
        if self.is_forbidden:
            raise self.PortAudioError("Error opening InputStream: not permitted")
        self.callback, self.finish = callback, finished_callback
        return SimpleNamespace(
            start=lambda: None, stop=lambda: None, close=lambda: None, **{**settings, "latency": self.latency}
        )

    def bring(self, samples) -> None:
        self.callback(np.asarray(samples, dtype=np.float32)[:, None], len(samples), None, None)


@pytest.fixture
def fake(monkeypatch):
    module = FakeSoundDevice()
    monkeypatch.setattr(microphone, "import_sounddevice", lambda: module)
    return module


def test_what_came_is_read_in_its_order_and_waited_for(fake):
    with Microphone(None, RATE, 0.02) as opened:
        fake.bring(np.arange(1, 31) / 100)
        assert 0 < opened.behind_s() - fake.latency - 30 / RATE < 1
        np.testing.assert_array_equal(opened.read(20), np.arange(1, 21, dtype=np.float32) / 100)
        threading.Timer(0.05, fake.bring, [np.arange(31, 51) / 100]).start()
        np.testing.assert_array_equal(opened.read(20), np.arange(21, 41, dtype=np.float32) / 100)
        assert opened.waited_s > 0.02
        assert opened.peak == np.float32(0.4)
        assert opened.length is None


def test_what_is_late_is_not_waited_for_once_the_loudspeaker_runs_out(fake):
    with Microphone(None, RATE, 0.02) as opened:
        reserve = 0.005
        opened.target_s, opened.reserve_s = 0.04, lambda: reserve
        assert opened.read(100) is None
        reserve = 0.02  # more is wanted before it is waited for again
        assert opened.read(100) is None
        assert opened.n_late == 2
        reserve = 0.03
        threading.Timer(0.05, fake.bring, [np.ones(100)]).start()
        assert len(opened.read(100)) == 100
        reserve = 0.02
        fake.bring(np.ones(100))
        assert len(opened.read(100)) == 100
        assert opened.n_late == 2


def test_what_piles_up_is_passed_over_and_counted_but_for_the_beginning(fake):
    with Microphone(None, RATE, 0.02) as opened:
        reserve = None
        opened.target_s, opened.reserve_s = 0.04, lambda: reserve
        for _ in range(10):
            fake.bring(np.ones(100))
        assert len(opened.read(100)) == 100  # nothing is heard yet, and all is needed to begin
        reserve = 0.04
        assert len(opened.read(100)) == 900  # 112 ms too many
        assert opened.n_passed_over == 0
        for value in range(3):
            fake.bring(np.full(100, value / 10))
        assert len(opened.read(100)) == 100  # within what a card may bring at once
        for value in range(3, 10):
            fake.bring(np.full(100, value / 10))
        passed_over = opened.read(100)
        assert opened.n_passed_over == len(passed_over) // 100 - 1 > 0
        assert (opened.newest == passed_over[-1]).all()


def test_what_nobody_reads_for_long_is_lost(fake):
    with Microphone(None, RATE, 0.02) as opened:
        for _ in range(100):
            fake.bring(np.zeros(100))
        threading.Timer(0.05, fake.bring, [np.ones(100)]).start()
        assert (opened.read(100) == 1).all()


def test_another_rate_is_resampled(fake):
    fake.refuses_rate = True
    with Microphone("a fake", RATE, 0.02) as opened:
        assert opened.card_rate == 48000
        n_late = round(resampling_delay_s(48000, RATE) * RATE)
        assert 0 < n_late < 0.2 * RATE
        for begin in range(0, 24000, 480):
            fake.bring(np.sin(2 * np.pi * 440 * np.arange(begin, begin + 480) / 48000))
        read = opened.read(4000 - n_late)
        expected = np.sin(2 * np.pi * 440 * np.arange(len(read)) / RATE)
        np.testing.assert_allclose(read[100:], expected[100:], atol=1e-2)


def test_a_microphone_that_is_gone_is_told(fake, monkeypatch):
    with Microphone(1, RATE, 0.02) as opened:
        monkeypatch.setattr(microphone, "SILENT_CARD_S", 0.02)
        with pytest.raises(InputError, match=r"has given nothing in 0\.02 s; it seems to be gone"):
            opened.read(100)
        fake.finish()
        with pytest.raises(InputError, match="the microphone has stopped by itself; it seems to be gone"):
            opened.read(100)


def test_one_that_does_not_open_or_is_not_there_is_told(fake):
    with pytest.raises(InputError, match=r"the input 'no such' is not there .*; there are a fake\. --input hello\.wav"):
        Microphone("no such", RATE, 0.02)
    fake.is_forbidden = True
    with pytest.raises(InputError, match="does not open: Error opening InputStream: not permitted; is it in use, or"):
        Microphone(None, RATE, 0.02).start()


def test_inputs_are_listed(fake):
    assert microphone.input_devices() == [(1, "a fake", 2, 48000, True)]
