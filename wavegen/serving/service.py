"""What all doors of a service share: its models at work, its limits, and who may come in."""

import asyncio
import io
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from wavegen.data import audio
from wavegen.data.audio import Facts
from wavegen.errors import InputError
from wavegen.generation.session import StreamMaker
from wavegen.generation.stream import n_samples
from wavegen.sampling import fresh_seed
from wavegen.serving.drawing import AT_ONCE, make_drawing
from wavegen.serving.file_lane import Piece
from wavegen.serving.metrics import Metrics
from wavegen.serving.models import ServedModel, ServedModels
from wavegen.serving.outlet import LoopOutlet
from wavegen.serving.pool import Pool, lower_priority
from wavegen.serving.problems import TooLargeError

logger = logging.getLogger(__name__)

T = TypeVar("T")
WINDOW = 32  # sounds of a request that are made or wait to be read
READ_AHEAD_S = 2.0  # of a sound that is sent as it is made, which waits to be read


@dataclass(frozen=True)
class Limits:
    """What a request may ask for. `seconds`: of a sound, or of a recording that is sent; `n_bytes`: of what is sent."""

    seconds: float = 60.0
    n_sounds: int = 1000
    n_images: int = 256
    n_bytes: int = 32 << 20


class Service:
    """Models at work for clients, in an event loop. `token`: without it nothing is answered but `/health`."""

    def __init__(
        self,
        models: ServedModels,
        *,
        token: str | None = None,
        limits: Limits | None = None,
        max_streams: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        threadpool_limits(1)  # each core has a thread of ours
        self.models, self.limits = models, limits or Limits()
        self._token = token
        self.pool = Pool(models, n_threads, max_streams)
        self.metrics = Metrics(self.pool)
        self._background = ThreadPoolExecutor(1, initializer=lower_priority)

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def is_let_in(self, token: str | None) -> bool:
        """Whether somebody with this token may come in; it takes as long for any wrong one."""
        if self._token is None:
            return True
        return token is not None and secrets.compare_digest(token.encode(), self._token.encode())

    def close(self) -> None:
        self.pool.close()
        self._background.shutdown(wait=False, cancel_futures=True)

    async def in_background(self, work: Callable[[], T]) -> T:
        """Have something done that takes long, one at a time, while live streams go before it."""
        return await asyncio.get_running_loop().run_in_executor(self._background, work)

    def log(self, event: str, **fields: Any) -> None:
        """One line of the log, as JSON."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        logger.info(json.dumps({"at": at, "event": event, **fields}, ensure_ascii=False))

    def n_samples(self, seconds: float, model: ServedModel) -> int:
        """The samples of so many seconds. Raises: TooLargeError beyond the limit."""
        if seconds > self.limits.seconds:
            raise TooLargeError(f"seconds is {seconds:g}; expected at most {self.limits.seconds:g}")
        return n_samples(seconds, model.sample_rate)

    def recording(self, data: bytes, sample_rate: int) -> NDArray[np.float32]:
        """A recording (T,) at a rate, of the bytes of a file in any format of libsndfile.

        Raises: InputError if it is none; TooLargeError beyond the limit, as soon as so much is decoded.
        """
        facts, blocks, n = Facts(), [], 0
        try:
            for block in audio.decode(io.BytesIO(data), sample_rate, facts):
                blocks.append(block)
                n += len(block)
                if n > self.limits.seconds * sample_rate:
                    raise TooLargeError(f"the recording is longer than {self.limits.seconds:g} s, which is the most")
        except TooLargeError:
            raise
        except InputError as error:
            raise InputError(f"the recording cannot be read: {error}") from error
        return audio.to_waveform(np.concatenate(blocks))

    def frames(self, data: bytes, model: ServedModel) -> tuple[NDArray[np.floating], int]:
        """Frames (F, n_features) and the samples that they stand for, of the bytes of a recording or of a .npy file.

        Raises: InputError, TooLargeError: as `recording`, and for an array that is no frames.
        """
        features = model.loaded.description.make_features()
        assert features is not None  # it copies
        if not data.startswith(b"\x93NUMPY"):
            waveform = self.recording(data, model.sample_rate)
            return features.frames(waveform), len(waveform)
        try:
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False, max_header_size=4096)
        except (ValueError, EOFError, OSError, MemoryError) as error:
            raise InputError(f"the frames cannot be read ({error}); expected an array in numpy's format") from error
        frames = features.check_foreign(array, "the array")
        if len(frames) * features.hop > self.limits.seconds * model.sample_rate:
            raise TooLargeError(f"the frames are of more than {self.limits.seconds:g} s, which is the most")
        return frames, len(frames) * features.hop

    async def sounds(
        self, model: ServedModel, maker: StreamMaker, numbers: Sequence[int], length: int
    ) -> AsyncGenerator[tuple[int, LoopOutlet], None]:
        """Where to read each of some sounds of one length from, in their order; to be read to its end.

        Who stops asking makes room for others.
        Raises: Busy.
        """
        outlets: dict[int, LoopOutlet] = {}

        def piece(number: int) -> Piece:
            outlets[number] = LoopOutlet(length, self.pool.wake)
            return Piece(maker, lambda: maker.stream(number), outlets[number], length)

        request = self.pool.make(model, [piece(number) for number in numbers[:WINDOW]])
        try:
            for index, number in enumerate(numbers):
                yield number, outlets[number]
                del outlets[number]
                if index + WINDOW < len(numbers):
                    self.pool.extend(request, piece(numbers[index + WINDOW]))
        finally:
            self.pool.cancel(request)

    async def read(
        self, model: ServedModel, piece: Callable[[LoopOutlet], Piece], limit: int
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        """One sound, in blocks, of which `limit` samples may wait to be read.

        Raises: Busy.
        """
        outlet = LoopOutlet(limit, self.pool.wake)
        request = self.pool.make(model, [piece(outlet)])
        try:
            async for block in outlet.blocks():
                yield block
        finally:
            self.pool.cancel(request)

    async def drawn(
        self,
        model: ServedModel,
        labels: Sequence[dict[str, str | None]],
        options: dict[str, Any],
        first: int = 0,
        given: NDArray[np.int64] | None = None,
    ) -> NDArray[np.uint8]:
        """Pixels (n, height, width, colours) of images of some labels, a few at a time by each process.

        Raises: Busy; InputError for what does not fit the model.
        """
        loop = asyncio.get_running_loop()
        drawings, futures = [], []
        options = {"seed": fresh_seed(), **options}
        for begin in range(0, len(labels), AT_ONCE):
            future: asyncio.Future[NDArray[np.uint8]] = loop.create_future()

            def done(
                pixels: NDArray[np.uint8] | None,
                error: Exception | None,
                future: asyncio.Future[NDArray[np.uint8]] = future,
            ) -> None:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(_settle, future, pixels, error)

            some = slice(begin, begin + AT_ONCE)
            part = None if given is None else given[some]
            drawings.append(make_drawing(model, labels[some], options, done, first + begin, part))
            futures.append(future)
        try:
            for drawing in drawings:
                self.pool.draw(drawing)
            return np.concatenate(await asyncio.gather(*futures))
        finally:
            for drawing in drawings:
                drawing.is_cancelled = True


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():  # nobody waits any more
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
