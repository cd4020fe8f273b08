"""A model as ONNX files: one step, or the likelihood of a whole sequence, and what makes their conditions.

    OUT              step: code, state, labels -> parameters of the next code, next_state
    NAME.frames.onnx of a vocoder: frames and labels -> the `condition` of the step, and the prediction it is told
    NAME.rows.onnx   of images: the row above, state, labels -> the `condition` of the step at each code of a row
    NAME.planner.onnx, NAME.planned.onnx  of a model that speaks: a step of its planner; its codes -> frames

The metadata of each file holds one string under the name `wavegen`: a JSON object that says what a program needs to
know (`_facts`), with the names of the other files. docs/export.md says how they are used.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import wavegen
from wavegen import files
from wavegen.architectures import FrameSizes
from wavegen.checkpoint import Checkpoint
from wavegen.engines.onnx_graph import OPSET, Graph, StateLayout, Value, add_row, add_step, row_state_sizes
from wavegen.engines.weights import stack_weights, vertical_weights, why_not
from wavegen.errors import InputError, shortened
from wavegen.export.onnx_conditions import (
    frame_values,
    n_neighbours,
    n_window,
    of_channels,
    of_labels,
    planned_frames,
)
from wavegen.export.onnx_likelihood import add_likelihood
from wavegen.features.frame_codes import FrameCodes
from wavegen.generation.planning import CHUNK, architecture_of
from wavegen.sampling import LOG_SCALES

FORMAT = 1
SUFFIX = ".onnx"
PARTS = ("step", "likelihood")
MEANINGS = {
    "step": "The next code of each stream: run with the code before (-1 at the beginning) and the state (zeros at the "
    "beginning), draw a code from the parameters, and run again with it and next_state.",
    "likelihood": "-log2 of the probability of each code of a sequence, given those before it.",
    "frames": "What feature frames make of a vocoder's steps.",
    "rows": "What enters the steps of a row of an image, of the row above (-1 at the top) and a state (zeros first).",
    "planned": "Feature frames of the codes that the planner made.",
}


def write(model: Checkpoint, out: Path, part: str) -> list[Path]:
    """Write a part of a model, `step` or `likelihood`; returns the files, `out` first.

    Raises: InputError for another part, a network that cannot be exported, or where onnx is not installed.
    """
    if part not in PARTS:
        raise InputError(f"part is {shortened(part)}; expected one of {', '.join(PARTS)}")
    contents = _step(model, out.stem) if part == "step" else _likelihood(model, out.stem)
    written = {out if role == part else _beside(out, role): data for role, data in contents.items()}
    for path, data in reversed(written.items()):  # the one that names the others last
        files.write(path, data)
    return list(written)


def _beside(out: Path, role: str) -> Path:
    return out.with_name(_name(out.stem, role))


def _name(stem: str, role: str) -> str:
    return f"{stem}.{role}{SUFFIX}"


def _step(model: Checkpoint, stem: str) -> dict[str, bytes]:
    """The files of a step by their roles."""
    _check(model)
    graph, weights, architecture, others = Graph(), stack_weights(model), model.description.architecture, {}
    if architecture.frames is not None:
        others["frames"] = _frames(model, architecture.frames)
    if architecture.vertical_weights is not None:
        others["rows"] = _rows(model)
    if model.planner is not None:
        others |= {"planner": _step(model.planner, stem)["step"], "planned": _planned(model, model.planner)}
    add_step(graph, weights, _step_condition(graph, model))
    facts = _state(StateLayout(weights).n_numbers) | _names(stem, others)
    return {"step": _finished(graph, model, "step", facts), **others}


def _likelihood(model: Checkpoint, stem: str) -> dict[str, bytes]:
    """The files of a likelihood by their roles."""
    _check(model)
    graph, architecture, others = Graph(), model.description.architecture, {}
    if architecture.frames is not None:
        others["frames"] = _frames(model, architecture.frames)
    if model.planner is not None:
        others["planner"] = _likelihood(model.planner, stem)["likelihood"]
    add_likelihood(graph, model)
    return {"likelihood": _finished(graph, model, "likelihood", _names(stem, others)), **others}


def _names(stem: str, others: Iterable[str]) -> dict[str, Any]:
    """The names of the files beside one, by their roles."""
    return {"files": {role: _name(stem, role) for role in others}}


def _check(model: Checkpoint) -> None:
    """Raises: InputError for a network that is not made of plain weights."""
    if (reason := why_not(model.description.architecture)) is not None:
        raise InputError(f"{model.path} cannot become ONNX, nor run on compiled engines: {reason}")


def _step_condition(graph: Graph, model: Checkpoint) -> Value | None:
    """What enters the layers of a step: of another file, or of labels and of the channel of a frame."""
    architecture = model.description.architecture
    has_rows = architecture.vertical_weights is not None
    if architecture.frames is not None or has_rows:
        n_layers = architecture.n_conditions // (2 if has_rows else 1)
        shape: list[int | str] = ["batch", n_layers, architecture.condition_channels]
        return graph.input("condition", np.float32, shape, "what enters each layer at this step, of the other file")
    labels = of_labels(graph, model)
    if architecture.makes != "frames":
        return labels
    channel = graph.input("channel", np.int64, ["batch"], "which code of a frame comes next, from 0")
    own = graph.gather(of_channels(graph, model), channel)
    return own if labels is None else graph.add("Add", own, labels)


def _state(n_numbers: int) -> dict[str, Any]:
    """How a program makes the first state."""
    return {"state": {"dtype": "float32", "shape": ["batch", n_numbers], "initial": 0}}


def _frames(model: Checkpoint, sizes: FrameSizes) -> bytes:
    """The file that reads feature frames."""
    graph, side, architecture = Graph(), n_neighbours(sizes), model.description.architecture
    shape: list[int | str] = ["batch", f"frames + {2 * side}", sizes.n_features]
    frames = graph.input("frames", np.float32, shape, f"feature frames, {side} more before and after those wanted")
    condition, *told = frame_values(graph, model, sizes, frames)
    per_frame = ["batch", "frames"]
    layers = [architecture.n_conditions, architecture.condition_channels]
    graph.output("condition", condition, np.float32, [*per_frame, *layers], "at the first step of each frame")
    if architecture.prediction is not None:
        shapes = {
            "coefficients": (np.float32, [architecture.prediction.order], "of the linear prediction of each frame"),
            "gain": (np.float32, [2], "of each frame"),
            "period": (np.int64, [sizes.hop], "at each step of each frame"),
            "voicing": (np.float32, [], "how much of a voice there is, 0 to 1"),
        }
        for value, (name, (dtype, lengths, meaning)) in zip(told, shapes.items(), strict=True):
            assert value is not None  # a network with a prediction has them all
            graph.output(name, value, dtype, [*per_frame, *lengths], meaning)
    return _finished(graph, model, "frames", _frame_facts(model))


def _frame_facts(model: Checkpoint) -> dict[str, Any]:
    features, sizes = model.description.make_features(), model.description.architecture.frames
    assert features is not None and sizes is not None  # whoever calls has seen to it
    return {
        "hop": sizes.hop,
        "n_neighbours": n_neighbours(sizes),
        "silent_frame": [float(number) for number in features.silent],
        "features": dict(model.description.features),
    }


def _rows(model: Checkpoint) -> bytes:
    """The file of what is known of the rows above."""
    graph, weights = Graph(), vertical_weights(model)
    add_row(graph, weights, of_labels(graph, model))
    return _finished(graph, model, "rows", _state(sum(row_state_sizes(weights))))


def _planned(model: Checkpoint, planner: Checkpoint) -> bytes:
    """The file that makes frames of a planner's codes."""
    graph, features = Graph(), model.description.make_features()
    assert features is not None  # it has a planner
    codes = FrameCodes(features, planner.description.n_classes)
    sizes = architecture_of(planner)
    n_seen, n_ahead = n_window(sizes), sizes.n_ahead
    meaning = f"codes of {n_seen} frames, the newest last; before the first frame it is repeated"
    values = graph.input("codes", np.int64, ["batch", n_seen, codes.n_channels], meaning)
    frames = planned_frames(graph, codes, sizes, values)
    shape: list[int | str] = ["batch", CHUNK, features.n_features]
    graph.output("frames", frames, np.float32, shape, f"those from frame {n_ahead} of the codes on, smoothed")
    facts = {"n_window": n_seen, "n_ahead": n_ahead, "n_frames": CHUNK, "is_detail": codes.is_detail}
    return _finished(graph, model, "planned", facts)


def _finished(graph: Graph, model: Checkpoint, part: str, facts: Mapping[str, Any]) -> bytes:
    """The file of a part, with everything that a program needs to know."""
    metadata = json.dumps({"wavegen": wavegen.__version__, "format": FORMAT, "part": part, **_facts(model), **facts})
    return graph.model(part, MEANINGS[part], {"wavegen": metadata})


def _facts(model: Checkpoint) -> dict[str, Any]:
    """What a file says of its model: how codes are drawn, and what they mean."""
    description = model.description
    head = {"kind": description.head.kind, **asdict(description.head)}
    if not description.head.lists_probabilities:
        head["log_scales"] = LOG_SCALES  # of a logistic distribution, in codes: bounds
    codec = {"kind": description.codec, "n_classes": description.n_classes, "pre_emphasis": description.pre_emphasis}
    return {
        "opset": OPSET,
        "kind": description.kind,
        "makes": description.architecture.makes,
        "sample_rate": description.sample_rate,
        "shape": description.shape,
        "codec": codec,
        "head": head,
        "labels": dict(description.labels),
        "first_code": -1,
        "decoding": dict(description.decoding),
        "receptive_field": description.architecture.receptive_field,
        **{name: getattr(description, name) for name in ("about", "corpus", "credit", "step")},
        "bits": dict(description.bits),
    }
