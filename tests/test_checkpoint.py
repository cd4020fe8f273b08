import json
import math
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import wavegen
from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint, tiny_wavenet
from wavegen import checkpoint
from wavegen.architectures import make_architecture
from wavegen.checkpoint import Description
from wavegen.errors import InputError
from wavegen.features.frames import Features
from wavegen.features.log_mel import LogMel

DESCRIPTION = Description(
    architecture=make_architecture(
        "wavenet",
        {
            "n_classes": 32,
            "n_blocks": 1,
            "layers_per_block": 1,
            "kernel_size": 2,
            "residual_channels": 4,
            "gate_channels": 4,
            "skip_channels": 4,
            "head_channels": 4,
            "labels": {"speaker": 2},
        },
    ),
    codec="mu-law",
    n_classes=32,
    sample_rate=8000,
    labels={"speaker": ["a", "b"]},
    decoding={"temperature": 0.9, "top_k": None, "top_p": 0.95},
    bits={"validation": 3.5},
    step=12,
)

ONE_LAYER = {"stack.layers.0.conv.weight": np.zeros((2, 8, 4)), "labels.speaker.weight": np.zeros((3, 16))}


def test_a_description_gives_the_features_back():
    parameters = {"n_mels": 20, "hop": 50, "n_fft": 256, "f_min": 0.0, "f_max": None}
    assert replace(DESCRIPTION, features=parameters).make_features() == Features(LogMel(8000, 20, 50, 256))
    assert DESCRIPTION.make_features() is None
    with pytest.raises(InputError, match="loudness"):
        replace(DESCRIPTION, features={**parameters, "loudness": 3}).make_features()


def write(path: Path, **metadata: str) -> Path:
    save_file({"x": np.zeros(2)}, path, metadata)
    return path


def test_a_model_file_gives_back_what_was_saved(tmp_path):
    weights = {**ONE_LAYER, "a": np.arange(6.0).reshape(2, 3), "b": np.ones(2, dtype=np.float16)}
    checkpoint.save(tmp_path / "model.safetensors", DESCRIPTION, weights, "recipe: text\n")
    for given in (tmp_path, tmp_path / "model.safetensors"):
        loaded = checkpoint.load(given)
        assert loaded.description == DESCRIPTION
        assert loaded.recipe == "recipe: text\n"
        for name, array in weights.items():
            np.testing.assert_array_equal(loaded.weights[name], array)


def test_a_flipped_bit_anywhere_in_a_model_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, DESCRIPTION, ONE_LAYER, "recipe: text\n")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    random = np.random.default_rng(0)
    damaged = [*random.choice(8 * header, 300, replace=False), *random.integers(8 * header, 8 * len(whole), 100)]
    for bit in (*damaged, 8 * whole.index(b'format\\": 3') + 8 * 10):  # the last makes it a format without a checksum
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.safetensors (is damaged|has damaged|is a|has model|describes)"):
            checkpoint.load(path)
    path.write_bytes(whole)
    assert checkpoint.load(path).description == DESCRIPTION


def test_a_file_of_before_there_were_checksums_is_read_and_one_that_has_lost_its_own_is_not(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, DESCRIPTION, ONE_LAYER, "")
    with safe_open(path, "numpy") as file:
        described = json.loads(file.metadata()["wavegen"])
    del described["sha256"]
    save_file(ONE_LAYER, path, {"wavegen": json.dumps({**described, "format": 2})})
    assert checkpoint.load(path).description == DESCRIPTION
    save_file(ONE_LAYER, path, {"wavegen": json.dumps(described)})
    with pytest.raises(InputError, match=r"is damaged: its checksum .* `wavegen train --resume` write it again"):
        checkpoint.load(path)


def test_decoding_defaults_give_way_to_options():
    assert DESCRIPTION.make_decoding().temperature == 0.9
    changed = DESCRIPTION.make_decoding(temperature=0.0, top_k=3, top_p=None)
    assert (changed.temperature, changed.top_k, changed.top_p) == (0.0, 3, 0.95)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, DESCRIPTION, ONE_LAYER, "")
    before = path.read_bytes()

    def fail(self, data):
        with self.open("wb") as file:
            file.write(data[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match=r"cannot write .*model\.safetensors: No space left"):
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


def test_a_codec_that_cannot_be_is_refused_when_a_model_is_read(tmp_path):
    checkpoint.save(tmp_path / "good.safetensors", DESCRIPTION, ONE_LAYER, "")
    for codec, pre_emphasis, words in (("mp3", 0, "unknown codec 'mp3'"), ("levels", 0.5, "levels are no sound")):
        changes = {"codec": codec, "pre_emphasis": pre_emphasis}
        changed = change_metadata(tmp_path / "good.safetensors", tmp_path / "x.safetensors", changes)
        with pytest.raises(InputError, match=f"describes what cannot be: .*{words}"):
            checkpoint.load(changed)


def test_where_a_name_means_two_things_it_is_said_which_one_is_taken(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "wavegen")
    ships = checkpoint.shipped()["speech"]
    assert checkpoint.find(Path("speech")) == ships
    assert not caplog.text
    Path("speech").mkdir()  # such as one of recordings
    assert checkpoint.find(Path("speech")) == ships
    assert caplog.messages[-1] == "speech is the model that ships with wavegen; the folder of this name holds no run"
    Path("speech/model.safetensors").touch()
    assert checkpoint.find(Path("speech")) == Path("speech/model.safetensors")
    assert caplog.messages[-1] == "speech is the run here, and not the model of this name that ships with wavegen"
    Path("digits").touch()
    assert checkpoint.find(Path("digits")) == Path("digits")
    assert caplog.messages[-1] == "digits is the file here, and not the model of this name that ships with wavegen"


NO_CODEC = json.dumps({"format": 2, "kind": "wavenet", "architecture": {}, "recipe": ""})


def test_a_newer_format_is_refused_and_damaged_metadata_too(tmp_path):
    newer = write(tmp_path / "newer.safetensors", wavegen=json.dumps({"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        checkpoint.load(newer)
    for text in ("{", "[]", json.dumps({"format": 1, "kind": "wavenet"}), NO_CODEC):
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
    description = Description(model.architecture, "mu-law", 32, 8000)
    loaded = checkpoint.Checkpoint(description, weights, "", Path("x"))
    assert model.architecture.receptive_field == model.stack.receptive_field
    assert checkpoint.n_parameters(loaded) == sum(parameter.numel() for parameter in model.parameters())
    kernel = architecture["kernel_size"]
    layer = kernel * 6 * 2 * 5 + 5 * 6 + 5 * 7
    assert model.architecture.multiply_adds == 6 * layer + 7 * 9 + 9 * 32


def change_metadata(model: Path, path: Path, changes: dict, weights: dict | None = None) -> Path:
    """A copy of a model file with other things said in its description, or other tensors."""
    with safe_open(checkpoint.find(model), "numpy") as file:
        described = json.loads(file.metadata()["wavegen"])
    for name, value in changes.items():
        *sections, last = name.split(".")
        target = described
        for section in sections:
            target = target[section]
        target[last] = value
    del described["sha256"]
    path.write_bytes(checkpoint.encode(described, checkpoint.load(model).weights if weights is None else weights))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture.n_blocks": 10**9}, "n_blocks is 1000000000, expected an integer from 1 to 1,000"),
        ({"architecture.layers_per_block": 60}, "layers_per_block is 60"),
        ({"architecture.residual_channels": 10**12}, "residual_channels"),
        ({"architecture.residual_channels": 60_000}, "of shape"),
        ({"architecture.skip_channels": "8"}, "skip_channels is '8'"),
        ({"architecture.kernel_size": None}, "kernel_size is None"),
        ({"architecture.layers_per_block": 5}, "1 x 5 layers, but the weights of 4"),
        ({"architecture.head": "gaussian"}, "unknown head 'gaussian'"),
        ({"architecture.surprise": 1}, "does not fit this wavegen"),
        ({"architecture": []}, "its architecture is list"),
        ({"architecture.labels": {"speaker": 3}}, "the network has labels"),
        ({"labels": {"speaker": 5}}, "labels are no lists"),
        ({"n_classes": 2**40}, "the codec has n_classes 1099511627776, the network 256"),
        ({"n_classes": 128}, "n_classes"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"kind": "transformer"}, "unknown kind of model 'transformer'"),
        ({"architecture.layers_per_block": 20, "architecture.kernel_size": 1024}, "a stream would have to remember"),
        ({"kind": []}, "its kind is no text"),
        ({"credit": 3}, "its credit is no text"),
        ({"about": 3}, "its about is no text"),
        ({"bits": {"test": "few"}}, "its bits are no numbers"),
        ({"bits": {"test": True}}, "its bits are no numbers"),
        ({"bits": {"test": math.nan}}, "its bits are no numbers by split, from -1,000,000 to 1,000,000"),
        ({"bits": {"test": 1e308}}, "its bits are no numbers"),
        ({"bits": {"test": 10**400}}, "its bits are no numbers"),
        ({"precision_costs": {"int8": 10**400}}, "its precision_costs are no numbers"),
        ({"step": 10**400}, "step is 1000000000000000000000000000000000000..., expected an integer from 0"),
        ({"architecture.dropout": 10**400}, "dropout is 1000000000000000000000000000000000000..., expected a number"),
        ({"decoding": {"temperature": math.inf}}, "expected numbers from 0 to 1,000,000,000"),
        ({"decoding": {"temperature": 10**400}}, "expected numbers from 0 to 1,000,000,000"),
        ({"label_dropout": 1e308}, "its label_dropout is 1e+308, expected a number from 0 to 1"),
        (
            {"labels": {"digit": ["x"] * 9}, "architecture.labels": {"digit": 9}},
            "the label digit has 9 values, but an embedding of 0 rows",
        ),
        ({"precision_costs": {"int8": "x"}}, "its precision_costs are no numbers"),
        (
            {"architecture.head": "logistic-mixture", "architecture.mean_scale": 0.0},
            "mean_scale is 0.0, expected a number above 0",
        ),
        ({"decoding": []}, "its decoding is []"),
        ({"decoding": {"heat": 1}}, "its decoding is"),
        ({"decoding": {"temperature": "hot"}}, "expected numbers"),
        ({"decoding": {"guidance": None}}, "expected numbers"),
        ({"label_dropout": "often"}, "its label_dropout is 'often', expected a number"),
        ({"labels": {"speaker": [1]}}, "its labels are no lists of values"),
        ({"codec": "opus"}, "unknown codec 'opus'"),
        ({"decoding": {"temperature": -1}}, "expected numbers from 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_description_that_contradicts_itself_is_refused_in_one_sentence(tmp_path, tiny_run, changes, words):
    path = change_metadata(tiny_run, tmp_path / "x.safetensors", changes)
    with pytest.raises(InputError, match=re.escape(words)):
        wavegen.load(path).generate(seconds=0.001)


GOOD_FEATURES = {"n_mels": 4, "hop": 40, "n_fft": 128, "f_min": 0.0, "f_max": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": []}, "its features are list"),
        ({"features": {}}, "the network reads 4 features, the description has none"),
        ({"features.hop": 0}, "hop is 0, expected an integer from 1 to 65,536"),
        ({"features.n_fft": 10**12}, "n_fft is 1000000000000"),
        ({"features.n_mels": 5}, "reads 4 features every 40 samples, the description says 5 every 40"),
        ({"features.f_max": 4001}, "its features span 0.0 to 4001 Hz, expected a rise within 0 to 4000"),
        ({"features.f_min": "low"}, "its features span 'low'"),
        ({"features.break_frequency": 0}, "its break_frequency is 0, expected 100 to 100000 Hz"),
        ({"features.window": "hann"}, "the description of the features does not fit this wavegen"),
        ({"architecture.look_ahead": 10**9}, "look_ahead is 1000000000"),
        ({"architecture.frame_channels": None}, "frame_channels is None"),
        ({"architecture.hop": 41}, "every 41 samples"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_features_that_contradict_the_network_are_refused(tmp_path, changes, words):
    good = tiny_checkpoint(n_features=4, hop=40, frame_channels=6, look_ahead=1, kernel_size=2)
    path = tmp_path / "good.safetensors"
    checkpoint.save(path, replace(good.description, features=GOOD_FEATURES), good.weights, "")
    assert wavegen.load(path).vocode(np.zeros(80)).samples.shape == (80,)
    changed = change_metadata(path, tmp_path / "x.safetensors", changes)
    with pytest.raises(InputError, match=re.escape(words)):
        wavegen.load(changed).vocode(np.zeros(80))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features.pitch": None, "features.n_mels": 6}, "model.lag_taps is 2, which needs data.features.pitch"),
        ({"features.pitch": None}, "reads 6 features every 5 samples, the description says 2 every 5"),
        ({"features.pitch": []}, "its pitch is [], expected the parameters of one"),
        ({"features.pitch": {"lowest": 1000.0, "top": 2}}, "the description of the features does not fit this wavegen"),
        ({"features.pitch": {"lowest": "low"}}, "the description of the features does not fit this wavegen"),
        ({"features.pitch": {"lowest": 1900.0, "highest": 1000.0}}, "features.lowest is 1900 Hz and highest 1000 Hz"),
        ({"features.pitch.lowest": 500.0}, "longest_period is 9; periods of the pitch have up to 18 samples"),
        ({"architecture.lag_taps": 3}, "lag_taps is 3; expected fewer than the shortest period has samples, 3"),
        ({"architecture.longest_period": 8}, "longest_period is 8; periods of the pitch have up to 9 samples"),
        ({"architecture.longest_period": 10**9}, "longest_period is 1000000000"),
        ({"architecture.lag_taps": 65}, "lag_taps is 65"),
        ({"architecture.prediction_order": 0}, "model.lag_taps is 2, which needs model.prediction_order"),
        ({"architecture.prediction_order": 65}, "prediction_order is 65"),
        ({"architecture.prediction_order": 3}, "prediction.linear.weight"),
        ({"architecture.head": "categorical"}, "expected"),
        ({"codec": "mu-law"}, "and data.codec: linear; there are 2 bands, and the codec is mu-law"),
        ({"pre_emphasis": 1}, "its pre_emphasis is 1, expected a number from 0 to below 1"),
        ({"pre_emphasis": -0.5}, "its pre_emphasis is -0.5"),
        ({"pre_emphasis": "much"}, "its pre_emphasis is 'much'"),
        ({"pre_emphasis": None}, "its pre_emphasis is None"),
        ({"decoding": {"voiced_temperature": "hot"}}, "expected numbers"),
        ({"decoding": {"voiced_temperature": -1}}, "expected numbers from 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_predictions_that_contradict_the_network_are_refused(tmp_path, changes, words):
    good = tiny_checkpoint(**PREDICTION)
    path = tmp_path / "good.safetensors"
    checkpoint.save(path, replace(good.description, pre_emphasis=0.5), good.weights, "")
    assert checkpoint.load(path).description.pre_emphasis == 0.5
    changed = change_metadata(path, tmp_path / "x.safetensors", changes)
    with pytest.raises(InputError, match=re.escape(words)):
        wavegen.load(changed).vocode(np.zeros(80), seed=0, engine="reference")


def test_models_without_pre_emphasis_are_those_of_before(tmp_path):
    path = tmp_path / "good.safetensors"
    checkpoint.save(path, DESCRIPTION, ONE_LAYER, "")
    with safe_open(path, "numpy") as file:
        described = json.loads(file.metadata()["wavegen"])
    del described["pre_emphasis"], described["sha256"]
    path.write_bytes(checkpoint.encode(described, ONE_LAYER))
    assert checkpoint.load(path).description == DESCRIPTION


def test_a_description_makes_what_predicts():
    lags, order_only = (tiny_checkpoint(**sizes).description for sizes in (PREDICTION, PREDICTION_ORDER_ONLY))
    predictor = replace(lags, pre_emphasis=0.5).make_predictor()
    assert (predictor.order, predictor.pre_emphasis, predictor.n_classes) == (4, 0.5, 32)
    assert predictor.pitch == lags.make_features().pitch
    assert order_only.make_predictor().pitch is None
    assert DESCRIPTION.make_predictor() is None


def test_tensors_that_hurt_are_refused_by_name(tmp_path, tiny_run):
    good = checkpoint.load(tiny_run).weights
    path = tmp_path / "x.safetensors"
    for array, words in {
        "int": (good["skip.weight"].astype(np.int32), "skip.weight holds int32, expected floating point"),
        "nan": (np.full_like(good["skip.weight"], np.nan), "skip.weight holds NaN"),
        "shape": (good["skip.weight"][:3], r"skip.weight of shape"),
    }.values():
        change_metadata(tiny_run, path, {}, {**good, "skip.weight": array})
        with pytest.raises(InputError, match=words):
            wavegen.load(path).generate(seconds=0.001)
    change_metadata(tiny_run, path, {}, {name: array for name, array in good.items() if name != "skip.weight"})
    with pytest.raises(InputError, match=r"lacks the tensor skip\.weight"):
        wavegen.load(path).generate(seconds=0.001)


def test_bytes_that_lie_about_sizes_are_refused_without_being_believed(tmp_path):
    def file(header: dict | bytes, claimed: int | None = None) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes((len(text) if claimed is None else claimed).to_bytes(8, "little") + text + b"\0" * 64)
        return path

    tensor = {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, 10_000_000_000]}
    for path in (
        file({"x": tensor}),  # ten gigabytes that are not there
        file(b"{}", claimed=10_000_000_000),  # a header of ten gigabytes
        file({"x": {**tensor, "data_offsets": [0, 64]}}),  # a shape that the bytes do not fill
        file({"x": {**tensor, "shape": [2**62, 2**62]}}),
        file({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 64]}}),
        file({"x": {"dtype": "PICKLE", "shape": [16], "data_offsets": [0, 64]}}),
        file(b"["),
        file(b"[" * 100_000),
        file(b"\xff\xfe"),
    ):
        with pytest.raises(InputError, match="expected a safetensors file by wavegen"):
            checkpoint.load(path)
    for text in ("[" * 100_000, '{"format": 1}', "null"):
        with pytest.raises(InputError, match="damaged metadata"):
            checkpoint.load(write(tmp_path / "y.safetensors", wavegen=text))


def test_a_dtype_that_numpy_does_not_have_is_refused(tmp_path, tiny_run):
    import torch
    from safetensors.torch import save_file as save_torch

    save_torch({"x": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "x.safetensors", {"wavegen": "{}"})
    with pytest.raises(InputError):
        checkpoint.load(tmp_path / "x.safetensors")
