from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import PREDICTION, REPOSITORY, TINY_RECIPE, tiny_checkpoint, tiny_wavenet
from tests.generation.test_images import tiny_image_checkpoint
from wavegen import recipe
from wavegen.bench import generation, images, rivals, subjects, training
from wavegen.engines.gpu.cuda_graph import CudaGraphEngine
from wavegen.engines.reference import ReferenceEngine
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.models.build import from_checkpoint
from wavegen.progress import bar
from wavegen.sampling import Decoding


@pytest.mark.parametrize("forward", training.FORMULATIONS.values(), ids=training.FORMULATIONS.keys())
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_every_formulation_is_the_same_network(float64, forward, kernel_size):
    model = tiny_wavenet(kernel_size=kernel_size)
    codes = torch.randint(32, (2, 40))
    torch.testing.assert_close(forward(model, codes), model(codes)[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("rival", [rivals.CachedTorch, rivals.Onnx])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_rivals_make_the_codes_of_the_reference(rival, kernel_size):
    if rival is rivals.Onnx:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    checkpoint = tiny_checkpoint(kernel_size=kernel_size)
    draws = np.random.default_rng(0).random((2, 60))
    expected = ReferenceEngine(from_checkpoint(checkpoint), 2).advance(draws, Decoding())
    made = rival(stack_weights(checkpoint), 2).advance(draws)
    assert made.shape == (2, 60)
    np.testing.assert_array_equal(made, expected)


def test_rivals_refuse_networks_they_are_not_written_for():
    with pytest.raises(InputError, match="gated residual blocks"):
        rivals.CachedTorch(stack_weights(tiny_checkpoint(residual=False)), 1)


@pytest.mark.exhaustive
def test_training_is_timed_side_by_side():
    tiny = recipe.parse(TINY_RECIPE, "tiny")
    with bar("Timing", 2) as running:
        report = training.time_training(tiny, "cpu", 2, running)
    assert {timing.name for timing in report.timings} > {"our training loop"}
    assert len(report.timings) == 1 + 2 * len(training.FORMULATIONS)
    assert report.timings[0].share_of_best == 1
    assert 0 <= report.waiting < 1


def test_drawing_is_timed_beside_the_naive_way(monkeypatch):
    monkeypatch.setattr(images, "PRECISIONS", ("float32",))
    speeds = images.time_images(tiny_image_checkpoint()[0], (1, 2), 2)
    assert [(speed.name, speed.n_images) for speed in speeds if speed.name == images.NAIVE] == [
        (images.NAIVE, 1),
        (images.NAIVE, 2),
    ]
    for speed in speeds:
        assert speed.images_per_s == pytest.approx(1000 / speed.ms_per_image)
        assert speed.times_naive == 1 or speed.name != images.NAIVE


@pytest.mark.exhaustive
def test_generation_is_timed_side_by_side(monkeypatch):
    monkeypatch.setattr(generation, "PRECISIONS", ("float32",))
    speeds = generation.time_generation(tiny_checkpoint(kernel_size=2), (1, 3), 2)
    names = [speed.name for speed in speeds if speed.n_streams == 3]
    assert {"numba, float32", "reference", "cached PyTorch"} <= set(names)
    assert [speed.n_streams for speed in speeds] == sorted(speed.n_streams for speed in speeds)
    for speed in speeds:
        assert speed.samples_per_s * speed.us_per_sample == pytest.approx(1e6)
        assert (speed.us_at_least is None) != speed.name.startswith("numba")


def test_the_network_of_a_vocoders_recipe_is_timed_with_frames(monkeypatch):
    monkeypatch.setattr(generation, "PRECISIONS", ("float32",))
    model = subjects.sound_model(REPOSITORY / "recipes" / "vocoder.yaml", "full")
    architecture = model.description.architecture
    assert architecture.prediction is not None
    frames = subjects.frames_for(architecture, 2, 450)
    assert frames.values.shape == (2, 3, 14, 128)
    assert frames.n_steps >= 450
    each = generation.cpu_contestants(tiny_checkpoint(**PREDICTION), 2)
    assert [one.name for one in each] == ["numba, float32", "reference"]
    for one in each:
        assert one.run(20).shape == (2, 20)
    assert subjects.frames_for(tiny_wavenet().architecture, 2, 450) is None
    with pytest.raises(InputError, match=r"mnist.yaml draws images; expected --image to time it"):
        subjects.sound_model(REPOSITORY / "recipes" / "mnist.yaml", "full")


def test_a_gpu_is_timed_beside_what_bounds_it(monkeypatch):
    """In Triton's interpreter, with the processor for a card."""
    triton_gpu = pytest.importorskip("wavegen.engines.gpu.triton_gpu")
    if not torch.cuda.is_available():
        monkeypatch.setattr(generation, "choose_device", lambda name: torch.device("cpu"))
        monkeypatch.setattr(generation, "CudaGraphEngine", partial(CudaGraphEngine, recorder=lambda step: step))
    monkeypatch.setattr(triton_gpu, "PRECISIONS", {"float32": torch.float32})
    monkeypatch.setitem(generation.ROUND_S, "cuda", 1e-9)
    small = tiny_checkpoint(n_blocks=1, layers_per_block=2, kernel_size=2)
    speeds = generation.time_generation(small, (17,), 1, device="cuda")
    assert {speed.name for speed in speeds} == {"triton, float32", "cuda-graph", "reference"}
    for speed in speeds:
        assert (speed.us_at_least is None) != speed.name.startswith("triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="torch finds no CUDA GPU on this machine"):
        generation.time_generation(tiny_checkpoint(kernel_size=2), (1,), 1, device="cuda")
