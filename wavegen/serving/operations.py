"""What requests ask for, done: the same for HTTP and gRPC, which only bring it and send what comes of it."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.data import images
from wavegen.errors import InputError
from wavegen.generation.session import StreamMaker
from wavegen.generation.sound_input import FedInput
from wavegen.sampling import fresh_seed
from wavegen.serving.file_lane import Piece
from wavegen.serving.formats import SoundFormat, check_format
from wavegen.serving.models import ServedModel
from wavegen.serving.outlet import LoopOutlet
from wavegen.serving.problems import TooLargeError
from wavegen.serving.schemas import CompletionRequest, ImageRequest, SoundRequest, VocodeRequest
from wavegen.serving.service import READ_AHEAD_S, Service

Blocks = AsyncGenerator[NDArray[np.float32], None]


class SoundsAsked(NamedTuple):
    """Sounds of one model that fit it, and how they are wanted."""

    model: ServedModel
    maker: StreamMaker
    form: SoundFormat
    seed: int
    numbers: Sequence[int]
    length: int  # samples of each


class Drawn(NamedTuple):
    """Images that were drawn: pixels (n, height, width, colours)."""

    model: ServedModel
    seed: int
    first: int
    pixels: NDArray[np.uint8]


async def sounds(service: Service, asked: SoundRequest) -> SoundsAsked:
    """What a request for sounds comes to.

    Raises: InputError for what does not fit.
    """
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
    numbers = range(asked.first, asked.first + asked.n)
    return SoundsAsked(model, maker, form, options["seed"], numbers, length)


def sound(service: Service, asked: SoundsAsked, is_streamed: bool) -> Blocks:
    """The first of some sounds, as it is made."""
    number, length = asked.numbers[0], asked.length
    limit = _limit(asked.model, length, is_streamed)
    return service.read(
        asked.model, lambda outlet: Piece(asked.maker, lambda: asked.maker.stream(number), outlet, length), limit
    )


async def vocoded(service: Service, asked: VocodeRequest, data: bytes) -> tuple[SoundsAsked, Blocks]:
    """The sound of a recording, or of frames, made again.

    Raises: InputError for what does not fit.
    """
    model, form, options = _vocoder(service, asked)
    options["frames"], length = await asyncio.to_thread(service.frames, data, model)
    maker = await asyncio.to_thread(model.maker, options)
    limit = _limit(model, length, asked.stream)
    blocks = service.read(model, lambda outlet: Piece(maker, maker.stream, outlet, length), limit)
    return SoundsAsked(model, maker, form, options["seed"], (0,), length), blocks


async def copied(service: Service, asked: VocodeRequest, arriving: AsyncIterable[bytes]) -> tuple[SoundsAsked, Blocks]:
    """The sound of samples of 16 bits that still arrive.

    Raises: InputError for what does not fit.
    """
    model, form, options = _vocoder(service, asked)
    maker = await asyncio.to_thread(lambda: model.maker(options, frames_follow=True))
    return SoundsAsked(model, maker, form, options["seed"], (0,), 0), _copy(service, model, maker, arriving)


async def _copy(service: Service, model: ServedModel, maker: StreamMaker, arriving: AsyncIterable[bytes]) -> Blocks:
    fed, outlets = FedInput(), []

    def piece(outlet: LoopOutlet) -> Piece:
        outlets.append(outlet)
        ahead = maker.input_delays()[0]
        return Piece(maker, lambda: maker.copy(fed), outlet, None, sound=fed, n_needed_ahead=ahead)

    async def feed() -> None:
        rest, most = b"", service.limits.seconds * model.sample_rate
        try:
            async for data in arriving:
                data = rest + data
                n_whole = len(data) // 2 * 2
                rest = data[n_whole:]
                fed.feed(np.frombuffer(data[:n_whole], dtype="<i2").astype(np.float32) / 32768)
                if fed.n_fed > most:
                    raise TooLargeError(f"the recording is longer than {service.limits.seconds:g} s, which is the most")
                service.pool.wake()
            if not fed.n_fed:
                raise InputError("there are no samples; expected some, of 16 bits")
            fed.end()
            service.pool.wake()
        except Exception as error:  # who reads is told: the client has left, or sends too much
            for outlet in outlets:
                outlet.end(error)

    feeding: asyncio.Future[None] | None = None
    try:
        blocks = service.read(model, piece, _limit(model, 0, True))
        first = asyncio.ensure_future(anext(blocks))
        await asyncio.sleep(0)  # until there is somewhere to tell what goes wrong
        feeding = asyncio.ensure_future(feed())
        yield await first
        async for block in blocks:
            yield block
    finally:
        if feeding is not None:
            feeding.cancel()
        await blocks.aclose()


async def bits(
    service: Service, name: str, labels: Mapping[str, str | None], data: bytes
) -> tuple[ServedModel, NDArray[np.float64]]:
    """-log2 p of every sample of a recording.

    Raises: InputError for what does not fit.
    """
    from wavegen.evaluation.recording import bits_of_recording

    model = service.models.find(name)
    if model.draws:
        raise InputError(f"{name} draws images; expected a model of sound")
    waveform = await asyncio.to_thread(service.recording, data, model.sample_rate)
    return model, await service.in_background(lambda: bits_of_recording(model.loaded, waveform, labels))


async def drawn(service: Service, asked: ImageRequest) -> Drawn:
    """Images.

    Raises: InputError for what does not fit; Busy.
    """
    model = service.models.draws(asked.model)
    _check_n(service, asked.n)
    turns = asked.labels if isinstance(asked.labels, list) else [asked.labels or {}]
    if not turns:
        raise InputError("labels is an empty list; expected those of one image or more")
    texts = [{name: None if value is None else str(value) for name, value in one.items()} for one in turns]
    labels = [texts[number % len(texts)] for number in range(asked.n)]
    options = {name: value for name, value in asked.options().items() if name != "labels"}
    options.setdefault("seed", fresh_seed())
    pixels = await service.drawn(model, labels, options, asked.first)
    return Drawn(model, options["seed"], asked.first, pixels)


async def completed(service: Service, asked: CompletionRequest, data: bytes) -> Drawn:
    """An image with what is missing below the rows that stay, in several ways.

    Raises: InputError for what does not fit; Busy.
    """
    model = service.models.draws(asked.model)
    _check_n(service, asked.n)
    height, width, n_colours = model.loaded.description.shape
    n_kept = height // 2 if asked.rows is None else asked.rows
    if not 0 <= n_kept <= height:
        raise InputError(f"rows is {n_kept}; expected 0 to {height}")
    pixels = await asyncio.to_thread(_pixels, data, model)
    codes = np.full((asked.n, height, width * n_colours), -1, dtype=np.int64)
    codes[:, :n_kept] = model.codes_of(pixels)[:n_kept]
    options = {name: value for name, value in asked.options().items() if name != "labels"}
    options.setdefault("seed", fresh_seed())
    labels = [{name: None if value is None else str(value) for name, value in (asked.labels or {}).items()}]
    made = await service.drawn(model, labels * asked.n, options, given=codes)
    return Drawn(model, options["seed"], 0, made)


async def classified(service: Service, name: str, data: bytes) -> tuple[str, Sequence[str], NDArray[np.float64]]:
    """The name of a model's one label, its values, and how probable each is of an image.

    Raises: InputError for what does not fit.
    """
    model = service.models.draws(name)
    if len(model.labels) != 1:
        raise InputError(f"{name} has {len(model.labels)} labels; to classify it needs one")
    pixels = await asyncio.to_thread(_pixels, data, model)
    ((label, values),) = model.labels.items()
    return label, values, await service.in_background(lambda: model.probabilities(pixels))


def _vocoder(service: Service, asked: VocodeRequest) -> tuple[ServedModel, SoundFormat, dict[str, Any]]:
    model = service.models.copies(asked.model)
    options = {**asked.options(), "match": asked.match}
    options.setdefault("seed", fresh_seed())
    return model, check_format(asked.format, model.sample_rate), options


def _limit(model: ServedModel, length: int, is_streamed: bool) -> int:
    """Samples that may wait to be read."""
    return round(READ_AHEAD_S * model.sample_rate) if is_streamed else length


def _check_n(service: Service, n: int) -> None:
    if n > service.limits.n_images:
        raise TooLargeError(f"n is {n}; expected at most {service.limits.n_images}")


def _pixels(data: bytes, model: ServedModel) -> NDArray[np.uint8]:
    """An image as pixels (height, width, colours) of the model's size."""
    height, width, n_colours = model.loaded.description.shape
    try:
        return images.decode_bytes(data, (height, width, n_colours))
    except InputError as error:
        raise InputError(f"the image cannot be read: {error}") from error


def _from_base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name} is no base64; expected the bytes of a file in it") from None
