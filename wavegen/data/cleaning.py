"""What a recipe may have done to recordings before they are stored: filtered, cut, brought to full scale.

Everything streams: of a recording no more is held than a block, the reach of the filter, and a byte for each 10 ms.
What depends on the whole of a recording (its peak, its loudness) is found in a first pass over it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SILENCE_DB = 30  # below a recording's own loudness, where silence begins
FRAME_S = 0.01  # of which the level is measured
MARGIN_S = 0.05  # of silence that stays at a trimmed end
FADE_S = 0.01  # of the cross-fade where something was cut out
GATES = (-70.0, -10.0)  # dB of full scale, and of the mean above that; after ITU-R BS.1770
QUIETEST = -120  # dB; the level of digital silence

Cut = tuple[int, int]  # samples: first that goes, first that stays


@dataclass(frozen=True)
class Cleaning:
    """What is done to every recording; the keys of a recipe's data section (recipe.py) say what they mean."""

    highpass: float | None = None
    normalize: Literal["peak"] | None = None
    trim_silence: bool = False
    longest_pause: float | None = None

    @property
    def chosen(self) -> dict[str, Any]:
        """What is done, without what is not."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    @property
    def name(self) -> str:
        """In the names of folders; empty if nothing is done."""
        words = {True: "", "peak": "-peak"}
        return "".join(
            f"-{name.replace('_', '-')}{words[value] if isinstance(value, bool | str) else f'-{value:g}'}"
            for name, value in self.chosen.items()
        )

    @property
    def changes(self) -> tuple[str, ...]:
        """What can be said of a recording afterwards (item_format.py)."""
        said = {
            "highpass": "high-passed",
            "normalize": "brought to full scale",
            "trim_silence": "trimmed",
            "longest_pause": "shortened in their pauses",
        }
        return tuple(said[name] for name in self.chosen)

    def clean(
        self, samples: Callable[[], Iterable[NDArray[np.float32]]], sample_rate: int, done: list[str]
    ) -> Iterator[NDArray[np.floating]]:
        """A recording as it is to be stored.

        `samples` begins the recording anew whenever it is called. To `done` goes what was changed, of `changes`.
        """

        def filtered() -> Iterable[NDArray[np.floating]]:
            return samples() if self.highpass is None else high_passed(samples(), self.highpass, sample_rate)

        if self.highpass is not None:
            done.append("high-passed")
        if not (self.normalize or self.trim_silence or self.longest_pause):
            yield from filtered()
            return
        found = _measure(filtered(), sample_rate)
        cuts = self._cuts(found, sample_rate)
        gain = 1.0 if self.normalize is None or found.peak == 0 else 32767 / 32768 / found.peak
        if self.normalize is not None:
            done.append("brought to full scale")
        if self.trim_silence and any(first == 0 or last == found.n_samples for first, last in cuts):
            done.append("trimmed")
        if any(not self.trim_silence or (first > 0 and last < found.n_samples) for first, last in cuts):
            done.append("shortened in their pauses")
        for block in without(filtered(), cuts, round(FADE_S * sample_rate)):
            yield block * gain

    def _cuts(self, found: "_Measured", sample_rate: int) -> list[Cut]:
        """What goes, in order."""
        hop, fade = _hop(sample_rate), round(FADE_S * sample_rate)
        margin = round(MARGIN_S * sample_rate)
        cuts = []
        for first, last in _runs(_is_silent(found.levels)):
            begin, end = first * hop, min(last * hop, found.n_samples)
            if self.trim_silence and begin == 0:
                cut = (0, end - margin)
            elif self.trim_silence and end == found.n_samples:
                cut = (begin + margin, end)
            elif self.longest_pause is not None:
                kept = max(0, round(self.longest_pause * sample_rate) - fade)  # the cross-fade is a part of the pause
                cut = (begin + kept // 2, end - (kept - kept // 2))
            else:
                continue
            if cut[1] - cut[0] >= 2 * fade:
                cuts.append(cut)
        return cuts


AS_IT_IS = Cleaning()


class _Measured(NamedTuple):
    """What a first pass finds: the peak, and the level of each frame in dB (RMS), rounded."""

    n_samples: int
    peak: float
    levels: NDArray[np.int8]


def from_facts(facts: Mapping[str, Any]) -> Cleaning:
    """What store.json says of it."""
    return Cleaning(**{field.name: facts[field.name] for field in fields(Cleaning) if field.name in facts})


def high_passed(blocks: Iterable[NDArray[np.floating]], hz: float, sample_rate: int) -> Iterator[NDArray[np.float64]]:
    """A sound without what lies below a frequency, an offset above all; nothing is delayed.

    A windowed sinc (Hann) of 4 periods of the frequency, where it takes 6 dB; an octave above it takes less than
    0.1 dB. The ends are continued by their mirror images.
    """
    half = max(1, round(2 * sample_rate / hz))
    axis = np.arange(-half, half + 1)
    low_pass = np.sinc(2 * hz / sample_rate * axis) * (0.5 + 0.5 * np.cos(np.pi * axis / (half + 1)))
    kernel = -low_pass / low_pass.sum()
    kernel[half] += 1
    held, has_begun = np.zeros(0), False
    for block in blocks:
        held = np.concatenate([held, block])
        if not has_begun:
            if len(held) <= half:
                continue
            held, has_begun = np.concatenate([held[half:0:-1], held]), True
        yield _convolved(held, kernel)
        held = held[-2 * half :]
    if has_begun:
        yield _convolved(np.concatenate([held, held[-2 : -half - 2 : -1]]), kernel)
    elif len(held):
        yield _convolved(np.pad(held, half, mode="reflect"), kernel)


def _convolved(samples: NDArray[np.floating], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those values of a convolution that the ends do not reach."""
    n = 1 << (len(samples) - 1).bit_length()
    spectrum = np.fft.rfft(samples, n) * np.fft.rfft(kernel, n)
    return np.fft.irfft(spectrum, n)[len(kernel) - 1 : len(samples)]


def _hop(sample_rate: int) -> int:
    return max(1, round(FRAME_S * sample_rate))


def _measure(blocks: Iterable[NDArray[np.floating]], sample_rate: int) -> _Measured:
    hop = _hop(sample_rate)
    n_samples, peak, held = 0, 0.0, np.zeros(0)
    levels = []
    for block in blocks:
        if not len(block):
            continue
        n_samples += len(block)
        peak = max(peak, float(np.abs(block).max()))
        held = np.concatenate([held, block])
        whole = len(held) // hop * hop
        levels.append(_levels(held[:whole].reshape(-1, hop)))
        held = held[whole:]
    if len(held):
        levels.append(_levels(held[None]))
    return _Measured(n_samples, peak, np.concatenate(levels) if levels else np.zeros(0, dtype=np.int8))


def _levels(frames: NDArray[np.floating]) -> NDArray[np.int8]:
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return np.clip(np.rint(10 * np.log10(np.maximum(power, 1e-12))), QUIETEST, 127).astype(np.int8)


def _is_silent(levels: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which frames are silence, compared with how loud the others are; none, if there is nothing louder."""
    level = levels.astype(np.float64)
    heard = level[level > GATES[0]]
    if not len(heard):
        return np.zeros(len(levels), dtype=bool)
    loudness = _mean_db(heard[heard >= _mean_db(heard) + GATES[1]])
    return level < loudness - SILENCE_DB


def _mean_db(levels: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(10 ** (levels / 10))))


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First, and one behind the last, of each run of flags that are set."""
    steps = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def without(blocks: Iterable[NDArray[np.floating]], cuts: Sequence[Cut], fade: int) -> Iterator[NDArray[np.floating]]:
    """A sound without some stretches, each of at least two fades: what comes first in a stretch is cross-faded into
    what comes last."""
    actions: list[tuple[int, str]] = []  # where each ends
    for first, last in cuts:
        actions += [(first, "keep"), (first + fade, "hold"), (last - fade, "drop"), (last, "blend")]
    at = 0
    held: list[NDArray[np.floating]] = []
    weights = (np.arange(fade) + 1) / (fade + 1)
    for block in blocks:
        begin = 0
        while begin < len(block):
            end_of_action, action = actions[0] if actions else (at + len(block), "keep")
            part = block[begin : begin + max(0, end_of_action - at)]
            if action == "keep" and len(part):
                yield part
            elif action == "hold":
                held.append(part)
            elif action == "blend":
                before = np.concatenate(held)
                first = fade - (end_of_action - at)
                weight = weights[first : first + len(part)]
                yield before[first : first + len(part)] * (1 - weight) + part * weight
            begin, at = begin + len(part), at + len(part)
            if actions and at == end_of_action:
                actions.pop(0)
                if action == "blend":
                    held = []
