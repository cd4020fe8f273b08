"""Engines: the same network, run in different ways. All make the same codes from the same draws.

A new engine is a new file and one line in `ENGINES`.
"""

from collections.abc import Callable
from typing import get_args

from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Engine
from wavegen.engines.packing import Precision
from wavegen.errors import InputError


def _numba(checkpoint: Checkpoint, n_streams: int, device: str, precision: str) -> tuple[str, Engine]:
    from wavegen.engines.numba_cpu import NumbaEngine, choose_precision
    from wavegen.engines.weights import stack_weights

    if device == "cuda":
        raise InputError("the engine numba runs on the CPU, and device cuda is wanted; leave out one of the two")
    for known in get_args(Precision):
        if precision == known:
            return precision, NumbaEngine(stack_weights(checkpoint), n_streams, known)
    if precision != "auto":
        raise InputError(f"unknown precision {precision!r}; expected auto, {', '.join(get_args(Precision))}")
    chosen = choose_precision(checkpoint.description.precision_costs)
    return chosen, NumbaEngine(stack_weights(checkpoint), n_streams, chosen)


def _reference(checkpoint: Checkpoint, n_streams: int, device: str, precision: str) -> tuple[str, Engine]:
    from wavegen.devices import choose_device
    from wavegen.engines.reference import ReferenceEngine
    from wavegen.models.build import from_checkpoint

    if precision not in ("auto", "float32"):
        raise InputError(f"the engine reference computes in float32, and precision {precision} is wanted")
    return "float32", ReferenceEngine(from_checkpoint(checkpoint).to(choose_device(device)), n_streams)


# Fastest first. Each imports what it needs when it is chosen, and not before.
ENGINES: dict[str, Callable[[Checkpoint, int, str, str], tuple[str, Engine]]] = {
    "numba": _numba,
    "reference": _reference,
}


def make_engine(
    name: str, checkpoint: Checkpoint, n_streams: int = 1, device: str = "auto", precision: str = "auto"
) -> tuple[str, Engine]:
    """Build an engine by name, or the fastest that runs on the device for "auto"; returns a title for people as well.

    `precision`: see numba_cpu.NumbaEngine; "auto" is the fastest that was measured to cost the model next to nothing.

    Raises: InputError for an unknown name or device, or a name that does not go with the device or the precision.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {device!r}; expected auto, cpu or cuda")
    if name == "auto":
        name = "reference" if device == "cuda" else "numba"
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}; this wavegen has auto, {', '.join(ENGINES)}")
    chosen, engine = ENGINES[name](checkpoint, n_streams, device, precision)
    return f"{name} in {chosen}", engine
