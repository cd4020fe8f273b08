"""The reference with its step recorded once on a GPU, for cards where Triton is missing. To be asked for by name.

A step of the reference is hundreds of small kernels, and Python takes longer to start each than the GPU to run it. A
CUDA graph starts all of them at once. Whatever a step reads and writes then has to lie where it lay when it was
recorded; draws stay on the host, as the reference's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.engines.base import Condition
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition
from wavegen.models.base import Model, tensors_of
from wavegen.nn.gated import interpolated

WARM_UPS = 3  # steps before recording, in which libraries take the memory that they keep

Step = Callable[[], None]


def record(step: Step) -> Step:
    """Record what a step does on the GPU; what is returned does it again, without Python in between.

    The step is made `WARM_UPS` times first, so it must be one that can be undone.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Step = graph.replay
    return replay


class CudaGraphEngine(ReferenceEngine):
    """The reference engine, its steps replayed. `recorder` turns a step into what repeats it."""

    def __init__(
        self, model: Model, n_streams: int = 1, recorder: Callable[[Step], Step] = record, is_guided: bool = False
    ) -> None:
        self._kept: Any = None
        super().__init__(model, n_streams, is_guided)
        self._recorder = recorder
        self._codes = torch.zeros((n_streams, 1), dtype=torch.int64, device=self._device)
        self._condition: Tensor | None = None
        self._logits = torch.empty(0)
        self._replay: Step | None = None

    @property
    def _state(self) -> Any:
        return self._kept

    @_state.setter
    def _state(self, state: Any) -> None:
        """Put a state where recorded steps find it."""
        if self._kept is None:
            self._kept = state
            return
        for kept, new in zip(tensors_of(self._kept), tensors_of(state), strict=True):
            if new is not kept:
                kept.copy_(new)

    def _run(self, codes: NDArray[np.int64], condition: Condition | None) -> NDArray[np.floating]:
        if codes.shape[1] != 1:
            return super()._run(codes, condition)
        values = self._moved(condition)
        if isinstance(values, FrameCondition):
            values = interpolated(values, 1)
        if self._replay is None or (values is None) != (self._condition is None):
            self._condition = None if values is None else values.clone()
            self._replay = self._recorded()
        elif values is not None and self._condition is not None:
            if values.shape != self._condition.shape:
                raise InputError(f"condition is {tuple(values.shape)}; expected {tuple(self._condition.shape)}")
            self._condition.copy_(values)
        self._codes.copy_(torch.from_numpy(np.ascontiguousarray(codes)))
        self._replay()
        result: NDArray[np.floating] = self._logits.cpu().numpy()
        return result

    def _recorded(self) -> Step:
        before = self.snapshot()

        def step() -> None:
            logits, state = self._model(self._codes, self._state, self._condition)
            self._state = state
            self._logits = logits

        replay = self._recorder(step)
        self._state = before  # recording moved it on
        return replay
