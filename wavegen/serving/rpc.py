"""The service by gRPC (wavegen.proto), with health and reflection."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from importlib.resources import files
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from numpy.typing import NDArray
from pydantic import ValidationError

import wavegen
from wavegen.data import images
from wavegen.data.audio import as_int16
from wavegen.errors import InputError
from wavegen.serving import operations
from wavegen.serving.live import conversation
from wavegen.serving.outlet import Event
from wavegen.serving.problems import Busy, TooLargeError, sentence_of, sentence_of_fields, status_of
from wavegen.serving.schemas import CompletionRequest, ImageRequest, SoundRequest, VocodeRequest
from wavegen.serving.service import Service
from wavegen.serving.voices import PATIENCE_S

logger = logging.getLogger(__name__)

Context = Any  # grpc.aio.ServicerContext, which has no types
NAME = "wavegen.v1.Wavegen"
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}


def _described() -> Any:
    """The service's descriptor, of the compiled wavegen.proto."""
    compiled = files("wavegen.serving").joinpath("wavegen.desc").read_bytes()
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(compiled).file
    descriptor_pool.Default().Add(file)
    return descriptor_pool.Default().FindServiceByName(NAME)


SERVICE = _described()


def message_class(name: str) -> Any:
    """The class of a message of wavegen.proto.

    >>> message_class("SoundRequest")(model="speech").model
    'speech'
    """
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"wavegen.v1.{name}"))


async def make_server(service: Service, address: str) -> tuple[grpc.aio.Server, int]:
    """A server of gRPC at an address, not started yet, and its port; of port 0 one that is free.

    Raises: InputError if somebody has the address.
    """
    options = [("grpc.max_receive_message_length", service.limits.n_bytes), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(interceptors=[_AtTheDoor(service)], options=options)
    operations_ = _Operations(service)
    handlers = {method.name: _handler(operations_, method) for method in SERVICE.methods}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(NAME, handlers)])
    alive = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    for name in ("", NAME):
        await alive.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection([NAME, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise InputError(f"cannot listen for gRPC on {address}; expected a port that is free") from error
    return server, port


class _AtTheDoor(grpc.aio.ServerInterceptor):
    """Lets nobody in without the token, but those who ask for the health."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        token = dict(details.invocation_metadata).get("authorization", "").removeprefix("Bearer ")
        if self._service.is_let_in(token) or details.method.startswith(f"/{health.SERVICE_NAME}/"):
            return await continuation(details)

        async def refuse(request: Any, context: Context) -> None:
            await context.abort(CODES[401], "a token is needed; expected the metadata authorization: Bearer TOKEN")

        return grpc.unary_unary_rpc_method_handler(refuse)


class _Operations:
    """What each method does: named as it is, with the message or the messages that come; it gives those that go."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def list_models(self, request: Any) -> Message:
        models = [
            {
                **{key: told[key] for key in ("name", "about", "credit", "makes", "speaks", "sample_rate", "shape")},
                "labels": {name: message_class("Values")(values=values) for name, values in told["labels"].items()},
                "live_places": 0 if model.draws else self.service.pool.room(model),
            }
            for model in self.service.models
            for told in [model.told()]
        ]
        return _made("ListModelsResponse", version=wavegen.__version__, models=models)

    async def make_sounds(self, request: Any) -> AsyncGenerator[Message, None]:
        fields = fields_of(request)
        if "prime" in fields:
            fields["prime"] = base64.b64encode(fields["prime"]).decode()
        wanted = await operations.sounds(self.service, SoundRequest.model_validate(fields))
        if len(wanted.numbers) == 1:
            async for message in _blocks(operations.sound(self.service, wanted, True), wanted, wanted.numbers[0]):
                yield message
            return
        every = self.service.sounds(wanted.model, wanted.maker, wanted.numbers, wanted.length)
        async with aclosing(every) as outlets:
            async for number, outlet in outlets:
                async for message in _blocks(outlet.blocks(), wanted, number):
                    yield message

    async def vocode(self, requests: AsyncIterator[Any]) -> AsyncGenerator[Message, None]:
        first = await anext(requests, None)
        if first is None or not first.HasField("request"):
            raise InputError("the first message holds no request; expected one")
        fields = fields_of(first.request)
        is_arriving = fields.pop("pcm", False)
        asked = VocodeRequest.model_validate(fields)

        async def data() -> AsyncGenerator[bytes, None]:
            yield first.data
            async for request in requests:
                yield request.data

        if is_arriving:
            wanted, blocks = await operations.copied(self.service, asked, data())
        else:
            whole = b""
            async for piece in data():
                whole += piece
                if len(whole) > self.service.limits.n_bytes:
                    raise TooLargeError(f"more than {self.service.limits.n_bytes:,} bytes are sent, which is the most")
            wanted, blocks = await operations.vocoded(self.service, asked, whole)
        async for message in _blocks(blocks, wanted, 0):
            yield message

    async def likelihood(self, request: Any) -> Message:
        labels = _labels(request.labels)
        _, bits = await operations.bits(self.service, request.model, labels, request.recording)
        return _made("LikelihoodResponse", samples=len(bits), bits=bits.sum(), bits_per_sample=bits.mean())

    async def draw_images(self, request: Any) -> Message:
        fields = fields_of(request)
        if "labels" in fields:
            fields["labels"] = [_labels(one.labels) for one in request.labels]
        return await _drawn(await operations.drawn(self.service, ImageRequest.model_validate(fields)))

    async def complete_image(self, request: Any) -> Message:
        fields = fields_of(request)
        data = fields.pop("image", b"")
        return await _drawn(await operations.completed(self.service, CompletionRequest.model_validate(fields), data))

    async def classify_image(self, request: Any) -> Message:
        label, values, shares = await operations.classified(self.service, request.model, request.image)
        probabilities = dict(zip(values, map(float, shares), strict=True))
        value = values[int(shares.argmax())]
        return _made("ClassificationResponse", label=label, value=value, probabilities=probabilities)

    async def live(self, requests: AsyncIterator[Any]) -> AsyncGenerator[Message, None]:
        async with aclosing(conversation(self.service, _live_messages(requests))) as items:
            async for item in items:
                if isinstance(item, bytes):
                    yield _made("LiveOutput", samples=item)
                elif item["type"] == "error":
                    raise _Failed(item)
                else:
                    yield _made("LiveOutput", event=_event(item))


class _Failed(Exception):  # noqa: N818 - what a stream ended by, told
    """A live stream ended by an error."""

    def __init__(self, told: Event) -> None:
        super().__init__(told["detail"])
        self.status, self.retry_s = told["status"], told.get("retry_after")


async def _live_messages(requests: AsyncIterator[Any]) -> AsyncGenerator[object, None]:
    """Messages of a client as those of a WebSocket are."""
    async for request in requests:
        kind = request.WhichOneof("message")
        if kind == "samples":
            yield request.samples
        elif kind is None:
            yield {}
        else:
            yield {"type": kind, **fields_of(getattr(request, kind)), **_told_always(kind, getattr(request, kind))}


def _told_always(kind: str, message: Any) -> dict[str, Any]:
    """Fields that mean something where they are not set as well."""
    return {
        name: getattr(message, name)
        for name in {"freeze": ["frozen"], "again": ["again"], "played": ["samples"]}.get(kind, [])
    }


def _event(item: Event) -> dict[str, Any]:
    """What is told of a stream, as its message has it."""
    known = message_class("Event").DESCRIPTOR.fields_by_name
    event = {name: value for name, value in item.items() if name in known and value is not None}
    if "labels" in event:
        event["labels"] = {name: value or "" for name, value in event["labels"].items()}
    if "reason" in item:
        event["detail"] = item["reason"]
    return event


async def _blocks(
    blocks: AsyncGenerator[NDArray[np.float32], None], wanted: operations.SoundsAsked, number: int
) -> AsyncGenerator[Message, None]:
    """A sound in messages, of which the last says so."""

    def message(samples: NDArray[np.float32], is_last: bool) -> Message:
        data = as_int16(samples).astype("<i2").tobytes()
        told = {"sample_rate": wanted.model.sample_rate, "seed": wanted.seed, "number": number}
        return _made("SoundBlock", samples=data, is_last=is_last, **told)

    async with aclosing(blocks) as read:
        before = None
        async for block in read:
            if before is not None:
                yield message(before, False)
            before = block
    if before is not None:
        yield message(before, True)


async def _drawn(made: operations.Drawn) -> Message:
    encoded = await asyncio.to_thread(lambda: [images.encode_png(image) for image in made.pixels])
    return _made("ImageResponse", images=encoded, seed=made.seed)


def _made(name: str, **fields: Any) -> Message:
    message: Message = message_class(name)(**fields)
    return message


def fields_of(message: Any) -> dict[str, Any]:
    """The fields of a message that are set, by name; maps are labels."""
    fields: dict[str, Any] = {}
    for field, value in message.ListFields():
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        fields[field.name] = _labels(value) if is_map else value
    return fields


def _labels(given: Mapping[str, str]) -> dict[str, str | None]:
    return {name: value or None for name, value in given.items()}


def _handler(operations_: _Operations, method: Any) -> Any:
    """What calls an operation for a method, and tells what goes wrong as gRPC does."""
    work = getattr(operations_, _snake(method.name))
    service = operations_.service

    async def one(request: Any, context: Context) -> Any:
        began, result = time.monotonic(), "OK"
        try:
            return await work(request)
        except Exception as error:
            result = await _abort(context, error)
        finally:
            service.metrics.count(f"/{NAME}/{method.name}", result, time.monotonic() - began)

    async def many(request: Any, context: Context) -> None:
        began, result = time.monotonic(), "OK"
        try:
            async with aclosing(work(request)) as messages:
                async for message in messages:
                    await asyncio.wait_for(context.write(message), PATIENCE_S)
        except TimeoutError:
            result = await _abort(context, InputError("nothing was read for too long; expected a client that goes on"))
        except Exception as error:
            result = await _abort(context, error)
        finally:
            service.metrics.count(f"/{NAME}/{method.name}", result, time.monotonic() - began)

    request, response = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[method.client_streaming, method.server_streaming]
    called = many if method.server_streaming else one
    return make(called, request_deserializer=request.FromString, response_serializer=response.SerializeToString)


async def _abort(context: Context, error: Exception) -> str:
    """End a call with what went wrong; returns the name of its code."""
    trailing: Sequence[tuple[str, str]] = ()
    if isinstance(error, _Failed):
        status, sentence = error.status, str(error)
    elif isinstance(error, ValidationError):
        status, sentence = 422, sentence_of_fields(error.errors())
    else:
        status, sentence = status_of(error), sentence_of(error)
    retry_s = error.retry_s if isinstance(error, Busy | _Failed) else None
    if retry_s is not None:
        trailing = (("retry-after", str(retry_s)),)
    if status == 500:
        logger.error("a call failed", exc_info=error)
    code = CODES.get(status, grpc.StatusCode.INTERNAL)
    context.set_code(code)
    context.set_details(sentence)
    context.set_trailing_metadata(trailing)
    return str(code.name)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
