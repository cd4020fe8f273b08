import math

import numpy as np
import pytest
import torch

from wavegen.architectures import CategoricalHead, LogisticMixtureHead, make_architecture
from wavegen.errors import InputError
from wavegen.models.heads import Categorical, LogisticMixture, make_head
from wavegen.models.prediction import Predicted
from wavegen.sampling import Decoding, draw_logistic_mixture, uniforms


def mixture(n_classes: int, n_mixtures: int) -> LogisticMixture:
    return LogisticMixture(LogisticMixtureHead(n_mixtures=n_mixtures), n_classes)


def random_parameters(n_mixtures: int = 10, dtype: torch.dtype = torch.float64, spread: float = 1.0) -> torch.Tensor:
    torch.manual_seed(0)
    weights, means = torch.randn(4, n_mixtures), 0.5 * torch.randn(4, n_mixtures)
    log_scales = -4 + 3 * spread * torch.randn(4, n_mixtures)
    return torch.cat([weights, means, log_scales], dim=-1).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("n_classes", [2, 256, 65536])
def test_the_probabilities_of_all_codes_sum_to_one(n_classes, dtype, tolerance):
    head = mixture(n_classes, 10)
    parameters = random_parameters(dtype=dtype)
    every = head.log_probabilities(parameters[:, None], torch.arange(n_classes).expand(4, -1))
    assert every.dtype == dtype
    assert (every.exp().sum(dim=-1) - 1).abs().max().item() < tolerance


def test_far_away_codes_and_extreme_parameters_stay_finite():
    head = mixture(65536, 3)
    for log_scale in (-1e4, -12.0, 1e4):
        for mean in (-50.0, -1.0, 0.0, 1.0, 50.0):
            parameters = torch.tensor([[0.0, 30.0, -30.0] + 3 * [mean] + 3 * [log_scale]], requires_grad=True)
            codes = torch.tensor([0, 1, 32768, 65534, 65535])
            bits = head.bits(parameters.expand(5, -1), codes)
            bits.sum().backward()
            assert torch.isfinite(bits).all()
            assert torch.isfinite(parameters.grad).all()


def test_one_component_is_the_difference_of_two_sigmoids():
    head = mixture(256, 1)
    mean, scale = 0.1, 0.05
    parameters = torch.tensor([[0.0, mean, math.log(scale)]], dtype=torch.float64)
    code, step = 140, 2 / 255
    value = code * step - 1
    upper, lower = ((value + side * step / 2 - mean) / scale for side in (1, -1))
    expected = 1 / (1 + math.exp(-upper)) - 1 / (1 + math.exp(-lower))
    assert head.log_probabilities(parameters, torch.tensor([code])).exp().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_probabilities(temperature):
    head, n = mixture(32, 3), 40_000
    parameters = np.tile(random_parameters(3, spread=0.3)[0].numpy(), (n, 1))
    decoding = Decoding(temperature)
    drawn = head.draw(parameters, uniforms(0, 0, 0, n), decoding)
    weights, means, log_scales = np.split(parameters[:1], 3, axis=-1)
    cooled = np.concatenate([weights / temperature, means, log_scales + np.log(temperature)], axis=-1)
    expected = head.log_probabilities(torch.from_numpy(cooled), torch.arange(32)).exp().numpy()
    seen = np.bincount(drawn, minlength=32) / n
    assert np.abs(seen - expected).max() < 4 * np.sqrt(expected.max() / n)


def test_greedy_takes_the_mean_of_the_highest_peak():
    parameters = np.array([[0.0, 1.0, -0.5, 0.5, -9.0, -2.0]])  # the lighter component is by far the narrower
    code = draw_logistic_mixture(parameters, np.array([0.9]), Decoding(0.0), 256)
    assert code[0] == round((-0.5 + 1) / 2 * 255)


def test_streams_may_differ_in_temperature_and_extreme_draws_stay_codes():
    head = mixture(65536, 2)
    parameters = np.array(2 * [[0.0, 0.0, 0.0, 0.0, 5.0, 5.0]])
    codes = head.draw(parameters, np.array([0.0, 1 - 2**-53]), [Decoding(0.0), Decoding(1.0)])
    assert codes[0] in (32767, 32768)
    assert codes[1] == 65535
    assert head.draw(parameters, np.zeros(2), Decoding())[0] == 0


def test_filters_are_refused_where_they_cannot_work():
    head = mixture(256, 2)
    for decoding in (Decoding(top_k=3), Decoding(top_p=0.9)):
        with pytest.raises(InputError, match="top_k and top_p need a categorical head"):
            head.draw(np.zeros((1, 6)), np.zeros(1), decoding)


def test_means_are_relative_to_the_code_heard_last_and_to_zero_before_any():
    head = mixture(65536, 2)
    parameters = torch.tensor([[0.0, 0.0, 0.01, -0.01, -5.0, -5.0]], dtype=torch.float64).repeat(3, 1)
    placed = head.shift_by_previous(parameters, torch.tensor([0, 65535, 0]), torch.tensor([True, True, False]))
    expected = [[-0.99, -1.01], [1.01, 0.99], [0.01, -0.01]]
    torch.testing.assert_close(placed[:, 2:4], torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(placed[:, [0, 1, 4, 5]], parameters[:, [0, 1, 4, 5]])


def test_heads_begin_near_ignorance_and_are_found_by_name():
    head = make_head(LogisticMixtureHead(), 65536)
    linear = torch.nn.Linear(32, head.n_parameters)
    head.init_output_layer(linear.weight, linear.bias)
    bits = head.bits(linear(torch.randn(100, 32)), torch.randint(30000, 35000, (100,))).mean()
    assert bits < 16.5
    assert isinstance(make_head(CategoricalHead(), 16), Categorical)
    with pytest.raises(InputError, match="unknown head 'gaussian'; expected one of categorical, logistic-mixture"):
        make_architecture("wavenet", {"head": "gaussian"})


def test_means_depart_from_what_is_predicted_and_everything_is_in_units_of_the_gain():
    head = mixture(65536, 2)
    parameters = torch.tensor([[0.0, 0.5, 0.01, -0.01, -5.0, -4.0]], dtype=torch.float64).repeat(2, 1)
    gain = torch.tensor([0.5, 0.02], dtype=torch.float64)
    placed = head.shift_by_prediction(parameters, Predicted(torch.tensor([0, 65535]), gain, gain.log()))
    expected = [[-0.995, -1.005], [1.0002, 0.9998]]
    torch.testing.assert_close(placed[:, 2:4], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(placed[:, 4:], parameters[:, 4:] + gain.log()[:, None])
    assert torch.equal(placed[:, :2], parameters[:, :2])


WRITTEN_DOWN = {  # bits of codes, computed from the definition by another program
    256: {
        0: 9.463477194949, 1: 14.258873508153, 77: 5.314866068599, 128: 8.636734828104, 254: 11.135978735266,
        255: 6.279281026351,
    },
    65536: {
        0: 9.488877595205, 1: 22.316906333931, 20000: 13.331775852357, 32768: 16.653582450085, 65534: 19.188731080950,
        65535: 6.303684011375,
    },
}  # fmt: skip


@pytest.mark.parametrize("n_classes", [256, 65536])
def test_the_bits_of_a_mixture_are_those_of_another_program(n_classes):
    parameters = torch.tensor([0.3, -0.2, -0.4, 0.25, -3, -1.5], dtype=torch.float64)
    codes = torch.tensor(list(WRITTEN_DOWN[n_classes]))
    bits = mixture(n_classes, 2).bits(parameters.expand(len(codes), -1), codes)
    np.testing.assert_allclose(bits, list(WRITTEN_DOWN[n_classes].values()), atol=1e-9)
