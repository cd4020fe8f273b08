"""How near a vocoder comes to recordings by the figures that speech synthesis is judged by: opinion, intelligibility,
spectra and pitch.

Recordings are resynthesised free running, and each result is measured beside its recording; so are Griffin-Lim from the
same frames, which a vocoder has to beat, and the recording itself. Sounds are not aligned and their levels are kept;
only PESQ does that by itself. Some figures need optional packages, each of which is imported by one function.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.data import audio
from wavegen.data.store import Store
from wavegen.data.windows import Segment, evenly_spaced
from wavegen.engines import n_at_once
from wavegen.errors import InputError
from wavegen.evaluation.resynthesis import MIN_SAMPLES, log_mel_distance, make_spectral_distance
from wavegen.features.log_mel import LogMel
from wavegen.features.pitch import Pitch, PitchTrack
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, Session
from wavegen.generation.stream import n_samples
from wavegen.progress import Bar

Waveform = NDArray[np.floating]

LONGEST_S = 6.0  # of a recording
SHORTEST_S = 0.5  # STOI needs 0.4 s that are not silent
PESQ_RATE = 16000  # Hz, which P.862.2 is defined for
PITCH_HOP_S = 0.0125
LOWEST_HZ, HIGHEST_HZ = 60.0, 400.0  # of a voice's pitch
HARMONIC_DB = 3.0  # HNR of a recording's frames that count
HNR_RANGE = (-20.0, 60.0)  # dB; those of silence and of a pure tone are infinite, which would swamp a mean
COLUMNS = ("recording", "this model", "Griffin-Lim")


def pesq_wide_band(recorded: Waveform, made: Waveform, sample_rate: int) -> float:
    """Predicted opinion of a coded telephone call, 1.02 to 4.64 (ITU-T P.862.2; package pesq); at 16 kHz.

    Level and delay do not count. NaN for sounds that it finds nothing to compare in: silent, or below 0.25 s.

    Shapes: recorded (T,), made (T,).
    """
    from pesq import PesqError, pesq

    pair = [audio.resample(sound, sample_rate, PESQ_RATE) for sound in (recorded, made)]
    if not all(np.any(sound) for sound in pair):
        return np.nan
    score = float(pesq(PESQ_RATE, *pair, "wb", on_error=PesqError.RETURN_VALUES))
    return score if score > 0 else np.nan


def stoi(recorded: Waveform, made: Waveform, sample_rate: int, *, is_extended: bool = False) -> float:
    """Short-time objective intelligibility: how much of the envelope of each band is kept, about 0 to 1.

    Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech" (IEEE TASLP,
    2011); ESTOI where it `is_extended`: Jensen and Taal (IEEE TASLP, 2016). Package pystoi, which resamples to 10 kHz.
    A delay counts; level does not. NaN where less than 0.4 s of the recording is not silent.

    Shapes: recorded (T,), made (T,).
    """
    from pystoi import stoi as measure

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(measure(recorded, made, sample_rate, extended=is_extended))
        except RuntimeWarning:
            return np.nan


def harmonics_to_noise(recorded: PitchTrack, made: PitchTrack) -> float:
    """Mean dB of harmonics to noise, where the recording is voiced and has more than 3 dB; NaN if it nowhere is.

    10 log10(r / (1 - r)), with r the peak of the normalised autocorrelation: Boersma, "Accurate short-term analysis of
    the fundamental frequency and the harmonics-to-noise ratio of a sampled sound" (IFA Proceedings 17, 1993). Silence
    and frames without a peak, such as those of white noise, count as -20 dB.
    """
    counted = (recorded.f0 > 0) & (_hnr(recorded) > HARMONIC_DB)
    return float(_hnr(made)[counted].mean()) if counted.any() else np.nan


def voiced_frames_lost(recorded: PitchTrack, made: PitchTrack) -> float:
    """Share of the recording's voiced frames that are unvoiced in what was made, 0 to 1; NaN if there are none."""
    is_voiced = recorded.f0 > 0
    return float((made.f0[is_voiced] == 0).mean()) if is_voiced.any() else np.nan


def pitch_error(recorded: PitchTrack, made: PitchTrack) -> float:
    """Median distance of pitches where both sounds are voiced, cents (hundredths of a semitone); NaN if they nowhere
    are.

    Around 300 is chance. It says little where most voiced frames are lost.
    """
    both = (recorded.f0 > 0) & (made.f0 > 0)
    if not both.any():
        return np.nan
    return float(np.median(1200 * np.abs(np.log2(made.f0[both] / recorded.f0[both]))))


def _hnr(track: PitchTrack) -> NDArray[np.floating]:
    """dB of each frame, within HNR_RANGE."""
    least, most = (1 / (1 + 10 ** (-db / 10)) for db in HNR_RANGE)
    strength = np.clip(track.strength.astype(np.float64), least, most)
    return 10 * np.log10(strength / (1 - strength))


class Signal:
    """A waveform (T,), and its frames and pitch, each computed once."""

    def __init__(self, waveform: Waveform, features: LogMel) -> None:
        self.waveform, self.sample_rate, self._features = waveform, features.sample_rate, features

    @cached_property
    def frames(self) -> NDArray[np.float32]:
        return self._features.frames(self.waveform)

    @cached_property
    def pitch(self) -> PitchTrack:
        hop = round(PITCH_HOP_S * self.sample_rate)
        return Pitch(self.sample_rate, hop, LOWEST_HZ, HIGHEST_HZ).track(self.waveform)


Measure = Callable[[Signal, Signal], float]  # of a recording and of a sound made of its frames


class Figure(NamedTuple):
    """A row of the table: its title, the decimals it is shown with, and the package that it needs, if any."""

    title: str
    decimals: int
    package: str | None
    measure: Measure


def _of_waveforms(measure: Callable[[Waveform, Waveform, int], float]) -> Measure:
    return lambda recorded, made: measure(recorded.waveform, made.waveform, recorded.sample_rate)


def _of_pitches(measure: Callable[[PitchTrack, PitchTrack], float]) -> Measure:
    return lambda recorded, made: measure(recorded.pitch, made.pitch)


def _spectral_distance(recorded: Waveform, made: Waveform, sample_rate: int) -> float:
    return make_spectral_distance()(made[None], recorded[None])


FIGURES = (
    Figure("PESQ, wide band (up to 4.64)", 2, "pesq", _of_waveforms(pesq_wide_band)),
    Figure("STOI (up to 1)", 2, "pystoi", _of_waveforms(stoi)),
    Figure("ESTOI (up to 1)", 2, "pystoi", _of_waveforms(partial(stoi, is_extended=True))),
    Figure("multi-resolution STFT distance", 2, "auraloss", _of_waveforms(_spectral_distance)),
    Figure("log-mel distance, dB", 2, None, lambda recorded, made: log_mel_distance(recorded.frames, made.frames)),
    Figure("HNR, dB", 1, None, _of_pitches(harmonics_to_noise)),
    Figure("voiced frames lost", 2, None, _of_pitches(voiced_frames_lost)),
    Figure("pitch error, cents", 0, None, _of_pitches(pitch_error)),
)


class Spread(NamedTuple):
    """A figure over some recordings: mean, standard deviation, and of how many it could be had."""

    mean: float
    deviation: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        finite = np.asarray(values)[np.isfinite(values)]
        if not len(finite):
            return cls(np.nan, np.nan, 0)
        return cls(float(finite.mean()), float(finite.std()), len(finite))


def missing_packages(figures: Sequence[Figure] = FIGURES) -> list[str]:
    """The packages of some figures that cannot be imported here."""
    missing = []
    for package in dict.fromkeys(figure.package for figure in figures if figure.package is not None):
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    return missing


def choose_recordings(store: Store, segments: Sequence[Segment], n: int, sample_rate: int) -> list[NDArray[np.float32]]:
    """At most n recordings, evenly spaced through the segments: waveforms (T,) of their first 6 s at most.

    Raises: InputError if all are shorter than 0.5 s.
    """
    least = max(MIN_SAMPLES, n_samples(SHORTEST_S, sample_rate))
    usable = [segment for segment in segments if segment.n_samples >= least]
    if not usable:
        longest = max((segment.n_samples for segment in segments), default=0) / sample_rate
        raise InputError(
            f"the longest recording is {longest:.2g} s; --listen expects one of {least / sample_rate:.2g} s or more"
        )
    most = n_samples(LONGEST_S, sample_rate)
    return [
        audio.to_waveform(store.samples[segment.start : segment.start + min(segment.n_samples, most)])
        for segment in evenly_spaced(usable, n)
    ]


def resynthesise(
    model: Checkpoint, recorded: Sequence[Waveform], device: str = "auto", seed: int = 0, bar: Bar | None = None
) -> list[NDArray[np.float32]]:
    """What a vocoder makes of the frames of recordings, free running, by its own decoding: waveforms (T,) as long."""
    options = GenerationOptions(seed=seed, device=device)
    n = n_at_once(model, options.engine_options, len(recorded))
    reader, session = LoadedModel(model), Session(model, replace(options, n=n), frames_follow=True)
    made = dict(session.vocode_each((reader.frames_of(waveform) for waveform in recorded), bar))
    return [made[number] for number in range(len(recorded))]


def compare(
    features: LogMel,
    recorded: Sequence[Waveform],
    made: Sequence[Waveform],
    figures: Sequence[Figure] = FIGURES,
    bar: Bar | None = None,
) -> list[Mapping[str, Spread]]:
    """Each figure over recordings, in each of COLUMNS; `made` is what the model made of their frames."""
    values: list[dict[str, list[float]]] = [{column: [] for column in COLUMNS} for _ in figures]
    for number, (waveform, of_model) in enumerate(zip(recorded, made, strict=True)):
        reference = Signal(waveform, features)
        inverted = features.invert(reference.frames[None], len(waveform))[0]
        sounds = (reference, Signal(of_model, features), Signal(inverted, features))
        for column, sound in zip(COLUMNS, sounds, strict=True):
            for figure, of_figure in zip(figures, values, strict=True):
                of_figure[column].append(figure.measure(reference, sound))
        if bar is not None:
            bar.update(number + 1)
    return [{column: Spread.of(of_figure[column]) for column in COLUMNS} for of_figure in values]
