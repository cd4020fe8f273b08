"""The pieces of a job as tasks of a Ray cluster, on a core or a GPU each."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from wavegen.errors import InputError
from wavegen.jobs.work import Made, Piece, Work

RETRIES = 5  # of a task whose worker or machine dies
AT_ONCE = 8  # sounds that a core makes well at once
PER_CORE = 4  # tasks, at least, so that all cores end at about the same time
WAITING = 4  # tasks of each core that are running or wait for it; more are asked for as these end
END_S = 10.0  # that workers have to leave off


def run(work: Work, pieces: Sequence[Piece], most: int, takes_gpu: bool, made: Callable[[Made], None]) -> None:
    """Have the pieces of a job made by the cluster that this process is connected to; `most` at a time by a worker.

    `made` is told what has come of some of them, in any order. A task whose worker dies is done again by another.

    Raises: InputError for what ended the work of a worker, or if workers die again and again; KeyboardInterrupt after
        Ctrl-C. Whatever was made by then has been told.
    """
    kind = "GPU" if takes_gpu else "CPU"
    n_workers = max(1, int(ray.cluster_resources().get(kind, 1)))
    if takes_gpu and not ray.cluster_resources().get(kind):
        raise InputError(
            "no machine of this cluster has a GPU, which the engine takes; leave out --device and --engine"
        )
    task = ray.remote(num_cpus=1, num_gpus=1 if takes_gpu else 0, max_retries=RETRIES)(_make)
    size = _at_a_time(len(pieces), n_workers, most)
    chunks = (pieces[begin : begin + size] for begin in range(0, len(pieces), size))
    running: dict[ray.ObjectRef, Sequence[Piece]] = {}
    try:
        while True:
            n_workers = max(n_workers, int(ray.cluster_resources().get(kind, 1)))
            while len(running) < WAITING * n_workers and (chunk := next(chunks, None)) is not None:
                running[task.remote(work, chunk)] = chunk
            if not running:
                return
            for ready in ray.wait(list(running), timeout=1.0)[0]:
                result = _result(ready, running[ready])
                del running[ready]
                made(result)
                if result.failure is not None:
                    raise InputError(result.failure)
    finally:  # all have ended, unless something is wrong
        for one in running:
            ray.cancel(one)
        for one, chunk in running.items():
            with suppress(RayError, GetTimeoutError):
                ray.get(one, timeout=END_S)
            made(Made([piece.number for piece in chunk if work.is_made(piece)]))


def _make(work: Work, pieces: Sequence[Piece]) -> Made:
    return work.make(pieces)


def _result(ready: "ray.ObjectRef", pieces: Sequence[Piece]) -> Made:
    try:
        made: Made = ray.get(ready)
    except RayTaskError:
        raise
    except RayError as error:
        first, last = pieces[0].path.name, pieces[-1].path.name
        raise InputError(
            f"workers died {RETRIES + 1} times at {first} to {last} ({type(error).__name__}); what was made is kept, "
            "and the same command goes on from there"
        ) from error
    return made


def _at_a_time(n: int, n_workers: int, most: int) -> int:
    """How many pieces of n a task makes: several tasks for each worker, unless they would be too small."""
    even = math.ceil(n / n_workers)
    return max(1, min(most, even if even <= AT_ONCE else max(AT_ONCE, math.ceil(even / PER_CORE))))
