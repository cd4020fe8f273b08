"""How near a vocoder comes to recordings that it made again, and how near the same frames come otherwise."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.data.store import Store
from wavegen.data.windows import Segment, evenly_spaced
from wavegen.engines import make_engine
from wavegen.errors import InputError
from wavegen.features.frames import Features
from wavegen.features.matching import matched
from wavegen.generation.conditioning import FrameConditioner, known_labels
from wavegen.generation.stream import generate, n_samples
from wavegen.progress import Bar

STRETCH_S = 2.0  # of each recording that is made again
N_STRETCHES = 16
DB = 50  # of magnitude, that 1 in a frame stands for: log10 / 2.5
MIN_SAMPLES = 2400  # twice the longest window of the distance between spectra


class Distance(NamedTuple):
    """Between recordings and sounds made of their frames; both are 0 for the recordings themselves.

    `log_mel_db`: mean absolute difference of log-mel frames, dB. `spectral`: the multi-resolution STFT distance of
    Yamamoto et al., "Parallel WaveGAN" (arXiv:1910.11480), section 2.2, as auraloss has it: spectral convergence plus
    the difference of log magnitudes, over windows of 240, 600 and 1200 samples.
    """

    log_mel_db: float
    spectral: float


class Comparison(NamedTuple):
    """The same recordings by the vocoder; by the vocoder, each under the frames of another; and without a network."""

    vocoded: Distance
    shuffled: Distance
    griffin_lim: Distance


def stretches(
    model: Checkpoint, store: Store, segments: Sequence[Segment]
) -> tuple[NDArray[np.floating], list[dict[str, str | None]]]:
    """Stretches of recordings, evenly spaced through the segments, (n, T), and what a model knows of their labels."""
    longest = max(one.n_samples for one in segments)
    length = min(n_samples(STRETCH_S, model.description.sample_rate), max(1, longest // 2))
    starts = [(one, start) for one in segments for start in range(0, one.n_samples - length + 1, length)]
    chosen = evenly_spaced(starts, N_STRETCHES)
    recorded = np.stack([store.samples[one.start + start : one.start + start + length] for one, start in chosen])
    return recorded / 32768, [known_labels(model.description.labels, one.labels) for one, _ in chosen]


def measure(
    model: Checkpoint,
    features: Features,
    recorded: NDArray[np.floating],
    labels: Sequence[Mapping[str, str | None]],
    seed: int = 0,
    bar: Bar | None = None,
) -> Comparison:
    """Make recordings (n, T) again, all at once, and say how far from them that is.

    Raises: InputError for fewer than two recordings (of which one could have the frames of the other), or too short
        ones, for frames without log-mel bands, or if auraloss is not installed.
    """
    if len(recorded) < 2 or recorded.shape[1] < MIN_SAMPLES:
        raise InputError(f"recordings are {recorded.shape}; expected 2 or more, of {MIN_SAMPLES} samples or more")
    log_mel = features.log_mel
    if log_mel is None:
        raise InputError("the frames have no log-mel bands to compare; expected a vocoder with data.features.n_mels")
    spectral_distance = make_spectral_distance()
    frames = np.stack([features.frames(waveform) for waveform in recorded])
    n = recorded.shape[1]
    codec, decoding = model.description.make_codec(), model.description.make_decoding(guidance=1.0)
    _, engine = make_engine(model, len(recorded))
    n_made = 0

    def distance(made: NDArray[np.floating]) -> Distance:
        of_made = np.stack([log_mel.frames(waveform) for waveform in made])
        return Distance(log_mel_distance(frames[..., : log_mel.n_mels], of_made), spectral_distance(made, recorded))

    def vocoded(of_frames: NDArray[np.float32]) -> Distance:
        nonlocal n_made
        condition = FrameConditioner(model, labels, of_frames).at
        blocks = []
        for block in generate(engine, n, seed=seed, decoding=decoding, condition=condition):
            blocks.append(block)
            n_made += block.shape[1]
            if bar is not None:
                bar.update(n_made)
        sounds = codec.decode(np.concatenate(blocks, axis=1))
        return distance(np.stack([matched(log_mel, *one) for one in zip(sounds, of_frames, strict=True)]))

    inverted = log_mel.invert(frames[..., : log_mel.n_mels], n)
    return Comparison(vocoded(frames), vocoded(np.roll(frames, 1, axis=0)), distance(inverted))


def log_mel_distance(recorded: NDArray[np.floating], made: NDArray[np.floating]) -> float:
    """Between log-mel frames of one shape: mean absolute difference, dB."""
    return DB * float(np.abs(made - recorded).mean())


def make_spectral_distance() -> Callable[[NDArray[np.floating], NDArray[np.floating]], float]:
    """The function from sounds made and recorded (n, T) to their multi-resolution STFT distance (`Distance`).

    Raises: InputError if auraloss is not installed.
    """
    try:
        from auraloss.freq import MultiResolutionSTFTLoss
    except ImportError as error:
        raise InputError("the distance between spectra needs auraloss: pip install 'wavegen[evaluate]'") from error
    import torch

    loss = MultiResolutionSTFTLoss()

    def between(made: NDArray[np.floating], recorded: NDArray[np.floating]) -> float:
        one, other = (torch.from_numpy(np.asarray(sounds, dtype=np.float32))[:, None] for sounds in (made, recorded))
        return float(loss(one, other))

    return between
