"""The player compiled for a machine, and players that run here: without the interpreter and its lock."""

import ctypes
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wavegen import files
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu import compiled
from wavegen.engines.cpu.ahead_of_time import TARGETS, compiled_for
from wavegen.engines.cpu.packing import Precision
from wavegen.errors import InputError
from wavegen.player import player_file
from wavegen.player.player_file import ALIGNED
from wavegen.progress import bar

FUNCTIONS = "wavegen.player.entry:FUNCTIONS"
NAMES = (  # of `entry.FUNCTIONS`, whose import would import numba
    "wavegen_room",
    "wavegen_start",
    "wavegen_restart",
    "wavegen_change",
    "wavegen_give",
    "wavegen_bits",
    "wavegen_make",
    "wavegen_make_each",
)
SOURCES = {  # that compiled code depends on
    "engines/cpu": (*compiled.SOURCES, "philox"),
    "player": ("entry", "matching", "model", "networks", "plan", "player_file", "rows", "stream"),
    "features": ("frame_codes", "linear_prediction", "log_mel", "matching", "pitch"),
    "generation": ("planning",),
    ".": ("sampling",),
}
INTEGER, NUMBER = ctypes.c_int64, ctypes.c_double


class Program:
    """A model as the players of this machine read it, who share it. What is compiled is kept; the first time takes a
    minute.

    Raises: InputError for a model that no player plays, or if it cannot be compiled.
    """

    def __init__(self, model: Checkpoint, precision: Precision) -> None:
        data = player_file.encode(model, precision, TARGETS["native"].unit, is_small=False)
        file = np.frombuffer(data, dtype=np.uint8)
        description = player_file.description_of(model, precision)
        self.labels, self.sample_rate = description["labels"], description["sample_rate"]
        self.can_be_guided: bool = description["can_be_guided"]
        self.functions = _functions()
        self._file = _aligned_memory(len(file))
        self._file[:] = file
        self.address = self._file.ctypes.data
        self.n_room: int = self.functions["wavegen_room"](self.address, len(file))
        if self.n_room < 0:
            raise InputError(f"{model.path} cannot be played: its player file is found bad ({self.n_room})")


class NativePlayer:
    """One sound of a program, made by compiled code alone: what `LoadedModel.generate` makes of the same seed
    (docs/export.md, Sameness). Several threads may each run players of their own at once."""

    def __init__(self, program: Program, seed: int = 0) -> None:
        self._program, self.functions, self.sample_rate = program, program.functions, program.sample_rate
        self._room = _aligned_memory(program.n_room)
        self.address = self._room.ctypes.data
        self.functions["wavegen_start"](program.address, self.address, seed)

    def restart(self, seed: int, number: int = 0) -> None:
        """Go back to the beginning of time; the sounds of a seed have numbers. Options and labels stay."""
        self.functions["wavegen_restart"](self.address, seed, number)

    def change(self, option: str, value: float | None) -> None:
        """Change one of `stream.OPTIONS` for what is not made yet.

        Raises: InputError for one that the model does not have, or a value that it does not take.
        """
        self._change(player_file.OPTIONS.index(option), np.nan if value is None else value, f"{option} {value}")

    def set_label(self, label: str, value: str | None) -> None:
        """Set a label to one of the model's values, or to unknown.

        Raises: InputError for one that it does not know.
        """
        known = self._program.labels
        if label not in known or (value is not None and value not in known[label]):
            raise InputError(f"label {label} {value} is not known; expected one of {known}")
        row = len(known[label]) if value is None else known[label].index(value)
        self._change(len(player_file.OPTIONS) + list(known).index(label), row, f"label {label} {value}")

    def make(self, n: int) -> NDArray[np.float32]:
        """The next n samples (n,)."""
        return make_each([self], n)[0]

    def _change(self, what: int, value: float, words: str) -> None:
        if not self.functions["wavegen_change"](self.address, what, value):
            raise InputError(f"this model takes no {words}")


def make_each(players: Sequence[NativePlayer], n: int) -> NDArray[np.float32]:
    """The next n samples of each player, (players, n): all in one call, between which no other thread has to be waited
    for."""
    rooms = np.array([player.address for player in players], dtype=np.int64)
    samples = np.empty((len(players), n), dtype=np.float32)
    if len(players):
        players[0].functions["wavegen_make_each"](rooms.ctypes.data, samples.ctypes.data, n, len(players))
    return samples


def object_for(machine: str) -> bytes:
    """The object file of the player for a machine of `TARGETS`, which is compiled if it was not before.

    Raises: InputError if it cannot be.
    """
    digest = hashlib.sha256(f"{compiled.folder()} {digest_of_sources().hex()}".encode())
    path = files.user_cache() / f"players-{digest.hexdigest()[:12]}" / f"{machine}.o"

    def make() -> bytes:
        with bar("Compiling", 0):
            return compiled_for(machine, FUNCTIONS)

    return compiled.kept(path, make, f"for {machine}", "about a minute")


def digest_of_sources() -> bytes:
    """The SHA-256 of the sources that compiled code depends on: 32 bytes."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for folder, names in SOURCES.items():
        for name in names:
            digest.update((package / folder / f"{name}.py").read_bytes())
    return digest.digest()


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    """The functions of `entry.py`, by name."""
    kinds: dict[str, tuple[Any, ...]] = {  # of what each returns, and takes
        "wavegen_room": (INTEGER, INTEGER, INTEGER),
        "wavegen_start": (None, INTEGER, INTEGER, INTEGER),
        "wavegen_restart": (None, INTEGER, INTEGER, INTEGER),
        "wavegen_change": (INTEGER, INTEGER, INTEGER, NUMBER),
        "wavegen_make_each": (None, INTEGER, INTEGER, INTEGER, INTEGER),
    }
    return {name: ctypes.CFUNCTYPE(*kind)(_linked().get_function_address(name)) for name, kind in kinds.items()}


@functools.cache
def _linked() -> Any:
    """The object in memory, which the functions lie in as long as this does."""
    return compiled.link(object_for("native"))


def _aligned_memory(n: int) -> NDArray[np.uint8]:
    """n bytes of memory that begin where players want it."""
    memory = np.zeros(n + ALIGNED, dtype=np.uint8)
    offset = -memory.ctypes.data % ALIGNED
    return memory[offset : offset + n]
