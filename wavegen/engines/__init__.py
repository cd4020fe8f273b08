"""Engines: the same network, run in different ways. All make the same codes from the same draws.

A new engine is a new file and one line in `ENGINES`.
"""

from collections.abc import Callable

from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Engine
from wavegen.errors import InputError


def _reference(checkpoint: Checkpoint, n_streams: int, device: str) -> Engine:
    from wavegen.devices import choose_device
    from wavegen.engines.reference import ReferenceEngine
    from wavegen.models.build import from_checkpoint

    return ReferenceEngine(from_checkpoint(checkpoint).to(choose_device(device)), n_streams)


# Fastest first: "auto" takes the first. Each line imports what it needs when it is chosen, and not before.
ENGINES: dict[str, Callable[[Checkpoint, int, str], Engine]] = {"reference": _reference}


def make_engine(name: str, checkpoint: Checkpoint, n_streams: int = 1, device: str = "auto") -> tuple[str, Engine]:
    """Build an engine by name, or the fastest for "auto"; returns the name it has.

    Raises: InputError for an unknown name.
    """
    if name == "auto":
        name = next(iter(ENGINES))
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}; this wavegen has auto, {', '.join(ENGINES)}")
    return name, ENGINES[name](checkpoint, n_streams, device)
