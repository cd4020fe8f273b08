"""What a run shows of itself: the newest free-running sound or images, beside real ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wavegen import conditioning, plots
from wavegen.checkpoint import Checkpoint
from wavegen.data import audio
from wavegen.data.images import Pictures
from wavegen.data.store import Store
from wavegen.data.windows import Coder, Segment
from wavegen.drawing import Canvas, write_grid
from wavegen.engines import make_engine
from wavegen.generation import generate, n_samples

SOUND, PICTURE = "sample.wav", "sample.png"
N_IMAGES = 32


def is_there(folder: Path, store: Store) -> bool:
    """Whether a run folder holds what `write` writes."""
    names = [PICTURE] if isinstance(store.form, Pictures) else [SOUND, PICTURE]
    return all((folder / name).exists() for name in names)


def write(
    folder: Path, model: Checkpoint, store: Store, segments: Mapping[str, Sequence[Segment]], seconds: float, step: int
) -> None:
    """Write sample.png to a run folder, and of sound sample.wav; labels are those of the first training recording."""
    if isinstance(store.form, Pictures):
        _images(folder, model, store, segments["validation"])
    else:
        _sound(folder, model, store, segments, seconds, step)


def _sound(
    folder: Path, model: Checkpoint, store: Store, segments: Mapping[str, Sequence[Segment]], seconds: float, step: int
) -> None:
    rate = model.description.sample_rate
    n = n_samples(seconds, rate)
    codec, decoding = model.description.make_codec(), model.description.make_decoding()
    _, engine = make_engine("auto", model)
    condition = conditioning.condition_of(model, [segments["train"][0].labels])
    codes = np.concatenate(list(generate(engine, n, seed=0, decoding=decoding, condition=condition)), axis=1)
    waveform = codec.decode(codes[0])
    audio.write(folder / SOUND, waveform, rate)
    real = max(segments["validation"], key=lambda segment: segment.n_samples)
    recorded = codec.decode(Coder(store, codec).codes(real.start, min(n, real.n_samples)))
    sounds = {f"generated, step {step}": waveform, f"recorded, {Path(real.name).name}": recorded}
    plots.sounds(folder / PICTURE, sounds, rate)


def _images(folder: Path, model: Checkpoint, store: Store, real: Sequence[Segment]) -> None:
    """Drawn ones in the upper half of a grid, below them those of the validation split whose labels they were given."""
    canvas = Canvas(model, [segment.labels for segment in real[:N_IMAGES]])
    drawn = np.stack(list(canvas.rows(seed=0, decoding=model.description.make_decoding())), axis=1)
    coder = Coder(store, model.description.make_codec())
    shown = [coder.codes(segment.start, segment.n_samples).reshape(drawn[0].shape) for segment in real[:N_IMAGES]]
    write_grid(folder / PICTURE, canvas.pixels(np.concatenate([drawn, shown])), n_columns=N_IMAGES // 4)
