"""wavegen play"""

import contextlib
import time
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from wavegen.generation import n_samples
from wavegen.playback import Player, sounddevice_opener
from wavegen.progress import say
from wavegen.session import Wish

from .options import (
    MAX_SECONDS,
    Device,
    EngineName,
    Labels,
    Model,
    PrecisionName,
    Prime,
    Seed,
    Temperature,
    TopK,
    TopP,
    open_session,
    parse_labels,
)

TRIAL_S = 0.5  # how long the engine is timed before playing


def play(
    model: Model,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, max=MAX_SECONDS, help="stop after this long, s (default: play until Ctrl-C)"),
    ] = None,
    seed: Seed = None,
    prime: Prime = None,
    labels: Labels = None,
    output: Annotated[str | None, typer.Option(help="sound card, by name or number (default: the system's)")] = None,
    blocksize: Annotated[
        int, typer.Option(min=16, help="samples per block; larger is safer, smaller responds sooner")
    ] = 512,
    prefill: Annotated[int, typer.Option(min=1, help="blocks made before the first is played")] = 8,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: Device = "auto",
) -> None:
    """Play a model on the sound card while it is making the sound.

    Examples:
        wavegen play runs/sine --temperature 0.8
        wavegen play runs/speech --seconds 10 --output pulse
    """
    wish = Wish(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        labels=parse_labels(labels),
        prime=prime,
        engine=engine,
        device=device,
        precision=precision,
    )
    session = open_session(model, wish)
    rate = session.description.sample_rate
    opener = sounddevice_opener(rate, blocksize, int(output) if output and output.isdigit() else output)
    factor = _times_real_time(session.blocks(None, 32), rate)
    say(f"This machine makes {factor:.2g} times real time with this model and engine")
    if factor < 1:
        say("That is too slow to play without drop-outs; `wavegen generate` renders to a file first")
    n_wanted = None if seconds is None else n_samples(seconds, rate)
    player = Player((block[0] for block in session.blocks(n_wanted, blocksize)), prefill, opener)
    say(f"Playing, {1000 * blocksize * prefill / rate:.0f} ms buffered; Ctrl-C stops")
    with contextlib.suppress(KeyboardInterrupt):
        player.run()
    counts = player.counts
    say(
        f"Played {counts.n_played * blocksize / rate:.1f} s; {counts.n_dropped} drop-outs "
        f"({counts.n_dropped * blocksize / rate:.1f} s of silence), {counts.n_underflows} underflows reported"
    )


def _times_real_time(blocks: Iterator[NDArray[np.float32]], rate: int) -> float:
    """Seconds of sound made per second of work, measured for a moment."""
    next(blocks)  # whatever happens only once
    n, began = 0, time.perf_counter()
    while time.perf_counter() - began < TRIAL_S:
        n += next(blocks).shape[1]
    return n / rate / (time.perf_counter() - began)
