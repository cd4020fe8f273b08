"""The queue and the callback, with a fake sound card."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from wavegen import playback
from wavegen.errors import InputError
from wavegen.playback import Player, StopPlaying

BLOCKSIZE = 4


class FakeCard:
    """Asks for a block every millisecond on a thread of its own, as PortAudio does."""

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
            out = np.full((BLOCKSIZE, 1), np.nan, dtype=np.float32)
            try:
                self._callback(out, BLOCKSIZE, None, None)
            except StopPlaying:
                break
            self.heard.append(out[:, 0])
            time.sleep(0.001)
        self._finished()


def numbered(n: int, pause_s: float = 0.0) -> Iterator[np.ndarray]:
    for number in range(1, n + 1):
        time.sleep(pause_s)
        yield np.full(BLOCKSIZE, number, dtype=np.float32)


def run(blocks: Iterator[np.ndarray], prefill: int = 4) -> tuple[Player, FakeCard]:
    cards: list[FakeCard] = []

    def opener(callback: Callable[..., None], finished: Callable[[], None]) -> FakeCard:
        cards.append(FakeCard(callback, finished))
        return cards[0]

    player = Player(blocks, prefill, opener)
    player.run()
    return player, cards[0]


def test_every_block_is_heard_once_and_in_order():
    player, card = run(numbered(50))
    sounding = [block[0] for block in card.heard if block[0] > 0]
    assert sounding == list(range(1, 51))
    assert player.counts.n_played == 50


def test_a_slow_engine_gives_silence_that_is_counted():
    player, card = run(numbered(10, pause_s=0.02), prefill=1)
    silent = sum(not block.any() for block in card.heard)
    assert player.counts.n_dropped == silent > 0
    assert [block[0] for block in card.heard if block[0] > 0] == list(range(1, 11))


def test_the_card_starts_only_when_enough_is_ready():
    made: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for block in numbered(20):
            made.append(1)
            yield block

    made_at_start: list[int] = []

    def opener(callback: Callable[..., None], finished: Callable[[], None]) -> FakeCard:
        made_at_start.append(len(made))
        return FakeCard(callback, finished)

    Player(blocks(), 7, opener).run()
    assert made_at_start[0] >= 7


def test_a_last_block_that_is_shorter_ends_in_silence():
    _, card = run(iter([np.ones(BLOCKSIZE, dtype=np.float32), np.ones(1, dtype=np.float32)]))
    assert card.heard[1].tolist() == [1, 0, 0, 0]


def test_a_failure_of_the_engine_surfaces():
    def failing() -> Iterator[np.ndarray]:
        yield from numbered(3)
        raise RuntimeError("the engine broke")

    with pytest.raises(RuntimeError, match="the engine broke"):
        run(failing())


def test_stopping_early_ends_an_endless_engine():
    def opener(callback: Callable[..., None], finished: Callable[[], None]) -> FakeCard:
        card = FakeCard(callback, finished)
        threading.Timer(0.05, finished).start()  # as if the card had been unplugged
        return card

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield np.ones(BLOCKSIZE, dtype=np.float32)

    before = threading.active_count()
    Player(endless(), 2, opener).run()
    time.sleep(0.1)
    assert threading.active_count() <= before + 1  # the timer may linger


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
