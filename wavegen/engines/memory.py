"""How many streams side by side find memory. What is beyond is refused before anything of that size is made."""

import os
from contextlib import suppress
from pathlib import Path

from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError

BLOCK_BYTES = 1 << 14  # of each stream beside what its network remembers: draws, codes and sound
AT_WORK = 4  # times what streams take is what an engine has while it makes a step, at most (the reference has most)
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
OWNERS = {"cpu": "this machine", "cuda": "the GPU"}


def check_memory(checkpoint: Checkpoint, n_streams: int, n_engines: int = 1, device: str = "cpu") -> None:
    """Raises: InputError for more streams side by side, on each of some engines, than are sure to find memory."""
    most = n_in_memory(checkpoint, n_engines, device)
    if n_streams > most:
        what = "images" if checkpoint.description.shape else "streams"
        needed = n_streams * n_engines * AT_WORK * bytes_of_stream(checkpoint)
        raise InputError(
            f"{n_streams:,} {what} side by side could take {needed / 1e9:,.0f} GB, and {OWNERS[device]} has "
            f"{memory_of(device) / 1e9:,.0f} GB; expected up to {most:,}"
        )


def n_in_memory(checkpoint: Checkpoint, n_engines: int = 1, device: str = "cpu") -> int:
    """How many streams are sure to find memory; one does, as what it remembers was bounded when the model was read."""
    return max(1, memory_of(device) // (n_engines * AT_WORK * bytes_of_stream(checkpoint)))


def bytes_of_stream(checkpoint: Checkpoint) -> int:
    """What a stream of a model takes, about: what its network and its planner's remember, and a block."""
    of_planner = 0 if checkpoint.planner is None else bytes_of_stream(checkpoint.planner)
    return BLOCK_BYTES + 4 * checkpoint.description.architecture.n_numbers_of_stream + of_planner


def memory_of(device: str) -> int:
    """Bytes of memory of a GPU, or of this machine or its container, also where there is no GPU."""
    if device == "cuda":
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.get_device_properties(0).total_memory)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in LIMITS:
        with suppress(OSError, ValueError):  # another system; no limit
            limits.append(int(Path(name).read_text()))
    return min(limits)
