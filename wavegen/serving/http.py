"""The service by HTTP and WebSocket: its addresses, and the middle that all of them share."""

import asyncio
import base64
import binascii
import io
import json
import re
import time
import zipfile
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from functools import cache
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
from fastapi import FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import wavegen
from wavegen.data import images
from wavegen.errors import InputError
from wavegen.generation.images import grid
from wavegen.generation.session import StreamMaker
from wavegen.generation.sound_input import FedInput
from wavegen.sampling import fresh_seed
from wavegen.serving.formats import SoundFormat, check_format, encoded
from wavegen.serving.live import Cancelled, LiveStream, parse_hello
from wavegen.serving.models import ServedModel
from wavegen.serving.outlet import LoopOutlet
from wavegen.serving.pool import Busy, DroppedError, Piece
from wavegen.serving.problems import MEDIA_TYPE, TooLargeError, problem, sentence_of, sentence_of_fields, status_of
from wavegen.serving.schemas import FormatName, ImageOptions, ImageRequest, Seed, SoundRequest
from wavegen.serving.service import Service

T = TypeVar("T")

COOKIE = "wavegen-token"
CLIENT_GONE = 499  # nginx' word for a client that did not wait; nobody reads it but the log
END_S = 2.0  # that a client has to take the last message of a stream
MOST_MESSAGE = 1 << 18  # bytes of a WebSocket message
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self' {socket}; style-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SHARED = (
    "controls.js easel.js engine.js images.js keys.js output.js playback.js sound.js spectrogram.js style.css tape.js"
)
PAGE = {
    **dict.fromkeys(SHARED.split(), "wavegen.export"),
    **dict.fromkeys(["page.js", "remote.js"], "wavegen.serving"),
}
CHANGED_IN_PAGE = [  # patterns of what the page says where it makes everything itself
    (r'<meta http-equiv="Content-Security-Policy"[^>]*>\n', ""),
    (r'(href|src)="(style\.css|page\.js)"', r'\1="page/\2"'),
    (r'<script src="plain\.js"></script>\n', ""),
    ("with JavaScript and WebAssembly", "with JavaScript"),
    (
        r"Everything is made in this page, on your device; nothing is sent anywhere\.",
        "Sound and images are made by the service that this page comes from.",
    ),
]
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}

SoundOut: dict[int | str, dict[str, Any]] = {
    200: {"content": {"audio/wav": {}}, "description": "the sound; Wavegen-Seed is its seed"}
}
Problems: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {}}}
    for status, text in (
        (422, "what does not fit, in one sentence"),
        (404, "no such model"),
        (413, "more than the service takes"),
        (503, "no room; Retry-After says when to ask again"),
    )
}


def create_app(service: Service, cors: Sequence[str] = ()) -> ASGIApp:
    """The application of a service; `cors`: origins whose pages may use it."""
    app = FastAPI(
        title="wavegen",
        version=wavegen.__version__,
        description="Sound and images by small networks, sample by sample.",
        responses=Problems,
    )
    _add_operation(app, service)
    _add_page(app)
    _add_sounds(app, service)
    _add_images(app, service)
    _add_live(app, service)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    for kind in (InputError, Busy):
        app.add_exception_handler(kind, _failed)
    inner: ASGIApp = app
    if cors:
        inner = CORSMiddleware(
            app, list(cors), allow_methods=["*"], allow_headers=["*"], expose_headers=["Wavegen-Seed", "Retry-After"]
        )
    return Middle(inner, service, cors)


class Middle:
    """What every request passes: who may come in, how much may be sent, the log and the counters."""

    def __init__(self, app: ASGIApp, service: Service, cors: Sequence[str]) -> None:
        self._app, self._service, self._cors = app, service, cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await refusal(scope, receive, noting)
            else:
                await self._app(scope, _limited(receive, self._service.limits.n_bytes), noting)
        except (DroppedError, ClientDisconnect):
            status = CLIENT_GONE  # the connection ends before its answer does, which tells who reads
        except TooLargeError as error:
            if status == 0:
                await _answer(error)(scope, receive, noting)
        finally:
            route = scope.get("route")
            endpoint = "other" if route is None else route.path
            elapsed = time.monotonic() - began
            self._service.metrics.count(endpoint, str(status), elapsed)
            if endpoint not in ("/health", "/ready", "/metrics"):
                self._service.log(
                    "request", path=scope["path"][:200], status=status, ms=round(1000 * elapsed), client=_client(scope)
                )

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that may not come in."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] == "/health" and scope["type"] == "http":
            return None
        if not self._is_preflight(scope, headers) and not self._service.is_let_in(_token(scope, headers)):
            response = _problem(401, "a token is needed; expected Authorization: Bearer TOKEN")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        origin = headers.get(b"origin")
        is_own = origin is None or urlsplit(origin).netloc == headers.get(b"host")
        if not is_own and origin not in self._cors and "*" not in self._cors:
            return _problem(403, f"pages of {origin} may not use this service; expected one that --cors names")
        length = headers.get(b"content-length", "0")
        most = self._service.limits.n_bytes
        if not length.isdecimal() or int(length[:20]) > most:
            return _problem(413, f"{length[:20]} bytes are sent; expected at most {most:,}")
        return None

    def _is_preflight(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        """Whether a browser asks what a page may do, for which it sends no token."""
        is_asked = scope.get("method") == "OPTIONS" and b"access-control-request-method" in headers
        return bool(self._cors) and is_asked


def _token(scope: Scope, headers: dict[bytes, str]) -> str | None:
    """The token that somebody brings: in a header, a cookie of the page, or the address of that."""
    kind, _, token = headers.get(b"authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    with suppress(CookieError):
        cookie = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
        if cookie is not None:
            return cookie.value
    if scope["path"] in ("/", "/v1/live"):
        return parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]
    return None


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return "" if client is None else str(client[0])


def _limited(receive: Receive, most: int) -> Receive:
    """What is received, as long as it is not too much."""
    n = 0

    async def limited() -> Message:
        nonlocal n
        message = await receive()
        if message["type"] == "http.request":
            n += len(message.get("body", b""))
            if n > most:
                raise TooLargeError(f"more than {most:,} bytes are sent, which is the most")
        return message

    return limited


def _problem(status: int, detail: str) -> Response:
    return JSONResponse(problem(status, detail), status, media_type=MEDIA_TYPE)


def _answer(error: Exception) -> Response:
    response = _problem(status_of(error), sentence_of(error))
    if isinstance(error, Busy):
        response.headers["Retry-After"] = str(error.retry_s)
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return _answer(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _problem(422, sentence_of_fields(error.errors()))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _problem(404, f"there is nothing at {request.url.path[:100]}; /docs lists what there is")
    return _problem(error.status_code, f"{error.detail}: {request.method} {request.url.path[:100]}")


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
        await _unless_gone(receive, sending)

    async def _send(self, send: Send) -> None:
        async with aclosing(self._blocks) as blocks:
            is_begun = False
            async for block in blocks:
                if not is_begun:  # from here on what goes wrong can only break off
                    is_begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _unless_gone(receive: Receive, work: "asyncio.Future[T]") -> T:
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


async def _for(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The same of a coroutine, for a request whose body was read."""
    return await _unless_gone(request.receive, asyncio.ensure_future(work))


# What tells of the service


def _add_operation(app: FastAPI, service: Service) -> None:
    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """Whether the process is alive; needs no token."""
        return {"status": "alive"}

    @app.get("/ready", tags=["operation"])
    async def ready() -> Response:
        """Whether requests are taken."""
        if service.pool.is_draining:
            return _problem(503, "the service is ending; expected another one")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Counters, as Prometheus reads them."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """The models, what each makes, its labels, and whom to credit."""
        told = [{**model.told(), **_speed(service, model)} for model in service.models]
        return {"version": wavegen.__version__, "max_seconds": service.limits.seconds, "models": told}


def _speed(service: Service, model: ServedModel) -> dict[str, Any]:
    """How many live streams a model alone would be given, and how fast one is made."""
    if model.draws:
        return {"live_places": 0, "times_real_time": None}
    return {"live_places": service.pool.room(model), "times_real_time": 1 / service.pool.costs[model.name].of(1)}


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page(request: Request, token: str | None = None) -> Response:
        host = request.headers.get("host", "")
        headers = {
            "Content-Security-Policy": POLICY.format(socket=f"ws://{host} wss://{host}" if is_host(host) else "")
        }
        response = Response(page_html(), media_type="text/html", headers=headers)
        if token is not None:
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    @app.get("/page/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in PAGE:
            raise HTTPException(404)
        suffix = name[name.rindex(".") :]
        data = files(PAGE[name]).joinpath("page", name).read_bytes()
        return Response(data, media_type=MEDIA_TYPES[suffix], headers={"Cache-Control": "no-cache"})


def is_host(text: str) -> bool:
    """Whether a header holds the name of a host, and nothing that means more where it is repeated."""
    return re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", text) is not None


@cache
def page_html() -> str:
    """The page of `wavegen export --to web`, whose sound and images are made elsewhere."""
    html = files("wavegen.export").joinpath("page", "index.html").read_text()
    for before, after in CHANGED_IN_PAGE:
        html, n = re.subn(before, after, html)
        assert n, f"{before} is not in the page"
    return html


# Sound


def _add_sounds(app: FastAPI, service: Service) -> None:
    @app.post("/v1/sounds", tags=["sound"], responses=SoundOut, response_class=Response)
    async def sounds(asked: SoundRequest, request: Request) -> Response:
        """Make sounds: one as a file, or as it is made (`stream`); several as a zip or in parts."""
        model = service.models.speaks(asked.model)
        form = check_format(asked.format, model.sample_rate)
        length = service.n_samples(asked.seconds, model)
        if asked.n > service.limits.n_sounds:
            raise TooLargeError(f"n is {asked.n}; expected at most {service.limits.n_sounds}")
        if asked.n > 1 and asked.stream:
            raise InputError("stream is for one sound, and n is above 1; leave out one of the two")
        options = asked.options()
        options.setdefault("seed", fresh_seed())
        if asked.prime is not None:
            data = _from_base64("prime", asked.prime)
            options["prime"] = await asyncio.to_thread(service.recording, data, model.sample_rate)
        maker = await asyncio.to_thread(model.maker, options)
        headers = _headers(model, options["seed"])
        numbers = range(asked.first, asked.first + asked.n)
        if asked.n > 1:
            every = _encoded_sounds(service, model, maker, numbers, length, form)
            if asked.bundle == "multipart":
                boundary = f"wavegen-{options['seed']:x}"
                return BlocksResponse(
                    _parts(every, model, form, boundary), f"multipart/mixed; boundary={boundary}", headers
                )
            return BlocksResponse(_zipped(every, model.name, form.suffix), "application/zip", headers)
        limit = round(2 * model.sample_rate) if asked.stream else length
        blocks = service.read(
            model, lambda outlet: Piece(maker, lambda: maker.stream(asked.first), outlet, length), limit
        )
        return await _sound(request, blocks, model, form, headers, asked.stream)

    @app.post("/v1/vocode", tags=["sound"], responses=SoundOut, response_class=Response)
    async def vocode(
        request: Request,
        model: Annotated[str, Query(examples=["vocoder"])],
        label: Annotated[list[str] | None, Query(description="NAME=VALUE; repeat for more")] = None,
        seed: Annotated[Seed | None, Query()] = None,
        temperature: float | None = None,
        voiced_temperature: float | None = None,
        transpose: float | None = None,
        match: bool = True,
        format: FormatName = "wav",
        stream: bool = False,
    ) -> Response:
        """Make a recording again: the body is a file of any format, or frames (.npy).

        With the content type audio/pcm the body is samples of 16 bits at the model's rate, and sound comes back while
        they still arrive.
        """
        served = service.models.copies(model)
        form = check_format(format, served.sample_rate)
        options: dict[str, Any] = {
            "seed": fresh_seed() if seed is None else seed,
            "labels": _labels_of(label),
            "temperature": temperature,
            "voiced_temperature": voiced_temperature,
            "transpose": transpose,
            "match": match,
        }
        options = {name: value for name, value in options.items() if value is not None}
        headers = _headers(served, options["seed"])
        if request.headers.get("content-type", "").split(";")[0].strip().lower() == "audio/pcm":
            maker = await asyncio.to_thread(lambda: served.maker(options, frames_follow=True))
            copied = _copied(service, request, served, maker, form)
            return BlocksResponse(copied, form.media_type(served.sample_rate), headers, has_body_to_read=True)
        data = await request.body()
        options["frames"], length = await asyncio.to_thread(service.frames, data, served)
        maker = await asyncio.to_thread(served.maker, options)
        limit = round(2 * served.sample_rate) if stream else length
        blocks = service.read(served, lambda outlet: Piece(maker, maker.stream, outlet, length), limit)
        return await _sound(request, blocks, served, form, headers, stream)

    @app.post("/v1/likelihood", tags=["sound"])
    async def likelihood(
        request: Request,
        model: Annotated[str, Query(examples=["speech"])],
        label: Annotated[list[str] | None, Query(description="NAME=VALUE; repeat for more")] = None,
    ) -> dict[str, Any]:
        """How many bits a model needs for each sample of a recording, the body, given those before it."""
        from wavegen.evaluation.recording import bits_of_recording

        served = service.models.find(model)
        if served.draws:
            raise InputError(f"{model} draws images; expected a model of sound")
        labels = _labels_of(label)
        waveform = await asyncio.to_thread(service.recording, await request.body(), served.sample_rate)
        bits = await _for(request, service.in_background(lambda: bits_of_recording(served.loaded, waveform, labels)))
        return {
            "model": model,
            "samples": len(bits),
            "seconds": len(bits) / served.sample_rate,
            "bits_per_sample": float(bits.mean()),
            "bits": float(bits.sum()),
        }


async def _sound(
    request: Request,
    blocks: AsyncGenerator[NDArray[np.float32], None],
    model: ServedModel,
    form: SoundFormat,
    headers: dict[str, str],
    is_streamed: bool,
) -> Response:
    media_type = form.media_type(model.sample_rate)
    if is_streamed:
        return BlocksResponse(_encoded(blocks, model, form), media_type, headers)
    waveform = await _for(request, _whole(blocks))
    data = await asyncio.to_thread(encoded, waveform, model.sample_rate, form)
    return Response(data, media_type=media_type, headers=headers)


async def _whole(blocks: AsyncGenerator[NDArray[np.float32], None]) -> NDArray[np.float32]:
    async with aclosing(blocks) as read:
        return np.concatenate([block async for block in read])


async def _encoded(
    blocks: AsyncGenerator[NDArray[np.float32], None], model: ServedModel, form: SoundFormat
) -> AsyncGenerator[bytes, None]:
    encoder = form.make(model.sample_rate, None)
    async with aclosing(blocks) as read:
        async for block in read:
            if data := encoder.encode(block):
                yield data
    if data := encoder.finish():
        yield data


async def _encoded_sounds(
    service: Service, model: ServedModel, maker: StreamMaker, numbers: Sequence[int], length: int, form: SoundFormat
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The files of some sounds, each by its number, in their order."""
    async with aclosing(service.sounds(model, maker, numbers, length)) as outlets:
        async for number, outlet in outlets:
            waveform = await _whole(outlet.blocks())
            yield number, await asyncio.to_thread(encoded, waveform, model.sample_rate, form)


async def _zipped(
    every: AsyncGenerator[tuple[int, bytes], None], name: str, suffix: str
) -> AsyncGenerator[bytes, None]:
    """A zip file of some files, as they come."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        async with aclosing(every) as read:
            async for number, data in read:
                archive.writestr(zipfile.ZipInfo(f"{name}-{number}{suffix}"), data)
                yield sink.take()
    yield sink.take()


async def _parts(
    every: AsyncGenerator[tuple[int, bytes], None], model: ServedModel, form: SoundFormat, boundary: str
) -> AsyncGenerator[bytes, None]:
    """The same in parts of one answer (RFC 2046)."""
    async with aclosing(every) as read:
        async for number, data in read:
            head = (
                f"--{boundary}\r\nContent-Type: {form.media_type(model.sample_rate)}\r\n"
                f'Content-Disposition: attachment; filename="{model.name}-{number}{form.suffix}"\r\n'
                f"Content-Length: {len(data)}\r\n\r\n"
            )
            yield head.encode() + data + b"\r\n"
    yield f"--{boundary}--\r\n".encode()


class _Sink(io.RawIOBase):
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


async def _copied(
    service: Service, request: Request, model: ServedModel, maker: StreamMaker, form: SoundFormat
) -> AsyncGenerator[bytes, None]:
    """What is made again of samples that still arrive."""
    sound = FedInput()
    outlets: list[LoopOutlet] = []

    def piece(outlet: LoopOutlet) -> Piece:
        outlets.append(outlet)
        ahead = maker.input_delays()[0]
        return Piece(maker, lambda: maker.copy(sound), outlet, None, sound=sound, n_needed_ahead=ahead)

    async def feed() -> None:
        rest, most = b"", service.limits.seconds * model.sample_rate
        try:
            async for data in request.stream():
                data = rest + data
                rest = data[len(data) // 2 * 2 :]
                sound.feed(np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.float32) / 32768)
                if sound.n_fed > most:
                    raise TooLargeError(f"the recording is longer than {service.limits.seconds:g} s, which is the most")
                service.pool.wake()
            if not sound.n_fed:
                raise InputError("the body is empty; expected samples of 16 bits")
            sound.end()
            service.pool.wake()
        except (InputError, ClientDisconnect) as error:
            for outlet in outlets:
                outlet.end(error)

    feeding: asyncio.Future[None] | None = None
    blocks = service.read(model, piece, round(2 * model.sample_rate))
    try:
        async with aclosing(_encoded(blocks, model, form)) as read:
            feeding = asyncio.ensure_future(feed())
            async for data in read:
                yield data
    finally:
        if feeding is not None:
            feeding.cancel()


def _headers(model: ServedModel, seed: int) -> dict[str, str]:
    return {"Wavegen-Seed": str(seed), "Wavegen-Model": model.name}


def _from_base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name} is no base64; expected the bytes of a file in it") from None


def _labels_of(texts: Sequence[str] | None) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or name in labels:
            raise InputError(f"label is {text!r}; expected NAME=VALUE, and each name once")
        labels[name] = value
    return labels


# Images


def _add_images(app: FastAPI, service: Service) -> None:
    @app.post("/v1/images", tags=["images"], response_class=Response)
    async def draw(asked: ImageRequest, request: Request) -> Response:
        """Draw images: one PNG of all, PNGs, or their rows as JSON."""
        model = service.models.draws(asked.model)
        if asked.n > service.limits.n_images:
            raise TooLargeError(f"n is {asked.n}; expected at most {service.limits.n_images}")
        turns = asked.labels if isinstance(asked.labels, list) else [asked.labels or {}]
        if not turns:
            raise InputError("labels is an empty list; expected those of one image or more")
        texts = [{name: None if value is None else str(value) for name, value in one.items()} for one in turns]
        labels = [texts[number % len(texts)] for number in range(asked.n)]
        options = {name: value for name, value in asked.options().items() if name != "labels"}
        options.setdefault("seed", fresh_seed())
        pixels = await _for(request, service.drawn(model, labels, options, asked.first))
        return await asyncio.to_thread(_images, pixels, asked.format, model, options["seed"], asked.first)

    @app.post("/v1/images/complete", tags=["images"], response_class=Response)
    async def complete(
        request: Request,
        model: Annotated[str, Query(examples=["mnist"])],
        rows: Annotated[int | None, Query(description="how many rows from the top stay (default: half)")] = None,
        n: Annotated[int, Query(ge=1)] = 8,
        label: Annotated[list[str] | None, Query(description="NAME=VALUE")] = None,
        seed: Annotated[Seed | None, Query()] = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float | None = None,
        format: str = "grid",
    ) -> Response:
        """Draw what is missing of an image, the body, below the rows that stay."""
        served = service.models.draws(model)
        if n > service.limits.n_images:
            raise TooLargeError(f"n is {n}; expected at most {service.limits.n_images}")
        height, width, n_colours = served.loaded.description.shape
        n_kept = height // 2 if rows is None else rows
        if not 0 <= n_kept <= height:
            raise InputError(f"rows is {n_kept}; expected 0 to {height}")
        form = ImageOptions.model_validate({"format": format}).format
        given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        options["seed"] = fresh_seed() if seed is None else seed
        pixels = await asyncio.to_thread(_pixels, await request.body(), served)
        codes = np.full((n, height, width * n_colours), -1, dtype=np.int64)
        codes[:, :n_kept] = served.codes_of(pixels)[:n_kept]
        work = service.drawn(served, [_labels_of(label)] * n, options, given=codes)
        return await asyncio.to_thread(_images, await _for(request, work), form, served, options["seed"], 0)

    @app.post("/v1/images/classify", tags=["images"])
    async def classify(request: Request, model: Annotated[str, Query(examples=["mnist-binary"])]) -> dict[str, Any]:
        """Which value of the model's one label an image, the body, has, by Bayes' rule."""
        served = service.models.draws(model)
        if len(served.labels) != 1:
            raise InputError(f"{model} has {len(served.labels)} labels; to classify it needs one")
        pixels = await asyncio.to_thread(_pixels, await request.body(), served)
        probabilities = await _for(request, service.in_background(lambda: served.probabilities(pixels)))
        ((name, values),) = served.labels.items()
        best = int(probabilities.argmax())
        shares = {value: float(share) for value, share in zip(values, probabilities, strict=True)}
        return {"model": model, "label": name, "value": values[best], "probabilities": shares}


def _pixels(data: bytes, model: ServedModel) -> NDArray[np.uint8]:
    """An image as pixels (height, width, colours) of the model's size."""
    try:
        height, width, n_colours = model.loaded.description.shape
        return images.decode(io.BytesIO(data), (height, width, n_colours))
    except InputError as error:
        raise InputError(f"the image cannot be read: {error}") from error


def _images(pixels: NDArray[np.uint8], form: str, model: ServedModel, seed: int, first: int) -> Response:
    headers = _headers(model, seed)
    if form == "json":
        shaped = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        rows = {"model": model.name, "seed": seed, "first": first, "images": shaped.tolist()}
        return JSONResponse(rows, headers=headers)
    if form == "grid":
        whole = grid(pixels, int(np.ceil(np.sqrt(len(pixels)))))
        return Response(images.encode_png(whole), media_type="image/png", headers=headers)
    files = [images.encode_png(image) for image in pixels]
    if len(files) == 1:
        return Response(files[0], media_type="image/png", headers=headers)
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for number, data in enumerate(files, start=first):
            archive.writestr(zipfile.ZipInfo(f"{model.name}-{number}.png"), data)
    return Response(sink.take(), media_type="application/zip", headers=headers)


# Live


def _add_live(app: FastAPI, service: Service) -> None:
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
