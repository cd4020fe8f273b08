"""Sound that a vocoder makes again while it comes in, from a recording or a pipe (a microphone: microphone.py)."""

import time
from collections import deque
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray


class SoundInput(Protocol):
    """Where samples come from, at the model's rate.

    `length`: how many there were, once the sound has ended; None as long as it may go on. `newest`: what was read last.
    `waited_s`: how long reading has waited for them, in all.
    """

    length: int | None
    newest: NDArray[np.floating]
    waited_s: float

    def read(self, n: int) -> NDArray[np.floating] | None:
        """The next n samples (n,) in [-1, 1]. Fewer: the sound has ended. A multiple of n: it has been waited for too
        long, and the newest n of them count. None: they are late, and cannot be waited for.

        Raises: InputError if what they come from is gone.
        """
        ...


class RecordingInput:
    """A recording (T,): it comes as fast as it is wanted."""

    def __init__(self, waveform: NDArray[np.floating]) -> None:
        self._waveform, self._position = waveform, 0
        self.length: int | None = len(waveform)
        self.waited_s = 0.0
        self.newest: NDArray[np.floating] = waveform[:0]

    def read(self, n: int) -> NDArray[np.floating]:
        self.newest = self._waveform[self._position : self._position + n]
        self._position += len(self.newest)
        return self.newest


class FedInput:
    """Samples that somebody feeds, from another thread perhaps. It is not waited for: who reads sees to it that there
    are enough (`n_fed`)."""

    def __init__(self) -> None:
        self._blocks: deque[NDArray[np.floating]] = deque()
        self._n_read = 0
        self.n_fed = 0
        self.length: int | None = None
        self.waited_s = 0.0
        self.newest: NDArray[np.floating] = np.zeros(0, dtype=np.float32)

    def feed(self, samples: NDArray[np.floating]) -> None:
        """Take the next samples (T,) in [-1, 1]."""
        self._blocks.append(samples)
        self.n_fed += len(samples)

    def end(self) -> None:
        """Say that no more will come."""
        self.length = self.n_fed

    @property
    def n_waiting(self) -> int:
        """Samples that were fed and not read yet."""
        return self.n_fed - self._n_read

    def read(self, n: int) -> NDArray[np.floating] | None:
        if self.n_waiting < n and self.length is None:
            return None
        taken: list[NDArray[np.floating]] = [np.zeros(0, dtype=np.float32)]
        n_left = min(n, self.n_waiting)
        while n_left:
            block = self._blocks.popleft()
            if len(block) > n_left:
                self._blocks.appendleft(block[n_left:])
            taken.append(block[:n_left])
            n_left -= len(taken[-1])
        self.newest = np.concatenate(taken)
        self._n_read += len(self.newest)
        return self.newest


class RawInput:
    """Samples of 16 bits, signed, little-endian, one channel, from a file or a pipe; it is waited for as long as it
    takes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._bytes, self._n_read = file, b"", 0
        self.length: int | None = None
        self.waited_s = 0.0
        self.newest: NDArray[np.floating] = np.zeros(0, dtype=np.float32)

    def read(self, n: int) -> NDArray[np.floating]:
        began = time.perf_counter()
        while self.length is None and len(self._bytes) < 2 * n:
            piece = self._file.read(max(2 * n - len(self._bytes), 1))
            if not piece:
                self.length = self._n_read + len(self._bytes) // 2
            self._bytes += piece or b""
        self.waited_s += time.perf_counter() - began
        taken, self._bytes = self._bytes[: 2 * n], self._bytes[2 * n :]
        self.newest = np.frombuffer(taken[: len(taken) // 2 * 2], dtype="<i2").astype(np.float32) / 32768
        self._n_read += len(self.newest)
        return self.newest
