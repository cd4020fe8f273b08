"""Training in several processes: which rows of a batch each takes, and what they tell each other.

torchrun, or `wavegen train --processes`, starts them and says in the environment who is who. Each trains on its own
rows of every batch, they add up their gradients, and each makes the same update, so all hold the same weights. Rank 0
alone writes.

Gradients are added up in one flat tensor after the backward pass, not by DistributedDataParallel: that wraps `forward`,
where ours is a loss that may be compiled; and it orders its buckets anew after the first step, which changes the order
of the sums of three or more processes, so that a resumed run would not have the bits of the whole one. There is little
to overlap: the gradients of the largest recipe that ships take less than 1 % of its step.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wavegen import progress
from wavegen.errors import InputError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # for what rank 0 does alone: a sample, the cost of precisions
POLLED_EVERY_S = 0.2
ENDED_WELL = "WAVEGEN_ENDED_WELL"  # names a folder in which every process that ends well leaves a file


class PeerLostError(InputError):
    """Another process of the run has ended, or cannot be reached any more."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them sees them; by itself, the one process that trains alone.

    `n_local` of them are on this machine, where this one is number `local_rank`. Except for the facts and `rows`,
    every method must be called by all of them, in the same order.

    Raises: PeerLostError, by all that exchange something.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    n_local: int = 1
    is_restart: bool = False
    store: dist.Store | None = None
    parent: int = field(default_factory=os.getppid)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def is_orphan(self) -> bool:
        """Whether what started the processes is gone, so that nobody could end them."""
        return self.size > 1 and os.getppid() != self.parent

    def rows(self, batch_size: int) -> range:
        """The rows of every batch that this process takes.

        Raises: InputError if they cannot be shared out evenly.
        """
        n, left = divmod(batch_size, self.size)
        if left:
            raise InputError(
                f"training.batch_size is {batch_size}, the rows of all processes together; {self.size} processes need "
                f"a multiple of {self.size}"
            )
        return range(self.rank * n, (self.rank + 1) * n)

    def own_device(self, device: torch.device) -> torch.device:
        """The device that this process takes: of GPUs one each.

        Raises: InputError if there are not enough.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if self.n_local > torch.cuda.device_count():
            raise InputError(
                f"{self.n_local} processes need a GPU each, and this machine has {torch.cuda.device_count()}; start "
                "fewer, or use --device cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def from_first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, which alone makes it."""
        if self.size == 1:
            return make()
        values = [make() if self.is_first else None]
        with _exchange():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]  # type: ignore[return-value]

    def any(self, fact: bool) -> bool:
        """Whether a fact holds in any of the processes."""
        return self.sum(float(fact)) > 0

    def sum(self, value: float) -> float:
        """The sum of a number over the processes."""
        total = torch.tensor(value, dtype=torch.float64)
        self._sum_(total)
        return float(total)

    def sum_gradients_(self, parameters: Iterable[nn.Parameter], bits: float) -> float:
        """Make the gradients of all processes the sum of theirs; returns the sum of `bits`."""
        if self.size == 1:
            return bits
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor([bits])])
        self._sum_(flat)
        *sums, total = flat.split([*(gradient.numel() for gradient in gradients), 1])
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view_as(gradient))
        return total.item()

    def _sum_(self, tensor: Tensor) -> None:
        if self.size > 1:
            with _exchange():
                dist.all_reduce(tensor)

    @contextmanager
    def one_before_the_others(self) -> Iterator[None]:
        """Let one process of each machine do the block first, for the others to find what it has prepared."""
        if self.store is None:
            yield
            return
        key = f"prepared/{self.rank - self.local_rank}"
        while self.local_rank and not self.store.check([key]):  # which, unlike a wait, a signal ends
            time.sleep(POLLED_EVERY_S)
        yield
        if self.local_rank == 0:
            self.store.set(key, "")


@contextmanager
def joined() -> Iterator[Ranks]:
    """Be one of the processes that torchrun started, if it did, while the block runs.

    Only rank 0 logs. An InputError of one process is told by that one; the others end without a word, with exit code 2.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
    else:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _exchange():
            store, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        local_rank, n_local, n_restarts = (
            int(os.environ.get(name, default))
            for name, default in (("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", size), ("TORCHELASTIC_RESTART_COUNT", 0))
        )
        try:
            with _quiet(rank > 0):
                yield Ranks(rank, size, local_rank, n_local, n_restarts > 0, store)
        except InputError:
            if _is_told(store):
                raise SystemExit(2) from None
            raise
        dist.destroy_process_group()
    if ENDED_WELL in os.environ:
        Path(os.environ[ENDED_WELL], str(os.getpid())).touch()


@contextmanager
def _exchange() -> Iterator[None]:
    """Say in our words that an exchange failed."""
    try:
        yield
    except RuntimeError as error:  # of which all errors of torch.distributed are
        raise PeerLostError("another process of this run has ended, or cannot be reached") from error


def _is_told(store: dist.Store) -> bool:
    """Whether another process has said already why the run ends."""
    try:
        return store.add("told", 1) > 1
    except RuntimeError:  # whoever kept the store has ended
        return False


@contextmanager
def _quiet(is_wanted: bool) -> Iterator[None]:
    """Log nothing below an error and draw no bars while the block runs, if that is wanted."""
    logger = logging.getLogger("wavegen")
    level = logger.level
    if is_wanted:
        logger.setLevel(logging.ERROR)
        progress.hide_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
