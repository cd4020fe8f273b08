"""Images from engines: the fast one draws what the reference draws, and what is given stays."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.models.test_pixelcnn import HEIGHT, WIDTH, tiny_pixelcnn
from tests.test_checkpoint import change_metadata
from wavegen.checkpoint import Checkpoint, Description, load, save
from wavegen.errors import InputError
from wavegen.generation import stream
from wavegen.generation.images import ImageSession, grid
from wavegen.generation.options import GenerationOptions

LABELS = {"digit": ["0", "1", "2"]}


def tiny_image_checkpoint(n_colours=1, labels=LABELS, **changes):
    changes = {"n_classes": 256, "labels": {name: len(values) for name, values in labels.items()}, **changes}
    model = tiny_pixelcnn(n_colours, **changes)
    shape = [HEIGHT, WIDTH, n_colours]
    described = Description(model.architecture, "linear", changes["n_classes"], labels=labels, shape=shape)
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    return Checkpoint(described, weights, "", "tiny.safetensors"), model


ONNX = ("onnx",) if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime") else ()
VARIANTS = [
    {},
    {"n_colours": 3},
    {"activation": "relu", "n_colours": 3},
    {"labels": {}, "n_classes": 2},
    {"head": "logistic-mixture", "n_mixtures": 3, "n_colours": 3, "mean_scale": 0.5},
    {"kernel_width": 5, "n_blocks": 1, "layers_per_block": 3},
    {"position_embedding": True, "n_colours": 3},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_the_engine_draws_what_the_reference_draws(changes):
    model, _ = tiny_image_checkpoint(**changes)
    labels = [{"digit": "1"}, {}, {"digit": "2"}] if model.description.labels else [{}] * 3
    drawn = {}
    for engine in ("numba", "reference", *ONNX):
        session = ImageSession(model, labels, GenerationOptions(temperature=0.9, engine=engine))
        for again in range(2):  # the second time from wherever the first has ended
            drawn[engine, again] = np.stack(list(session.rows(3)), axis=1)
    for codes in drawn.values():
        np.testing.assert_array_equal(codes, drawn["reference", 0])
    assert len(np.unique(drawn["reference", 0])) > 1


@pytest.mark.parametrize("labels", [[{"digit": "1"}] * 4, [{"digit": "1"}, {}, {"digit": "1"}, {}]], ids=["one", "two"])
@pytest.mark.parametrize("first", [0, 1, 3, HEIGHT - 1])
def test_images_that_are_alike_down_to_some_row_go_on_as_the_reference_does(labels, first):
    model, _ = tiny_image_checkpoint()
    given = np.full((4, HEIGHT, WIDTH), -1)
    given[:, : first + 1] = 7
    given[2, first, 1] = 9  # the first that differs
    drawn = {}
    for engine in ("numba", "reference"):
        session = ImageSession(model, labels, GenerationOptions(engine=engine))
        for again in range(2):
            drawn[engine, again] = np.stack(list(session.rows(3, given)), axis=1)
    for codes in drawn.values():
        np.testing.assert_array_equal(codes, drawn["reference", 0])
    logits = [
        ImageSession(model, labels, GenerationOptions(engine=engine)).logits(drawn["reference", 0])
        for engine in ("numba", "reference")
    ]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)


def test_guided_images_are_the_same_on_every_engine_and_one_by_one():
    model, _ = tiny_image_checkpoint()
    labels, options = [{"digit": "1"}, {}, {"digit": "2"}], GenerationOptions(guidance=2.5)
    drawn = {
        engine: np.stack(list(ImageSession(model, labels, replace(options, engine=engine)).rows(3)), axis=1)
        for engine in ("numba", "reference")
    }
    np.testing.assert_array_equal(drawn["numba"], drawn["reference"])
    alone = np.stack(list(ImageSession(model, labels[:1], options).rows(3)), axis=1)
    np.testing.assert_array_equal(alone[0], drawn["numba"][0])
    plain = np.stack(list(ImageSession(model, labels).rows(3)), axis=1)
    assert (plain[0] != drawn["numba"][0]).any()
    np.testing.assert_array_equal(plain[1], drawn["numba"][1])  # without a label there is nothing to guide


@pytest.mark.parametrize("engine", ["numba", "reference"])
@pytest.mark.parametrize("n_colours", [1, 3])
def test_stepping_code_by_code_is_the_one_pass_of_training(engine, n_colours):
    checkpoint, model = tiny_image_checkpoint(n_colours)
    codes = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH * n_colours))
    with torch.no_grad():
        condition = model.condition({"digit": torch.tensor([2, 3])})
        expected, _ = model.eval()(torch.from_numpy(codes).flatten(1), None, condition)
    stepped = ImageSession(checkpoint, [{"digit": "2"}, {}], GenerationOptions(engine=engine)).logits(codes)
    # Logits of up to 1e2 in float32 through some ten sums of some ten terms each.
    np.testing.assert_allclose(stepped.reshape(expected.shape), expected.numpy(), atol=1e-3)


def test_an_image_does_not_depend_on_those_beside_it():
    model, _ = tiny_image_checkpoint()
    many = np.stack(list(ImageSession(model, [{"digit": "1"}] * 5).rows(3)), axis=1)
    one = np.stack(list(ImageSession(model, [{"digit": "1"}]).rows(3)), axis=1)
    np.testing.assert_array_equal(many[0], one[0])
    assert (many[0] != many[1]).any()


def test_random_numbers_are_those_of_each_place_however_many_are_drawn_at_once(monkeypatch):
    model, _ = tiny_image_checkpoint()
    drawn = []
    for n_rows in (1, 2, 16):
        monkeypatch.setattr(stream, "DRAWN_AT_ONCE", n_rows * WIDTH)
        drawn.append(np.stack(list(ImageSession(model, [{}] * 2).rows(3)), axis=1))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_what_is_given_stays_and_the_rest_depends_on_it():
    model, _ = tiny_image_checkpoint(3)
    session = ImageSession(model, [{}])
    free = np.stack(list(session.rows(3)), axis=1)
    given = np.full_like(free, -1)
    given[:, 1, 2] = (free[:, 1, 2] + 128) % 256
    held = np.stack(list(session.rows(3, given)), axis=1)
    np.testing.assert_array_equal(held[given >= 0], given[given >= 0])
    np.testing.assert_array_equal(held[0].ravel()[: WIDTH * 3 + 2], free[0].ravel()[: WIDTH * 3 + 2])
    assert (held[0].ravel()[WIDTH * 3 + 3 :] != free[0].ravel()[WIDTH * 3 + 3 :]).any()


def test_pixels_and_codes_are_two_ways_to_say_the_same():
    for n_classes in (2, 7, 256):
        model, _ = tiny_image_checkpoint(3, n_classes=n_classes)
        session = ImageSession(model, [{}])
        codes = np.random.default_rng(0).integers(0, n_classes, (4, HEIGHT, WIDTH * 3))
        pixels = session.pixels(codes)
        assert pixels.shape == (4, HEIGHT, WIDTH, 3)
        assert {0, 255} >= set(np.unique(pixels)) or n_classes > 2
        np.testing.assert_array_equal(session.codes(pixels), codes)


def test_a_grid_shows_every_image_where_it_belongs():
    pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] + np.zeros((3, 2, 4, 1), dtype=np.uint8)
    whole = grid(pixels, n_columns=2, gap=1)
    assert whole.shape == (2 * 3 + 1, 2 * 5 + 1, 1)
    assert (whole[1, 1, 0], whole[2, 6, 0], whole[4, 4, 0], whole[5, 9, 0]) == (0, 1, 2, 96)


def test_a_model_of_sound_is_refused(tiny_run):
    with pytest.raises(InputError, match="makes sound; expected a pixelcnn"):
        ImageSession(load(tiny_run), [{}])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [5, 4, 3]}, r"its shape is \[5, 4, 3\]"),
        ({"shape": []}, "its shape is"),
        ({"shape": 5}, "its shape is 5"),
        ({"shape": ["x", 4, 1]}, r"its shape is \['x', 4, 1\]"),
        ({"architecture.width": 10**9}, "width is 1000000000"),
        ({"architecture.kernel_width": "3"}, "kernel_width is '3'"),
        ({"architecture.kernel_size": "x"}, "kernel_size"),
        ({"architecture.height": 10**9}, "height is 1000000000"),
        ({"architecture.n_blocks": 1}, "1 x 2 layers, but the weights of 8"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, changes, words):
    model, _ = tiny_image_checkpoint()
    save(tmp_path / "good.safetensors", model.description, model.weights, "")
    changed = change_metadata(tmp_path / "good.safetensors", tmp_path / "x.safetensors", changes)
    with pytest.raises(InputError, match=words):
        load(changed)
