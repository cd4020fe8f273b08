"""Bits per sample: how many bits a network needs for the next sample it has not seen, and what to compare that with."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.codec import Codec
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Framer, Segment, evenly_spaced
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.rounded import in_precision, precisions_of
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition
from wavegen.features.log_mel import LogMel
from wavegen.generation.stream import ConditionAt, generate
from wavegen.models.base import Model
from wavegen.progress import Bar
from wavegen.sampling import Decoding

STREAMS = 8  # segments heard side by side
IMAGES_AT_ONCE = 32  # under each label, where they are small
CHUNK = 16000  # samples per forward pass; state carries over, so the result does not depend on it
DRIFT_CHUNK = 4000  # the same where more streams are heard at once
COST_CODES = 320_000  # on which precisions are compared: 20 s at 16 kHz
BLOCK = 1 << 22  # codes counted at a time
SMOOTHING = 0.01  # count given to every pair that a histogram has never seen
MAX_PAIR_CLASSES = 1024  # an order-1 histogram has the square of this many cells


@torch.inference_mode()
def bits_per_sample(
    model: Model,
    store: Store,
    segments: Sequence[Segment],
    codec: Codec,
    label_values: Mapping[str, Sequence[str]],
    max_codes: int | None = None,
    bar: Bar | None = None,
    framer: Framer | None = None,
) -> float:
    """Mean -log2 p(code) over segments, each predicted from everything before it in its recording.

    A segment that begins with its recording counts from its first code; one that begins later counts from where the
    receptive field is filled. `max_codes` bounds the work: see `excerpt`. `framer` takes the frames that condition a
    vocoder (`make_framer`).

    Raises: InputError if nothing counts.
    """
    device, field = model.device, model.receptive_field
    if max_codes is not None:
        segments = excerpt(segments, max_codes, field)
    ordered = sorted((s for s in segments if s.n_counted(field)), key=lambda segment: segment.n_samples)
    if not ordered:
        raise InputError(f"no recording of this split is longer than the receptive field of {field} samples")
    coder = Coder(store, codec)
    total_bits, total_codes = 0.0, 0
    unit = math.lcm(model.row_length, 1 if framer is None else framer.hop)
    chunk = max(1, CHUNK // unit) * unit
    for group in _side_by_side(ordered):
        labels = label_rows(group, label_values, device)
        condition = model.condition(labels) if framer is None else None
        state = None
        longest = group[-1].n_samples
        for start in range(0, longest, chunk):
            width = min(chunk, longest - start)
            codes = np.full((len(group), width), codec.silence, dtype=np.int64)
            counted = np.zeros((len(group), width), dtype=bool)
            for row, segment in enumerate(group):
                n = min(width, segment.n_samples - start)
                if n > 0:
                    codes[row, :n] = coder.codes(segment.start + start, n)
                    counted[row, 0 if segment.at_start else max(0, field - start) : n] = True
            tensor = torch.from_numpy(codes).to(device)
            if framer is not None:
                frames = framer.frames([(segment, start) for segment in group], width)
                condition = model.condition(labels, torch.from_numpy(frames).to(device))
            logits, state = model(tensor, state, condition)
            bits = model.head.bits(logits, tensor)[torch.from_numpy(counted).to(device)]
            total_bits += float(bits.double().sum())
            total_codes += int(counted.sum())
            if bar is not None:
                bar.update(total_codes)
    return total_bits / total_codes


def make_framer(model: Model, store: Store, features: LogMel | None) -> Framer | None:
    """What takes the feature frames that condition a model of the recordings of a store, or None if it has none."""
    frames = model.architecture.frames
    return None if features is None or frames is None else Framer(store, features, frames.look_ahead)


def _side_by_side(ordered: Sequence[Segment]) -> Iterator[Sequence[Segment]]:
    """Segments, shortest first, in groups that are heard at once: of short ones more."""
    first = 0
    while first < len(ordered):
        n = max(STREAMS, STREAMS * CHUNK // ordered[min(first + STREAMS, len(ordered)) - 1].n_samples)
        yield ordered[first : first + n]
        first += n


def precision_costs(
    model: Model,
    store: Store,
    segments: Sequence[Segment],
    codec: Codec,
    label_values: Mapping[str, Sequence[str]],
    max_codes: int = COST_CODES,
    bar: Bar | None = None,
    framer: Framer | None = None,
) -> dict[str, float]:
    """Bits per sample that the reduced precisions of the CPU engine cost a model: its bits in each, less in float32."""
    costs = {}

    def bits(network: Model) -> float:
        return bits_per_sample(network, store, segments, codec, label_values, max_codes, framer=framer)

    precisions = precisions_of(model)
    exact = bits(model) if precisions else 0.0
    for number, precision in enumerate(precisions, start=1):
        rounded = in_precision(model, precision)
        costs[precision] = bits(rounded) - exact
        if bar is not None:
            bar.update(number)
    return {precision: round(cost, 6) for precision, cost in costs.items()}


@torch.inference_mode()
def bits_by_label(model: Model, codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """-log2 p(everything) of each of n recordings or images under each value of the model's one label.

    Shapes: codes (n, T), each from its beginning -> (n, n_values).
    """
    ((name, n_values),) = model.architecture.labels.items()
    given = torch.from_numpy(codes).to(model.device)
    found = []
    for value in range(n_values):
        rows = torch.full((len(codes),), value, device=model.device)
        parameters, _ = model(given, None, model.condition({name: rows}))
        found.append(model.head.bits(parameters, given).double().sum(dim=1).cpu().numpy())
    return np.stack(found, axis=1)


def label_batch_size(n_codes: int) -> int:
    """How many recordings or images of so many codes to ask `bits_by_label` about at once, for bounded memory."""
    return max(1, min(IMAGES_AT_ONCE, STREAMS * CHUNK // n_codes))


def marginal_bits(bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """-log2 p(everything) where nobody says the label: the mean of p over its values, all equally probable.

    Shapes: `bits_by_label` (n, n_values) -> (n,).
    """
    whatever: NDArray[np.float64] = np.log2(bits.shape[1]) - np.logaddexp2.reduce(-bits, axis=1)
    return whatever


class Drift(NamedTuple):
    """Bits per sample from the beginning of time on, one number for each of `n_bins` equal stretches.

    `recorded` is the mean over recordings, each code predicted from the recorded ones before it (teacher-forced);
    `generated` is the same of sounds that the network made itself (free-running). What a network has learnt perfectly
    surprises it equally in both; where `generated` falls away from `recorded` it drifts into sounds that are too plain
    (silence, a tone), where it climbs, into noise.
    """

    recorded: NDArray[np.float64]
    generated: NDArray[np.float64]


@torch.inference_mode()
def drift(
    model: Model,
    recorded: NDArray[np.int64],
    labels: Mapping[str, Tensor],
    decoding: Decoding,
    n_bins: int,
    seed: int = 0,
    bar: Bar | None = None,
    frames: NDArray[np.float32] | None = None,
) -> Drift:
    """How the surprise of free-running sound departs from that of recordings, both with the same labels.

    Recordings may begin anywhere; both are heard from the beginning of time.

    Shapes: recorded (B, T) codes, labels (B,) embedding rows each, and of a vocoder the recordings' feature frames as
    `Framer.frames` gives them.
    """
    n_streams, length = recorded.shape
    condition = model.condition(labels, None if frames is None else torch.from_numpy(frames).to(model.device))
    blocks, n_made = [], 0
    engine = ReferenceEngine(model, n_streams)
    for block in generate(engine, length, seed=seed, decoding=decoding, condition=for_engine(condition)):
        blocks.append(block)
        n_made += block.shape[1]
        if bar is not None:
            bar.update(n_made)
    curves = []
    for codes in (recorded, np.concatenate(blocks, axis=1)):
        bits = surprise(model, codes, condition)
        curves.append(np.array([stretch.mean() for stretch in np.array_split(bits, n_bins)]))
    return Drift(*curves)


@torch.inference_mode()
def surprise(
    model: Model, codes: NDArray[np.int64], condition: Tensor | FrameCondition[Tensor] | None
) -> NDArray[np.float64]:
    """Mean -log2 p(code) over some sounds (or images), heard from the beginning of time.

    Shapes: codes (B, T) -> (T,).
    """
    chunk = max(1, DRIFT_CHUNK // model.row_length) * model.row_length
    state, bits = None, []
    for first in range(0, codes.shape[1], chunk):
        piece = torch.from_numpy(codes[:, first : first + chunk]).to(model.device)
        now = condition.part(first, piece.shape[1]) if isinstance(condition, FrameCondition) else condition
        parameters, state = model(piece, state, now)
        bits.append(model.head.bits(parameters, piece).mean(dim=0).double().cpu().numpy())
    return np.concatenate(bits)


def for_engine(condition: Tensor | FrameCondition[Tensor] | None) -> NDArray[np.float32] | ConditionAt | None:
    """A condition as `generate` takes it."""
    if isinstance(condition, FrameCondition):
        return FrameCondition(condition.values.cpu().numpy(), condition.hop).part
    return None if condition is None else condition.cpu().numpy()


def excerpt(segments: Sequence[Segment], n_samples: int, context: int) -> list[Segment]:
    """About `n_samples` of some segments: whole ones, evenly spaced through the list, or the beginning of a long one.

    Segments of which nothing would count (shorter than the context, and not at the start) are passed over.
    """
    usable = [segment for segment in segments if segment.n_counted(context)]
    total = sum(segment.n_samples for segment in usable)
    taken = evenly_spaced(usable, max(1, round(len(usable) * min(1.0, n_samples / max(1, total)))))
    share = n_samples // max(1, len(taken))
    longest = max(share, total // max(1, len(usable)))
    return [s._replace(n_samples=min(s.n_samples, longest + (0 if s.at_start else context))) for s in taken]


def histogram_bits(
    store: Store, train: Sequence[Segment], test: Sequence[Segment], codec: Codec
) -> tuple[float, float | None]:
    """Bits per sample of two histograms counted on `train`: of codes alone, and of codes given the one before.

    They are what a network must beat for its figure to mean something. The second is None where pairs of classes are
    too many to count.
    """
    n = codec.n_classes
    coder = Coder(store, codec)
    single = _counts(coder, train, n) + SMOOTHING
    order_0 = _cross_entropy(single / single.sum(), _counts(coder, test, n))
    if n > MAX_PAIR_CLASSES:
        return order_0, None
    pairs = (_pair_counts(coder, train, n) + SMOOTHING).reshape(n, n)
    conditional = (pairs / pairs.sum(axis=1, keepdims=True)).ravel()
    return order_0, _cross_entropy(conditional, _pair_counts(coder, test, n))


def _counts(coder: Coder, segments: Sequence[Segment], n: int) -> NDArray[np.int64]:
    counts = np.zeros(n, dtype=np.int64)
    for segment in segments:
        for codes in coder.blocks(segment, BLOCK):
            counts += np.bincount(codes, minlength=n)
    return counts


def _pair_counts(coder: Coder, segments: Sequence[Segment], n: int) -> NDArray[np.int64]:
    counts = np.zeros(n * n, dtype=np.int64)
    for segment in segments:
        for codes in coder.blocks(segment, BLOCK, overlap=1):
            counts += np.bincount(codes[:-1] * n + codes[1:], minlength=n * n)
    return counts


def _cross_entropy(probabilities: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    return float(-(counts * np.log2(probabilities)).sum() / max(1, counts.sum()))


def label_rows(
    segments: Sequence[Segment], label_values: Mapping[str, Sequence[str]], device: torch.device
) -> dict[str, Tensor]:
    """Embedding rows of each label; a value that training never saw is "unknown"."""
    rows = {}
    for name, values in label_values.items():
        known = {value: row for row, value in enumerate(values)}
        own = [known.get(segment.labels.get(name, ""), len(values)) for segment in segments]
        rows[name] = torch.tensor(own, device=device)
    return rows
