import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import tiny_wavenet
from wavegen import checkpoint
from wavegen.checkpoint import Description
from wavegen.errors import InputError

DESCRIPTION = Description(
    kind="wavenet",
    architecture={"n_classes": 32},
    codec="mu-law",
    n_classes=32,
    sample_rate=8000,
    labels={"speaker": ["a", "b"]},
    decoding={"temperature": 0.9, "top_k": None, "top_p": 0.95},
    bits={"validation": 3.5},
    step=12,
)


def write(path: Path, **metadata: str) -> Path:
    save_file({"x": np.zeros(2)}, path, metadata)
    return path


def test_a_model_file_gives_back_what_was_saved(tmp_path):
    weights = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(2, dtype=np.float16)}
    checkpoint.save(tmp_path / "model.safetensors", DESCRIPTION, weights, "recipe: text\n")
    for given in (tmp_path, tmp_path / "model.safetensors"):
        loaded = checkpoint.load(given)
        assert loaded.description == DESCRIPTION
        assert loaded.recipe == "recipe: text\n"
        for name, array in weights.items():
            np.testing.assert_array_equal(loaded.weights[name], array)


def test_decoding_defaults_give_way_to_options():
    assert DESCRIPTION.make_decoding().temperature == 0.9
    changed = DESCRIPTION.make_decoding(temperature=0.0, top_k=3, top_p=None)
    assert (changed.temperature, changed.top_k, changed.top_p) == (0.0, 3, 0.95)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, DESCRIPTION, {"a": np.zeros(3)}, "")
    before = path.read_bytes()

    def fail(self, data):
        with self.open("wb") as file:
            file.write(data[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, DESCRIPTION, {"a": np.ones(3)}, "")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_foreign_and_damaged_files_are_named_for_what_they_are(tmp_path):
    foreign = write(tmp_path / "foreign.safetensors")
    pickled = tmp_path / "model.pkl"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    zipped = tmp_path / "model.pt"
    zipped.write_bytes(b"PK\x03\x04 and so on")
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    checkpoint.save(tmp_path / "cut.safetensors", DESCRIPTION, {"a": np.zeros(1000)}, "")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(cut.read_bytes()[:500])
    for path, words in {
        foreign: "another program",
        pickled: "Python pickle",
        zipped: "zip archive",
        empty: "empty",
        cut: "damaged",
        tmp_path / "none": "there is no model",
        tmp_path: "holds no model.safetensors",
    }.items():
        with pytest.raises(InputError, match=words):
            checkpoint.load(path)


def test_a_newer_format_is_refused_and_damaged_metadata_too(tmp_path):
    newer = write(tmp_path / "newer.safetensors", wavegen=json.dumps({"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        checkpoint.load(newer)
    for text in ("{", "[]", json.dumps({"format": 1, "kind": "wavenet"})):
        with pytest.raises(InputError, match="damaged metadata"):
            checkpoint.load(write(tmp_path / "damaged.safetensors", wavegen=text))


@pytest.mark.parametrize("changes", [{}, {"kernel_size": 3}, {"dilated": False}, {"labels": {"speaker": 2}}])
def test_measured_sizes_are_those_of_the_network(changes):
    architecture = {
        "n_classes": 32, "n_blocks": 2, "layers_per_block": 3, "residual_channels": 6, "gate_channels": 5,
        "skip_channels": 7, "head_channels": 9, "kernel_size": 2, "dilated": True, **changes,
    }  # fmt: skip
    model = tiny_wavenet(**architecture)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    description = Description("wavenet", architecture, "mu-law", 32, 8000)
    size = checkpoint.measure(checkpoint.Checkpoint(description, weights, "", Path("x")))
    assert size.receptive_field == model.receptive_field
    assert size.n_parameters == sum(parameter.numel() for parameter in model.parameters())
    kernel = architecture["kernel_size"]
    layer = kernel * 6 * 2 * 5 + 5 * 6 + 5 * 7
    assert size.multiply_adds == 6 * layer + 7 * 9 + 9 * 32
