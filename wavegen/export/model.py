"""A model as compiled code reads it (player_file.py): tuples of whole numbers and of addresses, one after the other.

"Room" is memory to work in, which `player_file.Room` says the size of; the other arrays lie in the file.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.cpu.kernel import Memory, Network
from wavegen.engines.cpu.tuples import reader

BLOCK = 256  # steps that are made at a time
N_DRAWN = 64  # newest frames that are kept as they were drawn; smoothing needs 2 * AHEAD + 1
N_SMOOTHED = 64  # and of smoothed ones, of which a vocoder sees 2 * look_ahead + 1
DRAWN, SMOOTHED, CONDITIONED = range(3)  # of `Plan.counts`: how many frames there are of each
N_COUNTS = 3
POSITION, SEED, IS_GUIDED = range(3)  # of `Sound.state`
N_STATE = 3


class Labels(NamedTuple):
    """The labels of a network, and what they are embedded as."""

    n: int
    size: int  # numbers of an embedding
    n_rows: NDArray[np.int64]  # (n) of the table of each; the last is "unknown"
    tables: NDArray[np.float32]  # (sum of n_rows, size)
    project: NDArray[np.float32]  # (n_outputs, n * size)
    n_outputs: int  # numbers of a condition


class Frames(NamedTuple):
    """What a vocoder is told by frames: `look_ahead` to either side are seen."""

    hop: int  # samples; 0 for a network that reads no frames
    n_features: int
    n_mels: int
    look_ahead: int
    hidden: int  # channels
    around: NDArray[np.float32]  # (2 * look_ahead + 1, hidden, n_features)
    around_bias: NDArray[np.float32]
    middle: NDArray[np.float32]  # (hidden, hidden)
    middle_bias: NDArray[np.float32]
    project: NDArray[np.float32]  # (n_outputs, hidden)
    n_outputs: int
    order: int  # of the linear prediction
    n_bins: int
    to_bins: NDArray[np.float64]  # (n_mels, n_bins)
    to_lags: NDArray[np.float64]  # (n_bins, order + 1)
    lag_window: NDArray[np.float64]  # (order + 1)
    gains_of: NDArray[np.float64]  # (2) of a magnitude of 1, and the least
    has_pitch: bool
    pitch_bounds: NDArray[np.float64]  # (2)
    sample_rate: int
    longest_period: int
    silent: NDArray[np.float32]  # (n_features)
    seen: NDArray[np.float64]  # (3 * hidden) room to work in
    magnitudes: NDArray[np.float64]  # (n_bins)
    autocorrelation: NDArray[np.float64]  # (order + 1)
    filters: NDArray[np.float64]  # (2 * order)
    projected: NDArray[np.float32]  # (2, n_outputs) of this frame and the next
    coefficients: NDArray[np.int32]  # (order), this and the next three of this frame
    gains: NDArray[np.float32]  # (2)
    periods: NDArray[np.int32]  # (hop)
    voicing: NDArray[np.float32]  # (1)


class Plan(NamedTuple):
    """What plans the frames."""

    n_channels: int  # of a frame; 0 where nothing is planned
    n_outputs: int  # of a condition
    position: NDArray[np.float32]  # (n_channels, n_outputs)
    is_detail: NDArray[np.int64]  # (n_channels)
    cosines: NDArray[np.float64]  # (n_mels, n_mels)
    lowest: NDArray[np.float64]  # (n_channels) what the first level of a channel is
    highest: NDArray[np.float64]  # (n_channels) and the last
    n_levels: int
    band_bounds: NDArray[np.float64]  # (2)
    smoothing: NDArray[np.float64]  # (2 * AHEAD + 1) weights
    pitch_smoothing: NDArray[np.float64]  # (2 * AHEAD + 1)
    condition: NDArray[np.float32]  # (n_channels, n_outputs)
    of_labels: NDArray[np.float32]  # (2, n_outputs)
    uniforms: NDArray[np.float64]  # (n_channels)
    codes: NDArray[np.int64]  # (n_channels)
    decoding: NDArray[np.float64]  # (2 * N_DECODING) of the whole, and of the detail
    drawn: NDArray[np.float32]  # (N_DRAWN, n_features)
    smoothed: NDArray[np.float32]  # (N_SMOOTHED, n_features)
    counts: NDArray[np.int64]  # (N_COUNTS)


class Sound(NamedTuple):
    """What is chosen, and what becomes of codes."""

    n_classes: int
    is_even: bool  # whether the levels of the codes lie evenly
    levels: NDArray[np.float32]  # (n_classes) what codes decode to, if not
    pre_emphasis: NDArray[np.float64]  # (1)
    n_labels: int  # that can be chosen
    n_rows: NDArray[np.int64]  # (n_labels) values of each, and one for "unknown"
    label_of: NDArray[np.int64]  # (2, n_labels) its number among those of the network and of the planner, or -1
    row_of: NDArray[np.int64]  # (2, sum of n_rows) the rows of their tables
    state: NDArray[np.int64]  # (N_STATE)
    decoding: NDArray[np.float64]  # (2 * N_DECODING) of both streams
    chosen: NDArray[np.int64]  # (labels.n) rows of the network's tables
    planned: NDArray[np.int64]  # (planner_labels.n) and of the planner's
    of_labels: NDArray[np.float32]  # (2, n_outputs) what the network is made under by labels, and by none
    condition: NDArray[np.float32]  # (2, n_outputs) and by this frame and the next
    uniforms: NDArray[np.float64]  # (2 * BLOCK)
    codes: NDArray[np.int64]  # (2 * BLOCK)
    before: NDArray[np.float64]  # (1) the newest sample, not clipped


class Model(NamedTuple):
    """All of it."""

    net: Network
    memory: Memory  # of two streams where labels can be guided, else of one
    labels: Labels
    frames: Frames
    plan: Plan
    planner: Network
    planner_memory: Memory
    planner_labels: Labels
    sound: Sound


net_of, memory_of, labels_of, frames_of, plan_of, planner_of, planner_memory_of, planner_labels_of, sound_of = (
    reader(Model, name) for name in Model._fields
)
