"""What a page plays is what `wavegen generate` makes, to the bit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_checkpoint, tiny_speaker
from tests.generation.test_images import tiny_image_checkpoint
from tests.wasm import WasmPlayer
from wavegen import checkpoint
from wavegen.architectures import MAX_SMOOTHING
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu.ahead_of_time import GENERIC, TARGETS
from wavegen.engines.cpu.engine import NumbaEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.export.web import PLAYERS
from wavegen.player import entry, player_file
from wavegen.player.native import digest_of_sources
from wavegen.player.stream import OPTIONS

UNIT = TARGETS["wasm32"].unit
N = 2000
PLANNED = {"n_features": 10, "hop": 5, "frame_channels": 4, "look_ahead": 2}
TOLD = {"prediction_order": 4, "lag_taps": 4, "longest_period": 147, "n_classes": 65536, "head": "logistic-mixture"}


def labelled(**changes: object) -> Checkpoint:
    made = tiny_checkpoint(labels={"who": 3, "what": 2}, **changes)
    return replace(made, description=replace(made.description, label_dropout=0.1))


def speaker() -> Checkpoint:
    made = tiny_speaker()
    assert made.planner is not None
    description = replace(made.planner.description, label_dropout=0.1)
    return replace(made, planner=replace(made.planner, description=description))


def smoothed(n: int) -> Checkpoint:
    made = speaker()
    assert made.planner is not None
    description = made.planner.description
    architecture = replace(description.architecture, smoothing=n, pitch_smoothing=n)
    return replace(made, planner=replace(made.planner, description=replace(description, architecture=architecture)))


def image(**changes: object) -> Checkpoint:
    made, _ = tiny_image_checkpoint(**changes)
    return replace(made, path=Path("image"), description=replace(made.description, label_dropout=0.1))


# Name, model, labels by name, and the options of `generate`.
CASES: dict[str, tuple[Callable[[], Checkpoint], dict[str, str], dict[str, object]]] = {
    "plain": (tiny_checkpoint, {}, {"temperature": 0.9}),
    "three taps": (lambda: tiny_checkpoint(kernel_size=3, activation="relu"), {}, {"precision": "int8"}),
    "bytes": (lambda: tiny_checkpoint(residual_channels=12, gate_channels=20), {}, {"precision": "int8x8", "top_k": 5}),
    "relu in bytes": (lambda: tiny_checkpoint(activation="relu"), {}, {"precision": "int8x8", "top_p": 0.9}),
    "mixture": (lambda: tiny_checkpoint(head="logistic-mixture", n_classes=65536), {}, {"temperature": 0.5}),
    "7 bits": (lambda: tiny_checkpoint(residual_channels=12, gate_channels=20), {}, {"precision": "int8x7"}),
    "relu in 7 bits": (lambda: tiny_checkpoint(activation="relu"), {}, {"precision": "int8x7"}),
    "guided in 7 bits": (labelled, {"who": "1"}, {"precision": "int8x7", "guidance": 1.5}),
    "planned in 7 bits": (speaker, {"speaker": "2"}, {"guidance": 2.0, "precision": "int8x7"}),
    "image in 7 bits": (image, {"digit": "1"}, {"precision": "int8x7"}),
    "digits in 7 bits": (lambda: checkpoint.load(Path("digits")), {"digit": "7"}, {"precision": "int8x7"}),
    "labels": (labelled, {"who": "2", "what": "0"}, {"precision": "int8x8"}),
    "one label": (labelled, {"what": "1"}, {}),
    "guided": (labelled, {"who": "1"}, {"guidance": 2.5}),
    "planned": (speaker, {"speaker": "1"}, {"temperature_frames": 0.7}),
    "planned and not matched": (speaker, {}, {"match": False}),
    "planned, not smoothed": (lambda: smoothed(0), {"speaker": "1"}, {}),
    "planned, smoothed most": (lambda: smoothed(MAX_SMOOTHING), {"speaker": "1"}, {}),
    "planned and guided": (speaker, {"speaker": "2"}, {"guidance": 2.0, "precision": "int8x8"}),
    "image": (image, {"digit": "1"}, {}),
    "colours": (lambda: image(n_colours=3, position_embedding=True), {"digit": "2"}, {}),
    "relu image": (lambda: image(n_colours=3, activation="relu", kernel_width=5), {}, {"temperature": 0.8}),
    "guided image": (image, {"digit": "1"}, {"guidance": 3.0, "precision": "int8"}),
}
GENERATE = """
import json, sys
import numpy as np
import wavegen
made = {}
for name, (file, n, labels, options) in json.load(sys.stdin).items():
    model = wavegen.load(file)
    options |= {"labels": labels, "seed": int(sys.argv[2])}
    if model.description.shape:
        made[name] = model.draw(2, **options)
    else:
        made[name] = model.generate((n + 2000) / model.sample_rate, **options).samples
np.savez(sys.argv[1], **made)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the CPU engine makes with the vectors that WebAssembly has, of every case."""
    folder = tmp_path_factory.mktemp("models")
    cases = {}
    for number, (name, (make, labels, options)) in enumerate(CASES.items()):
        model = make()
        path = folder / f"{number}.safetensors"
        checkpoint.save(path, model.description, model.weights, model.recipe, model.planner)
        cases[name] = (str(path), N, labels, options)
    return generated(cases, folder)


def generated(cases: dict[str, tuple], folder: Path, seed: int = 7) -> dict[str, np.ndarray]:
    made = folder / "made.npz"
    line = [sys.executable, "-c", GENERATE, str(made), str(seed)]
    subprocess.run(line, input=json.dumps(cases), text=True, check=True, env={**os.environ, **GENERIC})
    with np.load(made) as arrays:
        return dict(arrays)


def player_of(
    model: Checkpoint, labels: dict[str, str], options: dict[str, object], target: str = "wasm32"
) -> WasmPlayer:
    options = {"precision": "float32", **options}  # and matched to its frames, as a sound is
    player = WasmPlayer(player_file.encode(model, str(options.pop("precision")), UNIT), 7, target)
    known = player_file.description_of(model, "float32")["labels"]
    for name, value in labels.items():
        assert player.change(len(OPTIONS) + list(known).index(name), known[name].index(value))
    for name, value in options.items():
        assert player.change(OPTIONS.index(name), float(value)), name
    return player


@pytest.mark.parametrize("name", CASES)
def test_a_player_makes_what_the_engine_makes(name, expected):
    make, labels, options = CASES[name]
    model = make()
    check_made(model, player_of(model, labels, options), expected[name])


@pytest.mark.parametrize("name", [name for name in CASES if "7 bits" in name])
@pytest.mark.parametrize("precision", ["int8x8", "int8x7"])
def test_the_relaxed_module_takes_files_of_int8x8_for_int8x7(name, precision, expected):
    make, labels, options = CASES[name]
    model = make()
    player = player_of(model, labels, {**options, "precision": precision}, "wasm32-relaxed")
    check_made(model, player, expected[name])


def check_made(model: Checkpoint, player: WasmPlayer, expected: np.ndarray) -> None:
    if not model.description.shape:
        made = np.concatenate([player.make(n) for n in (1, 6, 300, N - 307)])
        np.testing.assert_array_equal(made, expected[:N])  # its end is matched to nothing behind it
        player.restart(7)
        np.testing.assert_array_equal(player.make(500), expected[:500])
        return
    for number, drawn in enumerate(expected):
        player.restart(7, number)
        made = np.concatenate([player.make(5), player.make(drawn.size - 5)])
        np.testing.assert_array_equal(np.rint(made * 255), drawn.ravel())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["speech", "digits", "music", "mnist", "mnist-binary"])
@pytest.mark.parametrize(
    ("precision", "target"),
    [*((one, "wasm32") for one in player_file.ASKED_FOR), ("int8x7", "wasm32-relaxed"), ("float32", "wasm32-relaxed")],
)
def test_shipped_models_make_what_the_engine_makes(name, precision, target, tmp_path):
    path = checkpoint.shipped()[name]
    model = checkpoint.load(path)
    known = player_file.description_of(model, precision)["labels"]
    labels, options = {label: values[1] for label, values in known.items()}, {"precision": precision}
    n = 10 * model.description.sample_rate
    made = generated({name: (str(path), n, labels, options)}, tmp_path)[name]
    player = player_of(model, labels, options, target)
    if model.description.shape:
        np.testing.assert_array_equal(np.rint(player.make(made[0].size) * 255), made[0].ravel())
    else:
        played = np.concatenate([player.make(2000) for _ in range(n // 2000)])
        assert_same_sound(played, made[:n])


def assert_same_sound(played: np.ndarray, made: np.ndarray) -> None:
    """To the bit, but that what is matched to frames is rounded from float64, whose sums numpy's libraries order as
    they like: about one of a million samples lies so near the middle of two floats that it becomes the other."""
    np.testing.assert_array_max_ulp(played, made, 1)
    assert np.count_nonzero(played != made) <= 1 + len(made) / 100_000


LIVE = """
import sys
import numpy as np
from pathlib import Path
from wavegen import checkpoint
from wavegen.generation.live import Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session

options = GenerationOptions(seed=7, precision="float32", labels={"speaker": "1"}, guidance=1.5)
live = Live(Session(checkpoint.load(Path(sys.argv[1])), options))
blocks = live.blocks()
made = [next(blocks) for _ in range(3)]
live.change(temperature=0.5, temperature_frames=0.3)
made += [next(blocks) for _ in range(2)]
live.change(labels={"speaker": "2"}, guidance=2.0)
made += [next(blocks) for _ in range(4)]
np.save(sys.argv[2], np.concatenate(made)[:, 0])
"""


def test_changes_count_from_the_same_sample_on_as_in_play(tmp_path):
    model, path, out = speaker(), tmp_path / "model.safetensors", tmp_path / "made.npy"
    checkpoint.save(path, model.description, model.weights, model.recipe, model.planner)
    subprocess.run([sys.executable, "-c", LIVE, str(path), str(out)], check=True, env={**os.environ, **GENERIC})
    player = player_of(model, {"speaker": "1"}, {"guidance": 1.5})
    made = [player.make(3 * 256)]
    for name, value in (("temperature", 0.5), ("temperature_frames", 0.3)):
        assert player.change(OPTIONS.index(name), value)
    made.append(player.make(2 * 256))
    assert player.change(len(OPTIONS), 2) and player.change(OPTIONS.index("guidance"), 2.0)
    made.append(player.make(4 * 256))
    np.testing.assert_array_equal(np.concatenate(made), np.load(out))


def test_surprise_is_that_of_the_codes_that_were_drawn():
    model = tiny_checkpoint()
    player = player_of(model, {}, {})
    assert np.isnan(player.bits)
    codes = model.description.make_codec().encode(np.concatenate([player.make(1) for _ in range(3)]))
    engine = NumbaEngine(stack_weights(model))
    logits = engine.logits(codes[None])[0]
    surprises = [float(np.log2(np.exp(row - row[code]).sum())) for row, code in zip(logits, codes, strict=True)]
    mean = surprises[0]
    for one in surprises[1:]:
        mean += (one - mean) / 16
    assert player.bits == pytest.approx(mean, abs=1e-4)


def test_the_modules_are_made_of_the_sources_that_are_there():
    for path in PLAYERS.values():
        is_current = path.read_bytes().endswith(digest_of_sources())
        assert is_current, f"{path.name} is out of date; run python -m tools.build_player"


def test_what_is_given_of_an_image_is_there_and_the_rest_is_drawn():
    player, n = player_of(image(), {}, {}), int(np.prod(image().description.shape))
    given = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    assert player.give(given)
    made = player.make(n)
    assert (made[: n // 2] == 1).all()
    assert (made[n // 2 :] < 1).any()
    assert not player.give(given)  # the image is complete


def test_what_cannot_be_changed_is_not():
    player = player_of(labelled(), {}, {})
    n = len(OPTIONS)
    for option, value in [
        (0, -1),
        (0, np.nan),
        (1, 0),
        (2, 1.5),
        (4, 101),
        (5, 1),
        (6, 1),
        (-1, 0),
        (n, 4),
        (n, -1),
        (n + 2, 0),
    ]:
        assert not player.change(option, value), (option, value)
    made = player.make(100)
    fresh = player_of(labelled(), {}, {})
    np.testing.assert_array_equal(fresh.make(100), made)
    assert fresh.change(OPTIONS.index("guidance"), 2)  # from here on
    assert fresh.change(n, 1)
    assert (fresh.make(200) != player.make(200)).any()


def test_files_that_are_no_models_or_damaged_have_no_room():
    file = player_file.encode(tiny_checkpoint(), "int8", UNIT)
    assert WasmPlayer(file).room_size > 0
    assert WasmPlayer(b"").room_size == entry.NOT_A_MODEL
    assert WasmPlayer(b"RIFF" + bytes(400)).room_size == entry.NOT_A_MODEL
    assert WasmPlayer(file[:-64]).room_size == entry.DAMAGED
    words = np.frombuffer(file, dtype=np.int64).copy()
    words[1] = 99
    assert WasmPlayer(words.tobytes()).room_size == entry.OTHER_VERSION
    wide = player_file.encode(tiny_checkpoint(), "int8", UNIT._replace(lanes=8))
    assert WasmPlayer(wide).room_size == entry.OTHER_CPU
    random = np.random.default_rng(0)
    for place in random.integers(16, len(file), 40):
        damaged = bytearray(file)
        damaged[place] ^= 1 << random.integers(8)
        assert WasmPlayer(bytes(damaged)).room_size == entry.DAMAGED


def test_a_vocoder_cannot_be_played_without_frames():
    vocoder = replace(tiny_speaker(), planner=None)
    with pytest.raises(InputError, match="makes sound of frames, which have to come from somewhere"):
        player_file.encode(vocoder, "float32", UNIT)
