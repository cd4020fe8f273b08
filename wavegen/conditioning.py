"""Labels -> the projected condition that engines read. numpy only.

A labelled network embeds each label and projects the embeddings into the gates of every layer. Both happen once, here,
so an engine sees only the sum that it adds to the layers' pre-activations and contains no conditioning variants.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError


def label_indices(known: Mapping[str, Sequence[str]], given: Mapping[str, str | None]) -> dict[str, int]:
    """Turn label values into the rows of their embeddings; a label that is None or left out becomes "unknown".

    `known` holds the values each label had in training; row `len(values)` is the one trained for "unknown".

    Raises: InputError if the model has no such label or the label no such value; it names those that exist.
    """
    for name in given:
        if name not in known:
            labels = f"its labels are {', '.join(known)}" if known else "it has no labels"
            raise InputError(f"the model has no label {name!r}; {labels}")
    indices = {}
    for name, values in known.items():
        value = given.get(name)
        if value is None:
            indices[name] = len(values)
        elif value in values:
            indices[name] = list(values).index(value)
        else:
            shown = ", ".join(values[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
            raise InputError(f"label {name} has no value {value!r}; it knows {shown}")
    return indices


def condition_of(checkpoint: Checkpoint, streams: Sequence[Mapping[str, str | None]]) -> NDArray[np.float32] | None:
    """The condition of the labels of each stream; see `project_labels`.

    Raises: InputError for a label or a value that the model does not know.
    """
    described = checkpoint.description
    rows = [label_indices(described.labels, labels) for labels in streams]
    return project_labels(checkpoint.weights, list(described.labels), rows, described.n_conditions)


def project_labels(
    weights: Mapping[str, NDArray[np.floating]],
    names: Sequence[str],
    streams: Sequence[Mapping[str, int]],
    n_layers: int,
) -> NDArray[np.float32] | None:
    """The condition of each stream, from the tensors of a model file and the names of its labels in their order.

    Shapes: per stream a dict of label -> embedding row; returns (B, 1 frame, n_layers, channels), which holds for all
    time, or None for a model without labels. `channels` is what a layer's convolution makes (2 * gate_channels).
    """
    if not names:
        return None
    embedded = np.stack(
        [np.concatenate([weights[f"labels.{name}.weight"][stream[name]] for name in names]) for stream in streams]
    )
    projected = embedded.astype(np.float32) @ weights["project_labels.weight"].astype(np.float32).T
    return projected.reshape(len(streams), 1, n_layers, -1)
