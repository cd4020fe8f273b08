import pytest
import torch

from tests.conftest import TINY_RECIPE, tiny_wavenet
from wavegen import bench, recipe
from wavegen.progress import bar


@pytest.mark.parametrize("forward", bench.FORMULATIONS.values(), ids=bench.FORMULATIONS.keys())
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_every_formulation_is_the_same_network(float64, forward, kernel_size):
    model = tiny_wavenet(kernel_size=kernel_size)
    codes = torch.randint(32, (2, 40))
    torch.testing.assert_close(forward(model, codes), model(codes)[0], atol=1e-10, rtol=0)


def test_training_and_generation_are_timed_side_by_side():
    tiny = recipe.parse(TINY_RECIPE, "tiny")
    with bar("Timing", 2) as running:
        report = bench.time_training(tiny, "cpu", 2, running)
        speeds = bench.time_generation(tiny.model, (1, 3), "cpu", 1, running)
    assert {timing.name for timing in report.timings} > {"our training loop"}
    assert len(report.timings) == 1 + 2 * len(bench.FORMULATIONS)
    assert report.timings[0].share_of_best == 1
    assert 0 <= report.waiting < 1
    assert len(speeds) == 2
