"""The frames of a corpus as codes (features/frame_codes.py), taken once and kept on disk: what a planner trains on."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from wavegen import files
from wavegen.data import store as stores
from wavegen.data.audio import SoundFormat
from wavegen.data.store import Recording, Store
from wavegen.data.windows import Segment
from wavegen.features.frame_codes import FrameCodes
from wavegen.progress import bar

VERSION = 3  # of what frames and codes are: others are not read
SPEAKER = "speaker"  # the label that does not hold at another speed


@dataclass(frozen=True)
class FrameFormat:
    """What a store of frames holds in place of samples: codes of 8 bits, `n_channels` to a frame."""

    sound: SoundFormat
    hop: int  # samples
    n_channels: int
    silence: tuple[int, ...]  # the codes of a frame of it
    items = "recordings"
    unit = "code"

    @property
    def title(self) -> str:
        """For people: 16000 Hz, 80 frames a second."""
        return f"{self.sound.title}, {self.sound.sample_rate / self.hop:g} frames a second"

    @property
    def description(self) -> dict[str, Any]:
        """The fields of a model's description (checkpoint.py) that tell of it."""
        return self.sound.description

    def amount(self, n_values: int) -> str:
        """So many codes, for people: 1.25 h."""
        return self.sound.amount(n_values // self.n_channels * self.hop)

    def extent(self, n_values: int) -> str:
        """A stretch of so many codes, for people: 257 frames (3.21 s)."""
        n_frames = -(-n_values // self.n_channels)
        return f"{n_frames:,} frames ({n_frames * self.hop / self.sound.sample_rate:.2f} s)"

    def n_values(self, amount: float) -> int:
        """How many codes some seconds are."""
        return max(1, self.sound.n_values(amount) // self.hop) * self.n_channels


def frames_of(
    store: Store, segments: Mapping[str, Sequence[Segment]], codes: FrameCodes, speeds: Sequence[float] = ()
) -> tuple[Store, dict[str, list[Segment]]]:
    """The store and the segments of the splits of a corpus of sound, as codes of frames.

    The frames of a segment are those of its sound alone, with silence around it, so that no split hears of another.
    What is trained on is heard at other `speeds` as well: the same words, of a voice that no speaker has (T. Ko and
    others, "Audio augmentation for speech recognition", Interspeech 2015).

    Raises: InputError if they cannot be written.
    """
    assert isinstance(store.item_format, SoundFormat)  # a recipe for images has no frames
    features = codes.features
    every = [(name, segment, 1.0) for name, part in segments.items() for segment in part]
    for speed in speeds:
        every += [("train", _at_speed(segment, speed), speed) for segment in segments["train"]]
    lengths = [features.n_frames(_length(segment, speed)) * codes.n_channels for _, segment, speed in every]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    stretches = [(segment.start, segment.n_samples, speed) for _, segment, speed in every]
    digest = hashlib.sha256(f"{VERSION} {store.fingerprint} {codes} {stretches}".encode()).hexdigest()[:16]
    path = stores.root() / "frames" / f"{digest}.u8"
    if not path.exists() or path.stat().st_size != starts[-1]:
        with files.atomic(path) as partial, partial.open("wb") as file, bar("Taking the frames", len(every)) as running:
            for number, (_, segment, speed) in enumerate(every, start=1):
                waveform = store.samples[segment.start : segment.start + segment.n_samples] / 32768
                if speed != 1:
                    waveform = soxr.resample(waveform, speed, 1)[: _length(segment, speed)]
                file.write(codes.encode(features.frames(waveform)).tobytes())
                running.update(number)
    samples = np.memmap(path, dtype=np.uint8, mode="r", shape=(int(starts[-1]),))
    by_split: dict[str, list[Segment]] = {name: [] for name in segments}
    for (name, segment, _), start, length in zip(every, starts, lengths, strict=False):
        by_split[name].append(segment._replace(start=int(start), n_samples=length))
    taken = [segment for part in by_split.values() for segment in part]
    recordings = [Recording(one.name, one.start, one.n_samples, one.labels, "") for one in taken]
    item_format = FrameFormat(
        store.item_format, features.hop, codes.n_channels, tuple(codes.encode(features.silent).tolist())
    )
    return Store(store.corpus, item_format, samples, recordings, store.fingerprint), by_split


def _length(segment: Segment, speed: float) -> int:
    """Samples of a segment at a speed."""
    return math.floor(segment.n_samples / speed)


def _at_speed(segment: Segment, speed: float) -> Segment:
    """Whose voice nobody has."""
    labels = {name: value for name, value in segment.labels.items() if name != SPEAKER}
    return segment._replace(name=f"{segment.name} at {speed:g}", labels=labels, group=f"{segment.group} at {speed:g}")
