"""What a run shows of itself: the newest free-running sound or images, beside real ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavegen import plots
from wavegen.checkpoint import MODEL_FILE, Checkpoint
from wavegen.data import audio
from wavegen.data.images import ImageFormat
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Segment, evenly_spaced
from wavegen.engines import make_engine
from wavegen.features.frame_codes import FrameCodes
from wavegen.features.matching import matched
from wavegen.generation import conditioning
from wavegen.generation import images as drawing
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.generation.stream import ConditionAt, generate, n_samples

SOUND, PICTURE = "sample.wav", "sample.png"
N_IMAGES, N_COLUMNS = 32, 8


def is_newest(folder: Path, store: Store) -> bool:
    """Whether a run folder holds what `write` writes, written after its model."""
    paths = [folder / name for name in ([PICTURE] if isinstance(store.item_format, ImageFormat) else [SOUND, PICTURE])]
    made_at = (folder / MODEL_FILE).stat().st_mtime_ns
    return all(path.exists() and path.stat().st_mtime_ns >= made_at for path in paths)


def write(
    folder: Path, model: Checkpoint, store: Store, segments: Mapping[str, Sequence[Segment]], seconds: float, step: int
) -> None:
    """Write sample.png to a run folder, and of sound sample.wav.

    A sound has the labels of the first training recording, every image those of the real one that it is shown above;
    a vocoder makes the validation recording again that it is shown above, and what a planner plans is shown above what
    its vocoder makes of the frames of one. None is guided: it is the network that shows.
    """
    if model.planner is not None:
        _planned(folder, model, model.planner.description.n_classes, segments, store, seconds, step)
    elif isinstance(store.item_format, ImageFormat):
        _images(folder, model, store, segments["validation"])
    else:
        _sound(folder, model, store, segments, seconds, step)


def _sound(
    folder: Path, model: Checkpoint, store: Store, segments: Mapping[str, Sequence[Segment]], seconds: float, step: int
) -> None:
    rate = model.description.sample_rate
    codec, decoding = model.description.make_codec(), model.description.make_decoding(guidance=1.0)
    real = max(segments["validation"], key=lambda segment: segment.n_samples)
    n = n_samples(seconds, rate)
    n_real = min(n, real.n_samples)
    recorded = codec.decode(Coder(store, codec).codes(real.start, n_real))
    features = model.description.make_features()
    condition: NDArray[np.float32] | ConditionAt | None
    frames = None
    if features is None:
        condition = conditioning.condition_of(model, [segments["train"][0].labels])
    else:
        n, frames = n_real, features.frames(store.samples[real.start : real.start + n_real] / 32768)
        labels = conditioning.known_labels(model.description.labels, real.labels)
        condition = conditioning.FrameConditioner(model, [labels], frames[None]).at
    _, engine = make_engine(model)
    codes = np.concatenate(list(generate(engine, n, seed=0, decoding=decoding, condition=condition)), axis=1)
    waveform = codec.decode(codes[0])
    if frames is not None and features is not None and features.log_mel is not None:
        waveform = matched(features.log_mel, waveform, frames)
    audio.write(folder / SOUND, waveform, rate)
    sounds = {f"generated, step {step}": waveform, f"recorded, {Path(real.name).name}": recorded}
    plots.sounds(folder / PICTURE, sounds, rate)


def _planned(
    folder: Path,
    model: Checkpoint,
    n_levels: int,
    segments: Mapping[str, Sequence[Segment]],
    store: Store,
    seconds: float,
    step: int,
) -> None:
    rate, features = model.description.sample_rate, model.description.make_features()
    assert features is not None  # it has a planner
    codes = FrameCodes(features, n_levels)
    n = n_samples(seconds, rate)
    session = Session(model, GenerationOptions(seed=0, labels=segments["train"][0].labels))
    waveform = np.concatenate(list(session.blocks(n)), axis=1)[0]
    real = max(segments["validation"], key=lambda segment: segment.n_samples)
    n_codes = min(features.n_frames(n) * codes.n_channels, real.n_samples)
    frames = codes.decode(np.reshape(store.samples[real.start : real.start + n_codes], (-1, codes.n_channels)))
    again = np.concatenate(list(Session(model, GenerationOptions(seed=0, frames=frames)).blocks(n)), axis=1)[0]
    audio.write(folder / SOUND, waveform, rate)
    sounds = {f"generated, step {step}": waveform, f"of the frames of {Path(real.name).name}": again}
    plots.sounds(folder / PICTURE, sounds, rate)


def _images(folder: Path, model: Checkpoint, store: Store, segments: Sequence[Segment]) -> None:
    real = evenly_spaced(segments, N_IMAGES)
    known = model.description.labels
    labels = [conditioning.known_labels(known, one.labels) for one in real]
    session = ImageSession(model, labels, GenerationOptions(guidance=1.0))
    drawn = np.stack(list(session.rows(seed=0)), axis=1)
    coder = Coder(store, model.description.make_codec())
    shown = np.stack([coder.codes(one.start, one.n_samples).reshape(drawn[0].shape) for one in real])
    grids = [drawing.grid(session.pixels(codes), N_COLUMNS) for codes in (drawn, shown)]
    drawing.write(folder / PICTURE, np.concatenate(grids))
