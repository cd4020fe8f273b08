"""How true a generated tone is: its frequency in every half second, and what a sine fitted to each 50 ms leaves over.

    python -m tools.measure_sine demo/sine.wav [--recipe recipes/sine.yaml]

The same is measured on the recipe's training data, as recorded and as its codec can represent it.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from wavegen import recipe
from wavegen.codec import make_codec
from wavegen.data import corpora
from wavegen.data.windows import code_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", type=Path)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/sine.yaml"))
    options = parser.parse_args()
    data = recipe.load(options.recipe).data
    codec = make_codec(data.codec, data.n_classes)
    opened, _ = corpora.open_corpus(data)
    trained = opened.samples / 32768
    frequency = data.frequencies[0]
    waveform, rate = soundfile.read(options.sound)

    half = rate // 2
    frequencies = [fit(part, rate, frequency)[0] for part in cut(waveform, half)]
    worst = max(abs(one / frequency - 1) for one in frequencies)
    print(f"largest deviation from {frequency:g} Hz in any half second: {worst:.4%}")
    coded = codec.decode(code_table(codec)[opened.samples])
    for name, sound in {"generated": waveform, "training data": trained, "the same, coded": coded}.items():
        print(f"median residual, {name}: {residual_db(sound.astype(np.float64), rate, frequency):.2f} dB")


def residual_db(waveform: NDArray[np.float64], rate: int, frequency: float) -> float:
    """Median power left after fitting one free sine to each 50 ms, dB of full scale."""
    return float(10 * np.log10(np.median([fit(part, rate, frequency)[1] for part in cut(waveform, rate // 20)])))


def cut(waveform: NDArray[np.float64], n: int) -> list[NDArray[np.float64]]:
    return [waveform[first : first + n] for first in range(0, len(waveform) - n + 1, n)]


def fit(waveform: NDArray[np.float64], rate: int, near: float) -> tuple[float, float]:
    """The sine (any frequency within 3 %, phase and level) that leaves least power: its frequency, and that power."""
    time = np.arange(len(waveform)) / rate

    def left(frequency: float) -> float:
        cosine, sine = np.cos(2 * np.pi * frequency * time), np.sin(2 * np.pi * frequency * time)
        cc, ss, cs, xc, xs = cosine @ cosine, sine @ sine, cosine @ sine, waveform @ cosine, waveform @ sine
        fitted = (xc * (ss * xc - cs * xs) + xs * (cc * xs - cs * xc)) / (cc * ss - cs**2)  # normal equations, 2 x 2
        return float((waveform @ waveform - fitted) / len(waveform))

    low, high = 0.97 * near, 1.03 * near
    for _ in range(3):
        frequencies = np.linspace(low, high, 41)
        best = int(np.argmin([left(frequency) for frequency in frequencies]))
        low, high = frequencies[max(0, best - 1)], frequencies[min(40, best + 1)]
    return float(frequencies[best]), left(float(frequencies[best]))


if __name__ == "__main__":
    main()
