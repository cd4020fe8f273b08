"""wavegen serve"""

import os
from pathlib import Path
from typing import Annotated

import typer

from wavegen.errors import InputError
from wavegen.serving import TOKEN

from .options import MAX_SECONDS
from .terminal import say

app = typer.Typer()


@app.command("serve")
def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            help="run folders, .safetensors files, or names of models that ship (default: all that ship)",
            metavar="[MODEL]...",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 lets other machines in")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port of HTTP and WebSocket; 0: any that is free")] = 8000,
    grpc: Annotated[
        int | None, typer.Option(min=1, max=65535, help="also listen for gRPC on this port (see docs/serving.md)")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help=f"what clients have to bring (also taken from {TOKEN}); without it all are let in"),
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="ORIGIN whose pages may use the service; repeat for more")
    ] = None,
    max_seconds: Annotated[
        float, typer.Option(min=0.1, max=MAX_SECONDS, help="longest sound of a request, and longest recording, s")
    ] = 60,
    max_streams: Annotated[
        int | None,
        typer.Option(min=1, help="live streams at a time (--ray: of a core), in place of what is measured at start"),
    ] = None,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="serve on the cores of a Ray cluster, or of a new one here (see docs/serving.md)"),
    ] = False,
) -> None:
    """Serve models to many listeners: a page, HTTP, WebSocket and gRPC (with the extra `serve`).

    It measures at start how many live streams this machine can make, admits no more, and answers 503 beyond. SIGTERM
    ends live streams with a reason, and completes files. docs/serving.md tells what clients can ask for.

    Examples:
        wavegen serve
        wavegen serve speech digits mnist --port 8080
        wavegen serve runs/speech --host 0.0.0.0 --token "$(cat token)"
        wavegen serve digits --ray
    """
    if ray:
        if grpc is not None:
            raise InputError("--ray serves HTTP and WebSocket, and --grpc asks for gRPC; leave out one of the two")
        _serve_on_cluster(
            models or [], host, port, token or os.environ.get(TOKEN) or None, cors or [], max_seconds, max_streams
        )
        return
    try:
        from wavegen.serving import models as serving
        from wavegen.serving import server
        from wavegen.serving.service import Limits, Service
    except ImportError as error:
        raise InputError(f"serving needs FastAPI and more ({error}): pip install 'wavegen[serve]'") from error
    token = token or os.environ.get(TOKEN) or None
    served = serving.ServedModels(models or serving.shipped())
    listener = server.listening_socket(host, port)
    say("Measuring this machine; kernels that are new here are compiled first")
    service = Service(served, token=token, limits=Limits(seconds=max_seconds), max_streams=max_streams)
    address = listener.getsockname()
    where = _where(address[0], address[1])
    try:
        for model in served:
            if not model.draws:
                say(f"{model.name}: {service.pool.room(model)} live streams")
        server.run(
            service,
            listener,
            lambda: say(f"Serving on {where}; Ctrl-C ends"),
            cors or [],
            None if grpc is None else f"{address[0]}:{grpc}",
        )
    finally:
        service.close()


def _serve_on_cluster(
    models: list[Path],
    host: str,
    port: int,
    token: str | None,
    cors: list[str],
    max_seconds: float,
    max_streams: int | None,
) -> None:
    """Serve on a Ray cluster until Ctrl-C."""
    from wavegen.cluster import connected

    with connected():
        try:
            from wavegen.serving import ray as of_ray
        except ImportError as error:
            raise InputError(f"--ray needs Ray Serve ({error}): pip install 'wavegen[ray]'") from error
        options = of_ray.Options(
            models=tuple(map(str, models)), cors=tuple(cors), max_seconds=max_seconds, max_streams=max_streams
        )
        say("Measuring a core; kernels that are new here are compiled first")
        application = of_ray.make_application(options, token, lambda n: say(f"{n} live streams at a time on each core"))
        say("Beginning on the cluster")
        of_ray.run(application, host, port, lambda found: say(f"Serving on {_where(host, found)}; Ctrl-C ends"))


def _where(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
