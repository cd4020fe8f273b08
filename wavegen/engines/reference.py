"""The models themselves, stepped: the definition that every other engine is compared with. Any torch device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.engines.base import Condition, check_call, check_pairs, decoding_per_stream, decodings_at_step
from wavegen.features.frame_condition import FrameCondition
from wavegen.models.base import ImageModel, Model, map_state, tensors_of
from wavegen.sampling import Decodings, guide

CHUNK = 4096  # steps of given codes that run at once


class ReferenceEngine:
    """An engine (engines/base.py) that runs a torch model one step at a time.

    Codes that are given for every stream need no draws, so a priming recording runs in long chunks. `is_guided`: the
    streams are pairs, with labels and without, for guided.py.
    """

    can_wait = True

    def __init__(self, model: Model, n_streams: int = 1, is_guided: bool = False) -> None:
        self._model = model.stepped.eval()
        self.n_streams = n_streams
        check_pairs(n_streams, is_guided)
        self._is_guided = is_guided
        self._device, self._dtype = model.device, model.dtype
        self.start()

    @torch.inference_mode()
    def start(self, streams: Sequence[int] | None = None) -> None:
        fresh = self._model.initial_state(self.n_streams)
        if streams is None:
            self._state = fresh
            return
        chosen = list(streams)
        for old, new in zip(tensors_of(self._state), tensors_of(fresh), strict=True):
            old[chosen] = new[chosen]

    @torch.inference_mode()
    def advance(
        self,
        uniforms: NDArray[np.float64],
        decoding: Decodings,
        codes: NDArray[np.int64] | None = None,
        condition: Condition | None = None,
        logits: NDArray[np.float32] | None = None,
        streams: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        before = None if streams is None else self.snapshot()
        n, sizes = uniforms.shape[1], self._model.architecture.prediction
        codes = np.full(uniforms.shape, -1, dtype=np.int64) if codes is None else codes.copy()
        check_call(self.n_streams, self._model.head.n_classes, uniforms.shape, codes, condition, sizes)
        if sizes is None and isinstance(condition, FrameCondition):
            condition = condition._replace(prediction=None)
        each = decoding_per_stream(decoding, self.n_streams, self._model.architecture.head, self._is_guided)
        is_given = (codes >= 0).all(axis=0)
        n_given = n if is_given.all() else int(is_given.argmin())
        for first in range(0, n_given, CHUNK):
            last = min(first + CHUNK, n_given)
            chunk = self._run(codes[:, first:last], _part(condition, first, last))
            if logits is not None:
                logits[:, first:last] = guide(chunk, each) if self._is_guided else chunk
        for step in range(n_given, n):
            # The entry at a step depends on earlier codes only, so any code will do until the draw is made.
            anything = np.maximum(codes[:, step : step + 1], 0)
            parameters = self._run(anything, _part(condition, step, step + 1))[:, 0]
            if self._is_guided:
                parameters = guide(parameters, each)
            if logits is not None:
                logits[:, step] = parameters
            drawn = self._model.head.draw(parameters, uniforms[:, step], decodings_at_step(each, condition, step))
            codes[:, step] = np.where(codes[:, step] < 0, drawn, codes[:, step])
            self._state = self._model.observe(self._state, self._tensor(codes[:, step : step + 1]))
        if streams is not None:
            waiting = sorted({*range(self.n_streams)} - {*streams})
            for now, then in zip(tensors_of(self._state), tensors_of(before), strict=True):
                now[waiting] = then[waiting]
        return codes

    @torch.inference_mode()
    def logits(self, codes: NDArray[np.int64], condition: Condition | None = None) -> NDArray[np.floating]:
        sizes = self._model.architecture.prediction
        check_call(self.n_streams, self._model.head.n_classes, codes.shape, codes, condition, sizes)
        steps = [
            self._run(codes[:, step : step + 1], _part(condition, step, step + 1)) for step in range(codes.shape[1])
        ]
        return np.concatenate(steps, axis=1)

    def snapshot(self) -> Any:
        return map_state(Tensor.clone, self._state)

    @torch.inference_mode()
    def restore(self, state: Any, streams: Sequence[int] | None = None) -> None:
        chosen = list(range(self.n_streams) if streams is None else streams)
        self._state = map_state(lambda tensor: tensor[chosen], state)

    def _run(self, codes: NDArray[np.int64], condition: Condition | None) -> NDArray[np.floating]:
        """Logits (B, n, parameters) of a chunk; moves the state on."""
        logits, self._state = self._model(self._tensor(codes), self._state, self._moved(condition))
        result: NDArray[np.floating] = logits.cpu().numpy()
        return result

    def _moved(self, condition: Condition | None) -> Tensor | FrameCondition[Tensor] | None:
        """A condition as the model takes it."""
        if isinstance(condition, FrameCondition):
            moved = condition.map(self._tensor)
            return moved._replace(values=moved.values.to(self._dtype))
        return None if condition is None else self._tensor(condition).to(self._dtype)

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class ReferenceVerticalStack:
    """The rows above (engines/base.py) by the torch model, a row at a time. `condition` is that of the labels."""

    def __init__(self, model: ImageModel, n_streams: int, condition: NDArray[np.float32] | None) -> None:
        self._model = model.eval()
        self._rows = torch.zeros((n_streams, 1, model.row_length), dtype=torch.int64, device=model.device)
        self._label_condition = None if condition is None else torch.from_numpy(condition).to(model.device, model.dtype)
        self.start()

    def start(self) -> None:
        self._state: Any = None

    @torch.inference_mode()
    def condition(self) -> NDArray[np.float32]:
        seen, self._state = self._model.vertical_condition(self._rows, self._state, self._label_condition)
        condition: NDArray[np.float32] = seen[:, 0].cpu().numpy()
        return condition

    @torch.inference_mode()
    def feed(self, row: NDArray[np.int64]) -> None:
        self._state = self._model.observe(self._state, torch.from_numpy(row).to(self._rows.device))


def _part(condition: Condition | None, first: int, last: int) -> Condition | None:
    """The condition of some steps: the one that holds throughout, or theirs."""
    if isinstance(condition, FrameCondition):
        return condition.part(first, last - first)
    return condition if condition is None or condition.shape[1] == 1 else condition[:, first:last]
