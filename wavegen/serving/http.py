"""The service by HTTP: its addresses."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

import wavegen
from wavegen.errors import InputError
from wavegen.serving.answers import answer_to, problem_answer
from wavegen.serving.image_routes import add_images
from wavegen.serving.live_routes import add_live
from wavegen.serving.middle import Middle
from wavegen.serving.models import ServedModel
from wavegen.serving.page_routes import add_page
from wavegen.serving.problems import MEDIA_TYPE, Busy, sentence_of_fields
from wavegen.serving.service import Service
from wavegen.serving.sound_routes import add_sounds

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {}}}
    for status, text in (
        (422, "what does not fit, in one sentence"),
        (404, "no such model"),
        (413, "more than the service takes"),
        (503, "no room; Retry-After says when to ask again"),
    )
}


Told = Callable[[], Awaitable[bytes]]


def create_app(service: Service, cors: Sequence[str] = (), metrics: Told | None = None) -> ASGIApp:
    """The application of a service; `cors`: origins whose pages may use it. `metrics`: what is told of more than this
    service, where it is one of several."""
    app = FastAPI(
        title="wavegen",
        version=wavegen.__version__,
        description="Sound and images by small networks, sample by sample.",
        responses=PROBLEMS,
    )
    _add_operation(app, service, metrics)
    add_page(app)
    add_sounds(app, service)
    add_images(app, service)
    add_live(app, service)
    for invalid in (RequestValidationError, ValidationError):
        app.add_exception_handler(invalid, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    for kind in (InputError, Busy):
        app.add_exception_handler(kind, _failed)
    inner: ASGIApp = app
    if cors:
        inner = CORSMiddleware(
            app, list(cors), allow_methods=["*"], allow_headers=["*"], expose_headers=["Wavegen-Seed", "Retry-After"]
        )
    return Middle(inner, service, cors)


async def _failed(request: Request, error: Exception) -> Response:
    return answer_to(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | ValidationError)
    return problem_answer(422, sentence_of_fields(error.errors()))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem_answer(404, f"there is nothing at {request.url.path[:100]}; /docs lists what there is")
    return problem_answer(error.status_code, f"{error.detail}: {request.method} {request.url.path[:100]}")


def _add_operation(app: FastAPI, service: Service, of_all: Told | None) -> None:
    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """Whether the process is alive; needs no token."""
        return {"status": "alive"}

    @app.get("/ready", tags=["operation"])
    async def ready() -> Response:
        """Whether requests are taken."""
        if service.pool.is_draining:
            return problem_answer(503, "the service is ending; expected another one")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Counters, as Prometheus reads them."""
        text = service.metrics.text() if of_all is None else await of_all()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """The models, what each makes, its labels, and whom to credit."""
        told = [{**model.told(), **_speed(service, model)} for model in service.models]
        return {"version": wavegen.__version__, "max_seconds": service.limits.seconds, "models": told}


def _speed(service: Service, model: ServedModel) -> dict[str, Any]:
    """How many live streams a model alone would be given, and how fast one is made."""
    if model.draws:
        return {"live_places": 0, "times_real_time": None}
    return {"live_places": service.pool.room(model), "times_real_time": service.pool.times_real_time(model)}
