"""Blocks of sound -> a bounded queue -> the sound card.

Three parts that know nothing of each other: an engine yields blocks, a thread puts them into the queue, and the
sound card's callback copies one block out. The callback never waits, allocates, logs or takes a lock of ours beyond the
queue's; when the queue is empty it plays silence and counts it.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError

Block = NDArray[np.float32]
GIVE_UP_S = 2.0  # how long to wait for the engine's thread when playing stops


class OutputStream(Protocol):
    """The part of `sounddevice.OutputStream` that playback uses."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class Counts:
    """What the sound card was given: blocks of sound, and blocks of silence because none was ready."""

    n_played: int = 0
    n_dropped: int = 0
    n_underflows: int = 0  # gaps that the sound system itself reports


class Player:
    """Plays mono blocks as long as the sound card's own (the last may be shorter), made as fast as they are wanted.

    `open_stream(callback, finished)` opens the sound card: by default with sounddevice, in tests a fake. The card
    starts once `prefill` blocks are ready. Exceptions of the producer surface in `run`.
    """

    def __init__(
        self,
        blocks: Iterator[Block],
        prefill: int,
        open_stream: Callable[[Callable[..., None], Callable[[], None]], OutputStream],
    ) -> None:
        self.counts = Counts()
        self._blocks, self._prefill = blocks, prefill
        self._open_stream = open_stream
        self._queue: queue.Queue[Block | None] = queue.Queue(maxsize=max(1, prefill) + 1)
        self._is_stopping = threading.Event()
        self._is_ready = threading.Event()
        self._is_over = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> Counts:
        """Play until the blocks end or the card stops; KeyboardInterrupt passes through once all is put away."""
        producer = threading.Thread(target=self._produce, name="wavegen-engine", daemon=True)
        producer.start()
        stream = None
        try:
            _wait(self._is_ready)
            stream = self._open_stream(self._callback, self._is_over.set)
            stream.start()
            _wait(self._is_over)
        finally:
            self._is_stopping.set()
            if stream is not None:
                stream.stop()
                stream.close()
            self._unblock(producer)
        if self._failure is not None:
            raise self._failure
        return self.counts

    def _produce(self) -> None:
        try:
            for n_made, block in enumerate(self._blocks, start=1):
                if self._is_stopping.is_set():
                    return
                self._queue.put(block)
                if n_made >= self._prefill:
                    self._is_ready.set()
        except BaseException as error:
            self._failure = error
        finally:
            self._is_ready.set()
            self._queue.put(None)

    def _callback(self, out: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        """Fill one block (frames, channels) of the sound card; runs on PortAudio's thread."""
        if status and status.output_underflow:
            self.counts.n_underflows += 1
        try:
            block = self._queue.get_nowait()
        except queue.Empty:
            out.fill(0)
            self.counts.n_dropped += 1
            return
        if block is None:
            out.fill(0)
            raise StopPlaying
        out[: len(block)] = block[:, None]
        out[len(block) :] = 0
        self.counts.n_played += 1

    def _unblock(self, producer: threading.Thread) -> None:
        """Empty the queue so that a producer waiting for room sees that it should stop.

        A producer in the midst of something long (a priming recording) is left to end with the program.
        """
        give_up_at = time.monotonic() + GIVE_UP_S
        while producer.is_alive() and time.monotonic() < give_up_at:
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue


class StopPlaying(Exception):  # noqa: N818 - the name of what it asks for, as PortAudio's CallbackStop
    """Raised by the callback when the blocks have ended; the opener translates it for its sound library."""


def sounddevice_opener(
    sample_rate: int, blocksize: int, device: str | int | None
) -> Callable[[Callable[..., None], Callable[[], None]], OutputStream]:
    """How to open a real sound card at `sample_rate` Hz, `blocksize` samples per block, mono.

    Raises: InputError if PortAudio is not installed, the device does not exist, or it refuses the rate.
    """
    sounddevice = import_sounddevice()
    try:
        sounddevice.check_output_settings(device=device, channels=1, samplerate=sample_rate, dtype="float32")
    except (sounddevice.PortAudioError, ValueError) as error:
        names = [one["name"] for one in sounddevice.query_devices() if one["max_output_channels"] > 0]
        there_are = f"there are {'; '.join(names)}" if names else "there is no sound card on this machine"
        wanted = "the default output" if device is None else f"the output {device!r}"
        raise InputError(
            f"{wanted} cannot play {sample_rate} Hz ({error}); {there_are}. `wavegen generate` writes a file instead"
        ) from error

    def open_stream(callback: Callable[..., None], finished: Callable[[], None]) -> OutputStream:
        def translated(out: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
            try:
                callback(out, frames, when, status)
            except StopPlaying:
                raise sounddevice.CallbackStop from None

        try:
            stream = sounddevice.OutputStream(
                samplerate=sample_rate,
                blocksize=blocksize,
                device=device,
                channels=1,
                dtype="float32",
                callback=translated,
                finished_callback=finished,
            )
        except sounddevice.PortAudioError as error:
            raise InputError(f"the sound card does not open: {error}") from error
        return _Card(stream, sounddevice.PortAudioError)

    return open_stream


class _Card:
    """A PortAudio stream whose failures are sentences for the user."""

    def __init__(self, stream: OutputStream, failure: type[Exception]) -> None:
        self._stream, self._failure = stream, failure

    def start(self) -> None:
        try:
            self._stream.start()
        except self._failure as error:
            raise InputError(f"the sound card does not start: {error}") from error

    def stop(self) -> None:
        with contextlib.suppress(self._failure):  # it may have been unplugged
            self._stream.stop()

    def close(self) -> None:
        with contextlib.suppress(self._failure):
            self._stream.close()


def import_sounddevice() -> Any:
    """The sounddevice module; it needs the PortAudio library.

    Raises: InputError naming the package to install.
    """
    try:
        import sounddevice
    except OSError as error:
        raise InputError(
            "the PortAudio library is not installed; install it (Debian and Ubuntu: apt install libportaudio2, "
            "macOS: brew install portaudio), or use `wavegen generate`, which needs no sound card"
        ) from error
    return sounddevice


def _wait(event: threading.Event) -> None:
    """Wait in steps, so that Ctrl-C is heard on every system."""
    while not event.wait(0.1):
        pass
