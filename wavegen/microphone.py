"""A microphone -> a ring of samples -> whoever makes something of them while they come in.

The sound card's callback copies what it is given into the ring, and never waits. Whoever reads waits, but not for ever:
a microphone and a loudspeaker each have a clock of their own (unless they are one device), so what was read ahead runs
out or piles up, a sample in some thousands. `reserve_s` tells how much sound is ready to be heard. Below a quarter of
`target_s` what comes late is not waited for, until as much is ready again; if so much waits to be read that it would
be heard a good deal later than it could be, it is passed over. Both are counted.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen.errors import InputError
from wavegen.playback import (
    PAUSE_S,
    SILENT_CARD_S,
    Ring,
    SoundDevice,
    devices_of,
    find_device,
    import_sounddevice,
    open_quietly,
    resampled,
    resampling_delay_s,
)

RING_S = 1.0  # s that wait to be read, at most; what comes then is lost
SLACK = 2  # portions that may wait beyond what is wanted, besides what the card brings at once


class Microphone:
    """A sound card's input (`device`: its name or number, None for the system's), one channel at a rate in Hz.

    The card's own rate is taken, and resampled, where it refuses that one. `latency_s`: of the card's own buffer.
    Reads as a `generation.sound_input.SoundInput`.

    Raises: InputError if PortAudio is not installed, or there is no such input.
    """

    def __init__(self, device: str | int | None, sample_rate: int, latency_s: float) -> None:
        self._sounddevice = import_sounddevice()
        self._device, self.sample_rate, self._latency_s = device, sample_rate, latency_s
        self._brought = (0.0, 0.0)  # last: when (time.perf_counter), and how much before the newest sample sounded
        title, card = find_device(self._sounddevice, device, "input")
        failures = (self._sounddevice.PortAudioError, ValueError, OverflowError)
        self.name = card["name"]
        self.card_rate = sample_rate
        try:
            self._check()
        except failures as error:
            self.card_rate = round(card["default_samplerate"])
            try:
                self._check()
            except failures:
                raise InputError(f"{title} gives no sound at {sample_rate} Hz ({error})") from error
        self.length: int | None = None  # it goes on
        self.newest: NDArray[np.floating] = np.zeros(0, dtype=np.float32)
        self.waited_s = 0.0
        self.peak = 0.0  # of all that was read: 0 from one that is muted, or that the system keeps from us
        self.n_late = self.n_passed_over = 0  # portions that were not there in time, and that came too early
        self.reserve_s: Callable[[], float | None] = lambda: None  # of what hears it; None as long as nothing does
        self.target_s = latency_s
        self._ring = Ring(round(RING_S * self.card_rate), 1)
        self._n_at_once = 0  # samples that the card has brought in one call, at most
        self._has_ended = self._has_begun = self._is_late = False
        self._resampling_s = resampling_delay_s(self.card_rate, sample_rate)
        self._arriving: deque[NDArray[np.float32]] = deque()
        self._resampled = resampled(self._arrivals(), self.card_rate, sample_rate, 1)
        self._samples: NDArray[np.float32] = np.zeros(0, dtype=np.float32)  # that are not read yet, at `sample_rate`
        self._stream: Any = None

    def _check(self) -> None:
        with open_quietly():
            self._sounddevice.check_input_settings(
                device=self._device, channels=1, samplerate=self.card_rate, dtype="float32"
            )

    def start(self) -> None:
        """Open it. Raises: InputError if it does not open, as without permission."""
        try:
            with open_quietly():
                self._stream = self._sounddevice.InputStream(
                    samplerate=self.card_rate,
                    device=self._device,
                    channels=1,
                    dtype="float32",
                    latency=self._latency_s,
                    callback=self._callback,
                    finished_callback=self._finished,
                )
                self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise InputError(
                f"the microphone does not open: {error}; is it in use, or kept from this program by the system?"
            ) from error
        self._latency_s = float(self._stream.latency)

    def close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(self._sounddevice.PortAudioError), open_quietly():  # it may have been unplugged
                self._stream.stop()
                self._stream.close()

    def __enter__(self) -> "Microphone":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, n: int) -> NDArray[np.floating] | None:
        """As `SoundInput.read`; of samples that are passed over a multiple of n comes.

        Raises: InputError if the microphone is gone.
        """
        seen, n_looks = self._ring.n_written, 0
        self._take()
        while len(self._samples) < n:
            reserve = self.reserve_s()
            enough_s = self.target_s - n / self.sample_rate if self._is_late else self.target_s / 4
            self._is_late = reserve is not None and reserve < enough_s
            if self._is_late:
                self.n_late += 1
                return None
            if self._has_ended:
                raise InputError("the microphone has stopped by itself; it seems to be gone")
            n_looks = n_looks + 1 if self._ring.n_written == seen else 0
            seen = self._ring.n_written
            if n_looks * PAUSE_S > SILENT_CARD_S:
                raise InputError(f"the microphone has given nothing in {SILENT_CARD_S:g} s; it seems to be gone")
            began = time.perf_counter()
            time.sleep(PAUSE_S)
            self.waited_s += time.perf_counter() - began
            self._take()
        n_too_early = self._n_too_early(n)
        taken, self._samples = np.split(self._samples, [n * (1 + n_too_early)])
        self.newest = taken[-n:]
        self.peak = max(self.peak, float(np.abs(taken).max()))
        return taken

    def behind_s(self) -> float:
        """How many s ago what will be read next sounded."""
        at, age_s = self._brought
        n_waiting = self._ring.n_ready / self.card_rate + len(self._samples) / self.sample_rate
        return time.perf_counter() - at + age_s + n_waiting

    def _n_too_early(self, n: int) -> int:
        """How many portions of n to pass over, but one; those that came before anything was heard are not counted."""
        reserve = self.reserve_s()
        if reserve is None:
            return 0
        portion_s, at_once_s = n / self.sample_rate, self._n_at_once / self.card_rate + self._resampling_s
        surplus_s = len(self._samples) / self.sample_rate - portion_s + reserve - self.target_s
        if self._has_begun and surplus_s <= SLACK * portion_s + at_once_s:
            return 0
        n_too_early = max(0, min(int(surplus_s / portion_s), len(self._samples) // n - 1))
        self.n_passed_over += n_too_early if self._has_begun else 0
        self._has_begun = True
        return n_too_early

    def _take(self) -> None:
        """Take what is in the ring."""
        n = self._ring.n_ready
        if not n:
            return
        samples = np.empty((n, 1), dtype=np.float32)
        self._ring.read_into(samples)
        if n == self._ring.capacity:  # nobody has read for so long; what is new was lost
            self._samples = self._samples[:0]
            return
        if self.card_rate != self.sample_rate:
            self._arriving.append(samples)
            samples = next(self._resampled)
        self._samples = np.concatenate([self._samples, samples[:, 0]])

    def _arrivals(self) -> Iterator[NDArray[np.float32]]:
        """What is to be resampled, of which there is some whenever it is asked for."""
        while True:
            yield self._arriving.popleft()

    def _callback(self, samples: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        """Take one block (frames, 1) of the sound card; runs on PortAudio's thread."""
        self._n_at_once = max(self._n_at_once, frames)
        self._ring.write(samples)
        age_s = 0.0 if when is None else when.currentTime - when.inputBufferAdcTime - frames / self.card_rate
        self._brought = (time.perf_counter(), age_s if age_s > 0 else self._latency_s)

    def _finished(self) -> None:
        self._has_ended = True


def input_devices() -> list[SoundDevice]:
    """Raises: InputError if PortAudio is not installed."""
    return devices_of(import_sounddevice(), "input")
