"""Recipes, model files and training states with the names of before are read, and written with those of now."""

import io
import json
import os
import re
import signal

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.conftest import TINY_RECIPE, tiny_checkpoint
from tests.generation.test_images import tiny_image_checkpoint
from wavegen import checkpoint, migrations, recipe
from wavegen.checkpoint import Checkpoint
from wavegen.generation.images import ImageSession
from wavegen.training import loop as training
from wavegen.training.state import STATE_FILE

OLD_TENSORS = (
    (r"\bvertical\.", "above."),
    (r"\blayers\.(\d+)\.", r"blocks.\1."),
    (r"row_position", "row_place"),
    (r"column_position", "column_place"),
)
OLD_KEYS = {
    "kernel_width": "reach",
    "position_embedding": "places",
    "start_share": "true_starts",
    "learn_endings": "true_ends",
}


def old_name(name: str) -> str:
    for pattern, replacement in OLD_TENSORS:
        name = re.sub(pattern, replacement, name)
    return name


def old_text(text: str) -> str:
    for new, old in OLD_KEYS.items():
        text = text.replace(f"  {new}:", f"  {old}:")
    return text


def write_format_1(path, model: Checkpoint, changes: dict, dropped: tuple[str, ...]) -> None:
    """A model file as it was written before: other names of sizes and tensors, and sizes that it had too many."""
    checkpoint.save(path, model.description, model.weights, old_text(model.recipe))
    described = json.loads(path_metadata(path))
    sizes = {name: value for name, value in described["architecture"].items() if name not in dropped}
    described |= {"format": 1, "architecture": {**sizes, **changes}}
    del described["sha256"]
    save_file(
        {old_name(name): array for name, array in model.weights.items()}, path, {"wavegen": json.dumps(described)}
    )


def path_metadata(path) -> str:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length])["__metadata__"]["wavegen"]


@pytest.mark.parametrize("position_embedding", [False, True])
def test_images_of_a_file_of_format_1_are_those_of_now(tmp_path, position_embedding):
    model, _ = tiny_image_checkpoint(position_embedding=position_embedding, kernel_width=5)
    shape = model.description.shape
    changes = {"reach": 5, "height": shape[0] if position_embedding else None, "n_mixtures": 10}
    path = tmp_path / "old.safetensors"
    write_format_1(path, model, changes, ("kernel_width", "position_embedding", "height"))
    assert any("above.blocks." in name for name in old_names(path))
    loaded = checkpoint.load(path)
    assert loaded.description == model.description
    assert sorted(loaded.weights) == sorted(model.weights)
    drawn = [np.stack(list(ImageSession(one, [{"digit": "1"}]).rows(3))) for one in (model, loaded)]
    np.testing.assert_array_equal(*drawn)
    checkpoint.save(path, loaded.description, loaded.weights, loaded.recipe)
    assert json.loads(path_metadata(path))["format"] == checkpoint.MODEL_FORMAT
    assert checkpoint.load(path).description == model.description


def old_names(path) -> list[str]:
    raw = path.read_bytes()
    return list(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]))


def test_a_sound_of_format_1_keeps_the_scale_of_its_means_and_a_vocoder_its_frames(tmp_path):
    path = tmp_path / "old.safetensors"
    mixture = tiny_checkpoint(head="logistic-mixture", n_mixtures=3, mean_scale=0.25)
    idle = ("mean_scale", "n_features", "hop", "frame_channels", "look_ahead")
    write_format_1(path, mixture, {"mean_unit": 0.25}, idle)
    assert checkpoint.load(path).description == mixture.description
    vocoder = tiny_checkpoint(n_features=4, hop=128 // 4, frame_channels=6, look_ahead=1, kernel_size=2)
    write_format_1(path, vocoder, {"n_mixtures": 10, "mean_unit": 1.0}, ())
    assert checkpoint.load(path).description == vocoder.description


def test_a_recipe_with_old_keys_is_read_with_a_remark(caplog):
    caplog.set_level("INFO")
    remarked = recipe.parse(TINY_RECIPE, "tiny.yaml", ["training.true_starts=0.5", "training.true_ends=true"])
    assert (remarked.training.start_share, remarked.training.learn_endings) == (0.5, True)
    assert "tiny.yaml: training.true_starts is called training.start_share now" in caplog.text
    assert "true_starts" not in remarked.to_yaml()


def test_a_label_may_be_called_what_a_tensor_was():
    names = ["above.blocks.0.conv.weight", "labels.above.weight", "row.stack.blocks.3.conv.bias"]
    renamed = ["vertical.layers.0.conv.weight", "labels.above.weight", "row.stack.layers.3.conv.bias"]
    assert list(migrations.rename_tensors(dict.fromkeys(names))) == renamed


@pytest.mark.parametrize(("in_file", "in_option"), [("true_starts", "start_share"), ("start_share", "true_starts")])
def test_an_option_overrides_a_key_by_either_name(in_file, in_option):
    text = recipe.parse(TINY_RECIPE, "tiny.yaml", ["training.start_share=0.3"]).to_yaml()
    text = text.replace("start_share:", f"{in_file}:")
    assert recipe.parse(text, "tiny.yaml", [f"training.{in_option}=0.5"]).training.start_share == 0.5


@pytest.mark.parametrize("head", ["categorical", "logistic-mixture"])
def test_a_run_of_before_goes_on_to_the_same_bits(tmp_path, head):
    settings = recipe.parse(TINY_RECIPE, "tiny", [f"model.head={head}"])
    training.train(settings, tmp_path / "whole")
    folder = tmp_path / "half"
    interrupted = recipe.parse(TINY_RECIPE, "tiny", [f"model.head={head}", "training.validate_every=12"])
    stop_after(interrupted, folder, 12)
    path = folder / STATE_FILE
    state = torch.load(path, weights_only=True)
    state["format"] = 2
    state["mean_unit"] = state.pop("mean_scale")
    state["recipe"] = old_text(state["recipe"])
    for part in ("model", "averaged"):
        state[part] = {old_name(name): tensor for name, tensor in state[part].items()}
    assert "true_starts" in state["recipe"]
    encoded = io.BytesIO()
    torch.save(state, encoded)
    path.write_bytes(encoded.getvalue())
    training.train(settings, folder, resume=True)
    whole, resumed = (checkpoint.load(tmp_path / name) for name in ("whole", "half"))
    assert resumed.description.step == whole.description.step == 30
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], weight)


def stop_after(settings, folder, n_steps: int) -> None:
    """Train and stop as Ctrl-C does, after some steps."""
    update = training.update

    def counted(run, batches):
        made = update(run, batches)
        if run.state.step == n_steps:
            os.kill(os.getpid(), signal.SIGINT)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "update", counted)
        training.train(settings, folder)
