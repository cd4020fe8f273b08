"""Stretches of recordings, their codes, and the seeded windows that training sees."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from wavegen.codec import Codec, Levels, PreEmphasised
from wavegen.data.astray import Astray
from wavegen.data.pitch_store import PitchStore, pitch_of
from wavegen.data.store import Store
from wavegen.errors import InputError
from wavegen.features.frame_condition import Frames
from wavegen.features.frames import Features
from wavegen.features.linear_prediction import Predictor

T = TypeVar("T")
STEP_SEGMENTS = 64  # that are asked how far their codes depart from each other
STEP_CODES = 1 << 18  # of each
SMALLEST_STEP = 2.0**-14


class Segment(NamedTuple):
    """A stretch of a recording that belongs to one split.

    `at_start` says that it begins where the recording begins; `group` is whose it is: the speaker, or the first
    sub-folder.
    """

    name: str
    start: int
    n_samples: int
    labels: Mapping[str, str]
    at_start: bool
    group: str = ""

    def n_counted(self, context: int) -> int:
        """Codes that can be predicted from their full past: all, or those behind `context` earlier ones."""
        return self.n_samples if self.at_start else max(0, self.n_samples - context)


class Coder:
    """The codes of a store, looked up in a table of all 16-bit samples or 8-bit pixels, a stretch at a time."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self._samples = store.samples
        self._codec = codec
        self._starts = {one.start for one in store.recordings}
        self._table = _table(store, codec)

    def codes(self, first: int, n: int, gain: float = 1.0) -> NDArray[np.int64]:
        """The codes of `n` samples from position `first` of the store, made louder by an amplitude, (n,)."""
        if not isinstance(self._codec, PreEmphasised):
            return self._table[amplified(self._samples[first : first + n], gain)]
        before = 0 if first in self._starts else 1
        codes = self._codec.encode(amplified(self._samples[first - before : first + n], gain) / 32768)
        return codes[before:]

    def blocks(self, segment: Segment, size: int, overlap: int = 0) -> Iterator[NDArray[np.int64]]:
        """A segment's codes in blocks of at most `size`, each after the first beginning `overlap` codes earlier."""
        for first in range(0, segment.n_samples, size):
            before = min(first, overlap)
            n = min(size, segment.n_samples - first)
            yield self.codes(segment.start + first - before, n + before)


def rms_step(store: Store, segments: Sequence[Segment], codec: Codec) -> float:
    """How far a code is from the one before, on the axis from -1 to 1: root mean square, as a power of 2 of at most 1.

    Of the beginnings of some segments, evenly spaced through the list.
    """
    coder, squares, n = Coder(store, codec), 0.0, 0
    for segment in evenly_spaced(segments, STEP_SEGMENTS):
        codes = coder.codes(segment.start, min(segment.n_samples, STEP_CODES))
        squares += float(np.square(np.diff(codes), dtype=np.float64).sum())
        n += len(codes) - 1
    typical = math.sqrt(squares / max(1, n)) * 2 / (codec.n_classes - 1)
    return float(2.0 ** min(0, round(math.log2(max(typical, SMALLEST_STEP)))))


def code_table(codec: Codec) -> NDArray[np.int64]:
    """The code of every 16-bit sample; negative samples index from the end, as numpy does."""
    samples = np.concatenate([np.arange(0, 32768), np.arange(-32768, 0)])
    return codec.encode(samples / 32768)


def amplified(samples: NDArray[np.integer], gain: float) -> NDArray[np.integer]:
    """16-bit samples made louder by an amplitude, clipped where they leave their range; a gain of 1 changes nothing."""
    if gain == 1:
        return samples
    return np.clip(np.rint(samples * gain), -32768, 32767).astype(np.int16)


def _table(store: Store, codec: Codec) -> NDArray[np.int64]:
    """The code of every value that a store can hold."""
    if isinstance(codec, Levels):
        return np.arange(codec.n_classes)
    return pixel_table(codec) if store.samples.dtype == np.uint8 else code_table(codec)


def pixel_table(codec: Codec) -> NDArray[np.int64]:
    """The code of every 8-bit pixel: black is -1, white is 1."""
    return codec.encode(np.arange(256) / 127.5 - 1)


class Framer:
    """The feature frames of a store's recordings, taken of the sound of one segment alone, with silence around it; and
    what `predictor` says of them, if there is one. Pitch is that of the whole recording (pitch_store.py)."""

    def __init__(self, store: Store, features: Features, look_ahead: int, predictor: Predictor | None = None) -> None:
        self._samples, self._features, self._look_ahead = store.samples, features, look_ahead
        self._predictor = predictor
        self._pitch: PitchStore | None = None if features.pitch is None else pitch_of(store, features.pitch)

    @property
    def hop(self) -> int:
        return self._features.hop

    def frames(
        self, stretches: Sequence[tuple[Segment, int]], n_samples: int, gains: Sequence[float] | None = None
    ) -> Frames[NDArray]:
        """What a network needs for n samples from each of some positions on, which are multiples of the hop: pairs of
        a segment and a position in it, (B,), each made louder by an amplitude if `gains` are given."""
        hop, side, silent = self._features.hop, self._look_ahead, self._features.silent
        n_frames = self._features.n_frames(n_samples) + 1 + 2 * side
        first = np.array([position // hop - side for _, position in stretches])
        numbers = first[:, None] + np.arange(n_frames)
        gains = [1.0] * len(stretches) if gains is None else gains
        parts = []
        if self._features.log_mel is not None:
            parts.append(self._bands(stretches, first, n_frames, gains))
        if self._features.pitch is not None and self._pitch is not None:
            of_pitch = [
                self._pitch.of(segment.start, row, self._features.pitch.silent)
                for (segment, _), row in zip(stretches, numbers, strict=True)
            ]
            parts.append(np.stack([self._features.pitch.amplified(*one) for one in zip(of_pitch, gains, strict=True)]))
        frames = np.concatenate(parts, axis=2)
        lengths = np.array([self._features.n_frames(segment.n_samples) for segment, _ in stretches])
        frames[(numbers < 0) | (numbers >= lengths[:, None])] = silent
        if self._predictor is None:
            return Frames(frames)
        following = frames[:, side : n_frames - side + 1] if side else np.concatenate([frames, frames[:, -1:]], axis=1)
        return Frames(frames, self._predictor.of(following))

    def _bands(
        self, stretches: Sequence[tuple[Segment, int]], first: NDArray[np.int64], n_frames: int, gains: Sequence[float]
    ) -> NDArray[np.float32]:
        """The log-mel bands of some frames from `first` on, (B, n_frames, n_mels)."""
        log_mel = self._features.log_mel
        assert log_mel is not None
        hop, n_fft = log_mel.hop, log_mel.n_fft
        sound = np.zeros((len(stretches), n_fft + (n_frames - 1) * hop), dtype=np.float32)
        for row, ((segment, _), gain) in enumerate(zip(stretches, gains, strict=True)):
            begin = int(first[row]) * hop - n_fft // 2
            here, there = max(0, begin), min(segment.n_samples, begin + sound.shape[1])
            if there > here:
                samples = self._samples[segment.start + here : segment.start + there]
                sound[row, here - begin : there - begin] = amplified(samples, gain)
        return log_mel.of(sound / 32768)


def evenly_spaced(items: Sequence[T], n: int) -> list[T]:
    """At most n items, spread through the list."""
    n = min(n, len(items))
    return [items[rank * len(items) // n] for rank in range(n)]


def excerpt(segments: Sequence[Segment], n_samples: int, context: int, unit: int = 1) -> list[Segment]:
    """About `n_samples` of some segments: whole ones, evenly spaced through the list, or the beginning of a long one,
    which is a multiple of `unit` if the segments are.

    Segments of which nothing would count (shorter than the context, and not at the start) are passed over.
    """
    usable = [segment for segment in segments if segment.n_counted(context)]
    total = sum(segment.n_samples for segment in usable)
    taken = evenly_spaced(usable, max(1, round(len(usable) * min(1.0, n_samples / max(1, total)))))
    share = n_samples // max(1, len(taken))
    longest = max(share, total // max(1, len(usable)))
    longest, context = (-(-n // unit) * unit for n in (longest, context))
    return [s._replace(n_samples=min(s.n_samples, longest + (0 if s.at_start else context))) for s in taken]


class Batch(NamedTuple):
    """Windows ready to train on: codes (B, window), which of them count as targets, label rows, where they are from.

    `inputs` is what the network gets in their place, or None where it gets the codes themselves. `frames` are the
    feature frames that condition it (`Framer.frames`), or None. Windows begin behind `lead_in` codes.
    """

    codes: NDArray[np.int64]
    inputs: NDArray[np.int64] | None
    counted: NDArray[np.bool_]
    labels: dict[str, NDArray[np.int64]]
    origins: list[str]
    frames: Frames[NDArray] | None = None
    lead_in: int = 0


@dataclass(frozen=True)
class WindowRule:
    """How windows are drawn: fields of a recipe's training section, and two more.

    `context`: codes that count for nothing at the beginning of a window that is not that of a recording.
    `mirrored_shape`: height, width and colours of images of which every second is mirrored, left to right.
    `gain_db`: every window is made louder or softer by up to so much. `lead_in`: codes before each window that come
    with it, a multiple of the hop. `unit`: windows begin at multiples of so many codes (and of the hop). `ending`:
    codes that follow the end of a recording, over and over; none for the codec's silence.
    """

    window: int
    context: int
    start_share: float
    learn_endings: bool
    label_dropout: float
    balance: bool
    input_noise: float
    seed: int
    mirrored_shape: tuple[int, int, int] | None = None
    gain_db: float = 0.0
    lead_in: int = 0
    unit: int = 1
    ending: tuple[int, ...] = ()


class Windows:
    """Windows of codes as a pure function of (seed, number of the pass, row): a resumed run sees what it would.

    A window either begins where a recording begins, with nothing before it, and counts every code, or it begins
    anywhere else (with feature frames: at one of them) and its first `context` codes count for nothing: they are there
    to be seen. With `context` and `lead_in` together as large as the receptive field, every counted code is predicted
    from its full past. A recording shorter than the window is padded with silence, which counts with `learn_endings`
    only. Some begin with what went `astray`, which counts for nothing. Every second of sound is equally likely to be
    heard, or, with `balance`, every group of recordings, however much of each there is.

    Raises: InputError if no segment is long enough to hold a code that counts.
    """

    def __init__(
        self,
        store: Store,
        segments: Sequence[Segment],
        codec: Codec,
        rule: WindowRule,
        labels: Mapping[str, Sequence[str]],
        framer: Framer | None = None,
        astray: Astray | None = None,
    ) -> None:
        if rule.window <= rule.context:
            raise InputError(
                f"training.window holds {rule.window} codes; it must exceed the context (the receptive field, unless "
                f"training.context says less), which is {rule.context}"
            )
        groups: dict[str, list[Segment]] = {}
        for segment in segments:
            if segment.n_counted(rule.context + rule.lead_in):
                groups.setdefault(segment.group if rule.balance else "", []).append(segment)
        if not groups:
            raise InputError(f"no recording of {store.corpus} is longer than the context of {rule.context} codes")
        self._groups = [_Group.of(members) for _, members in sorted(groups.items())]
        self._rule, self._silence, self._n_classes = rule, codec.silence, codec.n_classes
        self._coder, self._framer, self._astray = Coder(store, codec), framer, astray
        self._unit = rule.unit if framer is None else math.lcm(rule.unit, framer.hop)
        self._rows = {name: {value: row for row, value in enumerate(values)} for name, values in labels.items()}

    def batch(self, number: int, size: int, first: int = 0) -> Batch:
        """The windows of one forward pass, or `size` of them from row `first` on; passes are numbered through all
        steps."""
        rule = self._rule
        length, begin = rule.lead_in + rule.window, rule.lead_in
        codes = np.full((size, length), self._silence, dtype=np.int64)
        counted = np.zeros((size, length), dtype=bool)
        inputs = codes.copy() if rule.input_noise else None
        labels = {name: np.empty(size, dtype=np.int64) for name in self._rows}
        origins, stretches, gains = [], [], []
        for row in range(size):
            random = np.random.Generator(
                np.random.Philox(key=np.array([rule.seed, number], dtype=np.uint64), counter=[0, 0, 0, first + row])
            )
            segment, offset = self._choose(random)
            offset -= offset % self._unit
            stretches.append((segment, offset - rule.lead_in))
            n, n_before = min(rule.window, segment.n_samples - offset), min(rule.lead_in, offset)
            gain = 10 ** (random.uniform(-rule.gain_db, rule.gain_db) / 20) if rule.gain_db else 1.0
            gains.append(gain)
            seen = self._coder.codes(segment.start + offset - n_before, n_before + n, gain)
            codes[row, begin - n_before : begin + n] = seen
            codes[row, begin + n :] = np.resize(rule.ending or [self._silence], rule.window - n)
            if rule.mirrored_shape is not None and random.random() < 0.5:
                codes[row] = codes[row].reshape(rule.mirrored_shape)[:, ::-1].ravel()
            is_start = segment.at_start and offset == 0
            # Before a recording there is silence; what comes before another segment belongs to another split.
            n_missing = 0 if segment.at_start else rule.lead_in - n_before
            first_counted = begin + (0 if is_start else rule.context + n_missing)
            counted[row, first_counted : length if rule.learn_endings else begin + n] = True
            if self._astray is not None:
                own = self._astray.lead_in(codes[row], segment.labels, random)
                if own is not None:
                    codes[row, : len(own)], counted[row, : len(own)] = own, False
            is_hidden = random.random() < rule.label_dropout
            for name, rows in self._rows.items():
                unknown = len(rows)
                labels[name][row] = unknown if is_hidden else rows.get(segment.labels.get(name, ""), unknown)
            if inputs is not None:
                noise = rule.input_noise * random.standard_normal(length)
                inputs[row] = np.clip(np.rint(codes[row] + noise), 0, self._n_classes - 1)
                inputs[row, : begin - n_before] = self._silence  # as where a recording is made from its beginning
            origins.append(f"{segment.name} from sample {offset}")
        frames = None if self._framer is None else self._framer.frames(stretches, length, gains)
        return Batch(codes, inputs, counted, labels, origins, frames, rule.lead_in)

    def _choose(self, random: np.random.Generator) -> tuple[Segment, int]:
        """A segment and an offset into it."""
        group = self._groups[random.integers(len(self._groups))]
        if group.starting and random.random() < self._rule.start_share:
            return group.starting[random.integers(len(group.starting))], 0
        position = random.integers(group.ends[-1])
        segment = group.segments[int(np.searchsorted(group.ends, position, side="right"))]
        return segment, int(random.integers(max(1, segment.n_samples - self._rule.window + 1)))


class _Group(NamedTuple):
    """Segments to choose from by their lengths, and those among them that begin a recording."""

    segments: list[Segment]
    ends: NDArray[np.int64]
    starting: list[Segment]

    @classmethod
    def of(cls, segments: list[Segment]) -> "_Group":
        ends = np.cumsum([segment.n_samples for segment in segments])
        return cls(segments, ends, [segment for segment in segments if segment.at_start])
