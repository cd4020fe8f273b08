"""Addresses of images: drawn, completed and classified."""

import asyncio
import zipfile
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from wavegen.data import images
from wavegen.generation.images import grid
from wavegen.serving import operations
from wavegen.serving.answers import Sink, labels_of, seed_headers, unless_client_gone
from wavegen.serving.operations import Drawn
from wavegen.serving.schemas import CompletionRequest, ImageForm, ImageRequest, Seed
from wavegen.serving.service import Service


def add_images(app: FastAPI, service: Service) -> None:
    @app.post("/v1/images", tags=["images"], response_class=Response)
    async def draw(asked: ImageRequest, request: Request) -> Response:
        """Draw images: one PNG of all, PNGs, or their rows as JSON."""
        made = await unless_client_gone(request, operations.drawn(service, asked))
        return await asyncio.to_thread(_answer, made, asked.format)

    @app.post("/v1/images/complete", tags=["images"], response_class=Response)
    async def complete(
        request: Request,
        model: Annotated[str, Query(examples=["mnist"])],
        rows: Annotated[int | None, Query(description="how many rows from the top stay (default: half)")] = None,
        n: Annotated[int, Query(ge=1)] = 8,
        label: Annotated[list[str] | None, Query(description="NAME=VALUE")] = None,
        seed: Annotated[Seed | None, Query()] = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float | None = None,
        format: ImageForm = "grid",
    ) -> Response:
        """Draw what is missing of an image, the body, below the rows that stay."""
        asked = CompletionRequest(
            model=model,
            rows=rows,
            n=n,
            labels={**labels_of(label)},
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance=guidance,
            format=format,
        )
        work = operations.completed(service, asked, await request.body())
        return await asyncio.to_thread(_answer, await unless_client_gone(request, work), format)

    @app.post("/v1/images/classify", tags=["images"])
    async def classify(request: Request, model: Annotated[str, Query(examples=["mnist-binary"])]) -> dict[str, Any]:
        """Which value of the model's one label an image, the body, has, by Bayes' rule."""
        work = operations.classified(service, model, await request.body())
        label, values, probabilities = await unless_client_gone(request, work)
        shares = {value: float(share) for value, share in zip(values, probabilities, strict=True)}
        return {"model": model, "label": label, "value": values[int(probabilities.argmax())], "probabilities": shares}


def _answer(made: Drawn, form: ImageForm) -> Response:
    """Images as they were asked for."""
    headers = seed_headers(made.model, made.seed)
    if form == "json":
        shaped = made.pixels[..., 0] if made.pixels.shape[-1] == 1 else made.pixels
        told = {"model": made.model.name, "seed": made.seed, "first": made.first, "images": shaped.tolist()}
        return JSONResponse(told, headers=headers)
    if form == "grid":
        whole = grid(made.pixels, int(np.ceil(np.sqrt(len(made.pixels)))))
        return Response(images.encode_png(whole), media_type="image/png", headers=headers)
    files = [images.encode_png(image) for image in made.pixels]
    if len(files) == 1:
        return Response(files[0], media_type="image/png", headers=headers)
    sink = Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for number, data in enumerate(files, start=made.first):
            archive.writestr(zipfile.ZipInfo(f"{made.model.name}-{number}.png"), data)
    return Response(sink.take(), media_type="application/zip", headers=headers)
