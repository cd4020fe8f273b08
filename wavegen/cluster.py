"""A Ray cluster: the one that there is, or one of this machine's cores while it is needed."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.paths import resolved


@contextmanager
def connected() -> Iterator[None]:
    """Be a driver of a Ray cluster while the block runs: of the one that RAY_ADDRESS names, or that was started on this
    machine (`ray start`), or else of a new one with the cores of this machine, which ends with the block.

    A process that is one already goes on as it is. Signals mean what they meant before.

    Raises: InputError if Ray is not installed, or the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of it
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")  # but to files
    os.environ.setdefault("RAY_worker_niceness", "0")  # or live streams would make way for everybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change to come
    try:
        import ray
        from ray._private import worker
    except ImportError as error:
        raise InputError(f"--ray needs Ray ({error}): pip install 'wavegen[ray]'") from error
    if ray.is_initialized():
        yield
        return
    worker.print_to_stdstream = _keep_quiet  # what it says of workers that end goes to stdout, where names of files are
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = os.environ.get("RAY_ADDRESS", "here")
        sentence = " ".join(str(error).split())
        raise InputError(f"the Ray cluster at {where} cannot be reached, or none can be started: {sentence}") from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)  # Ray has put its own in the place
    try:
        yield
    finally:
        with suppress(KeyboardInterrupt):  # of who asks twice; what is left ends with this process
            ray.shutdown()


def _keep_quiet(*_: object, **__: object) -> None:
    """Print nothing; it stands in Ray's logs."""


def portable(model: Path) -> Path:
    """The path of a model as other machines understand it that share the file system, and have wavegen.

    Raises: InputError if there is none.
    """
    found = checkpoint.find(model)
    return Path(found.stem) if found.parent == checkpoint.PRETRAINED else resolved(model)
