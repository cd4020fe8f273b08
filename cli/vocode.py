"""wavegen vocode"""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from wavegen import checkpoint, files
from wavegen.session import LoadedModel, Wish

from .options import (
    Device,
    EngineName,
    Labels,
    Model,
    Plot,
    PrecisionName,
    Seed,
    Temperature,
    TopK,
    TopP,
    check_out,
    open_session,
    parse_labels,
)
from .render import render, write


def vocode(
    model: Model,
    source: Annotated[
        Path,
        typer.Argument(help="a recording, or frames: .npy or .safetensors, (frames, bands)", metavar="IN"),
    ],
    out: Annotated[Path, typer.Argument(help="WAV file", metavar="OUT")],
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    labels: Labels = None,
    plot: Plot = False,
    frames_to: Annotated[
        Path | None, typer.Option("--frames", help="also write the frames that were taken of IN, to a .npy file")
    ] = None,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: Device = "auto",
) -> None:
    """Make a recording again from its log-mel frames alone, with a model that was trained for it.

    The frames may come from elsewhere: another program, or a network that makes them from text.

    Examples:
        wavegen vocode runs/vocoder hello.flac again.wav --plot
        wavegen vocode runs/vocoder hello.flac again.wav --frames hello.npy
        wavegen vocode runs/vocoder hello.npy again.wav --temperature 0.9
    """
    check_out("OUT", ".wav", out)
    if frames_to is not None:
        check_out("--frames", ".npy", frames_to)
    loaded = checkpoint.load(model)
    frames, n_samples = LoadedModel(loaded).frames_of(source)
    wish = Wish(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        labels=parse_labels(labels),
        frames=frames,
        engine=engine,
        device=device,
        precision=precision,
    )
    session = open_session(model, wish, loaded)
    if frames_to is not None:
        encoded = io.BytesIO()
        np.save(encoded, frames)
        files.write(frames_to, encoded.getvalue())
        print(frames_to)
    write([out], render(session, n_samples), session.description.sample_rate, plot)
