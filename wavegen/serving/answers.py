"""What answers are made of, whatever they are to."""

import asyncio
import io
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from wavegen.errors import InputError
from wavegen.serving.models import ServedModel
from wavegen.serving.problems import MEDIA_TYPE, Busy, problem, sentence_of, status_of

T = TypeVar("T")


class BrokenOff(Exception):  # noqa: N818 - what has happened to an answer
    """An answer that could not be completed; its connection ends without its end, which tells who reads."""


def problem_answer(status: int, detail: str) -> Response:
    return JSONResponse(problem(status, detail), status, media_type=MEDIA_TYPE)


def answer_to(error: Exception) -> Response:
    response = problem_answer(status_of(error), sentence_of(error))
    if isinstance(error, Busy):
        response.headers["Retry-After"] = str(error.retry_s)
    return response


class BlocksResponse(Response):
    """Bytes that are sent as they are made, until the client leaves; then whatever makes them is closed.

    `has_body_to_read`: the body of the request still comes, and whoever reads that notices that the client has left.
    """

    def __init__(
        self,
        blocks: AsyncGenerator[bytes, None],
        media_type: str,
        headers: dict[str, str],
        has_body_to_read: bool = False,
    ) -> None:
        super().__init__(None, 200, headers, media_type)
        del self.headers["content-length"]
        self._blocks, self._has_body_to_read = blocks, has_body_to_read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        if self._has_body_to_read:
            await sending
            return
        await unless_gone(receive, sending)

    async def _send(self, send: Send) -> None:
        is_begun = False
        try:
            async with aclosing(self._blocks) as blocks:
                async for block in blocks:
                    if not is_begun:
                        is_begun = True
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    await send({"type": "http.response.body", "body": block, "more_body": True})
        except Exception as error:
            if is_begun:  # and it is too late for another answer
                raise BrokenOff(str(error)) from error
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(receive: Receive, work: "asyncio.Future[T]") -> T:
    """The result of some work, which ends when the client leaves.

    Raises: ClientDisconnect if it has left.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    watching = asyncio.ensure_future(gone())
    try:
        both: set[asyncio.Future[Any]] = {work, watching}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ClientDisconnect
    finally:
        for one in (work, watching):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one


async def unless_client_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The same of a coroutine, for a request whose body was read."""
    return await unless_gone(request.receive, asyncio.ensure_future(work))


class Sink(io.RawIOBase):
    """A file that cannot be gone back in, whose bytes are taken as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


def seed_headers(model: ServedModel, seed: int) -> dict[str, str]:
    return {"Wavegen-Seed": str(seed), "Wavegen-Model": model.name}


def labels_of(texts: Sequence[str] | None) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or name in labels:
            raise InputError(f"label is {text!r}; expected NAME=VALUE, and each name once")
        labels[name] = value
    return labels
