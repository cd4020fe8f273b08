"""Live streams by WebSocket: what is heard, what messages change, and how a stream ends."""

import json
import time

import numpy as np
import pytest

import wavegen
from tests.serving.conftest import Answering, Running
from tests.serving.test_http import until
from wavegen.data import audio
from wavegen.generation.live import Live

connect = pytest.importorskip("websockets.sync.client").connect

HELLO = {"type": "hello", "model": "digits", "seed": 1, "labels": {"digit": "7"}}


class Client:
    """A client of a live stream, which keeps what it is told."""

    def __init__(self, running: Answering, **changes: object) -> None:
        self._opened = connect(running.live)
        self.socket = self._opened.__enter__()
        self.said: list[dict] = []
        self._left = b""  # of a message, of which only the beginning was read
        self.send(**{**HELLO, **changes})

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)

    def send(self, **message: object) -> None:
        self.socket.send(json.dumps(message))

    def read(self, n: int) -> np.ndarray:
        """The next n samples, or as many as come before the end."""
        data = self._left
        while len(data) < 2 * n:
            message = self.socket.recv(timeout=10)
            if isinstance(message, bytes):
                data += message
                continue
            self.said.append(json.loads(message))
            if self.said[-1]["type"] in ("end", "error"):
                break
        self._left = data[2 * n :]
        return np.frombuffer(data[: 2 * n], "<i2")

    def told(self, kind: str) -> dict:
        """The next message of a kind."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for message in self.said:
                if message["type"] == kind:
                    self.said.remove(message)
                    return message
            self.read(1)
        raise TimeoutError(f"no {kind} came, but {self.said}")


def test_it_is_the_sound_of_the_seed(running: Running) -> None:
    with Client(running) as client:
        heard = client.read(8000)
        ready = client.told("ready")
    assert ready["sample_rate"] == 8000 and ready["seed"] == 1 and ready["labels"] == {"digit": "7"}
    made = wavegen.load("digits").generate(2, seed=1, labels={"digit": "7"}).samples[:8000]
    np.testing.assert_array_equal(heard, audio.as_int16(made))


def test_neighbours_come_and_go_and_it_is_the_same(running: Running) -> None:
    with Client(running, seed=5) as client:
        first = client.read(3000)
        for seed in (6, 7):
            with Client(running, seed=seed) as other:
                other.read(2500)
            first = np.concatenate([first, client.read(3000)])
    with Client(running, seed=5) as alone:
        np.testing.assert_array_equal(alone.read(9000), first)


def test_changes_are_heard_from_the_next_block_on_as_played(running: Running) -> None:
    with Client(running, ahead=0.1) as client:
        client.read(600)
        client.send(type="change", temperature=0.3, labels={"digit": "3"}, gain=0.5)
        told = client.told("controls")
        assert (told["temperature"], told["labels"], told["gain"]) == (0.3, {"digit": "3"}, 0.5)
        client.send(type="restart", seed=9)
        client.told("controls")
        assert client.told("began")["take"] == 0
        began = client.told("began")
        assert (began["take"], began["seed"]) == (1, 9)
        client.read(400)
        client.send(type="change", gain=0.0)
        client.told("controls")
        client.read(2000)
        assert not client.read(800).any()


def test_frozen_sound_repeats(running: Running) -> None:
    with Client(running, ahead=0.1) as client:
        client.read(6000)
        client.send(type="freeze")
        client.told("controls")
        client.read(3000)
        period = 16 * 256 - 256  # half a second in whole blocks, less the fade
        loop = client.read(2 * period)
        np.testing.assert_array_equal(loop[:period], loop[period : 2 * period])


def test_blocks_of_a_service_are_those_of_a_card() -> None:
    """`Live` and the service go on with the same performance; what differs is who makes the codes."""
    session = wavegen.load("digits").session(seed=1, labels={"digit": "7"})
    live = Live(session).blocks()
    made = wavegen.load("digits").generate(0.5, seed=1, labels={"digit": "7"}).samples
    np.testing.assert_array_equal(np.concatenate([next(live)[:, 0] for _ in range(8)])[:2000], made[:2000])


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"model": "nobody"}, 404, "no model"),
        ({"model": "mnist"}, 422, "draws images"),
        ({"type": "hi"}, 422, "no hello"),
        ({"colour": 1}, 422, "hello: colour"),
        ({"temperature": -1}, 422, "temperature"),
        ({"ahead": 100}, 422, "hello: ahead"),
        ({"model": "music", "input": True}, 422, "takes no frames"),
    ],
)
def test_a_hello_that_does_not_fit_is_an_error(running: Running, changes, status: int, sentence: str) -> None:
    with Client(running, **changes) as client:
        error = client.told("error")
    assert error["status"] == status and sentence in error["detail"]


def test_messages_that_make_no_sense_change_nothing(running: Running) -> None:
    with Client(running) as client:
        for message in ("{", "[]", '{"type": "fly"}', '{"type": "change", "temperature": "hot"}', "[" * 5000):
            client.socket.send(message)
            assert client.told("refused")["detail"]
        for message in ({"temperature": None}, {"labels": {"digit": "12"}}, {"guidance": 1e9}, {"colour": 2}):
            client.send(type="change", **message)
            assert client.told("refused")["detail"]
        client.socket.send(b"\0\0")
        assert "takes none" in client.told("refused")["detail"]
        assert len(client.read(2000)) == 2000


def test_end_and_error_are_told_apart(running: Running) -> None:
    with Client(running) as client:
        client.read(100)
        client.send(type="cancel")
        assert client.told("end")["reason"] == "cancelled"
    until(lambda: running.service.pool.n_voices == 0)


def test_what_comes_in_is_made_again_and_ends_with_it(running: Running) -> None:
    samples = (8000 * np.sin(np.arange(8000) * 0.08)).astype("<i2")
    with Client(running, model="vocoder", input=True, labels={}) as client:
        for begin in range(0, 8000, 1000):
            client.socket.send(samples[begin : begin + 1000].tobytes())
        client.send(type="end")
        heard = client.read(9000)
        assert client.said[-1] == {"type": "end", "reason": "the sound has ended"}
    assert len(heard) == 8000 and np.abs(heard.astype(float)).mean() > 50


def test_a_client_that_says_what_it_played_is_kept_no_further_ahead(running: Running) -> None:
    with Client(running, ahead=0.2) as client:
        client.send(type="played", samples=0, ahead=0.5)
        client.read(4000)
        time.sleep(0.3)
        with pytest.raises(TimeoutError):  # half a second is ahead
            while True:
                client.socket.recv(timeout=0.3)
        client.send(type="played", samples=2000)
        assert len(client.read(1000)) == 1000


@pytest.mark.parametrize(("ahead", "together_s"), [(0.1, 0.032), (0.25, 0.064), (1.0, 0.256)])
def test_who_has_much_ahead_is_sent_more_at_a_time(running: Running, ahead: float, together_s: float) -> None:
    with Client(running, ahead=ahead) as client:
        client.read(round(8000 * (ahead + 0.5)))
        sizes = [len(client.socket.recv(timeout=10)) / 16000 for _ in range(5)]
    assert np.median(sizes) == together_s


def test_who_vanishes_frees_the_place(running: Running) -> None:
    client = Client(running)
    client.read(500)
    assert running.service.pool.n_voices == 1
    client.socket.socket.close()
    until(lambda: running.service.pool.n_voices == 0)


def test_who_reads_nothing_is_dropped_with_a_reason(running: Running, monkeypatch) -> None:
    monkeypatch.setattr("wavegen.serving.voices.PATIENCE_S", 1.0)
    with Client(running) as client:
        client.send(type="played", samples=0)
        client.read(200)
        assert "nothing was read for 1 s" in client.told("end")["reason"]
    assert running.service.pool.n_voices == 0


def test_beyond_what_was_measured_there_is_no_room(running: Running, monkeypatch) -> None:
    monkeypatch.setattr(running.service.pool, "_max_streams", 1)
    with Client(running) as first:
        first.read(100)
        with Client(running) as second:
            error = second.told("error")
        assert error["status"] == 503 and error["retry_after"] > 0 and "--max-streams" in error["detail"]


def test_live_streams_are_not_late_for_files(running: Running) -> None:
    lane = running.service.pool.cores[0].live["digits"]
    with (
        running.client.stream("POST", "/v1/sounds", json={"model": "music", "seconds": 1, "n": 100}),
        Client(running, ahead=0.5) as client,
    ):
        client.read(8000)
        before = lane.counts.n_late
        client.read(16000)
        assert lane.counts.n_late == before
    until(lambda: running.service.pool.n_requests == 0)
