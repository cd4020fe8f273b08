"""How probable a model finds one recording, code by code."""

import numpy as np
import torch
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.errors import InputError
from wavegen.generation import conditioning
from wavegen.generation.conditioning import FrameConditioner, Labels
from wavegen.models.heads import make_head

CHUNK = 4096  # codes


@torch.inference_mode()
def bits_of_recording(
    model: Checkpoint, waveform: NDArray[np.floating], labels: Labels, options: EngineOptions | None = None
) -> NDArray[np.float64]:
    """-log2 p of every code of a waveform (T,) at the model's rate, each given those before it; of a vocoder, and of a
    model that plans its frames, given the frames of the recording as well.

    Raises: InputError for a model of images, labels that it does not know, or a waveform that is empty or leaves
        [-1, 1].
    """
    description = model.description
    if description.shape:
        raise InputError(f"{model.path} draws images; expected a model of sound")
    if not len(waveform) or not np.abs(waveform).max() <= 1:
        raise InputError("the recording is empty, or leaves [-1, 1]")
    known = conditioning.joined_labels(model, model.planner)
    conditioning.label_indices(known, labels)
    own = conditioning.known_labels(description.labels, labels)
    codes = description.make_codec().encode(waveform)
    engine = make_engine(model, 1, options)[1]
    head = make_head(description.head, description.n_classes)
    features = description.make_features()
    conditioner = None
    if features is not None:
        conditioner = FrameConditioner(model, [own], features.frames(waveform)[None])
    fixed = conditioning.condition_of(model, [own]) if conditioner is None else None
    bits = []
    chunk = CHUNK if features is None else -(-CHUNK // features.hop) * features.hop
    for first in range(0, len(codes), chunk):
        some = codes[None, first : first + chunk]
        condition = fixed if conditioner is None else conditioner.at(first, some.shape[1])
        parameters = torch.from_numpy(np.ascontiguousarray(engine.logits(some, condition)))
        bits.append(head.bits(parameters, torch.from_numpy(some)).double().numpy()[0])
    return np.concatenate(bits)
