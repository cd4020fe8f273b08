"""A model as one file that compiled code reads where it lies (stream.py): nothing in it has to be parsed or unpacked.

    header                 N_HEADER integers of 64 bits, by the names of `HEADER`
    a record for each leaf of a `Model`, in their order: `kind`, `value`, `n_bytes`, `room`
        NUMBER             the value is the number
        IN_FILE            the value says where in the file the array of n_bytes begins
        IN_ROOM            the value says where in the room
        HALVES             the file has n_bytes of float16 there, which become float32 in the room, at `room`
    the arrays, each at a multiple of 64 bytes
    a description in JSON, for people and pages

The checksum is that of what lies behind it: FNV-1a's recursion (Fowler, Noll and Vo) over words of 64 bits.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import PlannerArchitecture
from wavegen.checkpoint import MODEL_FILE, Checkpoint
from wavegen.codec import Linear, PreEmphasised
from wavegen.engines.cpu.arguments import N_DECODING, Memory, Network, PredictionInput
from wavegen.engines.cpu.layout import NOTHING, STEPS_OF_A_PASS, make_memory, pack_network, pad_halves
from wavegen.engines.cpu.packing import MAX_COST, Matrices, Precision, VectorUnit, pack, pad
from wavegen.engines.cpu.tuples import nothing
from wavegen.engines.weights import stack_weights, vertical_weights, why_not
from wavegen.errors import InputError
from wavegen.features.frame_codes import LOUDEST_BAND, FrameCodes
from wavegen.features.frames import binomial_weights
from wavegen.features.log_mel import SILENT, LogMel
from wavegen.features.matching import N_AHEAD, Matcher
from wavegen.generation.conditioning import frame_weights, joined_labels, label_weights
from wavegen.generation.planning import architecture_of, position_of
from wavegen.player.model import (
    BLOCK,
    N_COUNTS,
    N_DRAWN,
    N_MATCHING_COUNTS,
    N_SEEN,
    N_STATE,
    Frames,
    Image,
    Labels,
    Matching,
    Model,
    Plan,
    Sound,
)
from wavegen.player.stream import OPTIONS
from wavegen.sampling import DECODING

MAGIC, VERSION = int.from_bytes(b"WAVEGEN\0", "little"), 4
HEADER = ("magic", "version", "checksum", "n_bytes", "lanes", "n_room", "n_leaves", "description", "n_description")
N_HEADER = 16  # some of them for later
NUMBER, IN_FILE, IN_ROOM, HALVES = range(4)
ALIGNED = 64  # bytes
PRECISIONS: tuple[Precision, ...] = ("int8x8", "int8", "float32")  # that are taken unasked, fastest first
ASKED_FOR: tuple[Precision, ...] = (*PRECISIONS, "int8x7")
BASIS, PRIME = 0xCBF29CE484222325, 0x100000001B3
STEPS_AHEAD = 4  # whose older taps are multiplied at once
MAX_LOOK_AHEAD = (N_SEEN - 1) // 2


logger = logging.getLogger(__name__)


class Room(NamedTuple):
    """An array that is in the room."""

    size: int
    dtype: type[np.generic]


def encode(model: Checkpoint, precision: Precision, unit: VectorUnit, is_small: bool = True) -> bytes:
    """The player file of a model, for a vector unit; `is_small`: where that loses nothing its numbers are float16, and
    every player has them as float32 in its own room."""
    check_playable(model)
    leaves = list(_leaves(model_of(model, precision, unit)))
    records = np.zeros((len(leaves), 4), dtype=np.int64)
    at, room = _aligned(8 * (N_HEADER + records.size)), _aligned(8 * len(leaves))
    arrays: list[tuple[int, NDArray[Any]]] = []
    places: dict[int, int] = {}  # of rooms, which may be two of the leaves
    for record, leaf in zip(records, leaves, strict=True):
        if isinstance(leaf, Room):
            n_bytes = leaf.size * np.dtype(leaf.dtype).itemsize
            if id(leaf) not in places:
                places[id(leaf)], room = room, _aligned(room + n_bytes)
            record[:] = IN_ROOM, places[id(leaf)], n_bytes, 0
        elif isinstance(leaf, np.ndarray):
            halves = _as_halves(leaf) if is_small else None
            stored = leaf if halves is None else halves
            record[:] = IN_FILE if halves is None else HALVES, at, stored.nbytes, 0 if halves is None else room
            room = room if halves is None else _aligned(room + leaf.nbytes)
            arrays.append((at, stored))
            at = _aligned(at + stored.nbytes)
        else:
            record[:] = NUMBER, int(leaf), 0, 0
    description = json.dumps(description_of(model, precision)).encode()
    file = np.zeros(_aligned(at + len(description)), dtype=np.uint8)
    file[8 * N_HEADER :][: records.nbytes] = records.view(np.uint8).ravel()
    for begin, array in arrays:
        file[begin : begin + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
    file[at : at + len(description)] = np.frombuffer(description, dtype=np.uint8)
    header = {
        "magic": MAGIC,
        "version": VERSION,
        "n_bytes": len(file),
        "lanes": unit.lanes,
        "n_room": room,
        "n_leaves": len(leaves),
        "description": at,
        "n_description": len(description),
    }
    words = file.view(np.int64)
    for place, name in enumerate(HEADER):
        words[place] = header.get(name, 0)
    words[2:3].view(np.uint64)[0] = checksum(words.view(np.uint64)[3:])
    return file.tobytes()


def checksum(words: NDArray[np.uint64]) -> int:
    """Of what lies behind the header's first three numbers."""
    total = BASIS
    for word in words.tolist():
        total = ((total ^ word) * PRIME) & 0xFFFFFFFFFFFFFFFF
    return total


def description_of(model: Checkpoint, precision: Precision) -> dict[str, Any]:
    """What a page tells of a model, and what its controls are made of."""
    description, planner = model.description, model.planner
    about = description if planner is None else planner.description
    return {
        "name": name_of(model),
        "about": about.about,
        "credit": about.credit,
        "sample_rate": description.sample_rate,
        "shape": list(description.shape),
        "labels": joined_labels(model, planner),
        "decoding": options_of(model),
        "can_be_guided": _can_be_guided(planner or model),
        "is_matched": _matched(model) is not None,
        "is_planned": planner is not None,
        "has_top": description.head.lists_probabilities,
        "precision": precision,
    }


def name_of(model: Checkpoint) -> str:
    """What an exported model is called: as its run folder or its file, in letters that every host and address takes."""
    name = model.path.absolute().parent.name if model.path.name == MODEL_FILE else model.path.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"


def check_playable(model: Checkpoint) -> None:
    """Raises: InputError for a model that no player plays, saying why."""
    description = model.description
    if description.features and model.planner is None:
        raise InputError(
            f"{model.path} makes sound of frames, which have to come from somewhere; expected a model that makes sound "
            "or images by itself"
        )
    if (reason := why_not(description.architecture)) is not None:
        raise InputError(f"{model.path} cannot be played without Python: {reason}")
    frames = description.architecture.frames
    if frames is not None and frames.look_ahead > MAX_LOOK_AHEAD:
        raise InputError(
            f"{model.path} looks {frames.look_ahead} frames ahead; expected {MAX_LOOK_AHEAD} at most, for a player"
        )


def choose_precision(model: Checkpoint, wanted: str | None) -> Precision:
    """The precision that is wanted, or the fastest that is not known to cost a model much; it is said if that is not
    int8x8.

    Raises: InputError for one that no player computes in.
    """
    if wanted is not None:
        if wanted not in ASKED_FOR:
            raise InputError(f"precision is {wanted}; a player takes {', '.join(ASKED_FOR)}")
        return wanted
    costs = _costs(model)
    fitting = [one for one in PRECISIONS if max(each.get(one, 0.0) for each in costs) < MAX_COST]
    chosen = fitting[0] if fitting else PRECISIONS[-1]
    if chosen != PRECISIONS[0]:
        lost = max(each.get(PRECISIONS[0], 0.0) for each in costs)
        logger.info(f"{model.path.name}: {chosen}, for {PRECISIONS[0]} costs {lost:.3f} bits per sample")
    return chosen


def relaxed_precision(model: Checkpoint, precision: Precision) -> Precision:
    """What a file of some precision is played in where the page has WebAssembly's relaxed products of bytes: a file of
    int8x8 in int8x7, if that is known to cost the model little."""
    is_cheap = all(each.get("int8x7", np.inf) < MAX_COST for each in _costs(model))
    return "int8x7" if precision == "int8x8" and is_cheap else precision


def _costs(model: Checkpoint) -> list[Mapping[str, float]]:
    """What was measured of each of its networks."""
    return [one.description.precision_costs for one in (model, model.planner) if one is not None]


def options_of(model: Checkpoint) -> dict[str, float | None]:
    """The model's own values of `stream.OPTIONS`, by name."""
    own = model.description.make_decoding()
    values = {name: getattr(own, name) for name in DECODING}
    if model.planner is not None:
        of_plan = model.planner.description.make_decoding()
        values |= {"guidance": of_plan.guidance, "temperature_frames": of_plan.temperature}
    return {name: values.get(name, 1.0) for name in OPTIONS}


def model_of(model: Checkpoint, precision: Precision, unit: VectorUnit) -> Model:
    """A model laid out, and the room that it needs."""
    weights, n_streams = stack_weights(model), 2 if _can_be_guided(model) else 1
    net = _companding_in_room(pack_network(weights, precision, n_streams, unit))
    codec = model.description.make_codec()
    pre_emphasis, plain = (codec.coefficient, codec.codec) if isinstance(codec, PreEmphasised) else (0.0, codec)
    is_even = isinstance(plain, Linear)
    labels = _labels(model, weights.is_gated, unit.lanes)
    n_outputs = net.n_layers * net.newest_tap.n_columns
    chosen = joined_labels(model, model.planner)
    planned = {} if model.planner is None else model.planner.description.labels
    rows = [_rows(chosen, known) for known in (model.description.labels, planned)]
    sound = _made(
        Sound,
        n_classes=codec.n_classes,
        is_even=is_even,
        levels=NOTHING if is_even else plain.decode(np.arange(codec.n_classes)),
        pre_emphasis=np.array([pre_emphasis]),
        defaults=np.array(
            [np.nan if value is None else value for value in options_of(model).values()], dtype=np.float64
        ),
        n_labels=len(chosen),
        n_rows=np.array([len(values) + 1 for values in chosen.values()], dtype=np.int64),
        label_of=np.array([own.label_of for own in rows], dtype=np.int64),
        row_of=np.array([own.row_of for own in rows], dtype=np.int64),
        state=Room(N_STATE, np.int64),
        decoding=Room(2 * N_DECODING, np.float64),
        chosen=Room(len(model.description.labels), np.int64),
        planned=Room(len(planned), np.int64),
        of_labels=Room(2 * max(n_outputs, labels.n_outputs), np.float32),
        condition=Room(2 * n_outputs, np.float32),
        uniforms=Room(2 * BLOCK, np.float64),
        codes=Room(2 * BLOCK, np.int64),
        before=Room(1, np.float64),
        bits=Room(1, np.float64),
    )
    frames = _frames(model, weights.is_gated, unit.lanes)
    memory = _rooms(make_memory(net, n_streams, precision, STEPS_AHEAD))
    return Model(
        net, memory, labels, frames, *_plan(model, precision, unit), _matching(model), _image(model, unit), sound
    )


def _companding_in_room(net: Network) -> Network:
    """The same with room for the tables of companded numbers, which compiled code fills."""
    own = net.prediction
    tables = {"values": Room(own.values.size, np.float32), "levels": Room(own.levels.size, np.uint8)}
    return net._replace(prediction=_made(PredictionInput, **{**own._asdict(), **tables}))


def _can_be_guided(model: Checkpoint) -> bool:
    description = model.description
    is_vocoder = description.architecture.reads_frames and bool(description.features)
    has_labels = bool(description.labels) and bool(description.label_dropout) and not is_vocoder
    return has_labels and description.head.lists_probabilities


class _LabelRows(NamedTuple):
    """Where a network knows the labels that can be chosen, and their values."""

    label_of: list[int]
    row_of: list[int]


def _rows(chosen: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]) -> _LabelRows:
    names, rows = list(known), _LabelRows([], [])
    for name, values in chosen.items():
        own = list(known.get(name, []))
        rows.label_of.append(names.index(name) if name in names else -1)
        rows.row_of.extend(own.index(value) if value in own else len(own) for value in (*values, None))
    return rows


def _labels(model: Checkpoint, is_gated: bool, lanes: int) -> Labels:
    known = model.description.labels
    if not known:
        return nothing(Labels)
    tables, project = label_weights(model)
    n_rows = np.array([len(table) for table in tables.values()], dtype=np.int64)
    padded = _padded_outputs(model, project, is_gated, lanes)
    size = next(iter(tables.values())).shape[1]
    return Labels(len(known), size, n_rows, np.concatenate(list(tables.values())), padded, len(padded))


def _padded_outputs(model: Checkpoint, matrix: NDArray[np.float32], is_gated: bool, lanes: int) -> NDArray[np.float32]:
    """A matrix that makes what enters every layer, (n_outputs, n_inputs), with outputs padded as the layers' are."""
    by_layer = matrix.reshape(model.description.architecture.n_conditions, -1, matrix.shape[1])
    return pad_halves(by_layer, is_gated, 1, lanes).reshape(-1, matrix.shape[1])


def _frames(model: Checkpoint, is_gated: bool, lanes: int) -> Frames:
    shape, features = model.description.architecture, model.description.make_features()
    if features is None or shape.frames is None:
        return nothing(Frames)
    n_features, hop, hidden, look_ahead = shape.frames
    predictor, pitch = model.description.make_predictor(), features.pitch
    order = 0 if predictor is None else predictor.order
    empty = np.zeros((0, 0))
    to_bins, to_lags = (empty, empty) if predictor is None else (predictor.to_bins, predictor.to_lags)
    weights = frame_weights(model, shape.frames)
    project = _padded_outputs(model, weights["project.weight"], is_gated, lanes)
    return _made(
        Frames,
        hop=hop,
        n_features=n_features,
        n_mels=features.n_mels,
        look_ahead=look_ahead,
        hidden=hidden,
        around=weights["around.weight"],
        around_bias=weights["around.bias"],
        middle=weights["hidden.weight"],
        middle_bias=weights["hidden.bias"],
        project=project,
        n_outputs=len(project),
        order=order,
        n_bins=to_bins.shape[1],
        to_bins=to_bins,
        to_lags=to_lags,
        lag_window=empty if predictor is None else predictor.lag_window,
        gains_of=empty if predictor is None else np.array([predictor.per_magnitude, predictor.least_gain]),
        has_pitch=pitch is not None,
        pitch_bounds=empty if pitch is None else np.array(pitch.pitch_bounds),
        sample_rate=model.description.sample_rate,
        longest_period=0 if pitch is None else pitch.longest_period,
        silent=features.silent,
        seen=Room(2 * hidden, np.float64),
        magnitudes=Room(to_bins.shape[1], np.float64),
        autocorrelation=Room(order + 1, np.float64),
        filters=Room(2 * order, np.float64),
        projected=Room(2 * len(project), np.float32),
        coefficients=Room(order, np.int32),
        gains=Room(2, np.float32),
        periods=Room(hop, np.int32),
        voicing=Room(1, np.float32),
    )


def _plan(model: Checkpoint, precision: Precision, unit: VectorUnit) -> tuple[Plan, Network, Memory, Labels]:
    planner, features = model.planner, model.description.make_features()
    if planner is None or features is None:
        return nothing(Plan), nothing(Network), nothing(Memory), nothing(Labels)
    weights, shape = stack_weights(planner), architecture_of(planner)
    n_streams = 2 if _can_be_guided(planner) else 1
    net = pack_network(weights, precision, n_streams, unit)
    codes = FrameCodes(features, planner.description.n_classes)
    position = pad_halves(position_of(planner)[0], weights.is_gated, 2, unit.lanes)  # (n_channels, L, H)
    n_channels, (lowest, highest) = codes.n_channels, codes.bounds
    n_outputs, log_mel = position[0].size, _matched(model)
    n_smoothed = N_SEEN + (0 if log_mel is None else (BLOCK + 2 * log_mel.n_fft) // log_mel.hop)
    plan = _made(
        Plan,
        n_channels=n_channels,
        n_outputs=n_outputs,
        position=position,
        is_detail=np.array(codes.is_detail, dtype=np.int64),
        cosines=codes.cosines,
        lowest=lowest,
        highest=highest,
        n_levels=codes.n_levels,
        band_bounds=np.array([SILENT, LOUDEST_BAND]),
        n_ahead=shape.n_ahead,
        smoothing=_smoothing(shape.smoothing, shape),
        pitch_smoothing=_smoothing(shape.pitch_smoothing, shape),
        condition=Room(2 * n_channels * n_outputs, np.float32),
        of_labels=Room(2 * n_outputs, np.float32),
        uniforms=Room(2 * n_channels, np.float64),
        drawn_codes=Room(2 * n_channels, np.int64),
        codes=Room(n_channels, np.int64),
        decoding=Room(4 * N_DECODING, np.float64),
        drawn=Room(N_DRAWN * features.n_features, np.float32),
        n_smoothed=n_smoothed,
        smoothed=Room(n_smoothed * features.n_features, np.float32),
        counts=Room(N_COUNTS, np.int64),
    )
    memory = _rooms(make_memory(net, n_streams, precision, STEPS_AHEAD))
    return plan, net, memory, _labels(planner, weights.is_gated, unit.lanes)


def _matched(model: Checkpoint) -> LogMel | None:
    """The frames that the sound is matched to, if it is: a transform of a length that is no power of two is not in the
    player."""
    features = model.description.make_features()
    log_mel = None if features is None else features.log_mel
    return None if log_mel is None or log_mel.n_fft & (log_mel.n_fft - 1) else log_mel


def _matching(model: Checkpoint) -> Matching:
    log_mel = _matched(model)
    if log_mel is None:
        return nothing(Matching)
    length, hop, n_mels, n_bins = log_mel.n_fft, log_mel.hop, log_mel.n_mels, log_mel.n_fft // 2 + 1
    matcher = Matcher(log_mel, np.zeros((1, n_mels), dtype=np.float32))
    angle = 2 * np.pi * np.arange(length // 2) / length
    sizes = {
        "waiting": length,
        "held": (N_AHEAD + 1) * length,
        "targets": (N_AHEAD + 1) * n_mels,
        "settled": 2 * length,
        "sums": 2 * (length + N_AHEAD * hop),
        "spectrum": 2 * length,
        "magnitudes": n_bins,
        "gains": n_bins,
        "of_bins": n_bins,
        "ready": hop,
    }
    return _made(
        Matching,
        length=length,
        hop=hop,
        n_mels=n_mels,
        window=matcher.window,
        turns=np.stack([np.cos(angle), np.sin(angle)], axis=1),
        filters=matcher.filters.T,
        to_bins=matcher.to_bins,
        spans=np.concatenate([_spans(matcher.filters.T), _spans(matcher.to_bins)], axis=1),
        made=Room(BLOCK, np.float32),
        counts=Room(N_MATCHING_COUNTS, np.int64),
        **{name: Room(size, np.float64) for name, size in sizes.items()},
    )


def _spans(rows: NDArray[np.floating]) -> NDArray[np.int64]:
    """Where rows begin and end that are 0 to both sides: the first column, and the one behind the last, (n, 2)."""
    inside = rows != 0
    return np.stack([inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)], axis=1)


def _image(model: Checkpoint, unit: VectorUnit) -> Image:
    if not model.description.shape:
        return nothing(Image)
    weights, lanes = vertical_weights(model), unit.lanes
    height, width, n_colours = model.description.shape
    n_layers, _, n_seen, _, _ = weights.convolution.shape
    R = -(-weights.embedding.shape[2] // lanes) * lanes

    def packed(matrices: NDArray[np.float32]) -> Matrices:
        group = STEPS_OF_A_PASS
        return pack(pad(matrices, lanes, 1, 2), "float32", lanes, unit.panel_vectors(group), group)

    # (L, 2, J, R, H): what a pixel sees of a row lies side by side.
    taps = pad(weights.convolution.transpose(0, 1, 2, 4, 3), lanes, 3).reshape(2 * n_layers, n_seen * R, -1)
    convolution = packed(pad_halves(taps, weights.is_gated, 2, lanes))
    entering = pad_halves(weights.entering, weights.is_gated, 1, lanes).transpose(0, 2, 1)
    H, G = convolution.n_columns, -(-weights.projection.shape[2] // lanes) * lanes
    n_ring_rows = sum(dilation + 1 for dilation in weights.dilations)
    row_length = width * n_colours
    sizes = {
        "rings": 2 * n_ring_rows * (width + n_seen - 1) * R,
        "x": width * R,
        "h": width * H,
        "z": width * G,
        "projected": width * R,
        "seen": n_layers * width * H,
        "condition": 2 * row_length * n_layers * H,
    }
    return _made(
        Image,
        height=height,
        width=width,
        row_length=row_length,
        n_classes=model.description.n_classes,
        n_layers=n_layers,
        n_channels=R,
        side=n_seen // 2,
        n_ring_rows=n_ring_rows,
        is_gated=weights.is_gated,
        has_position=weights.position is not None,
        dilations=np.array(weights.dilations, dtype=np.int64),
        embedding=pad(weights.embedding, lanes, 2),
        position=NOTHING if weights.position is None else pad(weights.position, lanes, 2),
        convolution=convolution,
        convolution_bias=pad_halves(weights.convolution_bias, weights.is_gated, 1, lanes),
        projection=packed(weights.projection.transpose(0, 2, 1)),
        projection_bias=pad(weights.projection_bias, lanes, 1),
        entering=packed(entering),
        colours=pad_halves(weights.colour + weights.entering_bias, weights.is_gated, 2, lanes),
        ones=np.ones(1, dtype=np.float32),
        given=Room(height * row_length, np.int64),
        codes=Room(row_length, np.int64),
        **{name: Room(size, np.float32) for name, size in sizes.items()},
    )


def _smoothing(side: int, shape: PlannerArchitecture) -> NDArray[np.float64]:
    """The weights of a mean over time (`Features.smoothed`), in the middle of 2 * n_ahead + 1."""
    return np.pad(binomial_weights(side), shape.n_ahead - side)


def _made(cls: Any, **values: Any) -> Any:
    """A tuple in which rooms stand for arrays."""
    return cls(**values)


def _rooms(memory: Memory) -> Memory:
    """The same with rooms in place of its arrays, and one room where two are the same memory."""
    rooms: dict[int, Room] = {}

    def room(array: NDArray[Any]) -> Room:
        return rooms.setdefault(array.ctypes.data if array.size else id(array), Room(array.size, array.dtype.type))

    return _made(
        Memory,
        **{name: room(part) if isinstance(part, np.ndarray) else part for name, part in memory._asdict().items()},
    )


def _leaves(parts: Any) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, tuple) and not isinstance(part, Room):
            yield from _leaves(part)
        else:
            yield part


def _as_halves(array: NDArray[Any]) -> NDArray[np.float16] | None:
    """float32 numbers as float16, if that is exact and worth it."""
    if array.dtype != np.float32 or array.size < ALIGNED:
        return None
    with np.errstate(over="ignore"):
        halves = array.astype(np.float16)
    return halves if np.array_equal(halves.astype(np.float32), array) else None


def _aligned(n: int) -> int:
    return -(-n // ALIGNED) * ALIGNED
