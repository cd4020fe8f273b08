"""Let a model sound, and keep where it went astray: what `training.astray` is for (docs/exposure.md).

    python -m tools.find_astray music --out astray
    python -m tools.find_astray runs/music-2 --n 12 --seconds 20 --out astray

Every value of the model's first label sounds `--n` times. Of each second the levels of bands are compared with those of
all seconds of the recordings it was trained on. A second is astray if one of another value is nearer than all of its
own, by more than `--margin`, or if it is further from its own than 95 % of the recordings' seconds are from each other.
Seconds begin four times a second; where two or more that follow each other are astray they are kept as
FOLDER/VALUE/*.wav, and their share is printed, beside that of the recordings themselves, each without what it overlaps.
Without labels there is only the second way.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import wavegen
from wavegen import checkpoint, recipe
from wavegen.data import audio, corpora, splits
from wavegen.features.log_mel import LogMel

N_BANDS = 20
HOPS_A_SECOND = 4  # seconds begin so often
SHARE, ROOM = 0.95, 1.1  # of the recordings that are near each other, and how much further one may be
QUIETEST_DB = -60  # what is below is as good as silent
LEAST_SECONDS = 2  # that follow each other and are astray
SEED = 1


class Seconds:
    """The levels of bands of every second of a sound, four times a second: (n, N_BANDS), dB."""

    def __init__(self, rate: int) -> None:
        self.rate, self.hop = rate, rate // HOPS_A_SECOND
        self._log_mel = LogMel(rate, n_mels=N_BANDS, hop=self.hop // 4, n_fft=2 * self.hop // 4, f_min=80)

    def of(self, sound: NDArray[np.floating]) -> NDArray[np.float64]:
        powers = 10 ** (5 * (self._log_mel.frames(sound.astype(np.float32)).astype(np.float64) - 1))
        frames = 4 * HOPS_A_SECOND
        n = (len(sound) - self.rate) // self.hop + 1
        means = [powers[4 * number :][:frames].mean(axis=0) for number in range(n)]
        return 10 * np.log10(np.reshape(means, (-1, N_BANDS)) + 10 ** (QUIETEST_DB / 10))


def distances(some: NDArray[np.float64], others: NDArray[np.float64], apart: int = 0) -> NDArray[np.float64]:
    """From each of some seconds to the nearest other one, (n,), dB; `apart`: which are not compared, being so near in
    time."""
    each = np.sqrt(np.square(some[:, None] - others[None]).mean(axis=-1))
    if apart:
        each[np.abs(np.arange(len(some))[:, None] - np.arange(len(others))) < apart] = np.inf
    return each.min(axis=1, initial=np.inf)


class Recordings:
    """What seconds of each value's recordings are like."""

    def __init__(self, seconds: dict[str, NDArray[np.float64]], margin: float) -> None:
        self._seconds, self._margin = seconds, margin
        self._limits = {
            value: ROOM * float(np.quantile(distances(own, own, 2 * HOPS_A_SECOND), SHARE))
            for value, own in seconds.items()
        }

    def are_astray(self, value: str, some: NDArray[np.float64], apart: int = 0) -> NDArray[np.bool_]:
        own = distances(some, self._seconds[value], apart)
        others = [distances(some, theirs) for other, theirs in self._seconds.items() if other != value]
        return (own > self._limits[value]) | (own > self._margin * np.min(others, axis=0, initial=np.inf))

    def share_astray(self, value: str) -> float:
        """Of the recordings themselves."""
        return float(self.are_astray(value, self._seconds[value], 2 * HOPS_A_SECOND).mean())


def stretches(are_astray: Sequence[bool]) -> list[tuple[int, int]]:
    """Numbers of the first and behind the last of those that follow each other, where there are enough."""
    edges = np.flatnonzero(np.diff([False, *are_astray, False]))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2) if end - first >= LEAST_SECONDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--margin", type=float, default=1.15)
    options = parser.parse_args()
    model = wavegen.load(options.model)
    loaded = checkpoint.load(Path(options.model)).trained
    data = recipe.parse(loaded.recipe, options.model).data
    store, _ = corpora.open_corpus(data)
    label = next(iter(model.labels), None)
    values = [""] if label is None else model.labels[label]
    seconds_of = Seconds(model.sample_rate)
    found: dict[str, list[NDArray[np.float64]]] = {value: [] for value in values}
    for part in splits.split(data, store.recordings).values():
        for one in part:
            sound = store.samples[one.start : one.start + one.n_samples] / 32768
            found["" if label is None else one.labels[label]].append(seconds_of.of(sound))
    recordings = Recordings({value: np.concatenate(each) for value, each in found.items()}, options.margin)
    for value in values:
        labels = {} if label is None else {label: value}
        made = model.generate(options.seconds, n=options.n, labels=labels, seed=options.seed)
        n_astray = n_all = n_kept = 0
        for number, sound in enumerate(np.atleast_2d(made.samples)):
            astray = recordings.are_astray(value, seconds_of.of(sound))
            n_astray, n_all = n_astray + int(astray.sum()), n_all + len(astray)
            for first, end in stretches(list(astray)):
                piece = sound[first * seconds_of.hop : (end - 1) * seconds_of.hop + seconds_of.rate]
                n_kept += len(piece)
                folder = options.out / value
                folder.mkdir(parents=True, exist_ok=True)
                name = f"{Path(options.model).name}-{options.seed}-{number}-{first}.wav"
                audio.write(folder / name, piece, model.sample_rate)
        real = recordings.share_astray(value)
        print(
            f"{value or 'all'}: {n_astray / n_all:.1%} of its seconds astray (of recordings {real:.1%}), "
            f"{n_kept / model.sample_rate:.0f} s kept"
        )


if __name__ == "__main__":
    main()
