"""Reduced precisions: equal to what they are defined to be, and within the bound of docs/performance.md."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, tiny_checkpoint
from tests.random_frames import random_condition
from wavegen import checkpoint
from wavegen.engines.cpu.engine import NumbaEngine, missing_instructions
from wavegen.engines.cpu.packing import INPUT_STEPS, REDUCED
from wavegen.engines.rounded import in_precision
from wavegen.engines.weights import stack_weights
from wavegen.models.build import from_checkpoint
from wavegen.nn.causal import CausalConv
from wavegen.sampling import Decoding, uniforms

MODELS = {
    "tiny": lambda: tiny_checkpoint(kernel_size=3, gate_channels=20),
    "relu": lambda: tiny_checkpoint(activation="relu"),
    "prediction": lambda: tiny_checkpoint(**PREDICTION, gate_channels=20),
    "speech": lambda: checkpoint.load(Path("speech")),
}


@pytest.fixture(
    params=["tiny", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("relu", "prediction", "speech"))]
)
def loaded(request):
    return MODELS[request.param]()


def sounding_codes(loaded, n: int):
    """Codes such as the model makes."""
    draws = uniforms(1, 0, 0, n)[None]
    return NumbaEngine(stack_weights(loaded), 1).advance(draws, Decoding(), condition=condition_of(loaded, n))


def condition_of(loaded, n: int):
    architecture = loaded.description.architecture
    return None if architecture.frames is None else random_condition(architecture, 1, n)


def whole(model, loaded, codes):
    """Parameters (1, n, ...) of given codes."""
    condition = condition_of(loaded, codes.shape[1])
    if condition is not None:
        condition = condition.map(torch.from_numpy)
        condition = condition._replace(values=condition.values.to(model.dtype))
    return model(codes, None, condition)[0]


@pytest.mark.parametrize("precision", REDUCED)
def test_the_engine_computes_what_its_precision_is_defined_to_be(loaded, precision):
    if missing := missing_instructions(precision):
        pytest.skip(f"needs {missing}")
    codes = sounding_codes(loaded, 400)
    made = NumbaEngine(stack_weights(loaded), 1, precision).logits(codes, condition_of(loaded, 400))
    with torch.inference_mode():
        defined = whole(in_precision(from_checkpoint(loaded), precision), loaded, torch.from_numpy(codes)).numpy()
        exact = whole(from_checkpoint(loaded), loaded, torch.from_numpy(codes)).numpy()
    error = np.abs(made - defined)
    if precision not in INPUT_STEPS:
        assert error.max() < 1e-2
        return
    # Float error can move an activation across the middle between two bytes; from then on the two round differently.
    assert error[:, :5].max() < 1e-2
    assert np.median(error) < np.median(np.abs(defined - exact))


@pytest.mark.parametrize("precision", REDUCED)
def test_logits_stay_within_the_bound(loaded, precision, float64):
    """To first order an error in the result of a product reaches a logit times the logit's derivative by that result.

    So the sum over all results of |derivative| times what the product may be off by bounds the logit's error.
    """
    n = 60
    codes = torch.from_numpy(sounding_codes(loaded, n))
    model = from_checkpoint(loaded)
    results, allowed = [], []

    def watch(module, given, result):
        result = result[0] if isinstance(result, tuple) else result
        results.append(result)
        n_roundings = 2 if module is model.head_out else 1  # each of what the one before has lost
        allowed.append(allowed_error(module, given[0].detach(), precision, loaded, n_roundings))

    linear = [model.skip, model.head_hidden, model.head_out]
    for block in model.stack.layers:
        linear += [block.conv, block.project]
    for module in linear:
        module.register_forward_hook(watch)
    exact = whole(model, loaded, codes)
    with torch.inference_mode():
        rounded = whole(in_precision(from_checkpoint(loaded), precision), loaded, codes)
    n_parameters = exact.shape[2]
    for step, parameter in ((n - 1, 0), (n - 1, 17 % n_parameters), (n // 2, 5), (0, 30 % n_parameters)):
        derivatives = torch.autograd.grad(exact[0, step, parameter], results, retain_graph=True, allow_unused=True)
        bound = sum(
            float((derivative.abs() * error).sum())
            for derivative, error in zip(derivatives, allowed, strict=True)
            if derivative is not None
        )
        error = abs(float(exact[0, step, parameter].detach() - rounded[0, step, parameter]))
        assert error <= bound


def allowed_error(module, x, precision, loaded, n_roundings):
    """How far each result of a product may be off, given its exact inputs: the bound that test_simd.py checks."""
    if isinstance(module, CausalConv):
        padded = torch.cat([x.new_zeros(1, module.history, x.shape[2]), x], dim=1)
        taps = [padded[:, tap * module.dilation :][:, : x.shape[1]] for tap in range(module.kernel_size[0])]
        parts = list(zip(taps, module.weight.detach(), strict=True))
    else:
        is_split = loaded.description.architecture.activation == "relu" and x.shape[2] % 6 == 0
        n_parts = 6 if is_split and module.out_features == loaded.description.architecture.skip_channels else 1
        parts = list(zip(x.chunk(n_parts, dim=2), module.weight.detach().chunk(n_parts, dim=1), strict=True))
    total = torch.zeros(())
    for part, weight in parts:
        if precision == "float16":
            total = total + part.abs() @ (weight.abs() * 2.0**-11 + 2.0**-25).T
            continue
        half_step = weight.abs().amax(dim=1) / 254**n_roundings
        total = total + part.abs().sum(dim=-1, keepdim=True) * half_step
        if precision in INPUT_STEPS:
            n_steps = INPUT_STEPS[precision]
            step = part.abs().amax(dim=-1, keepdim=True).clamp(max=1e9) / n_steps
            step = torch.maximum(step, torch.tensor(1 / n_steps))  # gated activations have this one
            total = total + step / 2 * (weight.abs().sum(dim=1) + weight.shape[1] * half_step)
    return total
