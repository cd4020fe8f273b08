import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, TINY_RECIPE
from wavegen import recipe, recipes
from wavegen.errors import InputError

RECIPES = sorted((REPOSITORY / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_in_the_tree_loads_and_says_how_to_run_it(path):
    loaded = recipe.load(path)
    assert loaded.window > 1
    assert "wavegen train" in path.read_text()


def test_there_are_the_promised_recipes():
    assert {"sine", "folder", "librispeech", "librispeech-small"} <= {path.stem for path in RECIPES}


def test_the_librispeech_recipe_has_the_full_size_of_the_design():
    model = recipe.load(REPOSITORY / "recipes" / "librispeech.yaml").model
    assert (model.n_blocks, model.layers_per_block, model.kernel_size) == (3, 10, 2)
    assert (model.residual_channels, model.gate_channels, model.skip_channels, model.head_channels) == (
        64,
        64,
        256,
        256,
    )


def test_a_recipe_survives_being_written_and_read():
    loaded = recipe.parse(TINY_RECIPE, "tiny")
    assert recipe.parse(loaded.to_yaml(), "again") == loaded


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.step=5", "unknown key 'training.step'; did you mean 'steps'?"),
        ("data.frequency=5", "unknown key 'data.frequency'; did you mean 'frequencies'?"),
        ("trainings.steps=5", "unknown key 'trainings'; did you mean 'training'?"),
        ("model.n_blocks=0", "model.n_blocks is 0; input should be greater than 0"),
        ("folder=birds", "unknown key 'folder'"),
        ("data.folder=birds", "unknown key 'data.folder'"),
        ("model.wavenet=1", "unknown key 'model.wavenet'"),
        ("data.seconds=.inf", "data.seconds is inf; input should be a finite number"),
        ("training.steps=many", "training.steps is 'many'; input should be a valid integer"),
        ("data.corpus=librispeach", "data.corpus is 'librispeach'; expected one of sine, folder, librispeech"),
        ("model.activation=tanh", "model.activation is 'tanh'; input should be 'gated' or 'relu'"),
        ("training.compile=perhaps", "training.compile is 'perhaps'; input should be 'auto', True or False"),
        ("data.frequencies=[]", "data.frequencies is []"),
    ],
)
def test_a_wrong_value_is_named_with_the_nearest_right_one(override, sentence):
    with pytest.raises(InputError) as error:
        recipe.parse(TINY_RECIPE, "tiny.yaml", [override])
    assert str(error.value).startswith("tiny.yaml: ")
    assert sentence in str(error.value)


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match=r"the key 'training\.steps' is missing"):
        recipe.parse(TINY_RECIPE.replace("  steps: 30\n", ""), "tiny")
    with pytest.raises(InputError, match=r"unknown key 'data\.features\.n_mel'; did you mean 'n_mels'\?"):
        recipe.parse(TINY_RECIPE, "tiny", ["data.features={n_mel: 40}"])
    with pytest.raises(InputError, match="span 0 to 5000 Hz; expected a rise, up to half the sample rate, 4000 Hz"):
        recipe.parse(TINY_RECIPE, "tiny", ["data.features={f_max: 5000}"])
    with pytest.raises(InputError, match=r"'data\.corpus' is missing"):
        recipe.parse(TINY_RECIPE.replace("  corpus: sine\n", ""), "tiny")


def test_overrides_reach_nested_values_as_yaml():
    loaded = recipe.parse(
        TINY_RECIPE, "tiny", ["training.steps=7", "data.noise_db=null", "training.learning_rate=1e-3", "credit=me"]
    )
    assert (loaded.training.steps, loaded.data.noise_db, loaded.training.learning_rate) == (7, None, 1e-3)
    assert loaded.credit == "me"


NAMES = (
    "007", "take #2", "no", "12:30", "1_000", "2024-05-01", "0x10", "1.50", "a: b", "[live]", "{x}", "- x", "*star",
    "@home", "%d", "!new", "`", "| x", "~/birds", "$HOME/birds", "'quoted'", "# no comment",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_as_it_is_whatever_yaml_would_make_of_it(name):
    folder = "data={corpus: folder, sample_rate: 8000}"
    changes = [folder, f"data.source={name}", f"data.labels_from_folders={name}", f"about={name}"]
    loaded = recipe.parse(TINY_RECIPE, "tiny", changes)
    assert (str(loaded.data.source), loaded.data.labels_from_folders, loaded.about) == (name, name, name)
    assert recipe.parse(loaded.to_yaml(), "again") == loaded


def test_nothing_is_null_where_there_may_be_nothing_and_structures_stay_structures():
    folder = "data={corpus: folder, sample_rate: 8000, source: birds}"
    for nothing in ("", "null"):
        assert recipe.parse(TINY_RECIPE, "tiny", [folder, f"data.source={nothing}"]).data.source is None
    loaded = recipe.parse(TINY_RECIPE, "tiny", [folder, "data.features={n_mels: 20}", "training.betas=[0.5, 0.6]"])
    assert (loaded.data.features.n_mels, loaded.training.betas) == (20, (0.5, 0.6))
    assert recipe.parse(TINY_RECIPE, "tiny", ["training.compile=true"]).training.compile is True
    assert recipe.parse(TINY_RECIPE, "tiny", ["training.compile=auto"]).training.compile == "auto"


@pytest.mark.parametrize("key", ["training.window", "data.noise_db", "training.sample_every"])
def test_a_time_of_day_is_no_number(key):
    with pytest.raises(InputError, match=rf"{key} is '1:00'"):
        recipe.parse(TINY_RECIPE, "tiny", [f"{key}=1:00"])
    with pytest.raises(InputError, match="is '1:00'"):
        recipe.parse(TINY_RECIPE.replace("window: 200", "window: 1:00"), "tiny")


def test_what_is_done_to_recordings_is_for_recordings():
    folder = "data={corpus: folder, sample_rate: 8000}"
    with pytest.raises(InputError, match=r"data\.highpass is 4000 Hz; at 8000 Hz expected less than 4000"):
        recipe.parse(TINY_RECIPE, "tiny", [folder, "data.highpass=4000"])
    with pytest.raises(InputError, match=r"unknown key 'data\.highpass'"):
        recipe.parse(TINY_RECIPE, "tiny", ["data.highpass=20"])


@pytest.mark.parametrize("override", ["training.steps", "=5", "training.steps.x=5"])
def test_an_override_without_sense_is_refused(override):
    with pytest.raises(InputError, match="--set"):
        recipe.parse(TINY_RECIPE, "tiny", [override])


def test_broken_yaml_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"x\.yaml, line 2"):
        recipe.parse("data:\n  - {", "x.yaml")
    with pytest.raises(InputError, match="'steps' is given twice"):
        recipe.parse("training:\n  steps: 1\n  steps: 2\n", "x.yaml")
    for odd in ("2020-13-45", "0x_", "[" * 3000, "!!float x", "!!timestamp x"):
        with pytest.raises(InputError, match=r"training\.steps( holds a value that is none|, line 1| is '2020-13-45')"):
            recipe.parse(TINY_RECIPE, "tiny", [f"training.steps={odd}"])
    with pytest.raises(InputError, match="expected a mapping"):
        recipe.parse("just words", "x.yaml")


def test_ends_need_whole_recordings():
    changes = ["data={corpus: music, sample_rate: 8000}", "training.learn_endings=true"]
    with pytest.raises(InputError, match=r"training\.learn_endings needs whole recordings, and data\.split is time"):
        recipe.parse(TINY_RECIPE, "tiny.yaml", changes)


def test_guidance_needs_labels_that_are_sometimes_hidden_and_a_categorical_head():
    digits = ["data={corpus: digits, sample_rate: 8000, labels: [digit]}", "decoding.guidance=1.5"]
    folder = "data={corpus: folder, source: birds, sample_rate: 8000, labels_from_folders: kind}"
    for changes in (digits, [folder, "decoding.guidance=1.5"]):
        assert recipe.parse(TINY_RECIPE, "tiny.yaml", changes).decoding.guidance == 1.5
    wrong = ["training.label_dropout=0", "data.labels=[]", "model.head=logistic-mixture"]
    for changes in (*([*digits, one] for one in wrong), ["decoding.guidance=1.5"]):
        with pytest.raises(
            InputError, match=r"decoding\.guidance is 1\.5; but for 1 it needs labels, training\.label_drop"
        ):
            recipe.parse(TINY_RECIPE, "tiny.yaml", changes)


FRAMES = "{n_mels: 8, hop: 40, n_fft: 256}"
BANDS_AND_PITCH = "{n_mels: 8, hop: 40, n_fft: 256, pitch: {}}"
PREDICTED = (f"data.features={BANDS_AND_PITCH}", "data.codec=linear", "model.head=logistic-mixture")
ORDER_AND_LAG = ("model.prediction_order=4", "model.lag_taps=3")


def test_a_recipe_says_what_its_network_is_told_of_the_next_code():
    loaded = recipe.parse(TINY_RECIPE, "tiny", [*PREDICTED, *ORDER_AND_LAG, "data.pre_emphasis=0.85"])
    network = loaded.architecture({})
    assert (network.prediction.order, network.prediction.lag_taps, network.prediction.longest_period) == (4, 3, 147)
    assert network.frames.n_features == 8 + 4
    assert loaded.features["pitch"] == {"lowest": 60, "highest": 400}
    assert loaded.pre_emphasis == 0.85
    plain = recipe.parse(TINY_RECIPE, "tiny", [f"data.features={FRAMES}"])
    assert plain.architecture({}).prediction is None
    assert plain.features == {"n_mels": 8, "hop": 40, "n_fft": 256, "f_min": 0, "f_max": None}  # as it was
    assert plain.pre_emphasis == 0


def test_frames_may_be_the_pitch_alone():
    loaded = recipe.parse(TINY_RECIPE, "tiny", ["data.features={n_mels: 0, hop: 40, pitch: {lowest: 90}}"])
    assert loaded.architecture({}).frames.n_features == 4
    assert loaded.architecture({}).longest_period == 98  # a tenth more than that of 90 Hz


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["data.features=null"], "model.prediction_order needs data.features with log-mel bands, and data.codec: lin"),
        (["data.features={n_mels: 0, hop: 40, pitch: {}}"], "model.prediction_order needs data.features with log-mel"),
        (
            ["data.codec=mu-law"],
            "model.prediction_order needs data.features with log-mel bands, and data.codec: linear",
        ),
        (["model.head=categorical"], "model.prediction_order needs model.head: logistic-mixture"),
        ([f"data.features={FRAMES}"], "model.lag_taps is 3, which needs data.features.pitch; it can be {}"),
        (["model.prediction_order=0"], "model.lag_taps is 3, which needs model.prediction_order"),
        (["model.lag_taps=18"], "model.lag_taps is 18; expected fewer than the shortest period has samples, 18"),
        (["model.lag_taps=65"], "model.lag_taps is 65; input should be less than or equal to 64"),
        (
            ["model.lag_taps=0", "decoding.voiced_temperature=0.5"],
            "voiced_temperature is 0.5, which needs model.lag_taps",
        ),
        (["data.features={n_mels: 0, hop: 40}"], "features has no bands and no pitch; expected n_mels of 1 or more"),
        (["data.features.pitch={highest: 5000}"], "features.lowest is 60 Hz and highest 5000 Hz; expected a rise"),
        (["data.features.pitch={low: 60}"], "unknown key 'data.features.pitch.low'; did you mean 'lowest'?"),
        (["data.pre_emphasis=1"], "data.pre_emphasis is 1; input should be less than 1"),
        (["data.pre_emphasis=-0.1"], "data.pre_emphasis is -0.1; input should be greater than or equal to 0"),
        (["training.gain_db=-3"], "training.gain_db is -3; input should be greater than or equal to 0"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_predictions_that_could_not_be_made_are_refused_in_one_sentence(changes, sentence):
    with pytest.raises(InputError) as error:
        recipe.parse(TINY_RECIPE, "tiny.yaml", [*PREDICTED, *ORDER_AND_LAG, *changes])
    assert str(error.value).startswith("tiny.yaml: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_temperature_of_voices_needs_frames_that_tell_of_them():
    good = [*PREDICTED, *ORDER_AND_LAG, "decoding.voiced_temperature=0.5"]
    assert recipe.parse(TINY_RECIPE, "tiny", good).decoding.voiced_temperature == 0.5
    with pytest.raises(InputError, match=r"decoding\.voiced_temperature is 0\.5, which needs model\.lag_taps"):
        recipe.parse(TINY_RECIPE, "tiny", ["decoding.voiced_temperature=0.5"])


def test_loudness_and_pre_emphasis_are_for_sound():
    images = (REPOSITORY / "recipes" / "mnist.yaml").read_text()
    with pytest.raises(InputError, match=r"training\.speeds is for a planner; leave it out"):
        recipe.parse(images, "mnist", ["training.speeds=[0.9]"])
    with pytest.raises(InputError, match=r"training\.astray is for sound; leave it out"):
        recipe.parse(images, "mnist", ["training.astray=folder"])
    with pytest.raises(InputError, match=r"training\.gain_db is for sound; leave it out"):
        recipe.parse(images, "mnist", ["training.gain_db=3"])
    with pytest.raises(InputError, match=r"unknown key 'data\.pre_emphasis'"):
        recipe.parse(images, "mnist", ["data.pre_emphasis=0.5"])
    with pytest.raises(InputError, match=r"unknown key 'model\.prediction_order'"):
        recipe.parse(images, "mnist", ["model.prediction_order=4"])


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        recipe.load(tmp_path / "none.yaml")


def test_every_field_is_documented():
    for section in recipe.sections().values():
        undocumented = [name for name, field in section.model_fields.items() if not field.description]
        assert undocumented in ([], ["corpus"], ["kind"])


def test_a_file_here_hides_no_recipe_that_ships(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sine").write_text("mine")
    (tmp_path / "mine.yaml").write_text("mine")
    with caplog.at_level("INFO", "wavegen"):
        assert recipes.find("sine").parent != tmp_path
    assert "sine is the recipe that ships with wavegen; the file here is ./sine" in caplog.text
    assert recipes.find("./sine").read_text() == "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert recipes.find("~/mine.yaml") == tmp_path / "mine.yaml"


def integers_of(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every integer of a JSON schema, with its name."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and not schema.keys() & {"const", "enum"}:
            yield at, schema
        for name, part in schema.items():
            yield from integers_of(part, f"{at}.{name}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from integers_of(part, f"{at}.{number}")


def test_every_integer_of_a_recipe_has_an_upper_bound():
    integers = dict(integers_of(recipe.recipe_schema().model_json_schema()))
    assert len(integers) > 40
    assert [at for at, schema in integers.items() if not schema.keys() & {"maximum", "exclusiveMaximum"}] == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.n_recordings=99999999999999999999"], "data.n_recordings is 99999999999999999999; input should be less"),
        (["data.n_recordings=1000000", "data.seconds=100"], "make 800,000,000,000 samples to be kept in memory"),
        (["data.sample_rate=1000000", f"data.harmonics={[1] * 1000}", "data.seconds=10"], "make 10,000,000,000"),
        (["data.sample_rate=1000001"], "data.sample_rate is 1000001"),
        (["training.window=1000000000"], "training.window is 1000000000; input should be less than or equal to 1"),
        (["training.window=10000000", "training.batch_size=64"], "640,000,000 together; expected at most 67,108,864"),
        (["training.steps=" + "9" * 20], "training.steps is 99999999999999999999"),
        (["training.sample_seconds=1.0e+300"], "training.sample_seconds is 1e+300"),
        (["model.residual_channels=60000", "model.gate_channels=60000"], "a network of such sizes has 72,"),
        (["model.n_blocks=1000", "model.layers_per_block=20"], "a stream would have to remember"),
    ],
)  # fmt: skip
def test_what_would_fill_the_memory_is_refused_before_anything_is_made(overrides, words):
    with pytest.raises(InputError, match=re.escape(words)):
        recipe.parse(TINY_RECIPE, "tiny.yaml", overrides)


def test_images_beyond_measure_are_refused():
    data = "data={corpus: images, source: x, size: [60000, 60000]}"
    with pytest.raises(InputError, match=re.escape("data.size is [60000, 60000]; expected at most 16,777,216 numbers")):
        recipe.parse(TINY_RECIPE, "tiny.yaml", [data])
