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
from wavegen.models.base import Condition as ModelCondition
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
        self._condition: ModelCondition | None = None
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
        now = self._at_step(condition)
        if self._replay is None or (now is None) != (self._condition is None):
            self._condition = None if now is None else _copy(now)
            self._replay = self._recorded()
        else:
            for kept, new in zip(condition_tensors(self._condition), condition_tensors(now), strict=True):
                if new.shape != kept.shape:
                    raise InputError(f"condition is {tuple(new.shape)}; expected {tuple(kept.shape)}")
                kept.copy_(new)
        self._codes.copy_(torch.from_numpy(np.ascontiguousarray(codes)))
        self._replay()
        result: NDArray[np.floating] = self._logits.cpu().numpy()
        return result

    def _at_step(self, condition: Condition | None) -> ModelCondition | None:
        """A condition as a recorded step takes it: as the model does, but frames as the one of that step."""
        moved = self._moved(condition)
        if not isinstance(moved, FrameCondition):
            return moved
        values = interpolated(moved, 1)
        if moved.prediction is None:
            return values
        frame, within = divmod(moved.phase, moved.hop)
        prediction = moved.prediction.map(lambda array: array[:, frame : frame + 1])
        prediction = prediction._replace(periods=prediction.periods[..., within : within + 1])
        return FrameCondition(values, hop=1, prediction=prediction)

    def _recorded(self) -> Step:
        before = self.snapshot()

        def step() -> None:
            logits, state = self._model(self._codes, self._state, self._condition)
            self._state = state
            self._logits = logits

        replay = self._recorder(step)
        self._state = before  # recording moved it on
        return replay


def condition_tensors(condition: ModelCondition | None) -> list[Tensor]:
    """All tensors of what conditions a recorded step."""
    if not isinstance(condition, FrameCondition):
        return [] if condition is None else [condition]
    return [condition.values, *(condition.prediction or ())]


def _copy(condition: ModelCondition) -> ModelCondition:
    return condition.map(Tensor.clone) if isinstance(condition, FrameCondition) else condition.clone()
