"""What a model with one label takes images (or recordings) for, by Bayes' rule, every value equally probable before."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wavegen.codec import Codec
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Segment
from wavegen.evaluation.chunks import Part, bits_of_codes, codes_at_once
from wavegen.models.base import Model
from wavegen.progress import Bar

IMAGES_AT_ONCE = 32  # under each label; more are no faster


class Classification(NamedTuple):
    """What items of a split were taken for.

    `counts` (n_values, n_values): how many of each true value (rows) were taken for which (columns). `bits`: the mean
    of -log2 p(item) under its own label; `marginal_bits`: the same where nobody says the label.
    """

    counts: NDArray[np.int64]
    bits: float
    marginal_bits: float

    @property
    def n_right(self) -> int:
        return int(np.trace(self.counts))


def classify(
    model: Model,
    store: Store,
    segments: Sequence[Segment],
    codec: Codec,
    labels: Mapping[str, Sequence[str]],
    bar: Bar | None = None,
) -> Classification:
    """Classify segments whose value of the model's one label is known; `labels` holds that label's values."""
    ((name, values),) = labels.items()
    coder = Coder(store, codec)
    true = np.array([values.index(segment.labels[name]) for segment in segments])
    bits, taken_for = np.empty((len(true), len(values))), np.empty(len(true), dtype=int)
    at_once = label_batch_size(model, segments[0].n_samples)
    for first in range(0, len(true), at_once):
        some = slice(first, min(first + at_once, len(true)))
        codes = np.stack([coder.codes(segment.start, segment.n_samples) for segment in segments[some]])
        bits[some] = bits_by_label(model, codes)
        taken_for[some] = bits[some].argmin(axis=1)
        if bar is not None:
            bar.update(some.stop, f"{(taken_for == true)[: some.stop].mean():.2%} right")
    counts = np.zeros((len(values), len(values)), dtype=int)
    np.add.at(counts, (true, taken_for), 1)
    own = bits[np.arange(len(true)), true]
    return Classification(counts, float(own.mean()), float(marginal_bits(bits).mean()))


@torch.inference_mode()
def bits_by_label(model: Model, codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """-log2 p(everything) of each of n recordings or images under each value of the model's one label.

    Shapes: codes (n, T), each from its beginning -> (n, n_values).
    """
    ((name, n_values),) = model.architecture.labels.items()
    n, length = codes.shape
    bits = np.zeros((n, n_values))
    for value in range(n_values):
        part = _under(model, codes, {name: torch.full((n,), value, device=model.device)})
        for _, chunk in bits_of_codes(model, n, length, part):
            bits[:, value] += chunk.double().sum(dim=1).cpu().numpy()
    return bits


def _under(model: Model, codes: NDArray[np.int64], labels: Mapping[str, torch.Tensor]) -> Part:
    condition = model.condition(labels)
    return lambda first, n: (torch.from_numpy(codes[:, first : first + n]).to(model.device), condition)


def label_batch_size(model: Model, n_codes: int) -> int:
    """How many recordings or images of so many codes to ask `bits_by_label` about at once."""
    return max(1, min(IMAGES_AT_ONCE, codes_at_once(model) // n_codes))


def marginal_bits(bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """-log2 p(everything) where nobody says the label: the mean of p over its values, all equally probable.

    Shapes: `bits_by_label` (n, n_values) -> (n,).
    """
    marginal: NDArray[np.float64] = np.log2(bits.shape[1]) - np.logaddexp2.reduce(-bits, axis=1)
    return marginal
