import numpy as np
import pytest
import torch

from tests.conftest import TINY_RECIPE, tiny_wavenet
from wavegen import recipe
from wavegen.architectures import CategoricalHead, make_architecture
from wavegen.errors import InputError
from wavegen.models.build import build, load_weights
from wavegen.models.heads import Categorical

VARIANTS = {
    "plain": {},
    "kernel of 3": {"kernel_size": 3},
    "relu": {"activation": "relu"},
    "no residual": {"residual": False},
    "not dilated": {"dilated": False},
    "labels": {"labels": {"speaker": 3, "digit": 10}},
    "mixture": {"head": "logistic-mixture", "n_mixtures": 3},
    "16 bits": {"head": "logistic-mixture", "n_classes": 65536},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request, float64):
    return tiny_wavenet(**request.param)


def condition_of(model, n_streams: int):
    rows = {name: torch.arange(n_streams) % 3 for name in model.labels}
    return model.condition(rows)


def test_gradients_with_respect_to_present_and_future_codes_are_exactly_zero(model):
    codes = torch.randint(32, (1, 60))
    embedded = {}
    model.embed.register_forward_hook(lambda module, inputs, output: embedded.update(x=output))
    logits, _ = model(codes, None, condition_of(model, 1))
    (gradient,) = torch.autograd.grad(logits[0, 30].sum(), embedded["x"])
    assert (gradient[0, 31:] == 0).all()  # delayed by one: the entry at 31 is the code of step 30
    assert (gradient[0, 30] != 0).any()


def test_receptive_field_measured_by_perturbation_is_the_one_reported(model):
    field = model.receptive_field
    n_tries = 50  # a ReLU may hide a single change
    codes = torch.randint(32, (n_tries, 2 * field + 5))
    target = 2 * field + 2
    condition = condition_of(model, n_tries)
    before = model(codes, None, condition)[0][:, target]

    def change(distance: int) -> float:
        perturbed = codes.clone()
        perturbed[:, target - distance] = (perturbed[:, target - distance] + 7) % 32
        return (model(perturbed, None, condition)[0][:, target] - before).abs().max().item()

    assert change(0) == 0
    assert change(1) > 0
    assert change(field) > 0
    assert change(field + 1) == 0


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_logits_are_the_same_for_any_chunking(model, chunk):
    codes = torch.randint(32, (2, 50))
    condition = condition_of(model, 2)
    whole, _ = model(codes, None, condition)
    state, pieces = None, []
    for piece in codes.split(chunk, dim=1):
        logits, state = model(piece, state, condition)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-10, rtol=0)


def test_streams_of_a_batch_do_not_touch_each_other(model):
    codes = torch.randint(32, (3, 40))
    together, _ = model(codes, None, condition_of(model, 3))
    alone, _ = model(codes[1:2], None, None if not model.labels else condition_of(model, 3)[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-12, rtol=0)


def test_dilations_repeat_by_block_or_stay_one():
    assert tiny_wavenet().architecture.dilations == (1, 2, 4, 1, 2, 4)
    assert tiny_wavenet(dilated=False).architecture.dilations == (1,) * 6
    assert tiny_wavenet(kernel_size=3).receptive_field == 1 + 2 * 14


def test_bits_are_minus_log2_of_the_probability():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.125, 0.125]]]))
    assert Categorical(CategoricalHead(), 4).bits(logits, torch.tensor([[2]])).item() == pytest.approx(3)
    uniform = torch.zeros(1, 5, 256)
    assert Categorical(CategoricalHead(), 256).bits(
        uniform, torch.zeros(1, 5, dtype=torch.int64)
    ).mean().item() == pytest.approx(8)


def test_an_untrained_network_needs_about_all_bits():
    model = build(recipe.parse(TINY_RECIPE, "tiny").architecture({}))
    codes = torch.randint(256, (2, 200))
    bits = model.head.bits(model(codes)[0], codes).mean().item()
    assert abs(bits - 8) < 0.5


def test_weights_that_do_not_fit_are_refused_by_name():
    model = tiny_wavenet()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    load_weights(tiny_wavenet(), weights, "good")
    with pytest.raises(InputError, match=r"lacks the tensor skip\.bias"):
        load_weights(model, {name: array for name, array in weights.items() if name != "skip.bias"}, "x")
    with pytest.raises(InputError, match=r"embed\.weight of shape \(32, 5\); expected \(32, 6\)"):
        load_weights(model, {**weights, "embed.weight": weights["embed.weight"][:, :5]}, "x")
    with pytest.raises(InputError, match=r"tensor extra"):
        load_weights(model, {**weights, "extra": np.zeros(1)}, "x")


@pytest.mark.parametrize("name", ["a.b", "two words", "keys"])
def test_labels_with_impossible_names_are_refused(name):
    with pytest.raises(InputError, match="a label cannot be called"):
        tiny_wavenet(labels={name: 3})


def test_unknown_kinds_and_sizes_are_refused():
    with pytest.raises(InputError, match="wavernn"):
        make_architecture("wavernn", {})
    with pytest.raises(InputError, match="n_heads"):
        make_architecture("wavenet", {"n_heads": 3})
