"""Engines: the same network, run in different ways. All make the same codes from the same draws.

A new engine is a new file and one line in `ENGINES`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import Architecture
from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Above, Engine, n_cores
from wavegen.engines.cpu.packing import MAX_COST, Precision
from wavegen.engines.guided import GuidedEngine
from wavegen.engines.weights import why_not
from wavegen.errors import InputError

LabelCondition = NDArray[np.float32] | None


def _numba(
    checkpoint: Checkpoint, n_streams: int, device: str, precision: str, n_threads: int | None, is_guided: bool
) -> tuple[str, Engine]:
    from wavegen.engines.cpu.engine import NumbaEngine, choose_precision
    from wavegen.engines.weights import stack_weights

    costs = checkpoint.description.precision_costs
    chosen = choose_precision(costs) if precision == "auto" else cast(Precision, precision)
    return chosen, NumbaEngine(stack_weights(checkpoint), n_streams, chosen, n_threads, is_guided)


def _triton(
    checkpoint: Checkpoint, n_streams: int, device: str, precision: str, n_threads: int | None, is_guided: bool
) -> tuple[str, Engine]:
    from wavegen.engines.weights import stack_weights

    try:
        from wavegen.engines.gpu.triton_gpu import TritonEngine
    except ImportError as error:
        raise InputError(
            f"the engine triton needs Triton ({error}): pip install triton, or take the engine cuda-graph"
        ) from error
    if precision == "auto":
        precision = "float16" if checkpoint.description.precision_costs.get("float16", 1) < MAX_COST else "float32"
    return precision, TritonEngine(stack_weights(checkpoint), n_streams, precision, is_guided)


def _cuda_graph(
    checkpoint: Checkpoint, n_streams: int, device: str, precision: str, n_threads: int | None, is_guided: bool
) -> tuple[str, Engine]:
    import torch

    from wavegen.engines.gpu.cuda_graph import CudaGraphEngine
    from wavegen.models.build import from_checkpoint

    if not torch.cuda.is_available():
        raise InputError("the engine cuda-graph runs on a GPU, and torch finds none; leave it out to take the CPU's")
    return "float32", CudaGraphEngine(
        from_checkpoint(checkpoint).to(torch.device("cuda")), n_streams, is_guided=is_guided
    )


def _reference(
    checkpoint: Checkpoint, n_streams: int, device: str, precision: str, n_threads: int | None, is_guided: bool
) -> tuple[str, Engine]:
    from wavegen.devices import choose_device
    from wavegen.engines.reference import ReferenceEngine
    from wavegen.models.build import from_checkpoint

    return "float32", ReferenceEngine(from_checkpoint(checkpoint).to(choose_device(device)), n_streams, is_guided)


def _numpy_vertical_stack(checkpoint: Checkpoint, n_streams: int, device: str, condition: LabelCondition) -> Above:
    from wavegen.engines.cpu.vertical_stack import NumpyVerticalStack
    from wavegen.engines.weights import vertical_weights

    return NumpyVerticalStack(vertical_weights(checkpoint), n_streams, condition)


def _reference_vertical_stack(checkpoint: Checkpoint, n_streams: int, device: str, condition: LabelCondition) -> Above:
    from wavegen.devices import choose_device
    from wavegen.engines.reference import ReferenceVerticalStack
    from wavegen.models.base import ImageModel
    from wavegen.models.build import from_checkpoint

    model = from_checkpoint(checkpoint)
    assert isinstance(model, ImageModel)  # the image session has seen to it
    return ReferenceVerticalStack(model.to(choose_device(device)), n_streams, condition)


class Maker(NamedTuple):
    """How an engine is made, what goes with it for the rows above those of an image, and how many sounds it is given
    at once where many are wanted: streams that share each weight that is read. More would take more memory, and guided
    ones take twice."""

    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    make: Callable[[Checkpoint, int, str, str, int | None, bool], tuple[str, Engine]]
    make_vertical_stack: Callable[[Checkpoint, int, str, LabelCondition], Above]
    n_at_once: Callable[[], int]
    why_not: Callable[[Architecture], str | None] = lambda architecture: None  # why it cannot run a network, if so


# Each imports what it needs when it is chosen, and not before.
ENGINES = {
    "triton": Maker(
        ("cuda",), ("float32", "float16", "bfloat16"), _triton, _reference_vertical_stack, lambda: 2048, why_not
    ),
    "cuda-graph": Maker(("cuda",), ("float32",), _cuda_graph, _reference_vertical_stack, lambda: 256),
    "numba": Maker(("cpu",), get_args(Precision), _numba, _numpy_vertical_stack, lambda: 8 * n_cores(), why_not),
    "reference": Maker(("cpu", "cuda"), ("float32",), _reference, _reference_vertical_stack, lambda: 256),
}


def n_at_once(name: str, device: str, n_sounds: int) -> int:
    """How many of some sounds an engine is to make at once: about equally many each time.

    Raises: as `make_engine`.
    """
    n_times = max(1, math.ceil(n_sounds / ENGINES[_chosen(name, device)].n_at_once()))
    return max(1, math.ceil(n_sounds / n_times))


def make_engine(
    name: str,
    checkpoint: Checkpoint,
    n_streams: int = 1,
    device: str = "auto",
    precision: str = "auto",
    n_threads: int | None = None,
    is_guided: bool = False,
) -> tuple[str, Engine]:
    """Build an engine by name; returns a title for people as well. "auto" is numba, and reference for
    device cuda and for a model that numba cannot run.

    Of a PixelCNN it makes the rows; `make_vertical_stack` makes what they are conditioned on.

    `precision` and `n_threads` of the CPU engine: see numba_cpu.NumbaEngine; `precision` of the GPU's:
    triton_gpu.TritonEngine; the other two compute in float32. Precision "auto" is the fastest that was measured to cost
    the model next to nothing, unguided. One that `is_guided` heeds a decoding's guidance; it takes twice the work,
    and conditions for two streams each (guided.py).

    Raises: InputError for an unknown name or device, or a name that does not go with the device or the precision.
    """
    name = _chosen(name, device, checkpoint)
    maker = ENGINES[name]
    if device not in ("auto", *maker.devices):
        where = "a GPU" if maker.devices == ("cuda",) else "the CPU"
        raise InputError(f"the engine {name} runs on {where}, and device {device} is wanted; leave out one of the two")
    if precision not in ("auto", *maker.precisions):
        raise InputError(
            f"the engine {name} has no precision {precision!r}; expected auto, {', '.join(maker.precisions)}"
        )
    chosen, engine = maker.make(
        checkpoint, 2 * n_streams if is_guided else n_streams, device, precision, n_threads, is_guided
    )
    return f"{name} in {chosen}", GuidedEngine(engine) if is_guided else engine


def make_vertical_stack(
    name: str, checkpoint: Checkpoint, n_streams: int, device: str, condition: LabelCondition
) -> Above:
    """What goes with an engine of that name for images; `condition` (conditioning.py) is that of their labels.

    Raises: as `make_engine`.
    """
    return ENGINES[_chosen(name, device, checkpoint)].make_vertical_stack(checkpoint, n_streams, device, condition)


def _chosen(name: str, device: str, checkpoint: Checkpoint | None = None) -> str:
    """The engine that a name stands for, and that can run a model."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {device!r}; expected auto, cpu or cuda")
    if name not in ("auto", *ENGINES):
        raise InputError(f"unknown engine {name!r}; this wavegen has auto, {', '.join(ENGINES)}")
    if name == "auto":  # what was not seen on a card yet is to be asked for
        fastest = "reference" if device == "cuda" else "numba"
        return "reference" if checkpoint is not None and _reason(fastest, checkpoint) is not None else fastest
    if checkpoint is not None and (reason := _reason(name, checkpoint)) is not None:
        raise InputError(f"the engine {name} cannot run this model: {reason}; leave it out to take the reference")
    return name


def _reason(name: str, checkpoint: Checkpoint) -> str | None:
    """Why an engine cannot run a model; None where it can."""
    return ENGINES[name].why_not(checkpoint.description.architecture)
