"""The ring, the callback and the player, with a fake sound card."""

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from wavegen import playback
from wavegen.errors import InputError
from wavegen.playback import Player, Ring, StopPlaying, resampled

FRAMES = 5  # that the fake card asks for at a time; no divisor of the blocks


class FakeCard:
    """Asks for samples every millisecond on a thread of its own, as PortAudio does."""

    latency_s = 0.0

    def __init__(self, callback: Callable[..., None], finished: Callable[[], None]) -> None:
        self._callback, self._finished = callback, finished
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.heard: list[np.ndarray] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._thread.join()

    def close(self) -> None:
        pass

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            out = np.full((FRAMES, 1), np.nan, dtype=np.float32)
            try:
                self._callback(out, FRAMES, None, None)
            except StopPlaying:
                break
            self.heard.append(out[:, 0])
            time.sleep(0.001)
        self._finished()


def counting(n: int, size: int = 4, pause_s: float = 0.0) -> Iterator[np.ndarray]:
    """Samples 1, 2, 3 and so on, in blocks."""
    for first in range(1, n + 1, size):
        time.sleep(pause_s)
        yield np.arange(first, min(first + size, n + 1), dtype=np.float32)[:, None]


def run(blocks: Iterator[np.ndarray], capacity: int = 16, tick=lambda: None) -> tuple[Player, FakeCard]:
    cards: list[FakeCard] = []

    def opener(callback: Callable[..., None], finished: Callable[[], None]) -> FakeCard:
        cards.append(FakeCard(callback, finished))
        return cards[0]

    player = Player(blocks, 1, capacity, opener)
    player.run(tick)
    return player, cards[0]


def test_a_ring_gives_what_it_was_given_whatever_the_portions():
    random = np.random.default_rng(0)
    ring, given, taken = Ring(13, 2), [], []
    for _ in range(500):
        block = random.standard_normal((random.integers(0, 20), 2)).astype(np.float32)
        given.append(block[: ring.write(block)])
        out = np.empty((random.integers(0, 20), 2), dtype=np.float32)
        taken.append(out[: ring.read_into(out)])
        assert 0 <= ring.n_ready <= ring.capacity
    written, read = np.concatenate(given), np.concatenate(taken)
    np.testing.assert_array_equal(read, written[: len(read)])
    assert len(read) > 1000


def test_every_sample_is_heard_once_and_in_order():
    player, card = run(counting(203))
    heard = np.concatenate(card.heard)
    np.testing.assert_array_equal(heard[heard > 0], np.arange(1, 204))
    assert player.counts.n_played == 203


def test_a_slow_engine_gives_silence_that_is_counted():
    player, card = run(counting(40, pause_s=0.02), capacity=4)
    heard = np.concatenate(card.heard)
    assert heard[heard > 0].tolist() == list(range(1, 41))
    assert player.counts.n_silent > 0
    assert 0 < player.counts.n_dropouts < player.counts.n_silent
    assert player.counts.n_silent <= (heard == 0).sum() <= player.counts.n_silent + FRAMES


def test_the_card_starts_only_when_the_ring_is_full():
    ready_at_start: list[int] = []

    def opener(callback: Callable[..., None], finished: Callable[[], None]) -> FakeCard:
        ready_at_start.append(player.ring.n_ready)
        return FakeCard(callback, finished)

    player = Player(counting(100), 1, 28, opener)
    player.run()
    assert ready_at_start == [28]


def test_a_sound_shorter_than_the_ring_is_played():
    _, card = run(counting(3), capacity=100)
    assert card.heard[0].tolist() == [1, 2, 3, 0, 0]


def test_a_failure_of_the_engine_surfaces():
    def failing() -> Iterator[np.ndarray]:
        yield from counting(3)
        raise RuntimeError("the engine broke")

    with pytest.raises(RuntimeError, match="the engine broke"):
        run(failing())


def endless() -> Iterator[np.ndarray]:
    while True:
        yield np.ones((4, 1), dtype=np.float32)


def test_a_card_that_ends_by_itself_is_told():
    class UnpluggedCard(FakeCard):
        def start(self) -> None:
            super().start()
            threading.Timer(0.05, self._finished).start()

        def stop(self) -> None:
            self._thread.join(10)  # asks on until the engine, told to stop, has nothing more
            super().stop()

    with pytest.raises(InputError, match="has stopped by itself; it seems to be gone"):
        Player(endless(), 1, 8, UnpluggedCard).run()


def test_a_word_of_the_user_ends_an_endless_engine():
    ticks: list[int] = []
    player = Player(endless(), 1, 8, FakeCard)
    player.run(lambda: player.stop() if ticks.append(1) or len(ticks) > 2 else None)
    assert "wavegen-engine" not in {thread.name for thread in threading.enumerate()}


def test_a_card_that_asks_for_nothing_is_gone(monkeypatch):
    monkeypatch.setattr(playback, "SILENT_CARD_S", 0.1)

    class DeadCard(FakeCard):
        def _run(self) -> None:
            self._is_stopping.wait()

    with pytest.raises(InputError, match="seems to be gone"):
        Player(endless(), 1, 8, DeadCard).run()


def test_the_callback_keeps_no_memory():
    player = Player(iter([]), 2, 512, FakeCard)
    block, out = np.ones((64, 2), dtype=np.float32), np.empty((64, 2), dtype=np.float32)

    def call(n: int) -> None:
        for _ in range(n):
            player.ring.write(block)
            player._callback(out, 64, None, None)

    call(100)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call(10_000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 1000
    assert player.counts.n_dropouts == 0


def test_resampling_in_blocks_is_resampling_at_once():
    tone = np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000).astype(np.float32)[:, None]
    blocks = [tone[first : first + 250] for first in range(0, 16000, 250)]
    made = np.concatenate(list(resampled(iter(blocks), 16000, 44100, 1)))
    assert abs(len(made) - 44100) < 5
    expected = np.sin(np.arange(len(made)) * 2 * np.pi * 440 / 44100)
    np.testing.assert_allclose(made[2000:-2000, 0], expected[2000:-2000], atol=1e-3)


def test_without_portaudio_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(__import__("sys").modules, "sounddevice")
    monkeypatch.setattr("sys.meta_path", [Missing(), *__import__("sys").meta_path])
    with pytest.raises(InputError, match="apt install libportaudio2"):
        playback.import_sounddevice()
