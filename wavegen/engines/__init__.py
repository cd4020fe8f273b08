"""Engines: the same network, run in different ways. All make the same codes from the same draws.

A new engine is a new file and one line in `ENGINES`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import Architecture
from wavegen.checkpoint import Checkpoint
from wavegen.engines.base import Engine, VerticalStack, n_cores
from wavegen.engines.cache import OncePer
from wavegen.engines.cpu.packing import MAX_COST, Precision
from wavegen.engines.guided import GuidedEngine
from wavegen.engines.memory import check_memory, n_in_memory
from wavegen.engines.options import EngineOptions
from wavegen.engines.weights import why_not
from wavegen.errors import InputError

if TYPE_CHECKING:
    from wavegen.engines.weights import StackWeights, VerticalWeights
    from wavegen.models.build import Model

LabelCondition = NDArray[np.float32] | None

_of_checkpoints = OncePer()  # weights as engines read them, of each model file in memory


def _stack_weights(checkpoint: Checkpoint) -> "StackWeights":
    from wavegen.engines.weights import stack_weights

    return _of_checkpoints.get(checkpoint, "stack", lambda: stack_weights(checkpoint))


def _vertical_weights(checkpoint: Checkpoint) -> "VerticalWeights":
    from wavegen.engines.weights import vertical_weights

    return _of_checkpoints.get(checkpoint, "vertical stack", lambda: vertical_weights(checkpoint))


def _network(checkpoint: Checkpoint, device: str) -> "Model":
    import torch

    from wavegen.devices import choose_device
    from wavegen.models.build import from_checkpoint

    where = choose_device(device)
    key = ("torch", where, torch.get_default_dtype())
    return _of_checkpoints.get(checkpoint, key, lambda: from_checkpoint(checkpoint).to(where))


def _numba(checkpoint: Checkpoint, n_streams: int, options: EngineOptions, is_guided: bool) -> tuple[str, Engine]:
    from wavegen.engines.cpu.engine import NumbaEngine, choose_precision

    costs = checkpoint.description.precision_costs
    chosen = choose_precision(costs) if options.precision == "auto" else cast(Precision, options.precision)
    return chosen, NumbaEngine(_stack_weights(checkpoint), n_streams, chosen, options.n_threads, is_guided)


def _triton(checkpoint: Checkpoint, n_streams: int, options: EngineOptions, is_guided: bool) -> tuple[str, Engine]:
    try:
        from wavegen.engines.gpu.triton_gpu import TritonEngine
    except ImportError as error:
        raise InputError(
            f"the engine triton needs Triton ({error}): pip install triton, or take the engine cuda-graph"
        ) from error
    precision = options.precision
    if precision == "auto":
        precision = "float16" if checkpoint.description.precision_costs.get("float16", 1) < MAX_COST else "float32"
    return precision, TritonEngine(_stack_weights(checkpoint), n_streams, precision, is_guided)


def _cuda_graph(checkpoint: Checkpoint, n_streams: int, options: EngineOptions, is_guided: bool) -> tuple[str, Engine]:
    import torch

    from wavegen.engines.gpu.cuda_graph import CudaGraphEngine

    if not torch.cuda.is_available():
        raise InputError("the engine cuda-graph runs on a GPU, and torch finds none; leave it out to take the CPU's")
    return "float32", CudaGraphEngine(_network(checkpoint, "cuda"), n_streams, is_guided=is_guided)


def _reference(checkpoint: Checkpoint, n_streams: int, options: EngineOptions, is_guided: bool) -> tuple[str, Engine]:
    from wavegen.engines.reference import ReferenceEngine

    return "float32", ReferenceEngine(_network(checkpoint, options.device), n_streams, is_guided)


def _onnx(checkpoint: Checkpoint, n_streams: int, options: EngineOptions, is_guided: bool) -> tuple[str, Engine]:
    from wavegen.engines.onnx import OnnxEngine

    return "float32", OnnxEngine(_stack_weights(checkpoint), n_streams, is_guided)


def _onnx_vertical_stack(
    checkpoint: Checkpoint, n_streams: int, device: str, condition: LabelCondition
) -> VerticalStack:
    from wavegen.engines.onnx import OnnxVerticalStack

    return OnnxVerticalStack(_vertical_weights(checkpoint), n_streams, condition)


def _numpy_vertical_stack(
    checkpoint: Checkpoint, n_streams: int, device: str, condition: LabelCondition
) -> VerticalStack:
    from wavegen.engines.cpu.vertical_stack import NumpyVerticalStack

    return NumpyVerticalStack(_vertical_weights(checkpoint), n_streams, condition)


def _reference_vertical_stack(
    checkpoint: Checkpoint, n_streams: int, device: str, condition: LabelCondition
) -> VerticalStack:
    from wavegen.engines.reference import ReferenceVerticalStack
    from wavegen.models.base import ImageModel

    model = _network(checkpoint, device)
    assert isinstance(model, ImageModel)  # the image session has seen to it
    return ReferenceVerticalStack(model, n_streams, condition)


class Maker(NamedTuple):
    """How an engine is made, what goes with it for the rows above those of an image, and how many sounds it is given
    at once where many are wanted: streams that share each weight that is read. More would take more memory, and guided
    ones take twice. `has_threads`: whether it heeds `EngineOptions.n_threads`."""

    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    has_threads: bool
    make: Callable[[Checkpoint, int, EngineOptions, bool], tuple[str, Engine]]
    make_vertical_stack: Callable[[Checkpoint, int, str, LabelCondition], VerticalStack]
    n_at_once: Callable[[], int]
    why_not: Callable[[Architecture], str | None] = lambda architecture: None  # why it cannot run a network, if so


# Each imports what it needs when it is chosen, and not before.
ENGINES = {
    "triton": Maker(
        ("cuda",), ("float32", "float16", "bfloat16"), False, _triton, _reference_vertical_stack, lambda: 2048, why_not
    ),
    "cuda-graph": Maker(("cuda",), ("float32",), False, _cuda_graph, _reference_vertical_stack, lambda: 256),
    "numba": Maker(("cpu",), get_args(Precision), True, _numba, _numpy_vertical_stack, lambda: 8 * n_cores(), why_not),
    "onnx": Maker(("cpu",), ("float32",), False, _onnx, _onnx_vertical_stack, lambda: 64, why_not),
    "reference": Maker(("cpu", "cuda"), ("float32",), False, _reference, _reference_vertical_stack, lambda: 256),
}


def most_at_once(checkpoint: Checkpoint, options: EngineOptions) -> int:
    """How many sounds of a model an engine is to make at once, at most; guided ones find memory too.

    Raises: as `make_engine`.
    """
    name = _name(options, checkpoint)
    return min(ENGINES[name].n_at_once(), n_in_memory(checkpoint, 2, _device(name, options)))


def n_at_once(checkpoint: Checkpoint, options: EngineOptions, n_sounds: int) -> int:
    """How many of some sounds an engine is to make at once: about equally many each time.

    Raises: as `make_engine`.
    """
    n_times = max(1, math.ceil(n_sounds / most_at_once(checkpoint, options)))
    return max(1, math.ceil(n_sounds / n_times))


def on_one_core(checkpoint: Checkpoint, options: EngineOptions) -> EngineOptions:
    """The same options with one thread, of an engine that chooses its threads.

    Raises: InputError for an unknown name or device, or an engine that cannot run the model.
    """
    return replace(options, n_threads=1) if ENGINES[_name(options, checkpoint)].has_threads else options


def takes_gpu(checkpoint: Checkpoint, options: EngineOptions) -> bool:
    """Whether the engine runs on a GPU.

    Raises: as `on_one_core`.
    """
    return _device(_name(options, checkpoint), options) == "cuda"


def _device(name: str, options: EngineOptions) -> str:
    """Where an engine has its memory."""
    return "cuda" if "cuda" in (options.device, ENGINES[name].devices[0]) else "cpu"


def make_engine(
    checkpoint: Checkpoint, n_streams: int = 1, options: EngineOptions | None = None, is_guided: bool = False
) -> tuple[str, Engine]:
    """Build an engine; returns a title for people as well.

    Of a PixelCNN it makes the rows; `make_vertical_stack` makes what they are conditioned on. Engines of one model in
    memory share their weights, which are laid out for each precision once in a process.

    One that `is_guided` heeds a decoding's guidance; it takes twice the work, and conditions for two streams each
    (guided.py).

    Raises: InputError for an unknown name or device, what the engine cannot do (a device, a precision, threads), or
        more streams than there is memory for.
    """
    options = options or EngineOptions()
    name = _name(options, checkpoint)
    maker = ENGINES[name]
    if options.device not in ("auto", *maker.devices):
        where = "a GPU" if maker.devices == ("cuda",) else "the CPU"
        raise InputError(
            f"the engine {name} runs on {where}, and device {options.device} is wanted; leave out one of the two"
        )
    if options.precision not in ("auto", *maker.precisions):
        raise InputError(
            f"the engine {name} has no precision {options.precision!r}; expected auto, {', '.join(maker.precisions)}"
        )
    if options.n_threads is not None and not maker.has_threads:
        raise InputError(f"the engine {name} does not choose its threads, and n_threads is {options.n_threads}")
    if options.n_threads is not None and options.n_threads < 1:
        raise InputError(f"n_threads is {options.n_threads}; expected 1 or more")
    check_memory(checkpoint, n_streams, 2 if is_guided else 1, _device(name, options))
    chosen, engine = maker.make(checkpoint, 2 * n_streams if is_guided else n_streams, options, is_guided)
    return f"{name} in {chosen}", GuidedEngine(engine) if is_guided else engine


def make_vertical_stack(
    checkpoint: Checkpoint, n_streams: int, options: EngineOptions, condition: LabelCondition
) -> VerticalStack:
    """What goes with an engine for images; `condition` (generation/conditioning.py) is that of their labels.

    Raises: as `make_engine`.
    """
    return ENGINES[_name(options, checkpoint)].make_vertical_stack(checkpoint, n_streams, options.device, condition)


def _name(options: EngineOptions, checkpoint: Checkpoint | None = None) -> str:
    """The engine that options name; of "auto" the fastest one that can run a model."""
    name = options.name
    if options.device not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {options.device!r}; expected auto, cpu or cuda")
    if name not in ("auto", *ENGINES):
        raise InputError(f"unknown engine {name!r}; this wavegen has auto, {', '.join(ENGINES)}")
    if name == "auto":  # what was not seen on a card yet is to be asked for
        fastest = "reference" if options.device == "cuda" else "numba"
        return "reference" if checkpoint is not None and _reason(fastest, checkpoint) is not None else fastest
    if checkpoint is not None and (reason := _reason(name, checkpoint)) is not None:
        raise InputError(f"the engine {name} cannot run this model: {reason}; leave it out to take the reference")
    return name


def _reason(name: str, checkpoint: Checkpoint) -> str | None:
    """Why an engine cannot run a model; None where it can."""
    return ENGINES[name].why_not(checkpoint.description.architecture)
