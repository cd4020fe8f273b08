"""Controls of `wavegen play` by Open Sound Control (OSC 1.0), from other music software."""

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wavegen.errors import InputError
from wavegen.generation.live import Live

from .terminal import say

HOST = "127.0.0.1"  # other machines may not reach it: OSC knows no passwords
MOST_REMARKS, REMARKS_EVERY_S = 5, 10.0  # on messages that make no sense: so many in so many s, however many come


def actions(live: Live) -> dict[str, Callable[..., None]]:
    """What each address does with its arguments."""
    return {
        "/temperature": lambda value: live.change(temperature=float(value)),
        "/temperature_frames": lambda value: live.change(temperature_frames=float(value)),
        "/top_p": lambda value: live.change(top_p=float(value)),
        "/top_k": lambda value: live.change(top_k=int(value)),
        "/guidance": lambda value: live.change(guidance=float(value)),
        "/gain": lambda value: live.change(gain=float(value)),
        "/label": lambda name, value: live.change(labels={**live.controls.labels, str(name): str(value)}),
        "/freeze": lambda value: live.change(is_frozen=bool(value)),
        "/restart": lambda seed: live.restart(int(seed)),
    }


class Remarks:
    """Says what is wrong with messages, but of a flood of them only the first, and how many more there were."""

    def __init__(self) -> None:
        self._began, self._n = time.monotonic(), 0

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._began > REMARKS_EVERY_S:
            self.end()
            self._began, self._n = time.monotonic(), 0
        self._n += 1
        if self._n <= MOST_REMARKS:
            say(line)

    def end(self) -> None:
        """Say how many were left unsaid."""
        if self._n > MOST_REMARKS:
            say(f"OSC: {self._n - MOST_REMARKS:,} more messages made no sense")


@contextmanager
def listening(live: Live, port: int) -> Iterator[None]:
    """Obey OSC messages to a UDP port of this machine while the block runs. One that makes no sense is told.

    Raises: InputError if python-osc is not installed or the port is taken.
    """
    try:
        from pythonosc.dispatcher import Dispatcher
        from pythonosc.osc_server import BlockingOSCUDPServer
    except ImportError as error:
        raise InputError("--osc needs the package python-osc: pip install 'wavegen[osc]'") from error
    known, remark = actions(live), Remarks()

    def obey(address: str, *values: Any) -> None:
        if address not in known:
            remark(f"OSC {address}: expected one of {', '.join(known)}")
            return
        expected = list(inspect.signature(known[address]).parameters)
        if len(values) != len(expected):
            remark(f"OSC {address} comes with {len(values)} arguments; expected {address} {' '.join(expected).upper()}")
            return
        try:
            known[address](*values)
        except (InputError, TypeError, ValueError, OverflowError) as error:
            remark(f"OSC {address} {' '.join(map(str, values))}: {error}")

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(obey)
    try:
        server = BlockingOSCUDPServer((HOST, port), dispatcher)
    except OSError as error:
        raise InputError(f"cannot listen for OSC at port {port}: {error.strerror}") from error
    server.handle_error = lambda *_: remark("OSC: a message that is damaged was left out")  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, name="wavegen-osc", daemon=True)
    thread.start()
    say(f"Listening for OSC at {HOST}:{port}: {', '.join(known)}")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        remark.end()
