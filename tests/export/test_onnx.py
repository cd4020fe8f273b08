"""Exported graphs, run by onnxruntime alone, against the models that they were made of."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint, tiny_speaker
from tests.generation.test_images import tiny_image_checkpoint
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.export import onnx as export
from wavegen.features.frame_codes import FrameCodes
from wavegen.features.frame_condition import Frames
from wavegen.generation.conditioning import FrameConditioner, condition_of
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.generation.planning import PITCH_SMOOTHING, SMOOTHING
from wavegen.models.base import frames_on
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding, draw_categorical, draw_logistic_mixture, uniforms

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

VARIANTS = {
    "plain": {},
    "kernel of 3": {"kernel_size": 3},
    "relu, no residual": {"activation": "relu", "residual": False, "residual_channels": 3},
    "labels": {"labels": {"speaker": 9, "digit": 2}},
    "mixture": {"head": "logistic-mixture", "n_mixtures": 3, "mean_scale": 0.25},
    "16 bits": {"head": "logistic-mixture", "n_classes": 65536},
}
VOCODERS = {
    "frames": {"n_features": 6, "hop": 5, "frame_channels": 4, "look_ahead": 1},
    "no look-ahead, labels": {"n_features": 6, "hop": 5, "look_ahead": 0, "labels": {"speaker": 3}},
    "prediction": {**PREDICTION, "labels": {"speaker": 3}, "look_ahead": 2},
    "prediction, order only, 16 bits": {**PREDICTION_ORDER_ONLY, "n_classes": 65536},
}
IMAGES = {
    "grey": {},
    "colours, labels, position": {"n_colours": 3, "labels": {"digit": ["0", "1", "2"]}, "position_embedding": True},
}
B, N = 3, 40


class File(SimpleNamespace):
    """An exported file in onnxruntime: what its metadata says, and its inputs by name."""

    def __init__(self, path: Path) -> None:
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        facts = json.loads(session.get_modelmeta().custom_metadata_map["wavegen"])
        super().__init__(session=session, facts=facts, inputs=[one.name for one in session.get_inputs()])
        self.outputs = [one.name for one in session.get_outputs()]

    def run(self, **inputs):
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))


def exported(model, folder, part="step"):
    """The files of a model by their roles."""
    main, *others = export.write(model, folder / "model.onnx", part)
    files = {path.name.split(".")[1]: File(path) for path in others}
    files["main"] = File(main)
    named = files["main"].facts["files"]
    assert named == {role: f"model.{role}.onnx" for role in files if role != "main"}
    return files


def draws(n_streams=B, n=N):
    return np.stack([uniforms(5, stream, 0, n) for stream in range(n_streams)])


def generate(file, u, at_step=lambda step: {}):
    """Codes by a step's file, as its metadata says: inputs beside code and state come from `at_step`."""
    head, n_classes = file.facts["head"], file.facts["codec"]["n_classes"]
    code = np.full(len(u), file.facts["first_code"])
    state = np.full((len(u), file.facts["state"]["shape"][1]), file.facts["state"]["initial"], dtype=np.float32)
    codes = []
    for step in range(u.shape[1]):
        made = file.run(code=code, state=state, **at_step(step))
        parameters, state = made["parameters"], made["next_state"]
        if head["kind"] == "categorical":
            code = draw_categorical(parameters, u[:, step], Decoding())
        else:
            code = draw_logistic_mixture(parameters, u[:, step], Decoding(), n_classes)
        codes.append(code)
    return np.stack(codes, axis=1)


def labels_of(model, n_streams=B):
    """The labels of some streams as values and as inputs of a file; the last stream's are unknown."""
    known = model.description.labels
    numbers = {name: np.array([*range(n_streams - 1), len(values)]) % (len(values) + 1) for name, values in known.items()}
    streams = [
        {name: (*known[name], None)[numbers[name][stream]] for name in known} for stream in range(n_streams)
    ]
    return streams, {f"label_{name}": each for name, each in numbers.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_makes_the_codes_of_the_reference(variant, tmp_path):
    model = tiny_checkpoint(**VARIANTS[variant])
    streams, labels = labels_of(model)
    files = exported(model, tmp_path)
    expected = ReferenceEngine(from_checkpoint(model), B).advance(
        draws(), Decoding(), condition=condition_of(model, streams)
    )
    np.testing.assert_array_equal(generate(files["main"], draws(), lambda step: labels), expected)


def frames_of(model, n_streams, n, seed=0):
    """Frames such as a recording has: bands, and a pitch that comes and goes."""
    random, features = np.random.default_rng(seed), model.description.make_features()
    frames = random.uniform(-1, 1, (n_streams, n, features.n_features)).astype(np.float32)
    if features.pitch is not None:
        pitch = frames[..., features.n_mels :]
        pitch[..., 1] = np.where(random.random(pitch.shape[:2]) < 0.6, 1, -1)
        pitch[..., 0] = np.where(pitch[..., 1] > 0, random.uniform(*features.pitch.pitch_bounds, pitch.shape[:2]), 0)
    return frames


def read(files, frames, labels):
    """What the frames' file makes of frames, with silence before and after them."""
    facts = files["frames"].facts
    silence = np.tile(np.float32(facts["silent_frame"]), (len(frames), facts["n_neighbours"], 1))
    return files["frames"].run(frames=np.concatenate([silence, frames, silence, silence], axis=1), **labels)


def at_step(of_frames, hop):
    """The inputs of a vocoder's steps."""

    def inputs(step):
        frame, within = divmod(step, hop)
        here, there = (of_frames["condition"][:, at] for at in (frame, frame + 1))
        condition = here + np.float32(within / hop) * (there - here)
        if "gain" not in of_frames:
            return {"condition": condition}
        told = {name: of_frames[name][:, frame] for name in ("coefficients", "gain")}
        return {"condition": condition, **told, "period": of_frames["period"][:, frame, within]}

    return inputs


@pytest.mark.parametrize("variant", VOCODERS)
def test_a_vocoder_makes_the_codes_of_the_reference(variant, tmp_path):
    model = tiny_checkpoint(**VOCODERS[variant])
    hop, frames = model.description.features["hop"], frames_of(model, B, 8)
    streams, labels = labels_of(model)
    files = exported(model, tmp_path)
    expected_condition = FrameConditioner(model, streams, frames).at(0, 30)
    expected = ReferenceEngine(from_checkpoint(model), B).advance(draws(n=30), Decoding(), condition=expected_condition)
    of_frames = read(files, frames, labels)
    n = expected_condition.values.shape[1]
    np.testing.assert_allclose(of_frames["condition"][:, :n], expected_condition.values, atol=1e-5)
    if (told := expected_condition.prediction) is not None:
        np.testing.assert_array_equal(of_frames["coefficients"][:, :n], told.coefficients)
        np.testing.assert_array_equal(of_frames["period"][:, :n], told.periods)
        np.testing.assert_allclose(of_frames["gain"][:, :n], told.gains, rtol=1e-6)
        np.testing.assert_allclose(of_frames["voicing"][:, :n], told.voicing, atol=1e-6)
    np.testing.assert_array_equal(generate(files["main"], draws(n=30), at_step(of_frames, hop)), expected)


@pytest.mark.parametrize("variant", IMAGES)
def test_images_are_those_of_the_reference(variant, tmp_path):
    model, _ = tiny_image_checkpoint(**IMAGES[variant])
    streams, labels = labels_of(model)
    files = exported(model, tmp_path)
    session = ImageSession(model, streams, GenerationOptions(engine="reference", seed=5))
    expected = np.stack(list(session.rows()), axis=1)
    height, length = expected.shape[1:]
    rows, u = files["rows"], draws(n=height * length)
    row = np.full((B, length), -1)
    state = np.zeros((B, rows.facts["state"]["shape"][1]), dtype=np.float32)
    made = []
    for number in range(height):
        above = rows.run(row=row, state=state, **labels)
        condition, state = above["condition"], above["next_state"]
        u_of_row = u[:, number * length : (number + 1) * length]
        row = generate(files["main"], u_of_row, lambda step: {"condition": condition[:, step]})  # noqa: B023
        made.append(row)
    np.testing.assert_array_equal(np.stack(made, axis=1), expected)


def bits_of(model, codes, streams, frames=None):
    """-log2 p of each code, by the torch model."""
    network = from_checkpoint(model)
    known = model.description.labels
    rows = {
        name: torch.tensor([len(values) if one[name] is None else values.index(one[name]) for one in streams])
        for name, values in known.items()
    }
    condition = network.condition(rows, frames)
    with torch.inference_mode():
        parameters, _ = network(torch.from_numpy(codes), None, condition)
        return network.head.bits(parameters, torch.from_numpy(codes)).numpy()


def random_codes(model, n_streams, n):
    n_classes = model.description.n_classes
    codes = np.random.default_rng(1).integers(n_classes, size=(n_streams, n))
    codes[:, 5:8], codes[:, 12:15] = 0, n_classes - 1
    return codes


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_likelihood_is_that_of_the_model(variant, tmp_path):
    model = tiny_checkpoint(**VARIANTS[variant])
    streams, labels = labels_of(model)
    files, codes = exported(model, tmp_path, "likelihood"), random_codes(model, B, N)
    expected = bits_of(model, codes, streams)
    # Logits of up to 30 in float32, and of a mixture far from its means the difference of two large numbers.
    np.testing.assert_allclose(files["main"].run(codes=codes, **labels)["bits"], expected, rtol=2e-4, atol=1e-3)


@pytest.mark.parametrize("variant", VOCODERS)
def test_a_likelihood_of_a_vocoder_is_that_of_the_model(variant, tmp_path):
    model = tiny_checkpoint(**VOCODERS[variant])
    hop, frames = model.description.features["hop"], frames_of(model, B, 6)
    streams, labels = labels_of(model)
    files, codes = exported(model, tmp_path, "likelihood"), random_codes(model, B, 6 * hop)
    look_ahead = model.description.architecture.frames.look_ahead
    of_frames = read(files, frames, labels)
    conditioner = FrameConditioner(model, streams, frames).at(0, 6 * hop)
    values = np.tile(model.description.make_features().silent, (B, 6 + 2 * look_ahead + 1, 1))
    values[:, look_ahead : look_ahead + 6] = frames
    prediction = None if conditioner.prediction is None else conditioner.prediction
    given = frames_on(torch.device("cpu"), Frames(values.astype(np.float32), prediction))
    expected = bits_of(model, codes, streams, given)
    inputs = {name: of_frames[name] for name in files["main"].inputs if name != "codes"}
    np.testing.assert_allclose(files["main"].run(codes=codes, **inputs)["bits"], expected, rtol=2e-4, atol=1e-3)


@pytest.mark.parametrize("variant", IMAGES)
def test_a_likelihood_of_images_is_that_of_the_model(variant, tmp_path):
    model, _ = tiny_image_checkpoint(**IMAGES[variant])
    streams, labels = labels_of(model)
    height, width, n_colours = model.description.shape
    codes = random_codes(model, B, height * width * n_colours)
    files = exported(model, tmp_path, "likelihood")
    made = files["main"].run(codes=codes.reshape(B, height, -1), **labels)["bits"]
    np.testing.assert_allclose(made.reshape(B, -1), bits_of(model, codes, streams), rtol=2e-4, atol=1e-3)
