"""Labels and feature frames -> the projected condition that engines read, and what labels let a model do. No torch.

A labelled network embeds each label and projects the embeddings into the gates of every layer; a vocoder does the same
with what its network at frame rate makes of the feature frames. Both happen here, once per label and per frame, so an
engine sees only the sum that it adds to the layers' pre-activations and contains no conditioning variants.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import FrameSizes, GatedArchitecture
from wavegen.checkpoint import Checkpoint, Description
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition, joined
from wavegen.features.frames import Features
from wavegen.sampling import Decoding

Labels = Mapping[str, str | None]  # values by name; None is "unknown"

CHUNK = 32  # frames that are projected at a time

FramesAt = Callable[[int, int], NDArray[np.floating]]  # frames of all streams from one number to before another


def label_indices(known: Mapping[str, Sequence[str]], labels: Labels) -> dict[str, int]:
    """Turn label values into the rows of their embeddings; a label that is None or left out becomes "unknown".

    `known` holds the values each label had in training; row `len(values)` is the one trained for "unknown".

    Raises: InputError if the model has no such label or the label no such value; it names those that exist.
    """
    spelt = {_spelt(name): value for name, value in labels.items()}
    names = [_spelt(name) for name in known]
    for name in labels:
        if _spelt(name) not in names:
            expected = f"its labels are {', '.join(known)}" if known else "it has no labels"
            raise InputError(f"the model has no label {name!r}; {expected}")
    indices = {}
    for name, values in known.items():
        value = spelt.get(_spelt(name))
        row = len(values) if value is None else _row(values, value)
        if row is None:
            shown = ", ".join(values[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
            raise InputError(f"label {name} has no value {value!r}; it knows {shown}")
        indices[name] = row
    return indices


def joined_labels(model: Checkpoint, planner: Checkpoint | None) -> dict[str, list[str]]:
    """The labels of a model and of what plans its frames, those first; where both have one, the values of either."""
    joined: dict[str, list[str]] = {}
    for one in (planner, model):
        for name, values in ({} if one is None else one.description.labels).items():
            joined[name] = sorted({*joined.get(name, []), *values})
    return joined


def known_labels(known: Mapping[str, Sequence[str]], labels: Labels) -> dict[str, str | None]:
    """What a model knows of some labels, such as a recording's; the rest becomes "unknown"."""
    rows = {name: _row(values, labels[name]) if name in labels else None for name, values in known.items()}
    return {name: None if row is None else known[name][row] for name, row in rows.items()}


def _row(values: Sequence[str], value: object) -> int | None:
    """Where a value stands among those of a label, in whichever spelling."""
    wanted = _spelt(value)
    return next((row for row, one in enumerate(values) if one == wanted or _spelt(one) == wanted), None)


def _spelt(word: object) -> str:
    """A name or a value as it is compared: a number as its digits, accents composed (Unicode's NFC)."""
    return unicodedata.normalize("NFC", str(word))


def decoding_for(
    checkpoint: Checkpoint,
    streams: Sequence[Labels],
    overrides: Mapping[str, float | int | None],
    labels_follow: bool = False,
) -> Decoding:
    """How a model is to draw streams of some labels: by its own defaults, but for overrides that are not None.

    A model's own guidance is for labels; where none are given, nor follow, it is left out.

    Raises: InputError for what the head does not have, or guidance that could have no effect.
    """
    description = checkpoint.description
    decoding = description.make_decoding(**overrides)
    check_decoding(description, decoding)
    if not decoding.is_guided:
        return decoding
    is_given = any(value is not None for labels in streams for value in labels.values())
    has_labels = bool(description.labels) and (labels_follow or is_given)
    if not has_labels and overrides.get("guidance") is None:
        return replace(decoding, guidance=1.0)
    if not description.labels:
        raise InputError(f"guidance makes labels count for more, and {checkpoint.path} has none")
    if not has_labels:
        raise InputError(f"guidance is {decoding.guidance:g}, and no label is given that it could make count for more")
    if description.label_dropout == 0:
        raise InputError(
            f"guidance compares with no labels, and {checkpoint.path} was never trained so; "
            "expected a recipe with training.label_dropout above 0"
        )
    return decoding


def check_decoding(description: Description, decoding: Decoding) -> None:
    """Raises: InputError for what the head does not have, or a temperature of voices where no frames tell of them."""
    decoding.check_head(description.head)
    prediction = description.architecture.prediction
    if decoding.voiced_temperature is not None and (prediction is None or not prediction.lag_taps):
        raise InputError("voiced_temperature needs a model with model.lag_taps, whose frames tell where a voice is")


def guidance_pairs(streams: Sequence[Labels]) -> list[Labels]:
    """The labels of some streams, each followed by none: what a guided engine's condition is made of."""
    return [labels for stream in streams for labels in (stream, {})]


def condition_of(checkpoint: Checkpoint, streams: Sequence[Labels]) -> NDArray[np.float32] | None:
    """The condition of the labels of each stream, which holds for all time.

    Shapes: -> (B, 1, n_conditions, channels), or None for a model without labels. `channels` is what a layer's
    convolution makes (2 * gate_channels).

    Raises: InputError for a label or a value that the model does not know, or tensors that do not fit it.
    """
    description = checkpoint.description
    rows = [label_indices(description.labels, labels) for labels in streams]
    if not description.labels:
        return None
    tables, project = label_weights(checkpoint)
    embedded = np.stack([np.concatenate([table[row[name]] for name, table in tables.items()]) for row in rows])
    # In float64, so that what is rounded to float32 does not depend on the order of the sums.
    projected = (embedded.astype(np.float64) @ project.T.astype(np.float64)).astype(np.float32)
    return projected.reshape(len(streams), 1, description.architecture.n_conditions, -1)


def label_weights(checkpoint: Checkpoint) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """The embedding of each label (values + 1, label_channels), whose last row is "unknown", and what projects them
    side by side, (n_conditions * channels, labels * label_channels).

    Raises: InputError for tensors that do not fit.
    """
    labels = checkpoint.description.labels
    shape = cast(GatedArchitecture, checkpoint.description.architecture)  # of those that take labels
    size = shape.label_channels
    tables = {
        name: checkpoint.tensor(f"labels.{name}.weight", len(values) + 1, size) for name, values in labels.items()
    }
    n_outputs = shape.n_conditions * shape.condition_channels
    return tables, checkpoint.tensor("project_labels.weight", n_outputs, len(tables) * size)


class FrameConditioner:
    """The condition that feature frames and labels make, of any steps.

    Frames are projected in chunks that do not depend on the calls, so that neither does a bit of the result; only the
    newest chunks are kept. Beyond the last frame there is silence. Frames that are not known yet (planning.py) are
    asked for `chunk` at a time.

    Shapes: frames (B, F, n_features), or what gives (B, n, n_features) by their numbers, from -1 - look_ahead on; one
    label mapping per stream.

    Raises: InputError if the model takes no such frames, or for a label that it does not know.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        streams: Sequence[Labels],
        frames: NDArray[np.floating] | FramesAt,
        chunk: int = CHUNK,
    ) -> None:
        architecture = checkpoint.description.architecture
        features = checkpoint.description.make_features()
        if features is None or architecture.frames is None:
            raise InputError(f"{checkpoint.path} takes no frames; expected a vocoder")
        if callable(frames):
            self._frames_at = frames
        else:
            self._frames_at = _given(frames, features)
        self._chunk = chunk
        self._predictor = checkpoint.description.make_predictor()
        self.hop, self._look_ahead = architecture.frames.hop, architecture.frames.look_ahead
        self._n_layers = architecture.n_conditions
        self._weights = frame_weights(checkpoint, architecture.frames)
        self._of_labels = condition_of(checkpoint, streams)
        self._chunks: dict[int, FrameCondition[NDArray]] = {}

    def at(self, first: int, n: int) -> FrameCondition[NDArray[np.float32]]:
        """The condition of n steps from step `first` of the sound on."""
        begin, end = first // self.hop, (first + n - 1) // self.hop + 2
        numbers = range(begin // self._chunk, (end - 1) // self._chunk + 1)
        self._chunks = {
            number: self._chunks[number] if number in self._chunks else self._project(number) for number in numbers
        }
        return joined(list(self._chunks.values()), 1).part(first - numbers.start * self._chunk * self.hop, n)

    def _project(self, number: int) -> FrameCondition[NDArray]:
        """A chunk of the condition."""
        n, side = self._chunk, max(1, self._look_ahead)
        begin = number * n
        frames = self._frames_at(begin - side, begin + n + side)
        outer = side - self._look_ahead
        seen = frames[:, outer : frames.shape[1] - outer]
        values = project_frames(self._weights, seen).reshape(len(frames), n, self._n_layers, -1)
        if self._of_labels is not None:
            values = values + self._of_labels
        prediction = None
        if self._predictor is not None:
            prediction = self._predictor.of(frames[:, side : side + n + 1])
        return FrameCondition(values, self.hop, prediction=prediction)


def _given(frames: NDArray[np.floating], features: Features) -> FramesAt:
    """Frames that are known already, by their numbers, with silence before and after.

    Raises: InputError if they are not (B, F, n_features).
    """
    if frames.ndim != 3 or frames.shape[2] != features.n_features or not frames.shape[1]:
        raise InputError(f"frames are {frames.shape}; expected (streams, frames, {features.n_features}) for this model")

    return lambda begin, end: with_neighbours(frames, begin, end, 0, features.silent)


def with_neighbours(
    frames: NDArray[np.floating], begin: int, end: int, n: int, silent: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Frames `begin` to `end - 1` of (B, F, n_features), with n more to either side; beyond the ends is `silent`."""
    padded = np.tile(silent, (len(frames), end - begin + 2 * n, 1))
    first, last = max(0, begin - n), min(frames.shape[1], end + n)
    if first < last:
        padded[:, first - begin + n : last - begin + n] = frames[:, first:last]
    return padded


def frame_weights(checkpoint: Checkpoint, sizes: FrameSizes) -> dict[str, NDArray[np.float32]]:
    """The tensors of a vocoder's network at frame rate (models/conditions.py), by name.

    Raises: InputError for those that do not fit.
    """
    n_features, _, hidden, look_ahead = sizes
    architecture = checkpoint.description.architecture
    shapes = {
        "around.weight": (2 * look_ahead + 1, hidden, n_features),
        "around.bias": (hidden,),
        "hidden.weight": (hidden, hidden),
        "hidden.bias": (hidden,),
        "project.weight": (architecture.n_conditions * architecture.condition_channels, hidden),
    }
    return {name: checkpoint.tensor(f"frame_network.{name}", *shape) for name, shape in shapes.items()}


def project_frames(weights: Mapping[str, NDArray[np.float32]], frames: NDArray[np.floating]) -> NDArray[np.float32]:
    """The numpy twin of `models.conditions.FrameNetwork`, from its tensors, in float64: what is rounded to float32 does
    not depend on the order of the sums.

    Shapes: frames (B, look_ahead + F + look_ahead, n_features) -> (B, F, n_layers * channels).
    """
    exact = {name: weight.astype(np.float64) for name, weight in weights.items()}
    taps, frames = exact["around.weight"], frames.astype(np.float64)  # taps (2 * look_ahead + 1, hidden, n_features)
    n = frames.shape[1] - len(taps) + 1
    around: Any = exact["around.bias"] + sum(frames[:, tap : tap + n] @ weight.T for tap, weight in enumerate(taps))
    hidden = np.maximum(np.maximum(around, 0) @ exact["hidden.weight"].T + exact["hidden.bias"], 0)
    projected: NDArray[np.float32] = (hidden @ exact["project.weight"].T).astype(np.float32)
    return projected
