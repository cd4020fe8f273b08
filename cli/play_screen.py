"""What `wavegen play` shows while it plays, and what its keys do."""

import itertools
import textwrap
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.live import Live as Screen

from wavegen.data import audio
from wavegen.errors import InputError
from wavegen.generation.live import Live
from wavegen.playback import Player
from wavegen.sampling import fresh_seed

from .screen import console, text_lines

PICTURES_PER_S = 12
SHADES = " ░▒▓█"
ROWS, COLUMNS = 10, 64  # of the spectrogram
FLOOR_DB = -70
COLUMN_S = 0.05  # of sound to a column
FFT = 512
LABEL_KEYS = ("l/L", "k/K")  # next and previous value of the model's first label, and of its second
UNBROKEN = "\u00a0"  # a space at which no line ends


class PlayScreen:
    """A live model, its player and the terminal, which shows them while a `with` block runs."""

    def __init__(self, live: Live, player: Player, rate: int, title: str) -> None:
        self._live, self._player, self._rate, self._title = live, player, rate, title
        self._columns: deque[str] = deque([" " * ROWS] * COLUMNS, maxlen=COLUMNS)
        self._began, self._n_columns = time.monotonic(), 0
        self._note = ""
        self._screen = Screen(console=console, auto_refresh=False, transient=True)
        self._drawn_at = 0.0
        self._actions: dict[str, Callable[[], str]] = {
            "up": lambda: self._temperature(0.05),
            "down": lambda: self._temperature(-0.05),
            "t": lambda: self._temperature_frames(-0.05),
            "T": lambda: self._temperature_frames(0.05),
            "p": lambda: self._top_p(-0.05),
            "P": lambda: self._top_p(0.05),
            "g": lambda: self._guidance(-0.25),
            "G": lambda: self._guidance(0.25),
            "-": lambda: self._gain(1 / 1.25),
            "+": lambda: self._gain(1.25),
            "=": lambda: self._gain(1.25),
            "l": lambda: self._label(0, 1),
            "L": lambda: self._label(0, -1),
            "k": lambda: self._label(1, 1),
            "K": lambda: self._label(1, -1),
            "r": self._restart,
            "f": self._freeze,
            "w": self._write_take,
            "q": self._quit,
        }

    def __enter__(self) -> Self:
        self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.stop()

    @property
    def keys(self) -> list[str]:
        """What keys do with this model."""
        session = self._live.session
        guidance = ["g/G guidance"] if session.decoding.is_guided else []
        labels = [f"{key} {name}" for key, name in zip(LABEL_KEYS, session.known_labels, strict=False)]
        frames = [] if session.temperature_frames is None else ["t/T temperature of frames"]
        top_p = ["p/P top-p"] if session.description.head.lists_probabilities else []
        return [
            *guidance,
            "up/down temperature",
            *frames,
            *top_p,
            "-/+ gain",
            *labels,
            "r restart",
            "f freeze",
            "w write take",
            "q quit",
        ]

    def press(self, key: str) -> None:
        """Do what a key stands for; what the model cannot do is told on the screen."""
        if key in self._actions:
            try:
                self._note = self._actions[key]()
            except InputError as error:
                self._note = str(error)

    def draw(self) -> None:
        """Draw the picture of this moment, unless the last one is fresh."""
        if time.monotonic() - self._drawn_at >= 1 / PICTURES_PER_S:
            self._drawn_at = time.monotonic()
            self._screen.update(self.picture(), refresh=True)

    def picture(self) -> Group:
        """The picture of this moment."""
        live, counts, ring = self._live, self._player.counts, self._player.ring
        sound = live.newest(max(FFT, round(COLUMN_S * self._rate)))
        n_due = int((time.monotonic() - self._began) / COLUMN_S)
        self._columns.extend([spectrum(sound)] * min(COLUMNS, n_due - self._n_columns))
        self._n_columns = n_due
        controls, meter = live.controls, live.meter
        decoding = controls.decoding
        surprise = "" if meter.surprise is None else f"   surprise {meter.surprise:.2f} bits/sample"
        labels = "".join(f"   {name} {value or 'unknown'}" for name, value in controls.labels.items())
        guidance = f"   guidance {decoding.guidance:g}" if live.session.decoding.is_guided else ""
        frozen = "   frozen" if controls.is_frozen else ""
        frames = "" if controls.temperature_frames is None else f"   of frames {controls.temperature_frames:.2f}"
        top_p = f"   top-p {decoding.top_p or 1:.2f}" if live.session.description.head.lists_probabilities else ""
        lines = [
            self._title,
            *("".join(column[row] for column in self._columns) for row in range(ROWS - 1, -1, -1)),
            *([] if live.sound is None else [f"input {level_bar(live.sound.newest.astype(np.float32))}"]),
            f"level {level_bar(sound)}",
            f"temperature {decoding.temperature:.2f}{frames}{guidance}{top_p}"
            f"   gain {controls.gain:.2f}   seed {controls.seed}{labels}{frozen}",
            f"{meter.times_real_time:.1f} x real time   buffer {ring.n_ready / ring.capacity:4.0%}"
            f"   drop-outs {counts.n_dropouts}{surprise}",
            *textwrap.wrap("   ".join(key.replace(" ", UNBROKEN) for key in self.keys), console.width),
            self._note,
        ]
        return Group(*text_lines(lines))

    def _temperature(self, by: float) -> str:
        value = round(max(0.0, self._live.controls.decoding.temperature + by), 2)
        self._live.change(temperature=value)
        return f"temperature {value:.2f}"

    def _temperature_frames(self, by: float) -> str:
        if self._live.controls.temperature_frames is None:
            return "this model plans no frames"
        value = round(max(0.0, self._live.controls.temperature_frames + by), 2)
        self._live.change(temperature_frames=value)
        return f"temperature of frames {value:.2f}"

    def _top_p(self, by: float) -> str:
        value = round(min(max((self._live.controls.decoding.top_p or 1.0) + by, 0.05), 1.0), 2)
        self._live.change(top_p=value)
        return f"top-p {value:.2f}"

    def _guidance(self, by: float) -> str:
        value = max(0.0, self._live.controls.decoding.guidance + by)
        self._live.change(guidance=value)
        return f"guidance {value:g}"

    def _gain(self, factor: float) -> str:
        self._live.change(gain=self._live.controls.gain * factor)
        return f"gain {self._live.controls.gain:.2f}"

    def _label(self, number: int, by: int) -> str:
        """The next value of a label."""
        known = self._live.session.known_labels
        if number >= len(known):
            return f"this model has {('no labels', 'one label')[len(known)]}"
        name, values = list(known.items())[number]
        every = [None, *values]
        labels = dict(self._live.controls.labels)
        labels[name] = every[(every.index(labels.get(name)) + by) % len(every)]
        self._live.change(labels=labels)
        return f"{name} {labels[name] or 'unknown'}"

    def _restart(self) -> str:
        self._live.restart(fresh_seed())
        return f"restarted, seed {self._live.controls.seed}"

    def _freeze(self) -> str:
        self._live.change(is_frozen=not self._live.controls.is_frozen)
        return "frozen; f unfreezes" if self._live.controls.is_frozen else "unfrozen"

    def _write_take(self) -> str:
        seed = self._live.controls.seed
        path = next(path for n in itertools.count(1) if not (path := Path(f"take-{seed}-{n}.wav")).exists())
        audio.write(path, self._live.take(), self._rate)
        return f"wrote {path}"

    def _quit(self) -> str:
        self._player.stop()
        return "stopping"


def spectrum(sound: NDArray[np.float32]) -> str:
    """One column of a spectrogram, the lowest band first: ROWS shades, of bands that widen upwards."""
    if len(sound) < FFT:
        return " " * ROWS
    power = np.abs(np.fft.rfft(sound[-FFT:] * np.hanning(FFT))) ** 2 / (FFT / 4) ** 2
    edges = np.unique(np.geomspace(2, len(power), ROWS + 1).astype(int))
    bands = [power[low:high].max() for low, high in itertools.pairwise(edges)]
    shades = ((10 * np.log10(np.maximum(bands, 1e-12)) - FLOOR_DB) / -FLOOR_DB * len(SHADES)).astype(int)
    return "".join(SHADES[min(max(shade, 0), len(SHADES) - 1)] for shade in shades).ljust(ROWS)


def level_bar(sound: NDArray[np.float32], width: int = 40) -> str:
    """A bar of the loudness of some samples, with its level in dB of full scale (dBFS)."""
    power = float(np.mean(np.square(sound))) if len(sound) else 0.0
    level = 10 * np.log10(max(power, 1e-7))
    filled = round(min(max(1 + level / 70, 0.0), 1.0) * width)
    return "█" * filled + "·" * (width - filled) + f" {level:5.1f} dBFS"
