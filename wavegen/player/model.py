"""A model as compiled code reads it (player_file.py): tuples of whole numbers and of addresses, one after the other.

"Room" is memory to work in, which `player_file.Room` says the size of; the other arrays lie in the file.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.cpu.arguments import Memory, Network
from wavegen.engines.cpu.packing import Matrices
from wavegen.engines.cpu.tuples import reader

BLOCK = 256  # steps that are made at a time
N_DRAWN = 64  # newest frames that are kept as they were drawn: 2 * n_ahead + 8, and at first 4 + look_ahead + n_ahead
N_SEEN = 64  # and of smoothed ones that a vocoder sees: 2 * look_ahead + 1
DRAWN, SMOOTHED, CONDITIONED, WAS_GUIDED = range(4)  # of `Plan.counts`: how many frames there are of each; a flag
N_COUNTS = 4
# Of `Matching.counts`: samples that wait, frames that are held, the number of the first of them, samples that are
# ready, how many of them were given out, samples that come before the sound, and those of a block that do not wait yet.
N_WAITING, N_HELD, FIRST, N_READY, N_GIVEN, N_TO_SKIP, N_LEFT = range(7)
N_MATCHING_COUNTS = 7
POSITION, SEED, NUMBER, IS_GUIDED, IS_MATCHED = range(5)  # of `Sound.state`
N_STATE = 5


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
    n_ahead: int  # frames that are drawn before one is smoothed
    smoothing: NDArray[np.float64]  # (2 * n_ahead + 1) weights
    pitch_smoothing: NDArray[np.float64]  # (2 * n_ahead + 1)
    condition: NDArray[np.float32]  # (2, n_channels, n_outputs) with labels, and with none
    of_labels: NDArray[np.float32]  # (2, n_outputs)
    uniforms: NDArray[np.float64]  # (2 * n_channels)
    drawn_codes: NDArray[np.int64]  # (2 * n_channels) of both streams
    codes: NDArray[np.int64]  # (n_channels)
    decoding: NDArray[np.float64]  # (2, 2 * N_DECODING) of the whole, and of the detail
    drawn: NDArray[np.float32]  # (N_DRAWN, n_features)
    n_smoothed: int  # newest frames that are kept: N_SEEN, and those whose samples are not matched yet
    smoothed: NDArray[np.float32]  # (n_smoothed, n_features)
    counts: NDArray[np.int64]  # (N_COUNTS)


class Matching(NamedTuple):
    """What scales the sound until it has the frames that it was made of."""

    length: int  # samples of a frame's window, a power of two; 0 where nothing is matched
    hop: int
    n_mels: int
    window: NDArray[np.float64]  # (length)
    turns: NDArray[np.float64]  # (length / 2, 2) cosine and sine of index / length turns
    filters: NDArray[np.float64]  # (n_mels, n_bins)
    to_bins: NDArray[np.float64]  # (n_mels, n_bins)
    spans: NDArray[np.int64]  # (n_mels, 4) the first bin and the one behind the last, of filters and of to_bins
    waiting: NDArray[np.float64]  # (length) samples that are in no frame yet; this and all that follows is room
    held: NDArray[np.float64]  # (N_AHEAD + 1, length) frames that are not settled
    targets: NDArray[np.float64]  # (N_AHEAD + 1, n_mels) magnitudes that their bands are to have
    settled: NDArray[np.float64]  # (2, length) sum of the settled frames, and of their squared windows
    sums: NDArray[np.float64]  # (2, length + N_AHEAD * hop)
    spectrum: NDArray[np.float64]  # (length, 2)
    magnitudes: NDArray[np.float64]  # (n_bins)
    gains: NDArray[np.float64]  # (n_bins)
    of_bins: NDArray[np.float64]  # (n_bins)
    ready: NDArray[np.float64]  # (hop) samples
    made: NDArray[np.float32]  # (BLOCK) samples
    counts: NDArray[np.int64]  # (N_MATCHING_COUNTS)


class Image(NamedTuple):
    """What of an image is above a row; letters as in `engines.weights`."""

    height: int  # 0 of a model of sound
    width: int
    row_length: int  # codes: colours of all pixels
    n_classes: int
    n_layers: int
    n_channels: int  # R
    side: int  # pixels to either side that a layer sees
    n_ring_rows: int
    is_gated: bool
    has_position: bool
    dilations: NDArray[np.int64]  # (L)
    embedding: NDArray[np.float32]  # (n_colours, n_classes, R)
    position: NDArray[np.float32]  # (height, width, R)
    convolution: Matrices  # 2 * L, the row above first; float32 like all the others
    convolution_bias: NDArray[np.float32]  # (L, H)
    projection: Matrices  # L
    projection_bias: NDArray[np.float32]  # (L, R)
    entering: Matrices  # L
    colours: NDArray[np.float32]  # (n_colours, L, H)
    ones: NDArray[np.float32]  # (1) the scale of an input that has none
    given: NDArray[np.int64]  # (height, row_length) codes that are not drawn, else -1; this and what follows is room
    codes: NDArray[np.int64]  # (row_length) of the newest row
    rings: NDArray[np.float32]  # (2, n_ring_rows, width + 2 * side, R) inputs of the layers
    x: NDArray[np.float32]  # (width, R)
    h: NDArray[np.float32]  # (width, H)
    z: NDArray[np.float32]  # (width, G)
    projected: NDArray[np.float32]  # (width, R)
    seen: NDArray[np.float32]  # (L, width, H)
    condition: NDArray[np.float32]  # (2, row_length, L, H)


class Sound(NamedTuple):
    """What is chosen, and what becomes of codes."""

    n_classes: int
    is_even: bool  # whether the levels of the codes lie evenly
    levels: NDArray[np.float32]  # (n_classes) what codes decode to, if not
    pre_emphasis: NDArray[np.float64]  # (1)
    defaults: NDArray[np.float64]  # of `stream.OPTIONS`
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
    bits: NDArray[np.float64]  # (1) mean surprise of lately drawn codes; NaN where there is none


class Model(NamedTuple):
    """All of it."""

    net: Network
    memory: Memory  # of two streams where labels can be guided, else of one
    labels: Labels
    frames: Frames
    plan: Plan
    planner: Network
    planner_memory: Memory  # as `memory`
    planner_labels: Labels
    matching: Matching
    image: Image
    sound: Sound


(
    net_of,
    memory_of,
    labels_of,
    frames_of,
    plan_of,
    planner_of,
    planner_memory_of,
    planner_labels_of,
    matching_of,
    image_of,
    sound_of,
) = (reader(Model, name) for name in Model._fields)
