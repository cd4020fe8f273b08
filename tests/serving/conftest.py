"""A service of shipped models in this process, on a port of its own."""

import asyncio
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


class Running:
    """A service that answers at an address."""

    def __init__(self, service: Service, address: str) -> None:
        self.service, self.address = service, address
        self.client = httpx.Client(base_url=address, timeout=60)

    @property
    def live(self) -> str:
        return self.address.replace("http", "ws") + "/v1/live"


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
