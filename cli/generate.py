"""wavegen generate"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from wavegen.generation import n_samples
from wavegen.progress import bar, say
from wavegen.session import Wish

from .options import (
    Device,
    EngineName,
    Labels,
    Model,
    PrecisionName,
    Prime,
    Seconds,
    Seed,
    Temperature,
    TopK,
    TopP,
    check_out,
    open_session,
    parse_labels,
)


def generate(
    model: Model,
    seconds: Seconds = 5.0,
    out: Annotated[
        Path | None,
        typer.Option(help="WAV file; with --n a number is added (default: NAME-SEED.wav)", show_default=False),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="how many sounds, made side by side")] = 1,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    prime: Prime = None,
    labels: Labels = None,
    plot: Annotated[bool, typer.Option("--plot", help="also draw waveform and spectrogram, to a PNG beside")] = False,
    beam: Annotated[
        int | None,
        typer.Option(min=1, help="search for a probable sound with this many candidates, instead of drawing one"),
    ] = None,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: Device = "auto",
) -> None:
    """Generate sound into WAV files; prints their names.

    Examples:
        wavegen generate runs/sine --seconds 10 --out sine.wav --plot
        wavegen generate runs/speech --temperature 0.8 --n 4
        wavegen generate runs/speech --prime hello.wav --seconds 3 --out continued.wav
    """
    from wavegen.data import audio

    wish = Wish(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        labels=parse_labels(labels),
        prime=prime,
        n=n,
        beam=beam,
        engine=engine,
        device=device,
        precision=precision,
    )
    session = open_session(model, wish)
    paths = _paths(out or Path(f"{Path(model).resolve().stem}-{session.seed}.wav"), n)
    rate = session.description.sample_rate
    n_wanted = n_samples(seconds, rate)
    n_made = 0
    blocks: list[NDArray[np.float32]] = []
    began = time.monotonic()
    try:
        with bar("Generating", n_wanted) as running:
            for block in session.blocks(n_wanted):
                blocks.append(block)
                n_made += block.shape[1]
                running.update(n_made, f"{n_made / rate:.2f} s of sound")
    except KeyboardInterrupt:
        if not blocks:
            raise
        say("Stopped; writing what there is")
    elapsed = time.monotonic() - began
    waveforms = np.concatenate(blocks, axis=1)
    made_s = n_made / rate
    say(f"{n} x {made_s:.2f} s of sound in {elapsed:.1f} s: {n * made_s / elapsed:.3g} times real time")
    for path, waveform in zip(paths, waveforms, strict=True):
        audio.write(path, waveform, rate)
        print(path)
        if plot:
            from wavegen import plots

            plots.sounds(path.with_suffix(".png"), {path.name: waveform}, rate)
            print(path.with_suffix(".png"))


def _paths(out: Path, n: int) -> list[Path]:
    check_out("--out", ".wav", out)
    return [out] if n == 1 else [out.with_stem(f"{out.stem}-{number}") for number in range(1, n + 1)]
