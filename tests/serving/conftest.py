"""Services of shipped models on ports of their own, in this process and in one apart."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from wavegen.serving import server
from wavegen.serving.capacity import Cost
from wavegen.serving.http import create_app
from wavegen.serving.models import ServedModels
from wavegen.serving.service import Limits, Service

MODELS = ("digits", "music", "vocoder", "mnist", "mnist-binary")


class Answering:
    """A service that answers at an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = httpx.Client(base_url=address, timeout=60)

    @property
    def live(self) -> str:
        return self.address.replace("http", "ws") + "/v1/live"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is made for anybody."""
        told = re.findall(r"(?m)^wavegen_(?:live_streams|queue)(?:{.*})? (.*)$", self.client.get("/metrics").text)
        return len(told) > 1 and not any(map(float, told))


class Running(Answering):
    """One of this process."""

    def __init__(self, service: Service, address: str) -> None:
        super().__init__(address)
        self.service = service


class Apart(Answering):
    """One that is a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        super().__init__(address)
        self.process = process

    def resident(self) -> int:
        """Bytes of memory of the process and of those that it began."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (self.process.pid, *children)]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def downloading(address: str, model: str, seconds: float, told: dict[str, object]) -> threading.Thread:
    """What gets a sound as it is made: `begun` is told with its first piece, and at the end its `bytes`."""

    def download() -> None:
        asked = {"model": model, "seconds": seconds, "format": "pcm", "stream": True}
        with httpx.stream("POST", f"{address}/v1/sounds", json=asked, timeout=60) as answer:
            n = 0
            for piece in answer.iter_raw():
                told["begun"] = True
                n += len(piece)
            told["bytes"] = n

    return threading.Thread(target=download)


@contextmanager
def serving(service: Service, cors: tuple[str, ...] = ()) -> Iterator[Running]:
    """Let a service answer while the block runs."""
    listener = server.listening_socket("127.0.0.1", 0)
    config = uvicorn.Config(create_app(service, cors), log_config=None, lifespan="off", ws_max_size=server.MOST_MESSAGE)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve([listener])), daemon=True)
    thread.start()
    while not running.started:
        pass
    try:
        yield Running(service, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        running.should_exit = running.force_exit = True
        thread.join()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Models that ship, with narrow limits, and places for live streams however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wavegen.serving.pool.measure", lambda model, scheduler: Cost((1,), (0.01,)))
        service = Service(
            ServedModels([Path(name) for name in MODELS]), limits=Limits(seconds=5, n_bytes=1 << 20), n_threads=1
        )
    with serving(service) as one:
        yield one
    service.close()


@pytest.fixture
def apart() -> Iterator[Apart]:
    """The command, with models that ship."""
    line = [sys.executable, "-m", "wavegen.cli.main", "serve", *MODELS, "--port", "0", "--max-seconds", "5"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = next(line for line in process.stderr if line.startswith("Serving on"))
    threading.Thread(target=process.stderr.read, daemon=True).start()  # or it would wait for a reader
    yield Apart(process, told.split()[2].rstrip(";"))
    process.terminate()
    assert process.wait(90) == 0
