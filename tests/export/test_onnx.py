"""Exported graphs, run by onnxruntime alone, against the models that they were made of."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint, tiny_speaker
from tests.generation.test_images import tiny_image_checkpoint
from wavegen import checkpoint
from wavegen.architectures import make_architecture
from wavegen.engines import make_engine
from wavegen.engines.onnx_graph import Graph
from wavegen.engines.options import EngineOptions
from wavegen.engines.reference import ReferenceEngine
from wavegen.errors import InputError
from wavegen.export import onnx as export
from wavegen.export.onnx_conditions import n_window, planned_frames
from wavegen.features.frame_codes import FrameCodes
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.features.frames import make_features
from wavegen.generation.conditioning import FrameConditioner, condition_of
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.generation.planning import CHUNK, NUMBERS, Plan, architecture_of
from wavegen.models.base import frames_on
from wavegen.models.build import from_checkpoint, with_random_weights
from wavegen.sampling import Decoding, draw_categorical, draw_logistic_mixture, probabilities, uniforms

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
    numbers = {
        name: np.array([*range(n_streams - 1), len(values)]) % (len(values) + 1) for name, values in known.items()
    }
    streams = [{name: (*known[name], None)[numbers[name][stream]] for name in known} for stream in range(n_streams)]
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


def planned(files, u, labels):
    """Frames of a planner's file, with silence before them: as many as there are draws for."""
    facts = files["planned"].facts
    n_channels, n_seen = files["planned"].session.get_inputs()[0].shape[2], facts["n_window"]

    def channel(step):
        return {"channel": np.full(len(u), step % n_channels), **labels}

    codes = generate(files["planner"], u, channel).reshape(len(u), -1, n_channels)
    codes = np.concatenate([np.repeat(codes[:, :1], facts["n_ahead"], axis=1), codes], axis=1)
    n = (codes.shape[1] - n_seen) // facts["n_frames"]
    chunks = [codes[:, facts["n_frames"] * chunk :][:, :n_seen] for chunk in range(n + 1)]
    return np.concatenate([files["planned"].run(codes=chunk)["frames"] for chunk in chunks], axis=1)


def test_a_model_that_speaks_plans_the_frames_of_the_reference_and_makes_its_codes(tmp_path):
    model, n, hop = tiny_speaker(), 40, 5
    files = exported(model, tmp_path)
    engine = ReferenceEngine(from_checkpoint(model.planner))
    plan = Plan(model, engine, seed=5, number=2, decoding=Decoding(), labels={"speaker": "1"})
    labels = {"label_speaker": np.array([1])}
    frames = planned(
        files, uniforms(5, 2 + NUMBERS, 0, 6 * (architecture_of(model.planner).n_ahead + 12))[None], labels
    )
    np.testing.assert_allclose(frames[0], plan.frames(0, 12), atol=1e-6)
    u = uniforms(5, 2, 0, n)[None]
    expected = ReferenceEngine(from_checkpoint(model)).advance(u, Decoding(), condition=plan.at(0, n))
    made = generate(files["main"], u, at_step(read(files, frames, {}), hop))
    np.testing.assert_array_equal(made, expected)


def test_a_likelihood_of_a_planner_is_that_of_the_model(tmp_path):
    model = tiny_speaker()
    files = exported(model, tmp_path, "likelihood")
    streams, labels = labels_of(model.planner)
    codes = random_codes(model.planner, B, 48)
    expected = bits_of(model.planner, codes, streams)
    np.testing.assert_allclose(files["planner"].run(codes=codes, **labels)["bits"], expected, rtol=2e-4, atol=1e-3)


def test_planned_frames_with_a_pitch_are_decoded_and_smoothed_alike():
    codes = FrameCodes(make_features(16000, {"n_mels": 20, "hop": 200, "pitch": {}}))
    sizes = replace(architecture_of(tiny_speaker().planner), smoothing=2, pitch_smoothing=5)
    values = np.random.default_rng(0).integers(codes.n_levels, size=(B, n_window(sizes), codes.n_channels))
    values[..., 1][np.random.default_rng(1).random(values.shape[:2]) < 0.4] = 0  # no voice
    values[1, :, 1] = 0
    graph = Graph()
    frames = planned_frames(graph, codes, sizes, graph.input("codes", np.int64, ["batch", *values.shape[1:]], ""))
    graph.output("frames", frames, np.float32, ["batch", CHUNK, 24], "")
    (made,) = onnxruntime.InferenceSession(graph.model("planned", "")).run(None, {"codes": values})
    expected = [codes.features.smoothed(codes.decode(one), 2, 5) for one in values]
    np.testing.assert_allclose(made, np.stack(expected), atol=1e-6)


def test_a_file_ends_in_its_metadata_for_programs_that_cannot_ask_for_it(tmp_path):
    (path,) = export.write(tiny_checkpoint(labels={"speaker": 2}), tmp_path / "model.onnx", "step")
    data = path.read_bytes()
    facts = json.loads(data[data.rindex(b'{"wavegen": ') :])
    assert facts == File(path).facts
    assert (facts["format"], facts["part"], facts["opset"]) == (1, "step", 18)
    assert facts["labels"] == {"speaker": ["0", "1"]}
    assert facts["codec"] == {"kind": "mu-law", "n_classes": 32, "pre_emphasis": 0.0}


def test_equal_models_are_equal_files(tmp_path):
    one, other = (tmp_path / name / "model.onnx" for name in ("one", "other"))
    for path in (one, other):
        export.write(tiny_checkpoint(), path, "step")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("toys")
def test_a_network_that_is_not_made_of_gated_layers_is_refused(tmp_path):
    model = with_random_weights(make_architecture("table", {"n_classes": 16}), 8000)
    with pytest.raises(InputError, match="cannot become ONNX, nor run on compiled engines: it is a table"):
        export.write(model, tmp_path / "model.onnx", "step")
    assert not list(tmp_path.iterdir())


def test_without_the_library_a_sentence_names_the_extra(tmp_path, monkeypatch):
    for library in ("onnx", "onnxruntime"):
        with monkeypatch.context() as context:
            context.setitem(sys.modules, library, None)
            with pytest.raises(InputError, match=r"not installed .*: pip install 'wavegen\[onnx\]'"):
                make_engine(tiny_checkpoint(), 1, EngineOptions("onnx"))


SHIPPED_SOUND = 30_000  # samples


def shipped(name, folder):
    model = checkpoint.load(Path(name))
    return model, exported(model, folder)


def n_other_codes(model, codes, u, condition, decoding=None):
    """How many codes are not those that the model draws after the codes before, with the largest difference; a
    categorical code is another only where the draw lies within float error of the boundary between the two."""
    network, state, n, n_others, largest = from_checkpoint(model), None, codes.shape[1], 0, 0
    decoding = decoding or Decoding()
    for first in range(0, n, 2000):
        part = slice(first, min(first + 2000, n))
        now = condition(part.start, part.stop - part.start)
        with torch.inference_mode():
            given = None if now is None else as_tensors(now)
            parameters, state = network(torch.from_numpy(codes[:, part]), state, given)
        parameters = parameters[0].numpy()
        if not model.description.head.lists_probabilities:
            expected = draw_logistic_mixture(parameters, u[0, part], decoding, model.description.n_classes)
            largest = max(largest, int(np.abs(expected - codes[0, part]).max()))
        else:
            cumulative = np.cumsum(probabilities(parameters, decoding), axis=-1)
            threshold = u[0, part, None] * cumulative[:, -1:]
            expected = (cumulative <= threshold).sum(axis=-1)
            for step in np.flatnonzero(expected != codes[0, part]):
                between = cumulative[step, min(expected[step], codes[0, part][step])]
                assert abs(between - threshold[step, 0]) < 1e-5
        n_others += int((expected != codes[0, part]).sum())
    return n_others, largest


def as_tensors(condition):
    if isinstance(condition, FrameCondition):
        return condition.map(lambda array: torch.from_numpy(np.ascontiguousarray(array)))
    return torch.from_numpy(condition)


@pytest.mark.exhaustive
def test_a_model_that_ships_makes_the_codes_of_the_reference(tmp_path, capsys):
    """30,000 samples; where the codes differ, the draw lies within float error of the boundary between them."""
    model, files = shipped("music", tmp_path)
    u = draws(1, SHIPPED_SOUND)
    codes = generate(files["main"], u, lambda step: {"label_piece": np.array([1])})
    condition = condition_of(model, [{"piece": model.description.labels["piece"][1]}])
    n_others, _ = n_other_codes(model, codes, u, lambda first, n: condition)
    with capsys.disabled():
        print(f"music: {n_others} of {SHIPPED_SOUND} codes")
    assert n_others < SHIPPED_SOUND / 1000


def speech_frames(features, n, seed=3):
    """Frames as of a voice: bands that fall with frequency, a pitch that glides, pauses."""
    random, at = np.random.default_rng(seed), np.arange(n)
    frames = np.empty((1, n, features.n_features), dtype=np.float32)
    level = 0.25 * np.sin(at / 9)[:, None] + 0.1 * random.standard_normal((n, features.n_mels))
    frames[0, :, : features.n_mels] = level - np.linspace(0, 0.7, features.n_mels)
    is_voiced = np.sin(at / 15) > -0.4
    frames[0, :, features.n_mels] = np.where(is_voiced, 0.2 * np.sin(at / 11), 0)
    frames[0, :, features.n_mels + 1] = np.where(is_voiced, 1, -1)
    frames[0, :, features.n_mels + 2] = np.where(is_voiced, 0.7, -0.5)
    frames[0, :, features.n_mels + 3] = level.mean(axis=1)
    return frames


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["vocoder", "speech", "digits"])
def test_a_vocoder_that_ships_makes_the_codes_of_the_reference(name, tmp_path, capsys):
    """30,000 samples of 16 bits. The last bits of float32 move a value by less than a thousandth of a code, and so over
    the boundary to the next code as rarely."""
    model, files = shipped(name, tmp_path)
    hop, u = model.description.features["hop"], draws(1, SHIPPED_SOUND)
    numbers = dict.fromkeys(model.description.labels, 2)
    labels = {label: model.description.labels[label][number] for label, number in numbers.items()}
    of_file = {f"label_{label}": np.array([number]) for label, number in numbers.items()}
    if model.planner is None:
        frames = speech_frames(model.description.make_features(), SHIPPED_SOUND // hop + 4)
    else:
        u_of_plan = uniforms(5, NUMBERS, 0, model.planner.description.architecture.unit * (SHIPPED_SOUND // hop + 40))
        known = {name: np.array([2]) for name in files["planner"].inputs if name.startswith("label_")}
        frames = planned(files, u_of_plan[None], known)
        engine = ReferenceEngine(from_checkpoint(model.planner))
        of_plan = {label: values[2] for label, values in model.planner.description.labels.items()}
        plan = Plan(model, engine, seed=5, number=0, decoding=Decoding(), labels=of_plan)
        np.testing.assert_allclose(frames[0, :150], plan.frames(0, 150), atol=1e-5)
    codes = generate(files["main"], u, at_step(read(files, frames, of_file), hop))
    conditioner = FrameConditioner(model, [labels], frames)
    n_others, largest = n_other_codes(model, codes, u, conditioner.at)
    with capsys.disabled():
        print(f"{name}: {n_others} of {SHIPPED_SOUND} codes, by {largest} at most")
    assert largest <= 1
    assert n_others < SHIPPED_SOUND / 1000


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["mnist", "mnist-binary"])
def test_images_of_a_model_that_ships_are_those_of_the_reference(name, capsys):
    """100 images by the engine, which runs the graphs that are exported."""
    model = checkpoint.load(Path(name))
    labels = [{"digit": str(number % 10)} for number in range(100)]
    drawn = [
        np.stack(list(ImageSession(model, labels, GenerationOptions(engine=engine, seed=1, guidance=1)).rows()), axis=1)
        for engine in ("onnx", "reference")
    ]
    n_others = int((drawn[0] != drawn[1]).any(axis=(1, 2)).sum())
    with capsys.disabled():
        print(f"{name}: {n_others} of 100 images differ")
    assert n_others == 0
