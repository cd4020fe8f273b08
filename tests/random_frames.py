"""Frames that nothing was made of, for networks that read them: random conditions, and valid predictions."""

import numpy as np

from wavegen.architectures import Architecture, PredictionSizes
from wavegen.features.frame_condition import FrameCondition, Prediction


def random_prediction(sizes: PredictionSizes, n_streams: int, n_frames: int, hop: int, seed: int = 0) -> Prediction:
    """Filters of which some drive what they predict against the ends of the codes; periods that change within a frame,
    and are missing for some samples and for whole frames; voices, half voices and none."""
    random = np.random.default_rng(seed)
    shape = (n_streams, n_frames)
    coefficients = random.integers(-9000, 9000, (*shape, sizes.order))
    coefficients[random.random(shape) < 0.2] *= 12
    gains = random.uniform(0.02, 0.5, shape)
    periods = np.zeros((*shape, hop), dtype=np.int32)
    if sizes.lag_taps:
        longer = random.integers(0, 2, (*shape, hop))
        periods += random.integers(sizes.lag_taps + 1, sizes.longest_period, (*shape, 1)) + longer
        periods[random.random(periods.shape) < 0.1] = 0
        periods[random.random(shape) < 0.3] = 0
    return Prediction(
        coefficients=coefficients.astype(np.int32),
        gains=np.stack([gains, np.log(gains)], axis=-1).astype(np.float32),
        periods=periods,
        voicing=random.uniform(-0.3, 1.3, shape).clip(0, 1).astype(np.float32),
    )


def random_condition(architecture: Architecture, n_streams: int, n_steps: int, seed: int = 0) -> FrameCondition:
    """Frames for some steps, the first of them in the middle of a frame; with a prediction if the network takes one."""
    assert architecture.frames is not None
    hop = architecture.frames.hop
    phase = hop // 2
    n_frames = -(-(n_steps + phase) // hop)
    values = 0.1 * np.random.default_rng(seed).standard_normal(
        (n_streams, n_frames, architecture.n_conditions, architecture.condition_channels)
    )
    sizes = architecture.prediction
    prediction = None if sizes is None else random_prediction(sizes, n_streams, n_frames, hop, seed)
    return FrameCondition(values.astype(np.float32), hop, phase, prediction)
