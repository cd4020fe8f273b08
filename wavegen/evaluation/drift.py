"""Whether sounds that a network makes by itself stay as surprising as recordings, or drift away."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.codec import Codec
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Framer, Segment, evenly_spaced
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.evaluation.bits import label_rows
from wavegen.evaluation.chunks import bits_of_codes
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.generation.stream import ConditionAt, generate
from wavegen.models.base import Condition, Model, frames_on
from wavegen.progress import Bar
from wavegen.sampling import Decoding

N_BINS = 8  # stretches whose means are compared
N_STREAMS = 16  # recordings, and sounds with their labels

FramesAt = Callable[[int, int], Frames[NDArray]]  # of so many samples from a multiple of the hop on
NetworkConditionAt = Callable[[int, int], Condition]  # of n steps from the first given on


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
    recorded: NDArray[np.integer],
    labels: Mapping[str, Tensor],
    decoding: Decoding,
    n_bins: int,
    seed: int = 0,
    bar: Bar | None = None,
    frames_at: FramesAt | None = None,
) -> Drift:
    """How the surprise of free-running sound departs from that of recordings, both with the same labels.

    Recordings may begin anywhere; both are heard from the beginning of time. Of a vocoder's condition, which takes
    kilobytes a frame, only what is needed next is held.

    Shapes: recorded (B, T) codes, labels (B,) embedding rows each, and of a vocoder the recordings' feature frames as
    `Framer.frames` gives them.
    """
    n_streams, length = recorded.shape
    condition: Condition | NetworkConditionAt | None
    of_engine: NDArray[np.float32] | ConditionAt | None
    if frames_at is None:
        condition = model.condition(labels)
        of_engine = for_engine(condition)
    else:
        of_network = condition = _condition_at(model, labels, frames_at)
        of_engine = lambda first, n: _as_arrays(of_network(first, n))  # noqa: E731
    generated, n_made = np.empty_like(recorded), 0
    engine = ReferenceEngine(model, n_streams)
    for block in generate(engine, length, seed=seed, decoding=decoding, condition=of_engine):
        generated[:, n_made : n_made + block.shape[1]] = block
        n_made += block.shape[1]
        if bar is not None:
            bar.update(n_made)
    curves = []
    for codes in (recorded, generated):
        bits = surprise(model, codes, condition)
        curves.append(np.array([stretch.mean() for stretch in np.array_split(bits, n_bins)]))
    return Drift(*curves)


def _condition_at(model: Model, labels: Mapping[str, Tensor], frames_at: FramesAt) -> NetworkConditionAt:
    sizes = model.architecture.frames
    assert sizes is not None  # there are frames
    hop = sizes.hop

    def at(first: int, n: int) -> Condition:
        phase = first % hop
        frames = frames_on(model.device, frames_at(first - phase, phase + n))
        condition = model.condition(labels, frames)
        assert isinstance(condition, FrameCondition)
        return condition.part(phase, n)

    return at


def drift_from_recordings(
    model: Model,
    store: Store,
    segments: Sequence[Segment],
    codec: Codec,
    label_values: Mapping[str, Sequence[str]],
    decoding: Decoding,
    n_samples: int,
    bar: Bar | None = None,
    framer: Framer | None = None,
) -> Drift:
    """`drift` beside the beginnings of some segments (those of `long_enough`)."""
    coder = Coder(store, codec)
    recorded = np.empty((len(segments), n_samples), dtype=np.min_scalar_type(codec.n_classes - 1))
    for row, segment in zip(recorded, segments, strict=True):
        row[:] = coder.codes(segment.start, n_samples)
    rows = label_rows(segments, label_values, model.device)
    frames_at: FramesAt | None = None
    if framer is not None:

        def frames_at(first: int, n: int) -> Frames[NDArray]:
            return framer.frames([(segment, first) for segment in segments], n)

    return drift(model, recorded, rows, decoding, N_BINS, bar=bar, frames_at=frames_at)


def long_enough(segments: Sequence[Segment], n_samples: int) -> list[Segment]:
    """Some segments of at least this length, evenly spaced through the list.

    Raises: InputError if there are none.
    """
    usable = [segment for segment in segments if segment.n_samples >= n_samples]
    if not usable:
        longest = max(segment.n_samples for segment in segments)
        raise InputError(f"no recording is {n_samples} samples long; the longest has {longest}, so run free for less")
    return evenly_spaced(usable, N_STREAMS)


@torch.inference_mode()
def surprise(
    model: Model, codes: NDArray[np.integer], condition: Condition | NetworkConditionAt | None
) -> NDArray[np.float64]:
    """Mean -log2 p(code) over some sounds (or images), each predicted from the beginning of time.

    The condition holds throughout, is that of the whole, or is asked for part by part.

    Shapes: codes (B, T) -> (T,).
    """

    def part(first: int, n: int) -> tuple[Tensor, Condition | None]:
        if isinstance(condition, FrameCondition):
            now: Condition | None = condition.part(first, n)
        else:
            now = condition(first, n) if callable(condition) else condition
        return torch.from_numpy(codes[:, first : first + n].astype(np.int64)).to(model.device), now

    chunks = bits_of_codes(model, len(codes), codes.shape[1], part)
    return np.concatenate([bits.mean(dim=0).double().cpu().numpy() for _, bits in chunks])


def for_engine(condition: Condition | None) -> NDArray[np.float32] | ConditionAt | None:
    """A condition as `generate` takes it."""
    arrays = _as_arrays(condition)
    return arrays.part if isinstance(arrays, FrameCondition) else arrays


def _as_arrays(condition: Condition | None) -> Any:
    """A condition, or a part of one, as engines read it."""
    if isinstance(condition, FrameCondition):
        return condition.map(lambda tensor: tensor.cpu().numpy())
    return None if condition is None else condition.cpu().numpy()
