"""Fetching from a server on loopback that breaks off, resumes, redirects and lies about sizes."""

import hashlib
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.data.test_corpora import write_digits
from wavegen import files
from wavegen.cli.main import make_app
from wavegen.data import download
from wavegen.data.download import RemoteFile, fetch
from wavegen.data.named import NAMED
from wavegen.errors import InputError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler, int], None]


class Server:
    """A web server whose answers a test writes; `requests` are the Range headers that came."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.headers["Range"])
                answer(self, len(outer.requests))

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/corpus.tar"
        self._is_running = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._is_running:
            self._is_running = False
            self._server.shutdown()
            self._server.server_close()


def first_byte(handler: BaseHTTPRequestHandler) -> int:
    asked = handler.headers["Range"]
    return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0


def send(handler: BaseHTTPRequestHandler, body: bytes, first: int = 0, claimed: int | None = None) -> None:
    handler.send_response(206 if first else 200)
    if first:
        handler.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def remote(server: Server, sha256: str | None = SHA256) -> RemoteFile:
    return RemoteFile(server.url, "corpus.tar", sha256)


def test_a_file_arrives_once_and_is_not_fetched_again(serve, tmp_path):
    server = serve(lambda handler, number: send(handler, CONTENT))
    path = fetch(remote(server), tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert fetch(remote(server), tmp_path / "new" / "folder") == path
    assert server.requests == [None]
    assert visible(path.parent) == ["corpus.tar"]


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(serve, tmp_path, caplog):
    def answer(handler, number):
        first = first_byte(handler)
        send(handler, CONTENT[first : first + 1_000_000], first, claimed=len(CONTENT) - first)

    server = serve(answer)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000000-", "bytes=2000000-"]
    assert "broke off" in caplog.text


def test_what_an_earlier_call_left_is_used(serve, tmp_path):
    (tmp_path / "corpus.tar.part").write_bytes(CONTENT[:2_500_000])
    server = serve(lambda handler, number: send(handler, CONTENT[first_byte(handler) :], first_byte(handler)))
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=2500000-"]


def test_a_complete_part_needs_no_more_bytes(serve, tmp_path):
    (tmp_path / "corpus.tar.part").write_bytes(CONTENT)
    server = serve(lambda handler, number: handler.send_error(416))
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(serve, tmp_path):
    (tmp_path / "corpus.tar.part").write_bytes(b"stale" * 1000)
    server = serve(lambda handler, number: send(handler, CONTENT))
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_redirects_are_followed_with_the_range(serve, tmp_path):
    target = serve(lambda handler, number: send(handler, CONTENT[first_byte(handler) :], first_byte(handler)))

    def redirect(handler, number):
        handler.send_response(302)
        handler.send_header("Location", target.url)
        handler.end_headers()

    (tmp_path / "corpus.tar.part").write_bytes(CONTENT[:1_000_000])
    assert fetch(remote(serve(redirect)), tmp_path).read_bytes() == CONTENT
    assert target.requests == ["bytes=1000000-"]


def test_a_redirect_in_circles_is_given_up(serve, tmp_path):
    def redirect(handler, number):
        handler.send_response(302)
        handler.send_header("Location", "/corpus.tar")
        handler.end_headers()

    with pytest.raises(InputError, match=r"cannot fetch http://127.*302"):
        fetch(remote(serve(redirect)), tmp_path)


@pytest.mark.parametrize("claimed", [len(CONTENT) // 2, len(CONTENT) + 1000], ids=["too little", "too much"])
def test_a_lie_about_the_size_never_makes_a_wrong_file(serve, tmp_path, claimed):
    server = serve(lambda handler, number: send(handler, CONTENT[first_byte(handler) :], 0, claimed))
    with pytest.raises(InputError, match=r"not the file expected|cannot fetch"):
        fetch(remote(server), tmp_path)
    assert not (tmp_path / "corpus.tar").exists()


def test_a_file_that_is_not_the_one_expected_is_deleted(serve, tmp_path):
    server = serve(lambda handler, number: send(handler, b"<html>please log in</html>"))
    with pytest.raises(InputError, match="is not the file expected: its SHA-256 is"):
        fetch(remote(server), tmp_path)
    assert not visible(tmp_path)


def test_a_server_that_keeps_breaking_off_is_given_up_and_the_bytes_are_kept(serve, tmp_path):
    def answer(handler, number):
        first = first_byte(handler)
        send(handler, CONTENT[first : first + (1000 if number == 1 else 0)], first, claimed=len(CONTENT) - first)

    server = serve(answer)
    with pytest.raises(InputError, match=r"ended 2,999,000 bytes early; 1,000 bytes are kept"):
        fetch(remote(server), tmp_path)
    assert (tmp_path / "corpus.tar.part").read_bytes() == CONTENT[:1000]
    assert len(server.requests) == 1 + download.ATTEMPTS - 1


def test_a_missing_file_and_a_server_that_is_not_there_are_one_sentence(serve, tmp_path):
    server = serve(lambda handler, number: handler.send_error(404))
    with pytest.raises(InputError, match="the server answers 404"):
        fetch(remote(server), tmp_path)
    assert len(server.requests) == 1
    server.stop()
    with pytest.raises(InputError, match=r"cannot fetch http://127.0.0.1"):
        fetch(remote(server), tmp_path)
    assert not visible(tmp_path)


def test_a_chunked_answer_that_breaks_off_is_taken_up_again(serve, tmp_path):
    """As GitHub sends archives: no length, and a broken end is known by the missing last chunk."""

    def answer(handler, number):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        body = CONTENT[:1_000_000] if number == 1 else CONTENT
        handler.wfile.write(f"{len(CONTENT):x}\r\n".encode() + body)
        if number > 1:
            handler.wfile.write(b"\r\n0\r\n\r\n")
        handler.close_connection = True

    assert fetch(remote(serve(answer)), tmp_path).read_bytes() == CONTENT


def test_a_file_without_a_known_hash_is_checked_before_it_gets_its_name(serve, tmp_path):
    def refuse(path: Path) -> None:
        raise InputError(f"{path} is no archive")

    server = serve(lambda handler, number: send(handler, b"<html>please log in</html>"))
    with pytest.raises(InputError, match="is no archive"):
        fetch(remote(server, None), tmp_path, refuse)
    assert not visible(tmp_path)


def test_a_length_that_is_no_number_is_not_believed(serve, tmp_path):
    def answer(handler, number):
        handler.send_response(200)
        handler.send_header("Content-Length", "many")
        handler.end_headers()
        handler.wfile.write(CONTENT)

    assert fetch(remote(serve(answer)), tmp_path).read_bytes() == CONTENT


def test_two_processes_do_not_fetch_one_file_together(serve, tmp_path):
    server = serve(lambda handler, number: send(handler, CONTENT))
    with files.locked(tmp_path, "busy"), pytest.raises(InputError, match="another process is fetching"):
        fetch(remote(server), tmp_path)


def test_a_corpus_is_fetched_prepared_and_not_fetched_again(serve, tmp_path, monkeypatch):
    write_digits(tmp_path / "in")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "in", "in")
    packed = (tmp_path / "x.tar.gz").read_bytes()
    server = serve(lambda handler, number: send(handler, packed if number > 1 else packed[:-500], 0, len(packed)))
    monkeypatch.setitem(NAMED["digits"].parts, "digits", RemoteFile(server.url, "digits.tar.gz", None))
    result = CliRunner().invoke(make_app(), ["data", "prepare", "digits"])
    assert result.exit_code == 0, result.output
    assert "54 recordings of 2 speakers" in result.stderr
    assert len(server.requests) == 2
    again = CliRunner().invoke(make_app(), ["data", "prepare", "digits"])
    assert "is prepared already and has not changed" in again.stderr
    assert len(server.requests) == 2


def test_what_is_no_archive_is_fetched_again_next_time(serve, tmp_path, monkeypatch):
    server = serve(lambda handler, number: send(handler, b"<html>please log in</html>"))
    monkeypatch.setitem(NAMED["digits"].parts, "digits", RemoteFile(server.url, "digits.tar.gz", None))
    for _ in range(2):
        with pytest.raises(InputError, match="is no whole archive"):
            CliRunner().invoke(make_app(), ["data", "prepare", "digits"], catch_exceptions=False)
    assert len(server.requests) == 2
