"""Addresses of sound: made, made again, and how probable it is."""

import asyncio
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from wavegen.serving import operations
from wavegen.serving.answers import BlocksResponse, Sink, labels_of, seed_headers, unless_client_gone
from wavegen.serving.formats import encoded
from wavegen.serving.operations import Blocks, SoundsAsked
from wavegen.serving.schemas import FormatName, Seed, SoundRequest, VocodeRequest
from wavegen.serving.service import Service

SOUND: dict[int | str, dict[str, Any]] = {
    200: {"content": {"audio/wav": {}}, "description": "the sound; Wavegen-Seed is its seed"}
}


def add_sounds(app: FastAPI, service: Service) -> None:
    @app.post("/v1/sounds", tags=["sound"], responses=SOUND, response_class=Response)
    async def sounds(asked: SoundRequest, request: Request) -> Response:
        """Make sounds: one as a file, or as it is made (`stream`); several as a zip or in parts."""
        wanted = await operations.sounds(service, asked)
        if asked.n == 1:
            return await _sound(request, operations.sound(service, wanted, asked.stream), wanted, asked.stream)
        headers, every = seed_headers(wanted.model, wanted.seed), _files(service, wanted)
        if asked.bundle == "multipart":
            boundary = f"wavegen-{wanted.seed:x}"
            return BlocksResponse(_parts(every, wanted, boundary), f"multipart/mixed; boundary={boundary}", headers)
        return BlocksResponse(_zipped(every), "application/zip", headers)

    @app.post("/v1/vocode", tags=["sound"], responses=SOUND, response_class=Response)
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
        asked = VocodeRequest(
            model=model,
            labels={**labels_of(label)},
            seed=seed,
            temperature=temperature,
            voiced_temperature=voiced_temperature,
            transpose=transpose,
            match=match,
            format=format,
            stream=stream,
        )
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "audio/pcm":
            wanted, blocks = await operations.vocoded(service, asked, await request.body())
            return await _sound(request, blocks, wanted, stream)
        wanted, blocks = await operations.copied(service, asked, request.stream())
        media_type = wanted.form.media_type(wanted.model.sample_rate)
        headers = seed_headers(wanted.model, wanted.seed)
        return BlocksResponse(_encoded(blocks, wanted), media_type, headers, has_body_to_read=True)

    @app.post("/v1/likelihood", tags=["sound"])
    async def likelihood(
        request: Request,
        model: Annotated[str, Query(examples=["speech"])],
        label: Annotated[list[str] | None, Query(description="NAME=VALUE; repeat for more")] = None,
    ) -> dict[str, Any]:
        """How many bits a model needs for each sample of a recording, the body, given those before it."""
        work = operations.bits(service, model, labels_of(label), await request.body())
        served, bits = await unless_client_gone(request, work)
        return {
            "model": model,
            "samples": len(bits),
            "seconds": len(bits) / served.sample_rate,
            "bits_per_sample": float(bits.mean()),
            "bits": float(bits.sum()),
        }


async def _sound(request: Request, blocks: Blocks, wanted: SoundsAsked, is_streamed: bool) -> Response:
    media_type, headers = wanted.form.media_type(wanted.model.sample_rate), seed_headers(wanted.model, wanted.seed)
    if is_streamed:
        return BlocksResponse(_encoded(blocks, wanted), media_type, headers)
    waveform = await unless_client_gone(request, whole(blocks))
    data = await asyncio.to_thread(encoded, waveform, wanted.model.sample_rate, wanted.form)
    return Response(data, media_type=media_type, headers=headers)


async def whole(blocks: Blocks) -> NDArray[np.float32]:
    """A sound (T,), of its blocks."""
    async with aclosing(blocks) as read:
        return np.concatenate([block async for block in read])


async def _encoded(blocks: Blocks, wanted: SoundsAsked) -> AsyncGenerator[bytes, None]:
    encoder = wanted.form.make(wanted.model.sample_rate, None)
    async with aclosing(blocks) as read:
        async for block in read:
            if data := encoder.encode(block):
                yield data
    if data := encoder.finish():
        yield data


async def _files(service: Service, wanted: SoundsAsked) -> AsyncGenerator[tuple[str, bytes], None]:
    """The names and bytes of some sounds, in their order."""
    model, form = wanted.model, wanted.form
    async with aclosing(service.sounds(model, wanted.maker, wanted.numbers, wanted.length)) as outlets:
        async for number, outlet in outlets:
            waveform = await whole(outlet.blocks())
            data = await asyncio.to_thread(encoded, waveform, model.sample_rate, form)
            yield f"{model.name}-{number}{form.suffix}", data


async def _zipped(every: AsyncGenerator[tuple[str, bytes], None]) -> AsyncGenerator[bytes, None]:
    """A zip file of some files, as they come."""
    sink = Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        async with aclosing(every) as read:
            async for name, data in read:
                archive.writestr(zipfile.ZipInfo(name), data)
                yield sink.take()
    yield sink.take()


async def _parts(
    every: AsyncGenerator[tuple[str, bytes], None], wanted: SoundsAsked, boundary: str
) -> AsyncGenerator[bytes, None]:
    """The same in parts of one answer (RFC 2046)."""
    media_type = wanted.form.media_type(wanted.model.sample_rate)
    async with aclosing(every) as read:
        async for name, data in read:
            head = (
                f"--{boundary}\r\nContent-Type: {media_type}\r\n"
                f'Content-Disposition: attachment; filename="{name}"\r\n'
                f"Content-Length: {len(data)}\r\n\r\n"
            )
            yield head.encode() + data + b"\r\n"
    yield f"--{boundary}--\r\n".encode()
