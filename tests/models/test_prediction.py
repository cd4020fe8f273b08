"""What enters a network that is told a prediction, and what it is told."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import PREDICTION, PREDICTION_ORDER_ONLY, tiny_wavenet
from tests.random_frames import random_prediction
from wavegen.architectures import PredictionSizes
from wavegen.features.frame_condition import FrameCondition, Frames
from wavegen.features.linear_prediction import predict
from wavegen.models.base import TrainingBatch
from wavegen.models.prediction import PredictionInput

N_CLASSES, SILENCE, HOP, T = 32, 16, 5, 75
SIZES = {
    "lag taps": PredictionSizes(4, 2, 9),
    "one tap": PredictionSizes(3, 1, 7),
    "order only": PredictionSizes(3, 0, 0),
    "long filter": PredictionSizes(25, 2, 9),
}


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys())
def module(request, float64):
    return make(request.param)


def make(sizes: PredictionSizes) -> PredictionInput:
    torch.manual_seed(0)
    return PredictionInput(sizes, N_CLASSES, 6)


def codes_of(n_streams: int = 3, n: int = T, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(N_CLASSES, size=(n_streams, n)))


def condition_of(module: PredictionInput, n_streams: int = 3, n: int = T, period: int | None = None) -> FrameCondition:
    """Of random filters; with one period throughout if it is given, 0 for none."""
    prediction = random_prediction(module.sizes, n_streams, -(-n // HOP), HOP)
    if period is not None:
        prediction.periods[:] = period
    return FrameCondition(torch.zeros(n_streams, -(-n // HOP), 1, 1), HOP, 0, prediction.map(torch.from_numpy))


def change_at(module: PredictionInput, distance: int, period: int, at_most: bool = False) -> float:
    """How much a code so far before the last step, or with `at_most` all before it too, move what enters there; of many
    tries, for a filter rounds."""
    condition, codes = condition_of(module, 20, T, period), codes_of(20, T)
    changed, place = codes.clone(), T - 1 - distance
    span = slice(0 if at_most else place, place + 1)
    changed[:, span] = (codes[:, span] + 13) % N_CLASSES
    before, after = (module(each, None, condition)[0][:, -1] for each in (codes, changed))
    return (after - before).abs().max().item()


@pytest.mark.parametrize("pieces", [[1] * 75, [7, 1, 0, 40, 3, 24], [74, 1]], ids=["steps", "pieces", "two"])
def test_chunks_give_what_the_whole_gives(module, pieces):
    codes, condition = codes_of(), condition_of(module)
    x, predicted, end = module(codes, None, condition)
    past, parts, first = None, [], 0
    for n in pieces:
        of_part = condition.part(first, n) if n else None
        parts.append(module(codes[:, first : first + n], past, of_part))
        past, first = parts[-1][2], first + n
    torch.testing.assert_close(torch.cat([part[0] for part in parts], dim=1), x, atol=1e-12, rtol=0)
    for name in ("code", "gain", "log_gain"):
        joined = torch.cat([getattr(part[1], name) for part in parts], dim=1)
        assert torch.equal(joined, getattr(predicted, name))
    assert torch.equal(past.codes, end.codes)
    assert torch.equal(past.excitations, end.excitations)


def test_steps_of_codes_that_are_observed_afterwards_give_what_the_whole_gives(module):
    codes, condition = codes_of(), condition_of(module)
    x, predicted, end = module(codes, None, condition)
    _, _, past = module(codes[:, :0], None, None)
    for step in range(T):
        now, told, past = module(torch.zeros(3, 1, dtype=torch.int64), past, condition.part(step, 1))
        torch.testing.assert_close(now[:, 0], x[:, step], atol=1e-12, rtol=0)
        assert torch.equal(told.code[:, 0], predicted.code[:, step])
        past = module.observe(past, codes[:, step : step + 1])
    assert torch.equal(past.codes, end.codes)
    assert torch.equal(past.excitations, end.excitations)


def test_the_past_is_the_newest_codes_and_what_they_depart_from_their_predictions_by(module):
    codes = codes_of()
    _, predicted, past = module(codes, None, condition_of(module))
    n_past = module.sizes.n_past
    assert torch.equal(past.codes, codes[:, -n_past:] - SILENCE)
    assert torch.equal(past.excitations, (codes - predicted.code)[:, -n_past:])


def test_before_the_beginning_there_is_silence(module):
    n_before = 10 * HOP
    codes, condition = codes_of(n=T - n_before), condition_of(module)
    silent = torch.full((3, n_before), SILENCE)
    whole, _, _ = module(torch.cat([silent, codes], dim=1), None, condition)
    alone, _, _ = module(codes, None, condition.part(n_before, T - n_before))
    torch.testing.assert_close(whole[:, n_before:], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("period", ["shortest", "longest", "none"])
def test_nothing_depends_on_the_code_at_its_step_or_later_ones(module, period):
    sizes = module.sizes
    lengths = {"shortest": sizes.lag_taps + 1, "longest": sizes.longest_period, "none": 0}
    codes, condition = codes_of(20), condition_of(module, 20, period=lengths[period])
    x, predicted, _ = module(codes, None, condition)
    changed = codes.clone()
    changed[:, 60:] = codes_of(20, T - 60, seed=1)
    found, told, _ = module(changed, None, condition)
    assert torch.equal(found[:, :61], x[:, :61])
    assert torch.equal(told.code[:, :61], predicted.code[:, :61])
    assert not torch.equal(found[:, 61], x[:, 61])


@pytest.mark.parametrize("period", [1, 2, 100])
def test_periods_beyond_their_range_read_the_nearest_that_is_in_it(float64, period):
    module = make(SIZES["lag taps"])
    nearest = min(max(period, 3), 9)
    found, expected = (module(codes_of(), None, condition_of(module, period=one))[0] for one in (period, nearest))
    assert torch.equal(found, expected)


def test_no_code_matters_that_is_farther_back_than_the_reach(module):
    sizes = module.sizes
    for period in {0, sizes.lag_taps + 1, sizes.longest_period} if sizes.lag_taps else {0}:
        assert change_at(module, sizes.reach + 1, period, at_most=True) == 0


def test_the_code_at_the_reach_matters(module):
    """The excitation of the farthest sample around two periods ago; it depends on `order` codes before that."""
    assert change_at(module, module.sizes.reach, module.sizes.longest_period) > 0


def test_where_there_is_no_voice_what_a_period_ago_would_say_is_zero(float64):
    module = make(SIZES["lag taps"])
    sizes, codes = module.sizes, codes_of()
    unvoiced, voiced = condition_of(module, period=0), condition_of(module, period=6)
    before = [module(codes, None, condition)[0] for condition in (unvoiced, voiced)]
    with torch.no_grad():
        module.linear.weight[:, 2 * sizes.order + 1 :].normal_()
    after = [module(codes, None, condition)[0] for condition in (unvoiced, voiced)]
    assert torch.equal(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 0.1
    with torch.no_grad():  # and the code one period ago is embedded as silence
        module.embeddings[1, 128] += 1
    torch.testing.assert_close(module(codes, None, unvoiced)[0], after[0] + 1, atol=1e-12, rtol=0)


def test_without_a_voice_codes_behind_two_filters_do_not_matter(float64):
    module = make(SIZES["lag taps"])
    assert change_at(module, 2 * module.sizes.order, 0) > 0
    assert change_at(module, 2 * module.sizes.order + 1, 0, at_most=True) == 0


def test_codes_are_predicted_as_numpy_predicts_them(module):
    codes, condition = codes_of(), condition_of(module)
    _, predicted, _ = module(codes, None, condition)
    order = module.sizes.order
    d = np.concatenate([np.zeros((3, order), dtype=np.int64), codes.numpy() - SILENCE], axis=1)
    past = np.lib.stride_tricks.sliding_window_view(d, order, axis=1)[:, :T, ::-1]
    coefficients = condition.prediction.coefficients.numpy().repeat(HOP, axis=1)[:, :T]
    expected = predict(coefficients, past, N_CLASSES) + SILENCE
    np.testing.assert_array_equal(predicted.code.numpy(), expected)
    assert {0, N_CLASSES - 1} <= set(expected.ravel())  # where filters leave the codes


def test_the_gain_of_a_step_is_that_of_its_frame(module):
    condition = condition_of(module)
    for first in (0, 3):
        _, predicted, _ = module(codes_of(n=60), None, condition.part(first, 60))
        expected = condition.prediction.gains.repeat_interleave(HOP, dim=1)[:, first : first + 60]
        assert torch.equal(predicted.gain, expected[..., 0])
        assert torch.equal(predicted.log_gain, expected[..., 1])


def network_and_batch(sizes: dict, lead_in: int, window: int = 120) -> tuple[torch.nn.Module, TrainingBatch]:
    """Windows that count from where the layers have seen their full past."""
    model = tiny_wavenet(**sizes)
    shape = model.architecture
    n = lead_in + window
    n_frames = -(-n // shape.hop) + 1
    random = np.random.default_rng(0)
    values = random.standard_normal((3, n_frames + 2 * shape.look_ahead, shape.n_features))
    prediction = random_prediction(shape.prediction, 3, n_frames, shape.hop)
    counted = torch.zeros(3, n, dtype=torch.bool)
    counted[:, lead_in + shape.receptive_field - shape.prediction.reach :] = True
    frames = Frames(torch.from_numpy(values), prediction.map(torch.from_numpy))
    codes = codes_of(n=n)
    inputs = (codes + codes_of(n=n, seed=2) % 2).clamp(max=N_CLASSES - 1)
    return model, TrainingBatch(codes, inputs, counted, {}, frames, lead_in)


@pytest.mark.parametrize("sizes", [PREDICTION, PREDICTION_ORDER_ONLY], ids=["lag taps", "order only"])
def test_the_loss_of_windows_behind_other_codes_is_that_of_the_whole(float64, sizes):
    model, batch = network_and_batch(sizes, lead_in=40)
    assert batch.lead_in >= model.architecture.prediction.reach
    parameters, _ = model(batch.inputs, None, model.condition({}, batch.frames))
    expected = model.head.bits(parameters, batch.codes)[batch.counted].mean()
    assert model.loss(batch).item() == pytest.approx(expected.item(), rel=1e-10)


def test_codes_before_a_window_are_no_targets_and_move_its_loss(float64):
    model, batch = network_and_batch(PREDICTION, lead_in=40)
    loss = model.loss(batch)
    other = batch.codes.clone()
    other[:, :40] = codes_of(n=40, seed=5)
    assert model.loss(batch._replace(codes=other)).item() == loss.item()
    heard = batch.inputs.clone()
    heard[:, 30:40] = codes_of(n=10, seed=5)
    counted = batch.counted.clone()
    counted[:, 40:] = True
    batch = batch._replace(counted=counted)
    assert model.loss(batch._replace(inputs=heard)).item() != model.loss(batch).item()


def test_a_batch_without_codes_before_its_windows_has_the_loss_of_every_model(float64):
    model, batch = network_and_batch(PREDICTION, lead_in=0)
    parameters, _ = model(batch.inputs, None, model.condition({}, batch.frames))
    expected = model.head.bits(parameters, batch.codes)[batch.counted].mean()
    assert model.loss(batch).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("sizes", [PREDICTION, PREDICTION_ORDER_ONLY], ids=["lag taps", "order only"])
def test_the_receptive_field_is_what_the_network_sees(float64, sizes):
    model = tiny_wavenet(**sizes)
    field = model.receptive_field
    n, hop = field + 20, model.architecture.hop
    n_frames = -(-n // hop)
    prediction = random_prediction(model.architecture.prediction, 30, n_frames, hop)
    prediction.periods[:] = model.architecture.prediction.longest_period
    values = torch.zeros(30, n_frames, model.architecture.n_conditions, model.architecture.condition_channels)
    condition, codes = FrameCondition(values, hop, 0, prediction.map(torch.from_numpy)), codes_of(30, n)
    before = model(codes, None, condition)[0][:, -1]

    def change(nearest: int, farthest: int) -> float:
        changed, span = codes.clone(), slice(n - 1 - farthest, n - nearest)
        changed[:, span] = (codes[:, span] + 13) % N_CLASSES
        return (model(changed, None, condition)[0][:, -1] - before).abs().max().item()

    assert change(0, 0) == 0
    assert change(1, 1) > 0
    assert change(field + 1, n - 1) == 0
    assert change(field, field) > 0
