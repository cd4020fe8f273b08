"""Start the processes of a training by torchrun's own launcher, torch.distributed.launcher."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from wavegen.errors import InputError
from wavegen.training.interrupts import REQUEUE
from wavegen.training.ranks import ENDED_WELL

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")  # that the launcher passes on
EXCHANGE = "wavegen"  # by which machines that share an endpoint find each other


def launch(words: Sequence[str], processes: int, nnodes: int, endpoint: str | None) -> int:
    """Run `wavegen` with some words in so many processes on each of some machines; returns the exit code.

    Every machine runs this with the same `endpoint`, HOST:PORT of one of them. Signals go to all processes. Those on
    processors share out the cores, unless OMP_NUM_THREADS says how many each may take.

    Raises: InputError if the machines do not find each other, or a process was killed.
    """
    if nnodes > 1 and endpoint is None:
        raise InputError(f"--nnodes is {nnodes}; expected --rdzv-endpoint HOST:PORT too, the same on every machine")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    before = {name: signal.getsignal(getattr(signal, name)) for name in SIGNALS}
    signals = [name for name in SIGNALS if before[name] is not signal.SIG_IGN]  # as nohup has it
    with tempfile.TemporaryDirectory() as ended_well:
        os.environ[ENDED_WELL] = ended_well
        config = LaunchConfig(
            min_nodes=nnodes,
            max_nodes=nnodes,
            nproc_per_node=processes,
            run_id=EXCHANGE,
            rdzv_backend="c10d",
            rdzv_endpoint=endpoint or "localhost:0",
            local_addr="localhost" if nnodes == 1 else None,
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
            signals_to_handle=",".join(signals),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "wavegen", *words)
        except SignalException as ended:
            if ended.sigval == signal.SIGUSR1:
                return REQUEUE
            return 0 if len(list(Path(ended_well).iterdir())) == processes else 128 + ended.sigval
        except ChildFailedError as failed:
            rank, failure = failed.get_first_failure()
            if failure.exitcode < 0:
                name = signal.Signals(-failure.exitcode).name
                raise InputError(f"process {rank} of {processes * nnodes} was ended by {name}") from failed
            return failure.exitcode
        except RendezvousError as error:
            raise InputError(f"the machines do not find each other at {endpoint}: {error}") from error
        finally:
            del os.environ[ENDED_WELL]
            for name in signals:
                signal.signal(getattr(signal, name), before[name])
    return 0
