"""The pitch of a corpus, taken once and kept on disk: to follow a voice takes whole recordings, and some seconds each
hour of sound."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wavegen import files
from wavegen.data import store as stores
from wavegen.data.store import Store
from wavegen.features.pitch import Pitch
from wavegen.progress import bar

VERSION = 1  # of the tracker: what another one found is not read


@dataclass(frozen=True)
class PitchStore:
    """The pitch frames of all recordings of a store, one after another: `frames` (F, Pitch.N_FEATURES)."""

    frames: NDArray[np.float32]
    hop: int
    starts: NDArray[np.int64]  # samples at which recordings begin
    first_frames: NDArray[np.int64]  # and which of `frames` they begin with

    def of(self, start: int, numbers: NDArray[np.int64], silent: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those frames of a stretch that begins at sample `start` of the store, the nearest ones where it does not
        begin at a frame; `silent` beyond the recording. Shapes: numbers (n,) -> (n, Pitch.N_FEATURES)."""
        recording = int(np.searchsorted(self.starts, start, side="right")) - 1
        begin, end = self.first_frames[recording], self.first_frames[recording + 1]
        at = begin + numbers + round((start - int(self.starts[recording])) / self.hop)
        inside = (at >= begin) & (at < end)
        frames = np.tile(silent, (len(numbers), 1))
        frames[inside] = self.frames[at[inside]]
        return frames


def pitch_of(store: Store, pitch: Pitch) -> PitchStore:
    """The pitch of a store, as it was kept or taken now.

    Raises: InputError if it cannot be written.
    """
    digest = hashlib.sha256(f"{VERSION} {store.fingerprint} {pitch}".encode()).hexdigest()[:16]
    path = stores.root() / "pitch" / f"{digest}.f32"
    lengths = [pitch.n_frames(one.n_samples) for one in store.recordings]
    first_frames = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shape = (int(first_frames[-1]), pitch.N_FEATURES)
    if not path.exists() or path.stat().st_size != 4 * shape[0] * shape[1]:
        with files.atomic(path) as partial, partial.open("wb") as file, bar("Following the pitch", shape[0]) as running:
            for number, one in enumerate(store.recordings):
                waveform = store.samples[one.start : one.start + one.n_samples] / 32768
                file.write(pitch.frames(waveform).astype("<f4").tobytes())
                running.update(int(first_frames[number + 1]))
    frames = np.memmap(path, dtype="<f4", mode="r", shape=shape)
    return PitchStore(frames, pitch.hop, np.array([one.start for one in store.recordings]), first_frames)
