"""The module that pages play models with, run by wasmtime: what a browser does, without one."""

from functools import cache

import numpy as np
import pytest

from wavegen.export.web import PLAYERS


class WasmPlayer:
    """A model in one of the modules."""

    def __init__(self, file: bytes, seed: int = 0, target: str = "wasm32") -> None:
        wasmtime = pytest.importorskip("wasmtime")
        engine, module = _module(target)
        self._store = wasmtime.Store(engine)
        instance = wasmtime.Instance(self._store, module, [])
        self._exports = instance.exports(self._store)
        self._memory = self._exports["memory"]
        at = -(-self._exports["__heap_base"].value(self._store) // 64) * 64
        self._put(at, file)
        self.room_size = self._call("room", at, len(file))
        if self.room_size < 0:
            return
        self._room = at + -(-len(file) // 64) * 64
        self._out = self._room + -(-self.room_size // 64) * 64
        self._put(self._out, bytes(4 * 65536))
        self._call("start", at, self._room, seed)

    def restart(self, seed: int, number: int = 0) -> None:
        self._call("restart", self._room, seed, number)

    def change(self, option: int, value: float) -> bool:
        return self._call("change", self._room, option, float(value)) == 1

    def make(self, n: int) -> np.ndarray:
        self._call("make", self._room, self._out, n)
        made = self._memory.read(self._store, self._out, self._out + 4 * n)
        return np.frombuffer(bytes(made), dtype=np.float32)

    @property
    def bits(self) -> float:
        return self._call("bits", self._room)

    def give(self, values: np.ndarray) -> bool:
        self._put(self._out, values.astype(np.float32).tobytes())
        return self._call("give", self._room, self._out, values.size) == 1

    def _call(self, name: str, *given: float) -> int:
        return self._exports[f"wavegen_{name}"](self._store, *given)

    def _put(self, at: int, data: bytes) -> None:
        missing = at + len(data) - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // 65536))
        self._memory.write(self._store, data, at)


@cache
def _module(target: str) -> tuple:
    import wasmtime

    engine = wasmtime.Engine()
    return engine, wasmtime.Module(engine, PLAYERS[target].read_bytes())
