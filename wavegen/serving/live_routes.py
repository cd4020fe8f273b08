"""Live streams by WebSocket."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from wavegen.serving.live import conversation
from wavegen.serving.outlet import Event
from wavegen.serving.service import Service
from wavegen.serving.voices import PATIENCE_S

END_S = 2.0  # that a client has to take the last message of a stream


def add_live(app: FastAPI, service: Service) -> None:
    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # the client has left, or reads nothing
            async with aclosing(conversation(service, _messages(socket))) as items:
                async for item in items:
                    is_last = isinstance(item, dict) and item["type"] in ("end", "error")
                    await asyncio.wait_for(_send(socket, item), END_S if is_last else PATIENCE_S)
                    if isinstance(item, dict) and is_last:
                        await asyncio.wait_for(socket.close(1000 if item["type"] == "end" else 1011), END_S)


async def _send(socket: WebSocket, item: bytes | Event) -> None:
    if isinstance(item, bytes):
        await socket.send_bytes(item)
    else:
        await socket.send_json(item)


async def _messages(socket: WebSocket) -> AsyncGenerator[object, None]:
    """What a client sends: bytes, or what JSON says; a text that is none.

    Raises: WebSocketDisconnect when it leaves.
    """
    while True:
        received = await socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        if received.get("bytes") is not None:
            yield received["bytes"]
            continue
        try:
            yield json.loads(received["text"])
        except (ValueError, RecursionError):
            yield received["text"]
