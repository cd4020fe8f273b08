from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, TINY_RECIPE
from wavegen import recipe
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
        with pytest.raises(InputError, match=r"--set about holds a value that is none|--set about, line 1"):
            recipe.parse(TINY_RECIPE, "tiny", [f"about={odd}"])
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


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        recipe.load(tmp_path / "none.yaml")


def test_every_field_is_documented():
    for section in recipe.sections().values():
        undocumented = [name for name, field in section.model_fields.items() if not field.description]
        assert undocumented in ([], ["corpus"], ["kind"])
