"""Bits per sample: how many bits a network needs for the next sample it has not seen, and what to compare that with."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.codec import Codec
from wavegen.data.store import Segment, Store, codes_of
from wavegen.errors import InputError
from wavegen.models.wavenet import WaveNet
from wavegen.progress import Bar

STREAMS = 8  # segments heard side by side
CHUNK = 16000  # samples per forward pass; state carries over, so the result does not depend on it
SMOOTHING = 0.01  # count given to every pair that a histogram has never seen
MAX_PAIR_CLASSES = 1024  # an order-1 histogram has the square of this many cells


@torch.inference_mode()
def bits_per_sample(
    model: WaveNet,
    store: Store,
    segments: Sequence[Segment],
    codec: Codec,
    label_values: Mapping[str, Sequence[str]],
    max_seconds: float | None = None,
    bar: Bar | None = None,
) -> float:
    """Mean -log2 p(code) over segments, each predicted from everything before it in its recording.

    A segment that begins with its recording counts from its first code; one that begins later counts from where the
    receptive field is filled. `max_seconds` bounds the work: it takes the beginnings of all segments, evenly.

    Raises: InputError if nothing counts.
    """
    device = model.embed.weight.device
    limit = max(s.n_samples for s in segments) if segments else 0
    if max_seconds is not None:
        limit = _equal_share([s.n_samples for s in segments], round(max_seconds * store.sample_rate))
    ordered = sorted(segments, key=lambda segment: segment.n_samples)
    total_bits, total_codes = 0.0, 0
    for group in (ordered[first : first + STREAMS] for first in range(0, len(ordered), STREAMS)):
        codes = [codes_of(store, segment, codec)[:limit] for segment in group]
        condition = model.condition(_label_rows(group, label_values, device))
        state = None
        for start in range(0, max(map(len, codes)), CHUNK):
            chunk = np.full((len(group), CHUNK), codec.silence, dtype=np.int64)
            counted = np.zeros((len(group), CHUNK), dtype=bool)
            for row, (segment, own) in enumerate(zip(group, codes, strict=True)):
                piece = own[start : start + CHUNK]
                chunk[row, : len(piece)] = piece
                first = 0 if segment.at_start else max(0, model.receptive_field - start)
                counted[row, first : len(piece)] = True
            tensor = torch.from_numpy(chunk).to(device)
            logits, state = model(tensor, state, condition)
            bits = model.head.bits(logits, tensor)[torch.from_numpy(counted).to(device)]
            total_bits += float(bits.double().sum())
            total_codes += int(counted.sum())
            if bar is not None:
                bar.update(total_codes)
    if total_codes == 0:
        raise InputError(f"no recording of this split is longer than the receptive field of {model.receptive_field}")
    return total_bits / total_codes


def histogram_bits(
    store: Store, train: Sequence[Segment], test: Sequence[Segment], codec: Codec
) -> tuple[float, float | None]:
    """Bits per sample of two histograms counted on `train`: of codes alone, and of codes given the one before.

    They are what a network must beat for its figure to mean something. The second is None where pairs of classes are
    too many to count.
    """
    n = codec.n_classes
    single = _counts(store, train, codec, n) + SMOOTHING
    order_0 = _cross_entropy(single / single.sum(), _counts(store, test, codec, n))
    if n > MAX_PAIR_CLASSES:
        return order_0, None
    pairs = (_pair_counts(store, train, codec) + SMOOTHING).reshape(n, n)
    conditional = (pairs / pairs.sum(axis=1, keepdims=True)).ravel()
    return order_0, _cross_entropy(conditional, _pair_counts(store, test, codec))


def _counts(store: Store, segments: Sequence[Segment], codec: Codec, n: int) -> NDArray[np.int64]:
    counts = np.zeros(n, dtype=np.int64)
    for segment in segments:
        counts += np.bincount(codes_of(store, segment, codec), minlength=n)
    return counts


def _pair_counts(store: Store, segments: Sequence[Segment], codec: Codec) -> NDArray[np.int64]:
    n = codec.n_classes
    counts = np.zeros(n * n, dtype=np.int64)
    for segment in segments:
        codes = codes_of(store, segment, codec)
        counts += np.bincount(codes[:-1] * n + codes[1:], minlength=n * n)
    return counts


def _cross_entropy(probabilities: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    return float(-(counts * np.log2(probabilities)).sum() / max(1, counts.sum()))


def _equal_share(lengths: Sequence[int], total: int) -> int:
    """The length at which cutting every segment leaves about `total` samples."""
    ordered = sorted(lengths)
    for rank, length in enumerate(ordered):
        share = total // (len(ordered) - rank)
        if length > share:
            return max(1, share)
        total -= length
    return ordered[-1]


def _label_rows(
    segments: Sequence[Segment], label_values: Mapping[str, Sequence[str]], device: torch.device
) -> dict[str, Tensor]:
    """Embedding rows of each label; a value that training never saw is "unknown"."""
    rows = {}
    for name, values in label_values.items():
        known = {value: row for row, value in enumerate(values)}
        own = [known.get(segment.labels.get(name, ""), len(values)) for segment in segments]
        rows[name] = torch.tensor(own, device=device)
    return rows
