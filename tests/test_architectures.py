"""What the dataclasses say of a network is what the network is."""

import pytest
import torch

from tests.conftest import TINY_SIZES
from wavegen.architectures import FAMILIES, HEADS, Size, Sized, make_architecture, sized_fields
from wavegen.errors import InputError
from wavegen.models.build import build

IMAGE = {"height": 5, "width": 4, "n_colours": 3, "kernel_width": 5}
CASES = [
    ("wavenet", {}),
    ("wavenet", {"kernel_size": 3, "dilated": False}),
    ("wavenet", {"activation": "relu", "labels": {"who": 3}}),
    ("wavenet", {"head": "logistic-mixture", "n_mixtures": 4, "n_features": 3, "hop": 5}),
    ("pixelcnn", IMAGE),
    ("pixelcnn", {**IMAGE, "n_colours": 1, "position_embedding": True, "labels": {"who": 3}}),
    ("pixelcnn", {**IMAGE, "activation": "relu", "head": "logistic-mixture"}),
]
LOOKED_UP = ("embed.", "row.embed.", "labels.", "row_position", "column_position", "colour")
ONCE_PER_CHANGE = ("project_labels.", "frame_network.")
PER_PIXEL = ("vertical.", "enter.")


@pytest.mark.parametrize(("kind", "changes"), CASES, ids=str)
def test_multiply_adds_are_one_for_each_weight_of_the_matrices_that_a_code_passes(kind, changes):
    architecture = make_architecture(kind, {**TINY_SIZES, **changes})
    matrices = {name: weight.numel() for name, weight in build(architecture).state_dict().items() if weight.ndim > 1}
    per_code = sum(n for name, n in matrices.items() if not name.startswith((*LOOKED_UP, *ONCE_PER_CHANGE, *PER_PIXEL)))
    per_pixel = sum(n for name, n in matrices.items() if name.startswith(PER_PIXEL))
    assert architecture.multiply_adds == per_code + per_pixel // changes.get("n_colours", 1)


@pytest.mark.parametrize(("kind", "changes"), CASES, ids=str)
def test_facts_are_those_of_the_network(kind, changes):
    model = build(make_architecture(kind, {**TINY_SIZES, **changes}))
    architecture = model.architecture
    architecture.check()
    assert len(model.gated_layers()) == len(architecture.dilations) * (2 if kind == "pixelcnn" else 1)
    assert [layer.conv.dilation for layer in model.stepped.gated_layers()] == list(architecture.dilations)
    assert model.head.n_parameters == architecture.n_parameters_of_head
    if architecture.labels:
        condition = model.condition({"who": torch.tensor([0, 3])})
        assert condition.shape == (2, 1, architecture.n_conditions, architecture.condition_channels)


@pytest.mark.parametrize(("type_", "good", "bad"), [(int, 3, "3"), (float, 0.5, float("nan"))])
def test_a_size_needs_no_bounds(type_, good, bad):
    size = Sized("size", type_, good, Size("anything"))
    size.check(good)
    with pytest.raises(InputError, match=r"expected an? (integer|number)$"):
        size.check(bad)


@pytest.mark.parametrize("owner", [*FAMILIES.values(), *HEADS.values()], ids=lambda owner: owner.kind)
def test_every_size_says_what_it_means_and_where_it_ends(owner):
    for one in sized_fields(owner):
        assert one.size.meaning
        if one.type in (int, float):
            assert one.size.gt is not None or one.size.ge is not None, one.name
            assert one.size.lt is not None or one.size.le is not None, one.name


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("wavenet", {"n_blocks": 0}, "n_blocks is 0, expected an integer from 1 to 1,000"),
        ("wavenet", {"n_blocks": True}, "n_blocks is True, expected an integer"),
        ("wavenet", {"dropout": 1.0}, "dropout is 1.0, expected a number from 0 and below 1"),
        ("wavenet", {"activation": "tanh"}, "activation is 'tanh', expected one of gated, relu"),
        ("wavenet", {"residual": 1}, "residual is 1, expected true or false"),
        ("wavenet", {"head": "logistic-mixture", "n_mixtures": 0}, "n_mixtures is 0, expected an integer from 1 to"),
        ("pixelcnn", {**IMAGE, "kernel_width": 4}, "kernel_width is 4; expected an odd number: the pixel above"),
        ("wavenet", {"layers_per_block": 20, "n_blocks": 100}, "a stream would have to remember 104,857,600 x 6"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused_in_one_sentence(kind, changes, sentence):
    with pytest.raises(InputError) as error:
        make_architecture(kind, {**TINY_SIZES, **changes}).check()
    assert sentence in str(error.value)
