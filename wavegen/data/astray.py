"""A network's own sound where it went astray, which windows begin with, so that it learns to find out of it.

Whoever learns from recordings alone never sees where its own mistakes lead to. So some of what they lead to is shown,
and what is to be predicted there is what somebody does who makes no mistakes (S. Ross, G. Gordon, D. Bagnell, "A
reduction of imitation learning and structured prediction to no-regret online learning", AISTATS 2011, section 3:
DAgger). Here that is a recording of the same label, from any of its moments on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen.codec import Codec
from wavegen.data import audio
from wavegen.errors import InputError
from wavegen.paths import user_path

N_ENDS = 600  # codes at which the sound may be left: where it is nearest to what the recording comes from
N_COMPARED = 6  # codes, by which that is told


@dataclass(frozen=True)
class Astray:
    """Sounds that went astray, as codes, by the value of a label ("" without one).

    `n_codes`: of the beginning of a window that they take, which do not count; as many as a network hears. `share`: of
    windows that begin so.
    """

    share: float
    n_codes: int
    label: str | None
    sounds: Mapping[str, Sequence[NDArray[np.int64]]]

    def lead_in(
        self, codes: NDArray[np.int64], labels: Mapping[str, str], random: np.random.Generator
    ) -> NDArray[np.int64] | None:
        """What a window (T,) is to begin with in place of its own codes, (n_codes,); None for what it has."""
        sounds = self.sounds.get("" if self.label is None else labels.get(self.label, ""), ())
        if not sounds or random.random() >= self.share:
            return None
        sound = sounds[int(random.integers(len(sounds)))]
        first = int(random.integers(self.n_codes, max(self.n_codes, len(sound) - N_ENDS) + 1))
        ends = np.arange(first, min(first + N_ENDS, len(sound)) + 1)
        own = codes[self.n_codes - N_COMPARED : self.n_codes]
        there = np.stack([sound[ends - N_COMPARED + place] for place in range(N_COMPARED)], axis=1)
        end = ends[np.abs(there - own).sum(axis=1).argmin()]
        return sound[end - self.n_codes : end]


def read(
    folder: Path, share: float, n_codes: int, codec: Codec, sample_rate: int, label: str | None, values: Sequence[str]
) -> Astray:
    """The sounds of a folder, whose sub-folders are named by values of the label; without one they lie in it.

    Raises: InputError if there is no such folder, no sound in it that is long enough, or a sub-folder of no value.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise InputError(f"training.astray is {folder}, which is no folder; expected one of sounds that went astray")
    within = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if label is not None:
        for one in within:
            if one.name not in values:
                raise InputError(
                    f"training.astray holds the folder {one}, and {one.name} is no {label}; expected some of "
                    f"{', '.join(values)}"
                )
    sounds: dict[str, list[NDArray[np.int64]]] = {}
    for place in [folder] if label is None else within:
        for path in sorted(place.glob("*.wav")):
            codes = codec.encode(audio.read(path, sample_rate))
            if len(codes) >= n_codes:
                sounds.setdefault("" if label is None else place.name, []).append(codes)
    if not sounds:
        where = "" if label is None else f", in sub-folders named as {label} is"
        raise InputError(f"{folder} holds no .wav of {n_codes / sample_rate:.2g} s or more{where}")
    return Astray(share, n_codes, label, sounds)
