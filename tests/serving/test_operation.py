"""The service as a process and at its doors: tokens, pages of other origins, signals, and clients that misbehave."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.serving.conftest import Answering, Apart, Running, downloading, serving
from tests.serving.test_http import problem_of, until
from tests.serving.test_live import HELLO, Client

connect = pytest.importorskip("websockets.sync.client").connect
InvalidStatus = pytest.importorskip("websockets.exceptions").InvalidStatus
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed


@pytest.fixture
def guarded(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The same service behind a token, which a page of one origin may use."""
    monkeypatch.setattr(running.service, "_token", "secret")
    with serving(running.service, ("https://example.org",)) as one:
        yield one


def test_without_the_token_nothing_is_answered_but_health(guarded: Running) -> None:
    assert guarded.client.get("/health").status_code == 200
    addresses = ("/", "/ready", "/metrics", "/v1/models", "/docs", "/openapi.json", "/page/style.css", "/nothing")
    for token in (None, "secre", "secret2", "ü"):
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        for address in addresses:
            answer = guarded.client.get(address, headers=headers)
            assert answer.status_code == 401, address
            problem_of(answer)
        assert guarded.client.post("/v1/sounds", json={"model": "digits"}, headers=headers).status_code == 401
    with pytest.raises(InvalidStatus, match=r"401|403"):
        connect(guarded.live).__enter__()
    assert guarded.client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_the_page_keeps_the_token_of_its_address(guarded: Running) -> None:
    assert guarded.client.get("/?token=secret").status_code == 200
    assert guarded.client.cookies["wavegen-token"] == "secret"
    assert guarded.client.get("/v1/models").status_code == 200
    with connect(f"{guarded.live}?token=secret") as live:
        live.send(json.dumps(HELLO))
        assert json.loads(live.recv(timeout=10))["type"] == "ready"


def test_pages_of_other_origins_may_use_it_only_where_they_are_named(guarded: Running) -> None:
    token = {"Authorization": "Bearer secret"}
    answer = guarded.client.get("/v1/models", headers={**token, "Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert guarded.client.get("/v1/models", headers={**token, "Origin": "https://evil.org"}).status_code == 403
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    assert guarded.client.options("/v1/sounds", headers=asked).status_code == 200
    with pytest.raises(InvalidStatus):
        connect(guarded.live, additional_headers=token, origin="https://evil.org").__enter__()


@contextmanager
def process(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`wavegen serve` as a process, and its address."""
    command = [sys.executable, "-m", "wavegen", "serve", "--port", "0", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        address = ""
        while not address:
            line = running.stderr.readline()
            assert line, "it ended"
            found = re.search(r"Serving on (http://\S+);", line)
            address = found[1] if found else ""
        threading.Thread(target=running.stderr.read, daemon=True).start()
        try:
            yield running, address
        finally:
            running.kill()


def test_sigterm_ends_live_streams_with_a_reason_and_completes_files() -> None:
    with process("music", "--max-streams", "2") as (running, address):
        told: dict[str, object] = {}

        def listen() -> None:
            with connect(address.replace("http", "ws") + "/v1/live") as live:
                live.send(json.dumps({"type": "hello", "model": "music"}))
                while not isinstance(message := live.recv(timeout=20), str) or json.loads(message)["type"] != "end":
                    told.setdefault("heard", time.monotonic())
                told["end"] = json.loads(message)["reason"]
                told["ended"] = time.monotonic()

        threads = [threading.Thread(target=listen), downloading(address, "music", 8, told)]
        for thread in threads:
            thread.start()
        until(lambda: {"heard", "begun"} <= set(told), 20)
        running.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        for thread in threads:
            thread.join(60)
        assert "ending" in str(told["end"]) and float(str(told["ended"])) - asked < 2
        assert told["bytes"] == 2 * 8 * 16000
        assert running.wait(30) == 0


def test_a_port_that_is_taken_and_a_model_that_is_not_there_are_told_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "wavegen", "serve", "digits", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2 and "cannot listen on 127.0.0.1" in ended.stderr and "Traceback" not in ended.stderr
    ended = subprocess.run([*command[:4], "nobody"], capture_output=True, text=True)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr


BODIES = ("/v1/sounds", "/v1/images")
RAW = ("/v1/vocode", "/v1/likelihood", "/v1/images/complete", "/v1/images/classify")
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2**63,
    2**64,
    1e308,
    -1e308,
    0.5,
    "",
    "x" * 300,
    "7",
    [],
    {},
    [[]],
    {"digit": "7"},
    "\0",
    "é",
)
FIELDS = (
    "model", "seconds", "n", "first", "seed", "labels", "temperature", "top_k", "top_p", "guidance", "format",
    "temperature_frames", "transpose", "prime", "stream", "bundle", "colour",
)  # fmt: skip


def malformed(random_: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """A request that makes no sense, or hardly."""
    if random_.random() < 0.5:
        body: dict[str, object] = {"model": random_.choice(["digits", "mnist-binary"]), "seconds": 0.001, "n": 1}
        for _ in range(random_.randint(1, 3)):
            body[random_.choice(FIELDS)] = random_.choice(VALUES)
        data = json.dumps(body).encode()
        if random_.random() < 0.3:
            at = random_.randrange(len(data))
            data = data[:at] + random_.randbytes(3) + data[at + random_.randint(0, 5) :]
        return "POST", random_.choice(BODIES), data, {"Content-Type": "application/json"}
    starts = (b"RIFF", b"fLaC", b"OggS", b"\x93NUMPY\x01\x00", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"")
    data = random_.choice(starts) + random_.randbytes(random_.randint(0, 200))
    query = "&".join(
        f"{random_.choice(('model', 'seed', 'label', 'rows', 'n', 'format', 'stream', 'temperature'))}="
        f"{random_.choice(('vocoder', 'digits', 'mnist-binary', '-1', '1', 'x', '', '%00', 'digit=7', '9' * 30))}"
        for _ in range(random_.randint(0, 4))
    )
    method = random_.choice(("POST", "POST", "GET", "PUT", "DELETE", "PATCH"))
    kind = random_.choice(("audio/pcm", "application/octet-stream", "text/plain", "multipart/form-data"))
    return method, f"{random_.choice(RAW)}?{query}", data, {"Content-Type": kind}


def bombard(running: Answering, n: int, seed: int) -> None:
    """Send requests, frames and bytes that make no sense, and see that each is answered and none is a fault of ours."""
    random_ = random.Random(seed)
    for _ in range(n):
        method, path, data, headers = malformed(random_)
        answer = running.client.request(method, path, content=data, headers=headers)
        assert answer.status_code < 500 or answer.status_code == 503, (method, path, data, answer.text)
        if answer.status_code >= 400:
            problem_of(answer)
    host, port = running.address.removeprefix("http://").split(":")
    for _ in range(n // 10):
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            begin = random_.choice(
                (b"POST /v1/sounds HTTP/1.1\r\n", b"GET /v1/live HTTP/1.1\r\nUpgrade: websocket\r\n", b"")
            )
            raw.sendall(begin + random_.randbytes(random_.randint(0, 300)) + b"\r\n\r\n")
    for _ in range(n // 20):
        with connect(running.live) as live, suppress(ConnectionClosed):  # which ends what is no hello
            for _ in range(random_.randint(1, 5)):
                message = json.dumps(
                    {**HELLO, random_.choice([*FIELDS, "type", "ahead", "input"]): random_.choice(VALUES)}
                )
                live.send(random_.choice([message, message.encode(), random_.randbytes(50), "{", ""]))
    until(lambda: running.is_idle)
    assert running.client.get("/health").status_code == 200


def test_malformed_requests_are_refused_and_do_no_harm(running: Running) -> None:
    bombard(running, 300, 1)
    assert all(core.is_alive() for core in running.service.pool.cores)


def vanish(running: Answering, n: int) -> None:
    """Begin streams, and leave in their middle without a word."""
    for number in range(n):
        if number % 2:
            client = Client(running, seed=number)
            client.read(1)
            client.socket.socket.shutdown(socket.SHUT_RDWR)
            with suppress(Exception):  # its threads end; nothing more is sent
                client.__exit__()
        else:
            asked = {"model": "digits", "seconds": 5, "stream": True}
            with running.client.stream("POST", "/v1/sounds", json=asked) as answer:
                next(answer.iter_raw())
    until(lambda: running.is_idle)


def test_clients_that_vanish_leave_nothing_behind(running: Running) -> None:
    vanish(running, 20)
    threads = threading.active_count()
    before = resident()
    vanish(running, 40)
    assert resident() < before * 1.05
    assert threading.active_count() <= threads + 40  # which are those of clients that close


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_who_reads_slowly_pauses_the_stream_and_hears_all_of_it(running: Running) -> None:
    with running.client.stream(
        "POST", "/v1/sounds", json={"model": "digits", "seconds": 5, "seed": 1, "format": "pcm", "stream": True}
    ) as answer:
        pieces = []
        for piece in answer.iter_raw(4096):
            pieces.append(piece)
            time.sleep(0.01)
    whole = running.client.post("/v1/sounds", json={"model": "digits", "seconds": 5, "seed": 1, "format": "pcm"})
    assert b"".join(pieces) == whole.content


@pytest.mark.exhaustive
def test_ten_thousand_malformed_requests_and_a_thousand_vanishing_clients(apart: Apart) -> None:
    sizes = []
    for seed in range(10):
        bombard(apart, 1000, 2 + seed)
        vanish(apart, 100)
        sizes.append(apart.resident())
    assert max(sizes) < sizes[1] * 1.05, sizes


@pytest.mark.exhaustive
def test_memory_is_flat_over_half_an_hour(apart: Apart) -> None:
    """Live streams that come and go, files and images."""
    began, sizes = time.monotonic(), []
    while time.monotonic() < began + 1800:
        with Client(apart, seed=1) as client:
            apart.client.post("/v1/sounds", json={"model": "digits", "seconds": 1, "n": 4})
            apart.client.post("/v1/images", json={"model": "mnist-binary", "n": 16})
            client.read(8000)
        if time.monotonic() > began + 180 * (1 + len(sizes)):
            sizes.append(apart.resident())
    assert max(sizes) < sizes[0] * 1.05, sizes


def test_where_the_process_that_draws_dies_its_images_fail_and_the_next_ones_do_not(running: Running) -> None:
    asked = {"model": "mnist", "n": 3, "seed": 1, "format": "json"}
    before = running.client.post("/v1/images", json=asked).json()
    for process in running.service.pool.processes:
        os.kill(process.pid, signal.SIGKILL)
    answers = [running.client.post("/v1/images", json=asked) for _ in range(2 * len(running.service.pool.processes))]
    assert {answer.status_code for answer in answers[:-1]} <= {200, 503} and answers[-1].status_code == 200
    assert answers[-1].json() == before
