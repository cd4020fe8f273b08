"""Bits per sample: how many bits a network needs for the next sample it has not seen, and what to compare that with."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.checkpoint import Description
from wavegen.codec import Codec
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Framer, Segment, excerpt
from wavegen.engines.rounded import in_precision, precisions_of
from wavegen.errors import InputError
from wavegen.evaluation.chunks import Part, bits_of_codes, codes_at_once, side_by_side
from wavegen.models.base import Condition, Model, frames_on
from wavegen.progress import Bar

COST_CODES = 320_000  # on which precisions are compared: 20 s at 16 kHz
BLOCK = 1 << 22  # codes counted at a time
SMOOTHING = 0.01  # count given to every pair that a histogram has never seen
MAX_PAIR_CLASSES = 1024  # an order-1 histogram has the square of this many cells


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
    ordered = shortest_first(model, segments, max_codes)
    bits, n_codes = summed_bits(model, store, ordered, codec, label_values, bar, framer)
    return bits / n_codes


def shortest_first(model: Model, segments: Sequence[Segment], max_codes: int | None = None) -> list[Segment]:
    """The segments, or an `excerpt` of them, of which anything counts, the shortest first.

    Raises: InputError if there are none.
    """
    field = model.receptive_field
    if max_codes is not None:
        segments = excerpt(segments, max_codes, field, model.unit)
    ordered = sorted((s for s in segments if s.n_counted(field)), key=lambda segment: segment.n_samples)
    if not ordered:
        raise InputError(f"no recording of this split is longer than the receptive field of {field} samples")
    return ordered


@torch.inference_mode()
def summed_bits(
    model: Model,
    store: Store,
    ordered: Sequence[Segment],
    codec: Codec,
    label_values: Mapping[str, Sequence[str]],
    bar: Bar | None = None,
    framer: Framer | None = None,
) -> tuple[float, int]:
    """The sum of -log2 p(code) over segments, shortest first, and how many codes it is of."""
    field = model.receptive_field
    coder = Coder(store, codec)
    hop = 1 if framer is None else framer.hop
    total_bits, total_codes = 0.0, 0
    for group in side_by_side(ordered, codes_at_once(model)):
        part = _parts(model, group, coder, codec.silence, label_values, framer)
        for first, bits in bits_of_codes(model, len(group), group[-1].n_samples, part, hop):
            counted = _counted(group, first, bits.shape[1], field)
            total_bits += float(bits[torch.from_numpy(counted).to(bits.device)].double().sum())
            total_codes += int(counted.sum())
            if bar is not None:
                bar.update(total_codes)
    return total_bits, total_codes


def _parts(
    model: Model,
    group: Sequence[Segment],
    coder: Coder,
    silence: int,
    label_values: Mapping[str, Sequence[str]],
    framer: Framer | None,
) -> Part:
    """What `bits_of_codes` takes of segments side by side, behind whose ends comes silence."""
    labels = label_rows(group, label_values, model.device)
    fixed = model.condition(labels) if framer is None else None

    def part(first: int, n: int) -> tuple[Tensor, Condition | None]:
        codes = np.full((len(group), n), silence, dtype=np.int64)
        for row, segment in enumerate(group):
            n_left = max(0, min(n, segment.n_samples - first))
            codes[row, :n_left] = coder.codes(segment.start + first, n_left)
        condition = fixed
        if framer is not None:
            frames = framer.frames([(segment, first) for segment in group], n)
            condition = model.condition(labels, frames_on(model.device, frames))
        return torch.from_numpy(codes).to(model.device), condition

    return part


def _counted(group: Sequence[Segment], first: int, n: int, context: int) -> NDArray[np.bool_]:
    """Which of n codes from position `first` of each segment count."""
    counted = np.zeros((len(group), n), dtype=bool)
    for row, segment in enumerate(group):
        begin = 0 if segment.at_start else max(0, context - first)
        counted[row, begin : max(0, segment.n_samples - first)] = True
    return counted


def make_framer(model: Model, store: Store, description: Description) -> Framer | None:
    """What takes the feature frames that condition a model of the recordings of a store, or None if it has none."""
    frames, features = model.architecture.frames, description.make_features()
    if features is None or frames is None:
        return None
    return Framer(store, features, frames.look_ahead, description.make_predictor())


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
