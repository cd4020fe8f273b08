"""Live streams by WebSocket."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from wavegen.errors import InputError
from wavegen.serving.live import Cancelled, LiveStream, parse_hello
from wavegen.serving.problems import Busy, DroppedError, TooLargeError, sentence_of, status_of
from wavegen.serving.service import Service

END_S = 2.0  # that a client has to take the last message of a stream


def add_live(app: FastAPI, service: Service) -> None:
    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        try:
            hello = parse_hello(await _message(socket))
            stream = LiveStream(service, hello)
        except (InputError, Busy) as error:
            await _close(socket, _fault(error))
            return
        except WebSocketDisconnect:
            return
        service.log("live", model=stream.model.name)
        await _converse(socket, stream)


async def _converse(socket: WebSocket, stream: LiveStream) -> None:
    """Send what a stream makes, and do what messages say, until one of the two ends."""
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue(100)
    await socket.send_json(stream.ready())

    async def send() -> None:
        async for item in stream.items():
            while not answers.empty():
                await socket.send_json(answers.get_nowait())
            if isinstance(item, bytes):
                await socket.send_bytes(item)
            else:
                await socket.send_json(item)

    async def answer() -> None:
        while True:
            await socket.send_json(await answers.get())

    async def listen() -> None:
        while True:
            message = await _message(socket)
            try:
                if isinstance(message, bytes):
                    stream.feed(message)
                    continue
                said = stream.obey(message)
            except TooLargeError:
                raise
            except InputError as error:
                said = {"type": "refused", "detail": str(error)}
            if said is not None:
                with suppress(asyncio.QueueFull):  # somebody who asks faster than can be answered
                    answers.put_nowait(said)

    tasks = [asyncio.ensure_future(one()) for one in (send, answer, listen)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        error = next((task.exception() for task in done if task.exception() is not None), None)
    finally:
        stream.leave()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(error, WebSocketDisconnect | RuntimeError):
        return
    await _close(socket, _last_word(error))


def _last_word(error: BaseException | None) -> dict[str, Any]:
    """What a client is told at the end: `end` where that was meant to come, else `error`."""
    if error is None:
        return {"type": "end", "reason": "the sound has ended"}
    if isinstance(error, Cancelled):
        return {"type": "end", "reason": "cancelled"}
    if isinstance(error, DroppedError):
        return {"type": "end", "reason": str(error)}
    assert isinstance(error, Exception)
    return _fault(error)


def _fault(error: Exception) -> dict[str, Any]:
    fault: dict[str, Any] = {"type": "error", "status": status_of(error), "detail": sentence_of(error)}
    return {**fault, "retry_after": error.retry_s} if isinstance(error, Busy) else fault


async def _message(socket: WebSocket) -> object:
    """The next message: bytes, or what JSON says; a text that is none.

    Raises: WebSocketDisconnect.
    """
    received = await socket.receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received.get("code", 1005))
    if received.get("bytes") is not None:
        return received["bytes"]
    try:
        return json.loads(received["text"])
    except (ValueError, RecursionError):
        return received["text"]


async def _close(socket: WebSocket, last: dict[str, Any]) -> None:
    """Say the last word, if the client takes it in time, and hang up."""

    async def say() -> None:
        await socket.send_json(last)
        await socket.close(1000 if last["type"] == "end" else 1011)

    with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        await asyncio.wait_for(say(), END_S)
