"""The engine for the CPU: the compiled step (kernel.py) with the memory it needs. No torch."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.engines.base import Condition, as_frames, check_call, check_pairs, decoding_per_stream, n_cores
from wavegen.engines.cache import OncePer
from wavegen.engines.cpu import compiled, host
from wavegen.engines.cpu.arguments import DRAWN_BY, Call, in_memory
from wavegen.engines.cpu.layout import NOTHING, make_memory, pack_network, pad_halves
from wavegen.engines.cpu.packing import INPUT_STEPS, MAX_COST, REDUCED, UNASKED, Matrices, Precision
from wavegen.engines.weights import StackWeights
from wavegen.errors import InputError
from wavegen.features.frame_condition import Prediction
from wavegen.sampling import Decoding, Decodings

logger = logging.getLogger(__name__)

NO_PREDICTION = Prediction(NOTHING, NOTHING, NOTHING, NOTHING)
MAX_AHEAD = 8  # streams and steps, together, whose older taps are multiplied at once
_packed = OncePer()  # networks, of the weights that engines share
PRECISIONS: tuple[Precision, ...] = (*REDUCED, "float32")


class Snapshot(NamedTuple):
    """The state of all streams at one instant: the first six of `arguments.Memory`, with an axis for the streams."""

    ring: NDArray[Any]  # (rows, B, R)
    ring_scales: NDArray[np.float32]  # (rows, B)
    previous: NDArray[np.int64]  # (B,)
    past: NDArray[np.int32]  # (B, 4 N), as in the memory
    companded: NDArray[np.float32]  # (B, 4 N)
    clock: int


class NumbaEngine:
    """An engine (engines/base.py) that runs a WaveNet on one CPU core, or several streams on several.

    `precision`: float32; float16 or int8 for the weights; int8x8 for the weights and what they are multiplied
    with; int8x7 the same with inputs of 7 bits, as the page has them in browsers with relaxed SIMD.
    `n_threads`: at most so many cores, each with streams of its own; None takes all that the process may use.
    `is_guided`: the streams are pairs, with labels and without, for engines/guided.py.

    Streams share a clock, which says where in its rings each finds its past. One that waits while others go on has its
    rings turned when it makes its next step.

    Raises: InputError for a precision that this CPU has no instructions for, or if the step cannot be compiled.
    """

    can_wait = True

    def __init__(
        self,
        weights: StackWeights,
        n_streams: int = 1,
        precision: Precision = "float32",
        n_threads: int | None = None,
        is_guided: bool = False,
    ) -> None:
        if missing := missing_instructions(precision):
            raise InputError(f"precision {precision} needs {missing}, which this CPU ({host.CPU_NAME}) does not have")
        check_pairs(n_streams, is_guided)
        together = 2 if is_guided else 1  # streams that a core cannot do without each other
        n_groups = min(n_streams // together, n_threads or n_cores())
        self.n_streams = n_streams
        self._is_guided = is_guided
        self.precision: Precision = precision
        self._weights = weights
        group = host.streams_of_a_pass(together * -(-n_streams // together // n_groups))
        self._network = _packed.get(
            weights, (precision, group), lambda: pack_network(weights, precision, group, host.HOST)
        )
        self._memory = make_memory(self._network, n_streams, precision, max(1, MAX_AHEAD // group))
        self._tuples = (in_memory(self._network), in_memory(self._memory))
        self._tuples_at = tuple(each.ctypes.data for each in self._tuples)
        groups = np.array_split(np.arange(0, n_streams, together), n_groups)
        self._groups = [(int(group[0]), int(group[-1]) + together) for group in groups]
        self._pool = ThreadPoolExecutor(n_groups) if n_groups > 1 else None
        self._run_compiled = compiled.load("run")
        self._clocks = np.zeros(n_streams, dtype=np.int64)  # when each made its last step
        self.start()

    @property
    def n_bytes(self) -> int:
        """Memory of the packed weights and of all streams."""
        own = [part for name, part in self._memory._asdict().items() if name != "keys"]  # which lie in another array
        parts = [*self._network, *self._network.prediction, *own]
        matrices = (part for part in parts if isinstance(part, Matrices))
        packed = [*parts, *(array for each in matrices for array in each[:3])]
        return sum(array.nbytes for array in packed if isinstance(array, np.ndarray))

    def start(self, streams: Sequence[int] | None = None) -> None:
        chosen = slice(None) if streams is None else list(streams)
        ring, scales = self._rings()
        ring[:, chosen] = 0
        scales[:, chosen] = 0  # a byte of a ring means nothing while its scale is 0
        self._memory.previous[chosen] = -1
        for past in self._pasts():
            past[chosen] = 0
        self._clocks[chosen] = self._memory.clock[0]

    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decodings,
        codes: NDArray[np.int64] | None = None,
        condition: Condition | None = None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        each = decoding_per_stream(decoding, self.n_streams, self._weights.head, self._is_guided, DRAWN_BY)
        codes = np.full(uniforms.shape, -1) if codes is None else np.array(codes, dtype=np.int64, order="C")
        self._run(uniforms, each, codes, condition, logits, streams)
        return codes

    def logits(self, codes: NDArray[np.int64], condition: Condition | None = None) -> NDArray[np.floating]:
        n_parameters = self._network.n_parameters
        logits = np.empty((*codes.shape, n_parameters), dtype=np.float32)
        codes = np.array(codes, dtype=np.int64, order="C")
        self._run(np.zeros(codes.shape), [Decoding()] * self.n_streams, codes, condition, logits)
        return logits

    def snapshot(self) -> Snapshot:
        self._catch_up(range(self.n_streams))
        (ring, scales), (past, companded), memory = self._rings(), self._pasts(), self._memory
        copies = (ring.copy(), scales.copy(), memory.previous.copy(), past.copy(), companded.copy())
        return Snapshot(*copies, int(memory.clock[0]))

    def restore(self, state: Snapshot, streams: Sequence[int] | None = None) -> None:
        held: tuple[NDArray[Any], ...] = (*self._rings(), self._memory.previous, *self._pasts())
        kept: tuple[NDArray[Any], ...] = state[:-1]
        # Without a copy in between, which for a beam search is most of a step.
        for source, target, axis in zip(kept, held, (1, 1, 0, 0, 0), strict=True):
            if streams is None:
                np.copyto(target, source)
            else:
                np.take(source, streams, axis=axis, out=target, mode="clip")  # other modes make one
        self._memory.clock[0] = state.clock
        self._clocks[:] = state.clock

    def run_products(self, n: int) -> None:
        """Make only the products of n steps, from whatever lies in memory: for `wavegen bench`. The state is lost."""
        compiled.load("run_products")(*self._tuples_at, self.n_streams, n)

    def _rings(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Views (rows, B, R) and (rows, B)."""
        return (
            self._memory.ring.reshape(-1, self.n_streams, self._network.newest_tap.n_rows),
            self._memory.ring_scales.reshape(-1, self.n_streams),
        )

    def _pasts(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Views (B, 4 N) of what a network with a prediction remembers, empty for others."""
        memory, n = self._memory, self.n_streams
        return memory.past.reshape(n, -1), memory.companded.reshape(n, -1)

    def _run(
        self,
        uniforms: NDArray[np.float64],
        decoding: Sequence[Decoding],
        codes: NDArray[np.int64],
        condition: Condition | None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> None:
        """Move streams on, all by default; fills the codes that are -1, and the logits if they are wanted."""
        own = self._weights.prediction
        sizes = None if own is None else own.sizes
        check_call(self.n_streams, self._weights.n_classes, uniforms.shape, codes, condition, sizes)
        frames = as_frames(condition)
        values = NOTHING if frames is None else self._padded(frames.values)
        n = codes.shape[1]
        if logits is not None and (
            logits.size != codes.size * self._network.n_parameters or logits.dtype != np.float32
        ):
            raise InputError(f"room for logits is {logits.shape} of {logits.dtype}; expected float32 for every code")
        prediction = (
            NO_PREDICTION if frames is None or sizes is None or frames.prediction is None else frames.prediction
        )
        call = Call(
            n=n,
            uniforms=np.ascontiguousarray(uniforms, dtype=np.float64),
            decoding=np.array([one.numbers for one in decoding], dtype=np.float64),
            is_guided=self._is_guided,
            codes=codes,
            n_frames=0 if frames is None else values.shape[1],
            hop=1 if frames is None else frames.hop,
            phase=0 if frames is None else frames.phase,
            condition=values,
            coefficients=np.ascontiguousarray(prediction.coefficients, dtype=np.int32),
            gains=np.ascontiguousarray(prediction.gains, dtype=np.float32),
            periods=np.ascontiguousarray(prediction.periods, dtype=np.int32),
            voicing=np.ascontiguousarray(prediction.voicing, dtype=np.float32),
            wants_logits=logits is not None,
            logits=NOTHING if logits is None else logits,
        )
        call_in_memory = in_memory(call)

        def run(group: tuple[int, int], alive: Call = call) -> None:  # as long as it runs, so are the arrays
            self._run_compiled(*self._tuples_at, call_in_memory.ctypes.data, *group)

        moving = range(self.n_streams) if streams is None else sorted(streams)
        self._catch_up(moving)
        groups = self._groups if streams is None else self._groups_of(moving)
        if self._pool is None or len(groups) == 1:
            for group in groups:
                run(group)
        else:
            running = [self._pool.submit(run, group) for group in groups]
            try:
                for one in running:
                    one.result()
            except BaseException:  # Ctrl-C does not reach the threads, which still write where `call` says
                wait(running)
                raise
        self._memory.clock[0] += n
        self._clocks[moving] = self._memory.clock[0]

    def _groups_of(self, streams: Sequence[int]) -> list[tuple[int, int]]:
        """Streams that lie side by side and are of one group, from the first to before another."""
        groups: list[tuple[int, int]] = []
        begins = {begin for begin, _ in self._groups}
        for stream in streams:
            if groups and groups[-1][1] == stream and stream not in begins:
                groups[-1] = (groups[-1][0], stream + 1)
            else:
                groups.append((stream, stream + 1))
        return groups

    def _catch_up(self, streams: Sequence[int]) -> None:
        """Turn the rings of streams that have waited to where the clock is."""
        now = int(self._memory.clock[0])
        late = [stream for stream in streams if self._clocks[stream] != now]
        if not late:
            return
        ring, scales = self._rings()
        begins = [*map(int, self._network.first_rows), len(ring)]
        for stream in late:
            n = now - int(self._clocks[stream])
            for begin, end in pairwise(begins):
                for rows in (ring[begin:end, stream], scales[begin:end, stream]):
                    rows[:] = np.roll(rows, n, axis=0)
            for past in self._pasts():
                if past.size:
                    halves = past[stream].reshape(4, -1)
                    halves[:] = np.roll(halves, n, axis=1)
        self._clocks[late] = now

    def _padded(self, condition: NDArray[np.float32]) -> NDArray[np.float32]:
        """A condition with its filters and its gates padded to whole vectors each."""
        expected = self._weights.convolution_bias.shape
        if condition.shape[2:] != expected:
            raise InputError(f"condition has layers and channels {condition.shape[2:]}; expected {expected}")
        values = np.ascontiguousarray(condition, dtype=np.float32)
        if values.shape[-1] == self._network.newest_tap.n_columns:
            return values
        return pad_halves(values, self._weights.is_gated, values.ndim - 1, host.LANES)


def choose_precision(costs: Mapping[str, float]) -> Precision:
    """The fastest precision that this CPU has instructions for and that costs a model less than `MAX_COST`.

    `costs`: bits per sample that each costs the model, as measured; one that was not measured is not taken.
    """
    for precision in UNASKED:
        if costs.get(precision, np.inf) < MAX_COST and missing_instructions(precision) is None:
            return precision
    return "float32"


def missing_instructions(precision: Precision) -> str | None:
    """What a CPU would need for a precision and does not have; None if it has everything."""
    if precision in INPUT_STEPS and not host.can_multiply_bytes():
        return "instructions that multiply bytes (AVX-512 VNNI or AVX-VNNI)"
    if precision == "float16" and not host.HOST.reads_float16:
        return "instructions that read float16 (F16C)"
    return None
