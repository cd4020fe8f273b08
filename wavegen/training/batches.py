"""Batches on their way into the loop: made ahead on a thread, and moved to the device."""

import itertools
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wavegen.data.windows import Batch
from wavegen.models.base import TrainingBatch


class Prepared(NamedTuple):
    """A batch, as tensors on the device too, and how long the loop waited for it, s."""

    batch: Batch
    tensors: TrainingBatch
    waited_s: float


def prefetch(make: Callable[[int], Batch], first: int, device: torch.device) -> Generator[Prepared, None, None]:
    """Batches from number `first` on, made on a thread of their own."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(make, first)
        for number in itertools.count(first + 1):
            began = time.monotonic()
            batch = coming.result()
            waited_s = time.monotonic() - began
            coming = worker.submit(make, number)
            yield Prepared(batch, to_tensors(batch, device), waited_s)


def to_tensors(batch: Batch, device: torch.device) -> TrainingBatch:
    """A batch on the device."""

    def move(array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        # From pinned memory it goes to a GPU without the loop waiting for what is queued there.
        return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

    codes = move(batch.codes)
    # The same object where nothing differs would be one input to torch.compile, and two where something does.
    inputs = move(batch.codes.copy() if batch.inputs is None else batch.inputs)
    labels = {name: move(rows) for name, rows in batch.labels.items()}
    frames = None if batch.frames is None else batch.frames.map(move)
    return TrainingBatch(codes, inputs, move(batch.counted), labels, frames, batch.lead_in)
