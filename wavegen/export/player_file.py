"""A model as one file that compiled code reads where it lies (player.py): nothing in it has to be parsed or unpacked.

    header                 N_HEADER integers of 64 bits, by the names of `HEADER`
    a record for each leaf of the `Player`, in their order: `kind`, `value`, `n_bytes`, `room`
        NUMBER             the value is the number
        IN_FILE            the value says where in the file the array of n_bytes begins
        IN_ROOM            the value says where in the room
        HALVES             the file has n_bytes of float16 there, which become float32 in the room, at `room`
    the arrays, each at a multiple of 64 bytes
    a description in JSON, for people and pages

The checksum is that of what lies behind it: FNV-1a's recursion (Fowler, Noll and Vo) over words of 64 bits.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.codec import PreEmphasised
from wavegen.engines.cpu.draws import N_DECODING
from wavegen.engines.cpu.kernel import Memory, Network
from wavegen.engines.cpu.layout import make_memory, pack_network, pad_halves
from wavegen.engines.cpu.packing import Precision, VectorUnit
from wavegen.engines.weights import stack_weights
from wavegen.export.player import BLOCK, N_STATE, Labels, Player

MAGIC, VERSION = int.from_bytes(b"WAVEGEN\0", "little"), 1
HEADER = ("magic", "version", "checksum", "n_bytes", "lanes", "n_room", "n_leaves", "description", "n_description")
N_HEADER = 16  # some of them for later
NUMBER, IN_FILE, IN_ROOM, HALVES = range(4)
ALIGNED = 64  # bytes
BASIS, PRIME = 0xCBF29CE484222325, 0x100000001B3
N_AHEAD = 4  # steps whose older taps are multiplied at once


class Room(NamedTuple):
    """An array that is in the room."""

    size: int
    dtype: type[np.generic]


def encode(model: Checkpoint, precision: Precision, unit: VectorUnit) -> bytes:
    """The player file of a model, for a vector unit."""
    player = player_of(model, precision, unit)
    leaves = list(_leaves(player))
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
            halves = _as_halves(leaf)
            stored = leaf if halves is None else halves
            record[:] = IN_FILE if halves is None else HALVES, at, stored.nbytes, 0 if halves is None else room
            room = room if halves is None else _aligned(room + leaf.nbytes)
            arrays.append((at, stored))
            at = _aligned(at + stored.nbytes)
        else:
            record[:] = NUMBER, int(leaf), 0, 0
    described = json.dumps(description_of(model, precision)).encode()
    file = np.zeros(_aligned(at + len(described)), dtype=np.uint8)
    file[8 * N_HEADER :][: records.nbytes] = records.view(np.uint8).ravel()
    for begin, array in arrays:
        file[begin : begin + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
    file[at : at + len(described)] = np.frombuffer(described, dtype=np.uint8)
    header = dict(
        magic=MAGIC, version=VERSION, n_bytes=len(file), lanes=unit.lanes, n_room=room, n_leaves=len(leaves),
        description=at, n_description=len(described),
    )  # fmt: skip
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
    description = model.description
    return {
        "name": model.path.stem,
        "about": description.about,
        "credit": description.credit,
        "sample_rate": description.sample_rate,
        "shape": list(description.shape),
        "labels": {name: list(values) for name, values in description.labels.items()},
        "decoding": dict(description.decoding),
        "can_be_guided": _can_be_guided(model),
        "has_top": description.head.lists_probabilities,
        "precision": precision,
    }


def player_of(model: Checkpoint, precision: Precision, unit: VectorUnit) -> Player:
    """A model laid out, and the room that it needs."""
    description = model.description
    weights = stack_weights(model)
    n_streams = 2 if _can_be_guided(model) else 1
    net = pack_network(weights, precision, n_streams, unit)
    codec = description.make_codec()
    pre_emphasis = codec.coefficient if isinstance(codec, PreEmphasised) else 0.0
    levels = (codec.codec if isinstance(codec, PreEmphasised) else codec).decode(np.arange(codec.n_classes))
    labels = _labels(model, weights.is_gated, unit.lanes)
    return Player(
        net=net,
        memory=_rooms(make_memory(net, n_streams, precision, N_AHEAD)),
        labels=labels,
        levels=levels,
        pre_emphasis=np.array([pre_emphasis]),
        state=Room(N_STATE, np.int64),
        decoding=Room(2 * N_DECODING, np.float64),
        chosen=Room(len(description.labels), np.int64),
        condition=Room(2 * labels.n_outputs, np.float32),
        uniforms=Room(2 * BLOCK, np.float64),
        codes=Room(2 * BLOCK, np.int64),
        before=Room(1, np.float64),
    )  # type: ignore[arg-type]  # rooms stand for the arrays


def _can_be_guided(model: Checkpoint) -> bool:
    description = model.description
    return bool(description.labels) and bool(description.label_dropout) and description.head.lists_probabilities


def _labels(model: Checkpoint, is_gated: bool, lanes: int) -> Labels:
    known, shape = model.description.labels, model.description.architecture
    n_rows = np.array([len(values) + 1 for values in known.values()], dtype=np.int64)
    if not known:
        nothing = np.zeros(0, dtype=np.float32)
        return Labels(0, 0, n_rows, nothing, nothing, 0)
    size, n_conditions, channels = shape.label_channels, shape.n_conditions, shape.condition_channels
    tables = [model.tensor(f"labels.{name}.weight", len(values) + 1, size) for name, values in known.items()]
    project = model.tensor("project_labels.weight", n_conditions * channels, len(tables) * size)
    padded = pad_halves(project.reshape(n_conditions, channels, -1), is_gated, 1, lanes)
    n_outputs = padded.shape[0] * padded.shape[1]
    return Labels(len(known), size, n_rows, np.concatenate(tables), padded.reshape(n_outputs, -1), n_outputs)


def _rooms(memory: Memory) -> Memory:
    """The same with rooms in place of its arrays, and one room where two are the same memory."""
    rooms: dict[int, Room] = {}

    def room(array: NDArray[Any]) -> Room:
        return rooms.setdefault(array.ctypes.data if array.size else id(array), Room(array.size, array.dtype.type))

    return Memory(*(room(part) if isinstance(part, np.ndarray) else part for part in memory))  # type: ignore[arg-type]


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
