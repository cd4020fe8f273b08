"""Labels and feature frames: numpy and torch make the same condition of them, of any stretch and of the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_checkpoint
from wavegen.errors import InputError
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.features.log_mel import SILENT
from wavegen.generation.conditioning import (
    FrameConditioner,
    check_decoding,
    condition_of,
    decoding_for,
    known_labels,
    with_neighbours,
)
from wavegen.models.build import from_checkpoint
from wavegen.sampling import Decoding

VOCODER = {"n_features": 4, "hop": 5, "frame_channels": 6, "look_ahead": 2}

SILENT_FRAME = np.full(4, SILENT, dtype=np.float32)


def frames_of(n_streams: int = 2, n: int = 9) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n_streams, n, 4)).astype(np.float32)


def test_labels_condition_alike_in_torch_and_in_numpy():
    checkpoint = tiny_checkpoint(labels={"speaker": 3, "digit": 10})
    rows = {"speaker": torch.tensor([2, 3]), "digit": torch.tensor([7, 10])}
    found = condition_of(checkpoint, [{"speaker": "2", "digit": "7"}, {"digit": None}])
    np.testing.assert_allclose(found, from_checkpoint(checkpoint).condition(rows).detach().numpy(), atol=1e-6)
    assert condition_of(tiny_checkpoint(), [{}]) is None


def test_labels_condition_a_stream_to_the_very_bit_alike_alone_and_beside_others():
    checkpoint = tiny_checkpoint(labels={"speaker": 3}, gate_channels=64)
    alone = condition_of(checkpoint, [{"speaker": "1"}])
    for n in (2, 3, 16, 33):
        np.testing.assert_array_equal(condition_of(checkpoint, [{"speaker": "1"}] * n), alone.repeat(n, axis=0))


def test_of_a_recordings_labels_a_model_takes_those_that_it_knows():
    known = {"speaker": ["1", "2"], "digit": ["7"]}
    assert known_labels(known, {"speaker": "2", "digit": "8", "age": "9"}) == {"speaker": "2", "digit": None}


TENSORS = [f"frame_network.{name}" for name in ("around.weight", "around.bias", "hidden.weight", "project.weight")]


@pytest.mark.parametrize("name", ["labels.speaker.weight", "project_labels.weight", *TENSORS])
@pytest.mark.parametrize("is_missing", [True, False])
def test_tensors_that_do_not_fit_are_named(name, is_missing):
    good = tiny_checkpoint(**VOCODER, labels={"speaker": 3})
    weights = {key: weight for key, weight in good.weights.items() if key != name}
    if not is_missing:
        weights[name] = good.weights[name][:1]
    with pytest.raises(InputError, match=f"{'lacks the tensor' if is_missing else 'has'} {name}"):
        FrameConditioner(replace(good, weights=weights), [{}], frames_of(1))


@pytest.mark.parametrize("labels", [{}, {"labels": {"speaker": 3}}], ids=["frames", "frames and labels"])
def test_numpy_and_torch_make_the_same_condition(labels):
    checkpoint = tiny_checkpoint(**VOCODER, **labels)
    model, frames = from_checkpoint(checkpoint), frames_of()
    streams = [{"speaker": "1"}, {"speaker": "2"}] if labels else [{}, {}]
    given = torch.from_numpy(with_neighbours(frames, 0, 9, 2, SILENT_FRAME))
    rows = {"speaker": torch.tensor([1, 2])} if labels else {}
    expected = model.condition(rows, Frames(given))
    found = FrameConditioner(checkpoint, streams, frames).at(0, 36)
    assert isinstance(expected, FrameCondition)
    assert (found.hop, found.phase) == (expected.hop, expected.phase) == (5, 0)
    np.testing.assert_allclose(found.values, expected.values.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(("first", "n"), [(0, 1), (4, 2), (5, 5), (13, 20), (44, 1)])
def test_a_stretch_has_the_frames_of_the_whole(first, n):
    conditioner = FrameConditioner(tiny_checkpoint(**VOCODER), [{}, {}], frames_of())
    whole, part = conditioner.at(0, 45), conditioner.at(first, n)
    assert part.n_steps >= n
    assert part.phase == first % 5
    at = first // 5
    np.testing.assert_allclose(part.values, whole.values[:, at : at + part.values.shape[1]], atol=1e-6)
    cut = whole.part(first, n)
    assert (cut.hop, cut.phase) == (part.hop, part.phase)
    np.testing.assert_allclose(cut.values, part.values, atol=1e-6)


def test_a_stretch_has_the_very_bits_of_the_whole():
    conditioner = FrameConditioner(tiny_checkpoint(**VOCODER), [{}, {}], frames_of(n=70))
    whole = conditioner.at(0, 350)
    for first in (0, 155, 160, 165, 345):
        part = conditioner.at(first, 5)
        np.testing.assert_array_equal(part.values, whole.values[:, first // 5 :][:, : part.values.shape[1]])


def test_beyond_the_ends_there_is_silence():
    assert (with_neighbours(frames_of(), 12, 15, 2, SILENT_FRAME) == SILENT).all()
    around = with_neighbours(frames_of(), 7, 11, 2, SILENT_FRAME)
    np.testing.assert_array_equal(around[:, :4], frames_of()[:, 5:9])
    assert (around[:, 4:] == SILENT).all()
    assert (with_neighbours(frames_of(), 0, 1, 2, SILENT_FRAME)[:, :2] == SILENT).all()


def test_frames_that_do_not_fit_the_model_are_refused():
    with pytest.raises(InputError, match="takes no frames; expected a vocoder"):
        FrameConditioner(tiny_checkpoint(), [{}], frames_of(1))
    with pytest.raises(InputError, match=r"frames are \(1, 0, 4\); expected \(streams, frames, 4\)"):
        FrameConditioner(tiny_checkpoint(**VOCODER), [{}], frames_of(1, 0))
    with pytest.raises(InputError, match="the model has no label 'speaker'"):
        FrameConditioner(tiny_checkpoint(**VOCODER), [{"speaker": "1"}], frames_of(1))


def test_guidance_is_for_labels_that_are_given_or_follow():
    model = tiny_checkpoint(labels={"speaker": 3})
    model = replace(model, description=replace(model.description, decoding={"guidance": 1.5}))
    assert decoding_for(model, [{"speaker": "1"}, {}], {}).guidance == 1.5
    assert decoding_for(model, [{}], {}).guidance == 1
    assert decoding_for(model, [{}], {}, labels_follow=True).guidance == 1.5
    assert decoding_for(model, [{"speaker": "1"}], {"guidance": 1.0}).guidance == 1
    plain = tiny_checkpoint()
    plain = replace(plain, description=replace(plain.description, decoding={"guidance": 1.5}))
    assert decoding_for(plain, [{}], {}, labels_follow=True).guidance == 1
    with pytest.raises(InputError, match="guidance is 2, and no label is given that it could make count for more"):
        decoding_for(model, [{"speaker": None}], {"guidance": 2.0})
    with pytest.raises(InputError, match=r"guidance makes labels count for more, and .* has none"):
        decoding_for(tiny_checkpoint(), [{}], {"guidance": 2.0})
    mixture = tiny_checkpoint(labels={"speaker": 3}, head="logistic-mixture", n_mixtures=3)
    with pytest.raises(InputError, match="guidance needs a categorical head"):
        decoding_for(mixture, [{"speaker": "1"}], {"guidance": 2.0})


def test_guidance_needs_a_network_that_learnt_to_do_without_labels():
    model = tiny_checkpoint(labels={"speaker": 3})
    model = replace(model, description=replace(model.description, label_dropout=0.0))
    with pytest.raises(InputError, match=r"never trained so; expected a recipe with training\.label_dropout above 0"):
        decoding_for(model, [{"speaker": "1"}], {"guidance": 2.0})


def voiced_frames(checkpoint, n: int = 70, n_streams: int = 2) -> np.ndarray:
    """Of two tones within TINY_PITCH, with silence in the middle of each; (B, n, n_features)."""
    features = checkpoint.description.make_features()
    time = np.arange(n * features.hop) / 8000
    is_loud = (time < 0.4 * time[-1]) | (time > 0.6 * time[-1])
    tones = [0.3 * np.sin(2 * np.pi * hertz * time) * is_loud for hertz in (1200, 1700)][:n_streams]
    return np.stack([features.frames(tone) for tone in tones])


@pytest.mark.parametrize("sizes", [PREDICTION, PREDICTION_ORDER_ONLY], ids=["lag taps", "order only"])
@pytest.mark.parametrize("look_ahead", [0, 1, 3])
def test_the_prediction_is_that_of_all_frames_with_silence_behind_them(sizes, look_ahead):
    checkpoint = tiny_checkpoint(**sizes, look_ahead=look_ahead)
    frames = voiced_frames(checkpoint)
    features = checkpoint.description.make_features()
    silent = np.tile(features.silent, (2, 1, 1))
    expected = checkpoint.description.make_predictor().of(np.concatenate([frames, silent], axis=1))
    found = FrameConditioner(checkpoint, [{}, {}], frames).at(0, 70 * features.hop).prediction
    for array, whole in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array[:, :70], whole)
    if sizes is PREDICTION:
        assert {0, 5, 7} & set(expected.periods.ravel()) == {0, 5, 7}


@pytest.mark.parametrize("n", [1, 5, 7, 33, 160])
def test_blocks_have_the_very_prediction_of_the_whole(n):
    checkpoint = tiny_checkpoint(**PREDICTION)
    frames = voiced_frames(checkpoint)
    whole = FrameConditioner(checkpoint, [{}, {}], frames).at(0, 360).prediction
    conditioner = FrameConditioner(checkpoint, [{}, {}], frames)
    for first in range(0, 350, n):
        n_steps = min(n, 350 - first)
        part = conditioner.at(first, n_steps)
        begin, needed = first // 5, (first % 5 + n_steps - 1) // 5 + 1
        for array, expected in zip(part.prediction, whole, strict=True):
            np.testing.assert_array_equal(array[:, :needed], expected[:, begin : begin + needed])


def test_beyond_the_frames_the_prediction_is_that_of_silence():
    checkpoint = tiny_checkpoint(**PREDICTION)
    silent = checkpoint.description.make_features().silent
    expected = checkpoint.description.make_predictor().of(np.tile(silent, (1, 2, 1)))
    found = FrameConditioner(checkpoint, [{}], voiced_frames(checkpoint, n_streams=1)).at(5000, 5).prediction
    for array, of_silence in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array[:, :1], of_silence)


def test_networks_that_are_told_no_prediction_have_none_in_their_condition():
    assert FrameConditioner(tiny_checkpoint(**VOCODER), [{}, {}], frames_of()).at(0, 5).prediction is None


def test_a_temperature_of_voices_is_for_networks_that_are_told_where_they_are():
    voiced = Decoding(voiced_temperature=0.5)
    check_decoding(tiny_checkpoint(**PREDICTION).description, voiced)
    assert decoding_for(tiny_checkpoint(**PREDICTION), [{}], {"voiced_temperature": 0.5}) == voiced
    for sizes in (PREDICTION_ORDER_ONLY, VOCODER, {}):
        checkpoint = tiny_checkpoint(**sizes)
        check_decoding(checkpoint.description, Decoding())
        with pytest.raises(InputError, match=r"voiced_temperature needs a model with model\.lag_taps"):
            check_decoding(checkpoint.description, voiced)
        with pytest.raises(InputError, match=r"voiced_temperature needs a model with model\.lag_taps"):
            decoding_for(checkpoint, [{}], {"voiced_temperature": 0.5})
