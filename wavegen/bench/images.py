"""How fast this machine draws: engine and precisions, beside one forward pass per code."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from wavegen.bench.generation import MOST_CONTESTANTS, interleave
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu.engine import PRECISIONS, missing_instructions
from wavegen.engines.memory import check_memory
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.models.build import from_checkpoint
from wavegen.progress import Bar

AT_ONCE = (1, 16)  # what is timed unless somebody says otherwise
ROUNDS = 20
NAIVE = "one PyTorch forward pass per code"


class Speed(NamedTuple):
    """What one contestant needed on one core, by the quickest tenth of its rounds."""

    name: str
    n_images: int  # at once
    images_per_s: float
    ms_per_image: float
    times_naive: float


def time_images(model: Checkpoint, n_images: Sequence[int], rounds: int, bar: Bar | None = None) -> list[Speed]:
    """Time a PixelCNN, one core, for several numbers of images at once; fastest first within each.

    The naive way, which takes minutes, is timed for one code and multiplied by their number.

    Raises: InputError for more images than there is memory for.
    """
    for n in n_images:
        check_memory(model, n, MOST_CONTESTANTS)
    n_codes = int(np.prod(model.description.shape))
    speeds = []
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            for number, n in enumerate(n_images):
                seconds = interleave(_contestants(model, n), rounds, number * rounds, bar)
                seconds[NAIVE] *= n_codes
                for name, needed in seconds.items():
                    speeds.append(Speed(name, n, n / needed, 1000 * needed / n, seconds[NAIVE] / needed))
    finally:
        torch.set_num_threads(n_threads)
    return sorted(speeds, key=lambda speed: (speed.n_images, speed.ms_per_image))


def _contestants(model: Checkpoint, n: int) -> dict[str, Callable[[int], object]]:
    contestants: dict[str, Callable[[int], object]] = {}
    for precision in PRECISIONS:
        if missing_instructions(precision) is None:
            session = ImageSession(model, [{}] * n, GenerationOptions(engine="numba", precision=precision, n_threads=1))
            contestants[f"numba, {precision}"] = _drawing(session)
    network = from_checkpoint(model).eval()
    codes = torch.zeros((n, int(np.prod(model.description.shape))), dtype=torch.int64)
    condition = network.condition(
        {name: torch.full((n,), len(values)) for name, values in model.description.labels.items()}
    )

    @torch.inference_mode()
    def one_pass_each(n_passes: int) -> None:
        for _ in range(n_passes):
            network(codes, None, condition)

    contestants[NAIVE] = one_pass_each
    return contestants


def _drawing(session: ImageSession) -> Callable[[int], object]:
    return lambda n_times: [row for _ in range(n_times) for row in session.rows(seed=0)]
