"""The same service on many machines: an application of Ray Serve, each of whose replicas is a service on one core.

    serve run wavegen.serving.ray:app
    serve run wavegen.serving.ray:app models=speech,digits max_replicas=16

A live stream is made by the replica that its WebSocket came to. The replicas grow in number with the requests that are
being answered, of which a live stream is one; a replica that is to go tells its streams first.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import ray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from wavegen.cluster import portable
from wavegen.errors import InputError
from wavegen.serving import TOKEN
from wavegen.serving.http import create_app
from wavegen.serving.metrics import joined
from wavegen.serving.models import ServedModels, shipped
from wavegen.serving.pool import MOST_REQUESTS
from wavegen.serving.server import END_S, GRACE_S, SWITCH_S, listening_socket
from wavegen.serving.service import Limits, Service

logger = logging.getLogger(__name__)

NAME = "wavegen"  # of the application
TARGET_SHARE = 0.7  # of the live streams that a replica can make: beyond it another replica begins
UPSCALE_S = 5.0  # that more streams have to last before another replica begins
LAST_STREAMS_S = 600.0  # that the streams of a replica have to end by themselves, which is one too many
LOOK_S = 0.1  # between two looks at whether a replica is to go
TELL_S = 1.0  # between two times that a replica tells what it has counted
SILENT_S = 10.0  # after which one is taken to be gone


def _parts(value: Any) -> Any:
    """What stands between the commas of a text; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_parts)]


class Options(BaseModel):
    """What is served, as `serve run` takes it: KEY=VALUE, with commas between several values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Texts = Field((), description="run folders, .safetensors files, or names of models that ship; empty: those")
    cors: Texts = Field((), description="origins whose pages may use the service")
    max_seconds: float = Field(60, gt=0, description="longest sound of a request, and longest recording, s")
    max_streams: int | None = Field(
        None, ge=1, description="live streams of a replica at a time, in place of what is measured at start"
    )
    min_replicas: int = Field(1, ge=1, description="replicas, of a core each, when nobody listens")
    max_replicas: int = Field(64, ge=1, description="replicas at most; those for which no core is free wait for one")


def app(options: Options) -> serve.Application:
    """The application, for `serve run`; a token is taken from WAVEGEN_TOKEN.

    Raises: InputError for models that are not there.
    """
    return make_application(options, os.environ.get(TOKEN) or None)


def make_application(
    options: Options, token: str | None = None, told: Callable[[int], None] = lambda capacity: None
) -> serve.Application:
    """The application of some options. What live streams cost is measured on a core of this machine for `told` and for
    the number of replicas; each replica measures its own, and admits no more.

    Raises: InputError for models that are not there, or more replicas at least than at most.
    """
    if options.min_replicas > options.max_replicas:
        raise InputError(
            f"min_replicas is {options.min_replicas}; expected at most max_replicas, which is {options.max_replicas}"
        )
    paths = [portable(Path(name)) for name in options.models] or shipped()
    capacity = _capacity(ServedModels(paths), options.max_streams)
    told(capacity)
    deployed = serve.deployment(
        name="service",
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=capacity + MOST_REQUESTS,
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": max(1.0, TARGET_SHARE * capacity),
            "upscale_delay_s": UPSCALE_S,
        },
        graceful_shutdown_timeout_s=LAST_STREAMS_S + END_S + GRACE_S,
        graceful_shutdown_wait_loop_s=LOOK_S,
    )
    counted = serve.deployment(name="counted", ray_actor_options={"num_cpus": 0})(Counted)
    return deployed(serve.ingress()(Replica)).bind(
        paths,
        counted.bind(),
        token=token,
        cors=options.cors,
        max_seconds=options.max_seconds,
        max_streams=options.max_streams,
    )


def _capacity(models: ServedModels, max_streams: int | None) -> int:
    """Live streams that a core makes, of the model that costs most; at least 1."""
    if max_streams is not None:
        return max_streams
    service = Service(models, n_threads=1)
    try:
        return max(1, min((service.pool.room(model) for model in models if not model.draws), default=1))
    finally:
        service.close()


class Counted:
    """What all replicas have counted, as each has told last."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, bytes]] = {}

    def take(self, replica: str, text: bytes) -> None:
        self._told[replica] = time.monotonic(), text

    def text(self) -> bytes:
        now = time.monotonic()
        return joined({name: text for name, (at, text) in self._told.items() if now - at < SILENT_S})


class Replica:
    """A service on one core, in a process of Ray's."""

    def __init__(
        self,
        paths: Sequence[Path],
        counted: DeploymentHandle,
        *,
        token: str | None,
        cors: Sequence[str],
        max_seconds: float,
        max_streams: int | None,
    ) -> None:
        remarks = logging.getLogger("wavegen")
        remarks.addHandler(logging.StreamHandler())  # to a file among Ray's logs
        remarks.setLevel(logging.INFO)
        sys.setswitchinterval(SWITCH_S)
        limits = Limits(seconds=max_seconds)
        self.service = Service(ServedModels(paths), token=token, limits=limits, max_streams=max_streams, n_threads=1)
        self._cors, self._counted = cors, counted
        self._name = serve.get_replica_context().replica_id.unique_id
        self._has_ended = threading.Event()
        threading.Thread(target=self._watch, args=(_of_ray(),), name="drain", daemon=True).start()
        threading.Thread(target=self._keep_telling, name="counted", daemon=True).start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return create_app(self.service, self._cors, self._metrics)

    def __del__(self) -> None:
        if not self._has_ended.is_set():
            self._has_ended.set()
            self.service.close()

    async def _metrics(self) -> bytes:
        """What all replicas have counted: of this one by now."""
        await self._counted.take.remote(self._name, self.service.metrics.text())
        text: bytes = await self._counted.text.remote()
        return text

    def _keep_telling(self) -> None:
        while not self._has_ended.wait(TELL_S):
            try:
                self._counted.take.remote(self._name, self.service.metrics.text()).result(timeout_s=TELL_S)
            except Exception as error:  # of whatever kind: it is told again
                logger.debug("what was counted could not be told: %s", error)

    def _watch(self, replica: Any) -> None:
        """Wait until Ray lets this replica end, which it does when its requests have; then have them end.

        Where the application goes on and this is one replica too many, live streams have time to end by themselves.
        """
        while not replica._shutting_down:
            if self._has_ended.wait(LOOK_S):
                return
        pool = self.service.pool
        self.service.log("ending", live=pool.n_voices, files=pool.n_requests)
        last = time.monotonic() + LAST_STREAMS_S
        while pool.n_voices and time.monotonic() < last and _application_goes_on():
            if self._has_ended.wait(1.0):
                return
        pool.drain("the service is ending")


def _of_ray() -> Any:
    """Ray's side of this replica, which knows when it is to end. Ray tells nobody before all requests have ended, and
    a live stream ends when it is told to."""
    worker = ray._private.worker.global_worker
    replica = worker.actors[worker.actor_id]._replica_impl
    assert replica._shutting_down is False  # or this version of Ray calls it otherwise
    return replica


def _application_goes_on() -> bool:
    """Whether new requests are answered by others."""
    try:
        status = serve.status().applications.get(serve.get_replica_context().app_name)
    except Exception:  # of whatever kind: who is to tell ends, too
        return False
    return status is not None and status.status in ("RUNNING", "DEPLOYING")


def run(application: serve.Application, host: str, port: int, started: Callable[[int], None]) -> None:
    """Serve on the cluster that this process is connected to, until Ctrl-C; then live streams end with a reason, and
    files are completed. `started` is told the port; 0 takes a free one.

    Raises: InputError if that cluster serves already, or the address cannot be had.
    """
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    if serve.status().proxies:
        raise InputError(
            "this cluster serves already; expected one that does not, or: serve run --name wavegen "
            "--route-prefix / wavegen.serving.ray:app"
        )
    with listening_socket(host, port) as listener:  # one sentence if it cannot be had; Ray binds it itself
        port = listener.getsockname()[1]
    try:
        serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"})
        serve.run(application, name=NAME, logging_config={"log_level": "ERROR"})
        started(port)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        serve.delete(NAME)  # or whoever stands between replicas and clients would end before them
        serve.shutdown()
