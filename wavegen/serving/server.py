"""The process of a service: its socket, its signals, and how it ends."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from wavegen.errors import InputError
from wavegen.serving.http import create_app
from wavegen.serving.service import Service

END_S = 1.0  # that live streams have to tell their clients that they end
GRACE_S = 60  # that files which are being made have
SEND_BUFFER = 1 << 16  # bytes of sound that the system may hold for a client who does not read
MOST_MESSAGE = 1 << 18  # bytes of a WebSocket message
SWITCH_S = 0.001  # between threads: how long a connection waits for the interpreter


def listening_socket(host: str, port: int) -> socket.socket:
    """Raises: InputError if there is no such address, or somebody has it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # which connections inherit
        opened.bind(address)
    except OSError as error:
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return opened


def run(
    service: Service,
    listener: socket.socket,
    started: Callable[[], None],
    cors: Sequence[str] = (),
    grpc_address: str | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP: live streams end with a reason then, and files are completed."""
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what was imported, or what clients leave behind is looked for too seldom
    gc.collect()
    asyncio.run(_run(service, listener, started, cors, grpc_address))


async def _run(
    service: Service,
    listener: socket.socket,
    started: Callable[[], None],
    cors: Sequence[str],
    grpc_address: str | None,
) -> None:
    of_grpc = None
    if grpc_address is not None:
        from wavegen.serving.rpc import make_server

        of_grpc, _ = await make_server(service, grpc_address)
        await of_grpc.start()
    config = uvicorn.Config(
        create_app(service, cors),
        log_config=None,
        access_log=False,
        ws_max_size=MOST_MESSAGE,
        ws_per_message_deflate=False,  # sound hardly becomes smaller, and every listener would cost more
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        lifespan="off",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(config)
    ending: list[asyncio.Task[None]] = []

    async def end(name: str) -> None:
        service.log("ending", signal=name, live=service.pool.n_voices, files=service.pool.n_requests)
        service.pool.drain("the service is ending")
        await asyncio.sleep(END_S)
        server.should_exit = True

    def ask_to_end(number: signal.Signals) -> None:
        if ending:  # whoever asks twice means it
            server.force_exit = server.should_exit = True
        else:
            ending.append(asyncio.ensure_future(end(number.name)))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ask_to_end, number)
    serving = asyncio.ensure_future(server.serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    started()
    await serving
    if of_grpc is not None:
        await of_grpc.stop(GRACE_S)


class _Server(uvicorn.Server):
    """One whose signals are ours."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
