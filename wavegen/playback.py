"""Blocks of sound -> a ring of samples -> the sound card.

Three parts that know nothing of each other: an engine yields blocks, a thread puts them into the ring, and the sound
card's callback copies out what it wants. The callback never waits, takes a lock, logs or keeps memory; when the ring
is empty it plays silence and counts it.
"""

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError

Samples = NDArray[np.float32]  # (T, channels) in [-1, 1]
GIVE_UP_S = 2.0  # how long to wait for the engine's thread when playing stops
SILENT_CARD_S = 2.0  # a card that asks for nothing this long has gone; counted in ticks: a machine may stand still
TICK_S = 0.01  # between two looks at the keyboard
PAUSE_S = 0.002  # between two looks whether the ring has room
SWITCH_S = 0.001  # between threads, while prompt_callbacks: the callback waits no longer than this for another one
Kind = Literal["input", "output"]
KINDS: tuple[Kind, ...] = ("input", "output")  # in the order of sounddevice's pairs
INSTEAD = {  # what is missing where there is none, and what does without
    "input": ("microphone", "--input hello.wav takes a recording instead, and --input - raw samples from a pipe"),
    "output": (
        "sound card",
        "`wavegen generate` (or `vocode`) writes a file instead, and --output - raw samples to a pipe",
    ),
}
TAIL_S = 0.1  # of silence at the end, at least: sound systems throw away what is in their buffers when a stream stops


class OutputStream(Protocol):
    """The part of `sounddevice.OutputStream` that playback uses."""

    latency_s: float

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


OpenStream = Callable[[Callable[..., None], Callable[[], None]], OutputStream]


class Ring:
    """Samples on their way from one thread, which writes, to one other, which reads; neither ever waits.

    `n_written` and `n_read` count samples from the beginning. Each is moved by one side only, and only once the samples
    that it speaks of have been copied, so no lock is needed.
    """

    def __init__(self, capacity: int, n_channels: int) -> None:
        self._samples = np.zeros((capacity, n_channels), dtype=np.float32)
        self.n_written = 0
        self.n_read = 0

    @property
    def capacity(self) -> int:
        return len(self._samples)

    @property
    def n_ready(self) -> int:
        return self.n_written - self.n_read

    def write(self, samples: Samples) -> int:
        """Take as many as there is room for; returns how many."""
        n = min(len(samples), self.capacity - self.n_ready)
        begin = self.n_written % self.capacity
        first = min(n, self.capacity - begin)
        self._samples[begin : begin + first] = samples[:first]
        self._samples[: n - first] = samples[first:n]
        self.n_written += n
        return n

    def read_into(self, out: Samples) -> int:
        """Fill as much of `out` as there is; returns how much. The rest of it is left alone."""
        n = min(len(out), self.n_ready)
        begin = self.n_read % self.capacity
        first = min(n, self.capacity - begin)
        out[:first] = self._samples[begin : begin + first]
        out[first:n] = self._samples[: n - first]
        self.n_read += n
        return n


@dataclass
class Counts:
    """What the sound card was given, in samples, and how often it had to wait."""

    n_played: int = 0
    n_silent: int = 0  # because none were ready
    n_dropouts: int = 0  # stretches of such silence
    n_underflows: int = 0  # gaps that the sound system itself reports
    n_asked: int = 0  # calls


class Player:
    """Plays blocks (T, channels) of any length, made as fast as they are wanted.

    `capacity`: samples in the ring; they are the latency between the engine and the card, and the card starts once they
    are there. `open_stream(callback, finished)` opens the card: with sounddevice, or in tests a fake. Exceptions of
    whoever makes the blocks surface in `run`.
    """

    def __init__(self, blocks: Iterator[Samples], n_channels: int, capacity: int, open_stream: OpenStream) -> None:
        self.counts = Counts()
        self.ring = Ring(capacity, n_channels)
        self._blocks, self._open_stream = blocks, open_stream
        self._card_latency_s = 0.0  # as the card says of itself
        self._asked = (0.0, 0, 0.0)  # last: when (time.perf_counter), for how many, and how much later they are heard
        self._has_ended = False
        self._is_silent = False
        self._is_stopping = threading.Event()
        self._is_ready = threading.Event()
        self._is_over = threading.Event()
        self._may_end = False  # all is played, or nobody wants more
        self._failure: BaseException | None = None

    def run(self, tick: Callable[[], None] = lambda: None) -> Counts:
        """Play until the blocks end, `stop` is called or the card goes; `tick` is called all the while.

        KeyboardInterrupt passes through once all is put away.

        Raises: InputError if the card is gone.
        """
        producer = threading.Thread(target=self._produce, name="wavegen-engine", daemon=True)
        producer.start()
        stream = None
        try:
            _wait(self._is_ready, tick)
            with open_quietly():
                stream = self._open_stream(self._callback, self._is_over.set)
                stream.start()
            self._card_latency_s = stream.latency_s
            _wait(self._is_over, self._watched(tick))
            is_gone = not self._may_end  # asked before the engine is told to stop, which ends its sound
        finally:
            self._is_stopping.set()
            if stream is not None:
                with open_quietly():
                    stream.stop()
                    stream.close()
            producer.join(GIVE_UP_S)  # one in the midst of something long is left to end with the program
        if self._failure is not None:
            raise self._failure
        if is_gone:
            raise InputError("the sound card has stopped by itself; it seems to be gone")
        return self.counts

    def heard_in(self, sample_rate: int) -> float:
        """How many s from now what is written into the ring next will be heard."""
        at, n, lead_s = self._asked
        return at + lead_s + (n + self.ring.n_ready) / sample_rate - time.perf_counter()

    def stop(self) -> None:
        """End playing soon; may be called from anywhere."""
        self._may_end = True
        self._is_ready.set()
        self._is_over.set()

    def _produce(self) -> None:
        try:
            for block in self._blocks:
                n_put = 0
                while n_put < len(block):
                    if self._is_stopping.is_set():
                        return
                    n_put += self.ring.write(block[n_put:])
                    if self.ring.n_ready == self.ring.capacity:
                        self._is_ready.set()
                        time.sleep(PAUSE_S)
        except BaseException as error:
            self._failure = error
        finally:
            self._has_ended = True
            self._is_ready.set()

    def _callback(self, out: Samples, frames: int, when: Any, status: Any) -> None:
        """Fill one block (frames, channels) of the sound card; runs on PortAudio's thread."""
        counts = self.counts
        counts.n_asked += 1
        lead_s = 0.0 if when is None else when.outputBufferDacTime - when.currentTime
        self._asked = (time.perf_counter(), frames, lead_s if lead_s > 0 else self._card_latency_s)
        if status and status.output_underflow:
            counts.n_underflows += 1
        has_ended = self._has_ended  # asked before the ring is, which may be written in between
        n = self.ring.read_into(out)
        counts.n_played += n
        if n == frames:
            self._is_silent = False
            return
        out[n:] = 0
        if has_ended:
            if n == 0:
                self._may_end = True
                raise StopPlaying
            return
        counts.n_silent += frames - n
        counts.n_dropouts += not self._is_silent
        self._is_silent = True

    def _watched(self, tick: Callable[[], None]) -> Callable[[], None]:
        """The tick, with an eye on whether the card is still there."""
        seen, n_silent = -1, 0

        def watched() -> None:
            nonlocal seen, n_silent
            n_silent = n_silent + 1 if self.counts.n_asked == seen else 0
            seen = self.counts.n_asked
            if n_silent * TICK_S > SILENT_CARD_S:
                raise InputError(f"the sound card has asked for nothing in {SILENT_CARD_S:g} s; it seems to be gone")
            tick()

        return watched


def resampled(blocks: Iterator[Samples], rate: int, to_rate: int, n_channels: int) -> Iterator[Samples]:
    """The same sound at another rate (Hz), block by block (soxr's high quality, whose delay is some ms)."""
    import soxr

    stream = soxr.ResampleStream(rate, to_rate, n_channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block).reshape(-1, n_channels)
    yield stream.resample_chunk(np.zeros((0, n_channels), dtype=np.float32), last=True).reshape(-1, n_channels)


def resampling_delay_s(rate: int, to_rate: int) -> float:
    """How much later a sound comes out of `resampled` than it would without, in s, at most: some is kept at a time."""
    if rate == to_rate:
        return 0.0
    n_portions = 100  # of 10 ms
    silence = (np.zeros((rate // n_portions, 1), dtype=np.float32) for _ in range(n_portions))
    n_out = np.cumsum([len(block) for block in resampled(silence, rate, to_rate, 1)][:n_portions])
    n_in = (rate // n_portions) * np.arange(1, n_portions + 1)
    return float((n_in / rate - n_out / to_rate).max())


@contextlib.contextmanager
def prompt_callbacks() -> Iterator[None]:
    """While the block runs, let what calls back from other threads wait for the interpreter as little as can be.

    Threads take turns every millisecond, and the garbage collector leaves alone what is there already: going through
    all that was imported takes 50 ms, and a callback has to wait for it.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()


class StopPlaying(Exception):  # noqa: N818 - the name of what it asks for, as PortAudio's CallbackStop
    """Raised by the callback when the blocks have ended; the opener translates it for its sound library."""


class Card:
    """A sound card (`device`: its name or number, None for the system's), asked whether it can play.

    `sample_rate` is the wanted rate, or the card's own where it refuses that one.

    Raises: InputError if PortAudio is not installed, there is no such card, or it has too few channels.
    """

    def __init__(self, device: str | int | None, sample_rate: int, n_channels: int) -> None:
        self._sounddevice = import_sounddevice()
        self._device, self.n_channels = device, n_channels
        title, card = find_device(self._sounddevice, device, "output")
        self.name = card["name"]
        self.sample_rate = sample_rate
        failure = self._refusal()
        if failure is not None:
            self.sample_rate = round(card["default_samplerate"])
            if self._refusal() is not None:
                raise InputError(
                    f"{title} cannot play {n_channels} channels at {sample_rate} Hz ({failure}); "
                    f"{_there_are(self._sounddevice, 'output')}"
                ) from failure

    def _refusal(self) -> Exception | None:
        try:
            with open_quietly():
                self._sounddevice.check_output_settings(
                    device=self._device, channels=self.n_channels, samplerate=self.sample_rate, dtype="float32"
                )
        except (self._sounddevice.PortAudioError, ValueError) as error:
            return error
        return None

    def opener(self, blocksize: int, latency_s: float) -> OpenStream:
        """How to open it; `blocksize` samples at a time (0: device default), and its own buffer of `latency_s`."""

        def open_stream(callback: Callable[..., None], finished: Callable[[], None]) -> OutputStream:
            n_tail = round(max(TAIL_S, 2 * latency_s) * self.sample_rate)

            def translated(out: Samples, frames: int, when: Any, status: Any) -> None:
                nonlocal n_tail
                try:
                    callback(out, frames, when, status)
                except StopPlaying:
                    out[:] = 0
                    n_tail -= frames
                    if n_tail <= 0:
                        raise self._sounddevice.CallbackStop from None

            try:
                stream = self._sounddevice.OutputStream(
                    samplerate=self.sample_rate,
                    blocksize=blocksize,
                    device=self._device,
                    channels=self.n_channels,
                    dtype="float32",
                    latency=latency_s,
                    callback=translated,
                    finished_callback=finished,
                )
            except self._sounddevice.PortAudioError as error:
                raise InputError(f"the sound card does not open: {error}") from error
            return _Stream(stream, self._sounddevice.PortAudioError)

        return open_stream


class _Stream:
    """A PortAudio stream whose failures are sentences for the user."""

    def __init__(self, stream: Any, failure: type[Exception]) -> None:
        self._stream, self._failure = stream, failure
        self.latency_s = float(stream.latency)

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


class SoundDevice(NamedTuple):
    """An input or output of a sound card; `is_default`: it is the one that is taken where none is named."""

    number: int
    name: str
    n_channels: int
    sample_rate: int  # Hz
    is_default: bool


def output_devices() -> list[SoundDevice]:
    """Raises: InputError if PortAudio is not installed."""
    return devices_of(import_sounddevice(), "output")


def devices_of(sounddevice: Any, kind: Kind) -> list[SoundDevice]:
    """The inputs or outputs of sound cards."""
    default, n_channels = sounddevice.default.device[KINDS.index(kind)], f"max_{kind}_channels"
    return [
        SoundDevice(number, one["name"], one[n_channels], round(one["default_samplerate"]), number == default)
        for number, one in enumerate(sounddevice.query_devices())
        if one[n_channels] > 0
    ]


def find_device(sounddevice: Any, device: str | int | None, kind: Kind) -> tuple[str, Mapping[str, Any]]:
    """An input or output by name or number, or the default one: what to call it, and what sounddevice knows of it.

    Raises: InputError if there is none; it names those that there are.
    """
    title = f"the default {kind}" if device is None else f"the {kind} {device!r}"
    try:
        return title, sounddevice.query_devices(device, kind)
    except (sounddevice.PortAudioError, ValueError, OverflowError) as error:
        reason = str(error).replace("\n", " ")
        raise InputError(f"{title} is not there ({reason}); {_there_are(sounddevice, kind)}") from error


def _there_are(sounddevice: Any, kind: Kind) -> str:
    names = [one.name for one in devices_of(sounddevice, kind)]
    none, instead = INSTEAD[kind]
    return f"there are {'; '.join(names)}. {instead}" if names else f"there is no {none} on this machine. {instead}"


def import_sounddevice() -> Any:
    """The sounddevice module; it needs the PortAudio library.

    Raises: InputError naming the package to install.
    """
    try:
        import sounddevice
    except OSError as error:
        raise InputError(
            "the PortAudio library is not installed; install it (Debian and Ubuntu: apt install libportaudio2, "
            "macOS: brew install portaudio), or use `wavegen generate` or `vocode`, which need no sound card"
        ) from error
    return sounddevice


@contextlib.contextmanager
def open_quietly() -> Iterator[None]:
    """Keep what PortAudio and ALSA print on stderr from the terminal; the exceptions say it."""
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _wait(event: threading.Event, tick: Callable[[], None]) -> None:
    """Wait in steps, so that Ctrl-C is heard on every system."""
    while not event.wait(TICK_S):
        tick()
