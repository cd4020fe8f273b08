"""Compare trackers of the fundamental frequency: on synthetic voices, where it is known, and on speech.

    python -m tools.compare_pitch shared/data/librispeech/librispeech-sample.tar.gz --seconds 180

Needs numpy, soundfile, praat-parselmouth, pyworld (which wants setuptools<81) and librosa, and compares torchcrepe
where that is installed; none of these but the first two is a dependency of wavegen. The synthetic voices are harmonics
of a known frequency through formants, with noise and silence between them. Of the speech the first utterances of each
speaker are taken; the reference is Praat's autocorrelation method, on the speech without the noise that is added to it.

lost: voiced frames that the tracker has as unvoiced. added: unvoiced frames that it has as voiced. Over the frames that
are voiced for both: the median distance in cents, and those further off than half an octave. A frame to either side of
a change of voicing is not counted. Times real time: seconds of speech for a second of processor time.
"""

import argparse
import importlib.util
import io
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import parselmouth
import soundfile
from numpy.typing import NDArray

from wavegen.features.pitch import Pitch

RATE, HOP = 16000, 200
LOWEST, HIGHEST = 60.0, 400.0
FRAME_S = HOP / RATE
PRAAT_PER_FRAME = 5  # frames of Praat's to one of ours, as theirs are at other times
N_VOICES = 8  # synthetic ones, from low to high
MARGIN_FRAMES = 1  # either side of a change of voicing
NOISES_DB = {"synthetic voices": (None, 10.0, 3.0), "speech": (None, 10.0)}  # of voiced parts over white noise

# Formants of vowels: (Hz, bandwidth in Hz). G. E. Peterson and H. L. Barney, "Control methods used in a study of the
# vowels" (1952): men's i, a, u, and women's e, ae.
VOWELS = (
    ((270, 60), (2290, 100), (3010, 150)),
    ((730, 80), (1090, 90), (2440, 140)),
    ((300, 60), (870, 80), (2240, 140)),
    ((610, 80), (2330, 110), (2990, 150)),
    ((860, 90), (2050, 110), (2850, 150)),
)

Tracker = Callable[[NDArray[np.float64]], NDArray[np.floating]]  # waveform (T,) -> f0 (F,), 0 where unvoiced


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, help="archive with LibriSpeech's folders")
    parser.add_argument("--seconds", type=float, default=180, help="of speech")
    parser.add_argument("--sounds", nargs="+", choices=NOISES_DB, default=list(NOISES_DB), help="print only these rows")
    parser.add_argument(
        "--snr", nargs="+", choices=("clean", "10", "3"), default=["clean", "10", "3"], help="and these"
    )
    options = parser.parse_args()
    random = np.random.default_rng(0)
    speech = list(utterances(options.speech, options.seconds))
    speech_f0 = [praat(sound) for sound in speech]
    voices, voices_f0 = zip(*(synthetic_voice(random, base) for base in np.geomspace(75, 320, N_VOICES)), strict=True)
    kinds = {"synthetic voices": (voices, voices_f0), "speech": (speech, speech_f0)}
    found = trackers()
    lengths = {name: sum(map(len, sounds)) / RATE for name, (sounds, _) in kinds.items()}
    print("; ".join(f"{name}: {seconds:.0f} s" for name, seconds in lengths.items()), end="\n\n")
    print("| sound | SNR, dB | tracker | lost, % | added, % | median error, cents | octave errors, % |")
    print("|---|---|---|---|---|---|---|")
    speeds: dict[str, float] = {}
    for kind, (sounds, truths) in kinds.items():
        for noise_db in NOISES_DB[kind]:
            snr = "clean" if noise_db is None else f"{noise_db:g}"
            noisy = [with_noise(random, sound, f0, noise_db) for sound, f0 in zip(sounds, truths, strict=True)]
            if kind not in options.sounds or snr not in options.snr:
                continue  # with the same noise drawn, so that rows do not depend on which others are printed
            for name, tracker in found.items():
                tracker(noisy[0][:RATE])  # what compiles, or loads, does so here
                began = time.process_time()
                tracks = [tracker(sound) for sound in noisy]
                speeds[name] = lengths[kind] / (time.process_time() - began)
                if name == "Praat" and kind == "speech" and noise_db is None:
                    continue  # the reference
                figures = " | ".join(compare(truths, tracks))
                print(f"| {kind} | {snr} | {name} | {figures} |", flush=True)
    print("\n| tracker | times real time, of processor time |\n|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:.0f} |")


def trackers() -> dict[str, Tracker]:
    import librosa
    import pyworld

    ours = Pitch(RATE, HOP, LOWEST, HIGHEST)
    bounds = {"f0_floor": LOWEST, "f0_ceil": HIGHEST, "frame_period": 1000 * FRAME_S}

    def harvest(sound: NDArray[np.float64]) -> NDArray[np.floating]:
        return np.asarray(pyworld.harvest(sound, RATE, **bounds)[0])

    def dio(sound: NDArray[np.float64]) -> NDArray[np.floating]:
        rough, times = pyworld.dio(sound, RATE, **bounds)
        return np.asarray(pyworld.stonemask(sound, rough, times, RATE))

    def pyin(sound: NDArray[np.float64]) -> NDArray[np.floating]:
        f0, _, _ = librosa.pyin(sound, fmin=LOWEST, fmax=HIGHEST, sr=RATE, frame_length=1024, hop_length=HOP)
        return np.asarray(np.nan_to_num(f0))

    found: dict[str, Tracker] = {
        "wavegen": lambda sound: ours.track(sound).f0,
        "Praat": praat,
        "harvest": harvest,
        "dio + stonemask": dio,
        "pyin": pyin,
    }
    if importlib.util.find_spec("torchcrepe"):
        found["torchcrepe tiny"] = crepe
    return found


def praat(sound: NDArray[np.float64]) -> NDArray[np.floating]:
    """With silence before and after, as Praat has no frames where its window would leave the sound."""
    silence = np.zeros(RATE // 20)
    padded = parselmouth.Sound(np.concatenate([silence, sound, silence]), RATE)
    pitch = padded.to_pitch_ac(time_step=FRAME_S / PRAAT_PER_FRAME, pitch_floor=LOWEST, pitch_ceiling=HIGHEST)
    times = np.arange(-(-len(sound) // HOP)) * FRAME_S + len(silence) / RATE
    nearest = np.rint((times - pitch.xs()[0]) / pitch.dx).astype(int)
    return np.asarray(pitch.selected_array["frequency"][np.clip(nearest, 0, pitch.n_frames - 1)])


def crepe(sound: NDArray[np.float64]) -> NDArray[np.floating]:
    import torch
    import torchcrepe

    waveform = torch.from_numpy(sound[None]).float()
    f0, periodicity = torchcrepe.predict(
        waveform, RATE, HOP, LOWEST, HIGHEST, "tiny", batch_size=512, return_periodicity=True
    )
    f0 = torchcrepe.threshold.At(0.21)(f0, torchcrepe.filter.median(periodicity, 3))  # as its README has it
    return np.nan_to_num(f0[0].numpy())


def compare(truths: Sequence[NDArray[np.floating]], tracks: Sequence[NDArray[np.floating]]) -> list[str]:
    """Lost %, added %, cents, octave errors %, over all sounds."""
    parts = []
    for truth, track in zip(truths, tracks, strict=True):
        n = min(len(truth), len(track))  # some have a frame more, at the end
        truth, track = truth[:n], track[:n]
        near = np.zeros(n, dtype=bool)
        for change in np.flatnonzero(np.diff(truth > 0)) + 1:
            near[max(0, change - MARGIN_FRAMES) : change + MARGIN_FRAMES] = True
        parts.append(np.stack([truth, track])[:, ~near])
    truth, track = np.concatenate(parts, axis=1)
    lost = 100 * np.mean(track[truth > 0] == 0)
    added = 100 * np.mean(track[truth == 0] > 0)
    both = (truth > 0) & (track > 0)
    cents = 1200 * np.abs(np.log2(track[both] / truth[both]))
    return [f"{lost:.1f}", f"{added:.1f}", f"{np.median(cents):.1f}", f"{100 * np.mean(cents > 600):.2f}"]


def synthetic_voice(random: np.random.Generator, base_hz: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A waveform, and f0 at its frames: vowels of one voice, flat, gliding or with vibrato, noise and pauses between.

    The source has harmonics that fall by 6 dB an octave, radiation included; the lowest one is all but missing in the
    last two vowels, as on a telephone.
    """
    sounds, tracks = [], []
    for number, vowel in enumerate(VOWELS):
        n = 60 * HOP
        position = np.linspace(0, 1, n)
        depth = random.uniform(-0.4, 0.4)  # octaves
        octaves = (0 * position, depth * position, 0.04 * np.sin(2 * np.pi * 4 * position))[number % 3]
        f0 = np.clip(base_hz * 2**octaves, LOWEST * 1.05, HIGHEST / 1.05)
        phase = 2 * np.pi * np.cumsum(f0) / RATE
        voiced = np.zeros(n)
        for harmonic in range(1, int(0.95 * RATE / 2 / f0.min()) + 1):
            hertz = harmonic * f0
            gain = resonance(hertz, vowel) / harmonic * (hertz < 0.95 * RATE / 2)
            if harmonic == 1 and number >= 3:
                gain *= 0.03
            voiced += np.real(gain * np.exp(1j * harmonic * phase))
        ramp = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.01 * RATE))
        voiced *= 0.1 * random.uniform(0.5, 1) * ramp / np.sqrt(np.mean(voiced**2))
        hiss = np.diff(random.standard_normal(20 * HOP + 1)) * 0.01
        pause = np.zeros(20 * HOP)
        sounds += [voiced, hiss, pause]
        tracks += [f0[::HOP], np.zeros(40)]
    return np.concatenate(sounds), np.concatenate(tracks)


def resonance(hertz: NDArray[np.float64], formants: tuple[tuple[int, int], ...]) -> NDArray[np.complex128]:
    """The gain of a vocal tract at some frequencies: a resonator to each formant, in a row."""
    gain = np.ones(len(hertz), dtype=np.complex128)
    for centre, bandwidth in formants:
        gain *= centre**2 / (centre**2 - hertz**2 + 1j * hertz * bandwidth)
    return gain


def with_noise(
    random: np.random.Generator, sound: NDArray[np.float64], f0: NDArray[np.floating], noise_db: float | None
) -> NDArray[np.float64]:
    if noise_db is None:
        return sound
    voiced = np.repeat(f0 > 0, HOP)[: len(sound)]
    rms = np.sqrt(np.mean(sound[voiced] ** 2)) * 10 ** (-noise_db / 20)
    return sound + rms * random.standard_normal(len(sound))


def utterances(archive: Path, seconds: float) -> Iterator[NDArray[np.float64]]:
    """The first utterance of each speaker, then the second of each, until it is enough."""
    with tarfile.open(archive) as file:
        members = sorted((member for member in file if member.name.endswith(".flac")), key=lambda one: one.name)
        counts: dict[str, int] = {}
        turns = []
        for member in members:
            speaker = Path(member.name).parts[-3]
            counts[speaker] = counts.get(speaker, 0) + 1
            turns.append((counts[speaker], speaker, member))
        n, enough = 0, seconds * RATE
        for _, _, member in sorted(turns, key=lambda turn: turn[:2]):
            if n >= enough:
                return
            content = file.extractfile(member)
            assert content is not None
            sound, rate = soundfile.read(io.BytesIO(content.read()))
            assert rate == RATE, f"{member.name} has {rate} Hz; expected {RATE}"
            sound = sound[: max(0, int(enough) - n)]
            n += len(sound)
            yield sound


if __name__ == "__main__":
    main()
