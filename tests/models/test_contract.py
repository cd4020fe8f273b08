"""What every network must do (wavegen/models/base.py), whatever its family and its head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, TINY_SIZES, tiny_checkpoint, tiny_features
from tests.random_frames import random_prediction
from wavegen import checkpoint
from wavegen.architectures import FAMILIES, HEADS, make_architecture
from wavegen.checkpoint import Checkpoint, Description
from wavegen.engines import make_engine
from wavegen.engines.options import EngineOptions
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.generation.images import ImageSession
from wavegen.generation.options import GenerationOptions
from wavegen.models.base import Model, TrainingBatch, map_state, tensors_of
from wavegen.models.build import build, from_checkpoint

TOLD = "wavenet, told a prediction"
# Sizes of every family, whose name comes first; "table", "neighbours" and "laplace" are the toys of tests/toy_*.py.
CASES = {
    "wavenet": {**TINY_SIZES, "kernel_size": 3},
    TOLD: {**TINY_SIZES, **PREDICTION, "kernel_size": 3, "frame_channels": 6, "look_ahead": 1},
    "planner": {**TINY_SIZES, "n_blocks": 1, "n_channels": 5, "channel_layers": 2},
    "pixelcnn": {**TINY_SIZES, "n_blocks": 1, "layers_per_block": 2, "height": 12, "width": 3, "n_colours": 3}
    | {"position_embedding": True},
    "table": {"n_classes": 32},
    "neighbours": {"n_classes": 32, "height": 12, "width": 3, "n_colours": 3},
}
KINDS_OF_HEADS = ("categorical", "logistic-mixture", "laplace")
# What a stack's last layer passes on is read by no other layer.
UNREAD = ("stack.layers.4.project", "stack.layers.5.project", "row.stack.layers.1.project", "vertical.layers.1.project")
N_STREAMS = 3
MOST_STEPS = 120  # for which there are frames

pytestmark = pytest.mark.usefixtures("toys")


PAIRS = [(case, head) for case in CASES for head in KINDS_OF_HEADS if case != TOLD or head == PREDICTION["head"]]


def family_of(case: str) -> str:
    return case.partition(",")[0]


@pytest.fixture(params=PAIRS, ids="-".join)
def architecture(request, toys):
    """The tiny network of a family, with a label if the family has a use for one."""
    case, head = request.param
    made = make_architecture(family_of(case), {**CASES[case], "head": head})
    return replace(made, labels={"who": 3}) if made.n_conditions else made


@pytest.fixture
def model(architecture, float64):
    return unsettled(build(architecture)).eval()


def unsettled(model: Model) -> Model:
    """The network with every weight moved, so that nothing is zero, and draws depend on the past."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def codes_of(model: Model, n_rows: int, n_streams: int = N_STREAMS) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    n_classes = model.architecture.n_classes
    return torch.randint(n_classes, (n_streams, n_rows * model.unit), generator=random)


def condition_of(model: Model, n_streams: int = N_STREAMS):
    labels = {name: torch.arange(n_streams) % (n + 1) for name, n in model.architecture.labels.items()}
    return model.condition(labels, frames_of(model, n_streams))


def frames_of(model: Model, n_streams: int = N_STREAMS) -> Frames[torch.Tensor] | None:
    """Random ones, for a network that reads any."""
    frames, sizes = model.architecture.frames, model.architecture.prediction
    if frames is None:
        return None
    n_frames = -(-MOST_STEPS // frames.hop)
    values = torch.randn(
        n_streams, n_frames + 2 * frames.look_ahead, frames.n_features, generator=torch.Generator().manual_seed(3)
    )
    return Frames(values, random_prediction(sizes, n_streams, n_frames, frames.hop).map(torch.from_numpy))


def part(condition, first: int, n: int):
    """What some steps need of a condition."""
    return condition.part(first, n) if isinstance(condition, FrameCondition) else condition


def chosen(condition, streams: list[int]):
    """The condition of some streams."""
    if isinstance(condition, FrameCondition):
        return condition.map(lambda tensor: tensor[streams])
    return None if condition is None else condition[streams]


def test_every_family_and_every_head_is_held_to_the_contract():
    assert {family_of(case) for case in CASES} == set(FAMILIES)
    assert set(KINDS_OF_HEADS) == set(HEADS)


def test_an_architecture_survives_being_written_and_read(architecture):
    architecture.check()
    assert make_architecture(architecture.kind, architecture.values()) == architecture
    assert architecture.multiply_adds >= 0


def test_a_prediction_depends_on_earlier_codes_only(model):
    codes, condition = codes_of(model, 8), condition_of(model)
    before, _ = model(codes, None, condition)
    for position in range(codes.shape[1] - 1):
        changed = codes.clone()
        changed[:, position] = (changed[:, position] + 11) % model.architecture.n_classes
        differs = (model(changed, None, condition)[0] != before).any(dim=-1).any(dim=0)
        assert not differs[: position + 1].any()
        # The last code of an image's row need not reach the first of the next, but those of the next somewhere.
        assert differs[position + 1] if model.unit == 1 else differs[position + 1 :].any()


def test_the_receptive_field_is_the_one_reported(model):
    n, field = model.unit, model.receptive_field
    codes, condition = codes_of(model, 2 * field // n + 2 if n == 1 else field // n + 3), condition_of(model)
    if (sizes := model.architecture.prediction) is not None:
        told = condition.prediction._replace(
            periods=torch.full_like(condition.prediction.periods, sizes.longest_period)
        )
        condition = condition._replace(prediction=told)
    target = codes.shape[1] - 1
    before = model(codes, None, condition)[0][:, target]

    def matters(distance: int) -> bool:
        changed = codes.clone()
        changed[:, target - distance] = (changed[:, target - distance] + 11) % model.architecture.n_classes
        return bool((model(changed, None, condition)[0][:, target] != before).any())

    assert any(matters(distance) for distance in range(field - n + 1, field + 1))  # counted in whole rows
    assert not any(matters(distance) for distance in range(field + 1, target + 1))


@pytest.mark.parametrize("pieces", [[1] * 8, [3, 1, 4]])
def test_the_predictions_are_the_same_in_pieces(model, pieces):
    codes, condition = codes_of(model, 8), condition_of(model)
    whole, _ = model(codes, None, condition)
    made, state, first = [], model.initial_state(N_STREAMS) if model.row_length == 1 else None, 0
    for piece in codes.split([n * model.unit for n in pieces], dim=1):
        parameters, state = model(piece, state, part(condition, first, piece.shape[1]))
        made.append(parameters)
        first += piece.shape[1]
    torch.testing.assert_close(torch.cat(made, dim=1), whole, rtol=0, atol=1e-10)


def test_a_state_is_a_tree_of_tensors_with_the_streams_first(model):
    codes, condition = codes_of(model, 8), condition_of(model)
    first, rest = codes.split([3 * model.unit, 5 * model.unit], dim=1)
    _, state = model(first, None, condition)
    assert all(len(tensor) == N_STREAMS for tensor in tensors_of(state))
    order = [2, 0, 1]
    following = part(condition, first.shape[1], rest.shape[1])
    moved, _ = model(rest[order], map_state(lambda tensor: tensor[order], state), chosen(following, order))
    torch.testing.assert_close(moved, model(rest, state, following)[0][order], rtol=0, atol=1e-10)


def test_what_is_observed_replaces_the_newest_codes(model):
    n, codes, condition = model.unit, codes_of(model, 6), condition_of(model)
    newest = slice(3 * n - model.row_length, 3 * n)
    other = codes.clone()
    other[:, newest] = (other[:, newest] + 11) % model.architecture.n_classes
    _, state = model(codes[:, : 3 * n], None, condition)
    state = model.observe(state, other[:, newest])
    continued, _ = model(codes[:, 3 * n :], state, part(condition, 3 * n, 3 * n))
    torch.testing.assert_close(continued, model(other, None, condition)[0][:, 3 * n :], rtol=0, atol=1e-10)


def test_the_loss_is_the_mean_of_the_bits_of_its_own_probabilities(model):
    codes, n_classes = codes_of(model, 6), model.architecture.n_classes
    labels = {name: torch.arange(N_STREAMS) % n for name, n in model.architecture.labels.items()}
    counted = torch.rand(codes.shape, generator=torch.Generator().manual_seed(2)) < 0.7
    frames = frames_of(model)
    parameters, _ = model(codes, None, model.condition(labels, frames))
    every = torch.arange(n_classes).expand(*codes.shape, n_classes)
    bits = model.head.bits(parameters[:, :, None].expand(-1, -1, n_classes, -1), every)
    torch.testing.assert_close((2**-bits).sum(dim=-1), torch.ones(codes.shape), rtol=0, atol=1e-6)
    own = bits.gather(-1, codes[..., None])[..., 0]
    torch.testing.assert_close(model.loss(TrainingBatch(codes, codes, counted, labels, frames)), own[counted].mean())


def test_a_gradient_reaches_every_parameter(model):
    codes = codes_of(model, 8, 8)
    labels = {name: torch.arange(8) % (n + 1) for name, n in model.architecture.labels.items()}
    counted = torch.ones_like(codes, dtype=torch.bool)
    model.loss(TrainingBatch(codes, codes, counted, labels, frames_of(model, 8))).backward()
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[0] in UNREAD:
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def file_of(model: Model, path: Path) -> Checkpoint:
    """The network as a model file that was written and read."""
    architecture = model.architecture
    makes = architecture.makes
    labels = {name: [str(value) for value in range(n)] for name, n in architecture.labels.items()}
    description = Description(
        architecture,
        "levels" if makes == "frames" else "linear",
        architecture.n_classes,
        0 if makes == "images" else 8000,
        labels,
        shape=architecture.shape,
        features=tiny_features(architecture),
    )
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    if makes == "frames":
        vocoder = tiny_checkpoint(n_features=architecture.unit, hop=5)
        planner = Checkpoint(description, weights, "", path)
        checkpoint.save(path, vocoder.description, vocoder.weights, "", planner)
        return checkpoint.load(path).trained
    checkpoint.save(path, description, weights, "")
    return checkpoint.load(path)


def test_a_model_file_gives_the_network_back(architecture, tmp_path):
    model = unsettled(build(architecture)).eval()
    loaded = file_of(model, tmp_path / "x.safetensors")
    assert loaded.description.architecture == architecture
    codes, condition = codes_of(model, 8), condition_of(model)
    again = from_checkpoint(loaded)
    torch.testing.assert_close(again(codes, None, condition)[0], model(codes, None, condition)[0], rtol=0, atol=0)


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_engines_step_to_the_predictions_of_the_whole(architecture, tmp_path, engine):
    model = build(architecture).eval()
    loaded = file_of(model, tmp_path / "x.safetensors")
    codes = codes_of(model, 8)
    with torch.no_grad():
        unknown = {name: torch.full((N_STREAMS,), n) for name, n in architecture.labels.items()}
        condition = model.condition(unknown, frames_of(model))
        whole = model(codes, None, condition)[0].numpy()
    if architecture.makes != "images":
        _, stepping = make_engine(loaded, N_STREAMS, EngineOptions(engine))
        if isinstance(condition, FrameCondition):
            condition = condition.map(torch.Tensor.numpy)
        elif condition is not None:
            condition = condition.numpy()
            if condition.shape[1] > 1:  # of the channels of a frame, which repeat
                condition = np.tile(condition, (1, codes.shape[1] // condition.shape[1], 1, 1))
        stepped = stepping.logits(codes.numpy(), condition)
    else:
        rows = codes.unflatten(1, (8, model.row_length)).numpy()
        stepped = ImageSession(loaded, [{}] * N_STREAMS, GenerationOptions(engine=engine)).logits(rows)
    np.testing.assert_allclose(stepped.reshape(whole.shape), whole, atol=1e-4)
