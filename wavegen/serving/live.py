"""A live stream and the messages that change it, whatever they travel by: the same for WebSocket and gRPC."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from wavegen.data.audio import as_int16
from wavegen.errors import InputError
from wavegen.generation.conditioning import label_indices
from wavegen.generation.sound_input import FedInput
from wavegen.sampling import fresh_seed
from wavegen.serving.outlet import Event, LoopOutlet
from wavegen.serving.problems import Busy, DroppedError, TooLargeError, sentence_of, sentence_of_fields, status_of
from wavegen.serving.schemas import MESSAGES, Again, Cancel, Change, End, Freeze, Hello, Played, Restart
from wavegen.serving.service import Service
from wavegen.serving.voices import Voice

WAITING_S = 0.5  # of sound that may wait to be sent, before the stream waits
N_OUTGOING = 8  # blocks and answers that wait to be sent
MOST_SENT_S = 5.0  # of what is to be made again, that may wait


class Cancelled(Exception):  # noqa: N818 - the client's wish
    """The client ended the stream."""


class Ended(NamedTuple):
    """What is in a queue behind all that is sent, and what it was ended by."""

    error: BaseException | None


Outgoing = asyncio.Queue[bytes | Event | Ended]


class LiveStream:
    """One live stream of a service, from its `hello` on, for a connection in an event loop.

    Raises: InputError for a `hello` that does not fit; Busy where there is no room.
    """

    def __init__(self, service: Service, hello: Hello, loop: asyncio.AbstractEventLoop) -> None:
        model = service.models.copies(hello.model) if hello.input else service.models.speaks(hello.model)
        labels = _texts(hello.labels)
        options = {**hello.options(), "seed": fresh_seed() if hello.seed is None else hello.seed, "labels": labels}
        maker = model.maker(options, frames_follow=hello.input, labels_follow=not hello.input)
        self._service, self.model, self.format = service, model, hello.format
        self.sound = FedInput() if hello.input else None
        limit = round(WAITING_S * model.sample_rate)
        self._outlet = LoopOutlet(limit, service.pool.wake, loop)
        program = None if hello.input or hello.transpose else model.program
        self.voice = Voice(model, maker, self._outlet, ahead_s=hello.ahead, sound=self.sound, program=program)
        service.pool.admit(self.voice)

    def leave(self) -> None:
        """End it; its place is free at the next block."""
        self._service.pool.leave(self.voice)

    def ready(self) -> Event:
        """What a client is told first."""
        return {
            "type": "ready",
            "model": self.model.name,
            "sample_rate": self.model.sample_rate,
            "format": self.format,
            "block": self.voice.performance.blocksize,
            **self.controls(),
        }

    def controls(self) -> Event:
        """How it sounds from the next block on."""
        controls = self.voice.performance.controls
        decoding = controls.decoding
        return {
            "seed": controls.seed,
            "take": controls.take,
            "labels": dict(controls.labels),
            "temperature": decoding.temperature,
            "top_k": decoding.top_k,
            "top_p": decoding.top_p,
            "guidance": decoding.guidance,
            "temperature_frames": controls.temperature_frames,
            "gain": controls.gain,
            "frozen": controls.is_frozen,
        }

    async def items(self) -> AsyncGenerator[bytes | Event, None]:
        """Blocks as bytes, and what is told of them.

        Raises: what the stream was ended by.
        """
        async for item in self._outlet.items():
            yield item if isinstance(item, dict) else self._encoded(item)

    def obey(self, message: object) -> Event | None:
        """Do what a message says; returns what there is to say to it.

        Raises: InputError for one that makes no sense, which changes nothing; Cancelled.
        """
        asked = _parsed(message)
        performance = self.voice.performance
        match asked:
            case Change():
                self._change(asked)
            case Restart():
                performance.restart(fresh_seed() if asked.seed is None else asked.seed)
            case Freeze():
                performance.change(is_frozen=asked.frozen)
            case Again():
                self.voice.begins_again = asked.again
            case Played():
                self._note_played(asked)
                return None
            case End():
                self._fed().end()
            case Cancel():
                raise Cancelled
        self._service.pool.wake()
        return {"type": "controls", **self.controls()}

    def feed(self, data: bytes) -> None:
        """Take the next samples of what is to be made again.

        Raises: InputError if nothing is, or they are no whole samples; TooLargeError if they come too fast.
        """
        sound = self._fed()
        if len(data) % 2:
            raise InputError(f"{len(data)} bytes are sent; expected whole samples of 16 bits")
        if sound.n_waiting > MOST_SENT_S * self.model.sample_rate:
            raise TooLargeError(
                f"more than {MOST_SENT_S:g} s wait to be made again; expected them as fast as they sound"
            )
        if sound.length is not None:
            raise InputError("samples are sent after the end; expected them before")
        sound.feed(np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768)
        self._service.pool.wake()

    def _fed(self) -> FedInput:
        if self.sound is None:
            raise InputError("samples are sent, and this stream takes none; expected a hello with input: true")
        return self.sound

    def _change(self, asked: Change) -> None:
        given: dict[str, Any] = {name: getattr(asked, name) for name in asked.model_fields_set if name != "type"}
        performance = self.voice.performance
        for name in ("temperature", "guidance", "temperature_frames", "gain"):
            if name in given and given[name] is None:
                raise InputError(f"{name} is null; expected a number")
        if "gain" in given and not math.isfinite(given["gain"]):
            raise InputError(f"gain is {given['gain']}; expected a number")
        if "labels" in given:
            given["labels"] = {**performance.controls.labels, **_texts(given["labels"])}
            label_indices(self.model.labels, given["labels"])
        performance.change(**given)

    def _note_played(self, asked: Played) -> None:
        voice = self.voice
        voice.n_played = min(max(asked.samples, voice.n_played or 0), voice.n_made)
        if asked.ahead is not None:
            voice.ahead_s = asked.ahead
        self._service.pool.wake()

    def _encoded(self, block: NDArray[np.float32]) -> bytes:
        return as_int16(block).astype("<i2").tobytes() if self.format == "s16le" else block.astype("<f4").tobytes()


async def conversation(service: Service, messages: AsyncGenerator[object, None]) -> AsyncGenerator[bytes | Event, None]:
    """What is sent to a client of a live stream, whose messages are these: blocks and events, of which the last is
    `end` or `error`. Who stops asking ends the stream.

    Raises: what comes of asking for messages.
    """
    try:
        stream = await _opened(service, parse_hello(await anext(messages, None)))
    except (InputError, Busy) as error:
        yield _fault(error)
        return
    service.log("live", model=stream.model.name)
    outgoing: Outgoing = asyncio.Queue(N_OUTGOING)
    making = asyncio.ensure_future(_make(stream, outgoing))
    listening = asyncio.ensure_future(_listen(stream, messages, outgoing))
    listening.add_done_callback(partial(_cut_short, outgoing))
    try:
        yield stream.ready()
        while not isinstance(item := await outgoing.get(), Ended):
            yield item
        yield _last_word(item.error)
    finally:
        stream.leave()
        for task in (making, listening):
            task.cancel()
        await asyncio.gather(making, listening, return_exceptions=True)


async def _opened(service: Service, hello: Hello) -> LiveStream:
    """A stream, made in another thread: an engine may have to be made for it. It is left if nobody waits any more."""
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, LiveStream, service, hello, loop)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda made: None if made.exception() else made.result().leave())
        raise


async def _make(stream: LiveStream, outgoing: Outgoing) -> None:
    error: Exception | None = None
    try:
        async for item in stream.items():
            await outgoing.put(item)
    except Exception as raised:  # of whatever kind, who is sent to is told
        error = raised
    await outgoing.put(Ended(error))


def _cut_short(outgoing: Outgoing, listening: "asyncio.Task[None]") -> None:
    """Send nothing of what waits where listening has failed: the client has left, or asks for it."""
    if listening.cancelled() or (error := listening.exception()) is None:
        return
    while not outgoing.empty():
        outgoing.get_nowait()
    outgoing.put_nowait(Ended(error))


async def _listen(stream: LiveStream, messages: AsyncGenerator[object, None], outgoing: Outgoing) -> None:
    async for message in messages:
        said: Event | None
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
            with suppress(asyncio.QueueFull):  # somebody who asks faster than they read
                outgoing.put_nowait(said)


def _last_word(error: BaseException | None) -> Event:
    """What a client is told at the end: `end` where that was meant to come, else `error`."""
    if error is None:
        return {"type": "end", "reason": "the sound has ended"}
    if isinstance(error, Cancelled):
        return {"type": "end", "reason": "cancelled"}
    if isinstance(error, DroppedError):
        return {"type": "end", "reason": str(error)}
    if not isinstance(error, InputError):
        raise error
    return _fault(error)


def _fault(error: Exception) -> Event:
    fault: Event = {"type": "error", "status": status_of(error), "detail": sentence_of(error)}
    return {**fault, "retry_after": error.retry_s} if isinstance(error, Busy) else fault


def parse_hello(message: object) -> Hello:
    """Raises: InputError for a first message that is no hello."""
    if not isinstance(message, dict) or message.get("type") != "hello":
        raise InputError('the first message is no hello; expected JSON such as {"type": "hello", "model": "speech"}')
    try:
        return Hello.model_validate(message)
    except ValidationError as error:
        raise InputError(f"hello: {sentence_of_fields(error.errors())}") from None


def _parsed(message: object) -> Any:
    if not isinstance(message, dict) or message.get("type") not in MESSAGES:
        raise InputError(f"a message makes no sense; expected JSON whose type is one of {', '.join(MESSAGES)}")
    try:
        return MESSAGES[message["type"]].model_validate(message)
    except ValidationError as error:
        raise InputError(f"{message['type']}: {sentence_of_fields(error.errors())}") from None


def _texts(labels: dict[str, Any] | None) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in (labels or {}).items()}
