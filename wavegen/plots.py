"""Pictures of sound and of training, as PNG files that appear whole or not at all."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wavegen import files

WINDOW_S = 0.032  # of the spectrogram
FLOOR_DB = -80.0  # of the spectrogram's colours, below its peak
CLOSE_UP_S = 0.02


def sounds(path: Path, waveforms: Mapping[str, NDArray[np.floating]], sample_rate: int) -> None:
    """Draw each waveform (T,), a close-up of its middle, and its spectrogram, one column per sound."""
    figure = Figure(figsize=(5.5 * len(waveforms), 7), layout="constrained")
    axes = figure.subplots(3, len(waveforms), squeeze=False)
    for column, (title, waveform) in zip(axes.T, waveforms.items(), strict=True):
        _waveform(column[0], waveform, sample_rate)
        column[0].set_title(title.encode(errors="replace").decode(), parse_math=False)  # it may be a file's name
        middle, width = len(waveform) // 2, max(2, round(CLOSE_UP_S * sample_rate))
        _waveform(column[1], waveform[middle : middle + width], sample_rate, in_milliseconds=True)
        _spectrogram(column[2], waveform, sample_rate)
    _save(figure, path)


def losses(path: Path, curves: Mapping[str, Sequence[tuple[float, float]]], unit: str = "sample") -> None:
    """Draw bits per sample (or another unit) against training steps; each curve is (step, bits) pairs."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        if points:
            steps, bits = zip(*points, strict=True)
            axes.plot(steps, bits, label=label, linewidth=1 if len(points) > 50 else 2)
    lows = [bits for points in curves.values() for _, bits in points]
    if lows:
        axes.set_ylim(min(lows) - 0.1, min(max(lows), min(lows) + 3) + 0.1)
        axes.legend(loc="upper right")  # which a curve that falls leaves free
    axes.set_xlabel("step")
    axes.set_ylabel(f"bits per {unit}")
    axes.grid(alpha=0.3)
    _save(figure, path)


def _waveform(axes: Axes, waveform: NDArray[np.floating], sample_rate: int, in_milliseconds: bool = False) -> None:
    scale = 1000 if in_milliseconds else 1
    axes.plot(np.arange(len(waveform)) / sample_rate * scale, waveform, linewidth=1 if in_milliseconds else 0.4)
    axes.set_xlabel("ms" if in_milliseconds else "s")
    axes.margins(x=0)


def _spectrogram(axes: Axes, waveform: NDArray[np.floating], sample_rate: int) -> None:
    size = max(16, round(WINDOW_S * sample_rate))
    padded = np.pad(waveform, (0, max(0, size - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: max(1, size // 4)]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    decibels = 10 * np.log10(power / max(power.max(), 1e-20) + 1e-20)
    axes.imshow(
        decibels.T,
        origin="lower",
        aspect="auto",
        vmin=FLOOR_DB,
        vmax=0,
        cmap="magma",
        extent=(0, len(waveform) / sample_rate, 0, sample_rate / 2000),
    )
    axes.set_xlabel("s")
    axes.set_ylabel("kHz")


def _save(figure: Figure, path: Path) -> None:
    encoded = io.BytesIO()
    figure.savefig(encoded, dpi=100, format="png")
    files.write(path, encoded.getvalue())
