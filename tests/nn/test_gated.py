import pytest
import torch

from wavegen.features.frame_condition import FrameCondition
from wavegen.nn.gated import GatedLayer, GatedStack, condition_channels, interpolated

pytestmark = pytest.mark.usefixtures("float64")


def test_block_computes_the_equations_of_the_paper():
    block = GatedLayer(residual_channels=3, gate_channels=2, dilation=2)
    x, condition = torch.randn(1, 9, 3), torch.randn(1, 9, 4)
    out, z, _ = block(x, None, condition)
    h = block.conv(x)[0] + condition
    torch.testing.assert_close(z, torch.tanh(h[..., :2]) * torch.sigmoid(h[..., 2:]))
    torch.testing.assert_close(out, x + z @ block.project.weight.T + block.project.bias)


def test_ablations_change_the_activation_and_drop_the_residual():
    block = GatedLayer(3, 2, activation="relu", residual=False)
    x = torch.randn(1, 9, 3)
    out, z, _ = block(x)
    torch.testing.assert_close(z, torch.relu(block.conv(x)[0]))
    torch.testing.assert_close(out, block.project(z))
    assert condition_channels(2, "relu") == 2
    assert condition_channels(2, "gated") == 4


@pytest.mark.parametrize("shape", [(2, 13, 3), (2, 13, 4, 3)], ids=["sound", "image"])
@pytest.mark.parametrize("chunk", [1, 4])
def test_stack_output_is_the_same_for_any_chunking(shape, chunk):
    kernel_size = 2 if len(shape) == 3 else (2, 3)
    stack = GatedStack((1, 2, 4), 3, 2, kernel_size)
    x = torch.randn(shape)
    condition = torch.randn(*shape[:-1], 3, 4)
    whole, activations, _ = stack(x, None, condition)
    state, pieces = None, []
    for piece, given in zip(x.split(chunk, dim=1), condition.split(chunk, dim=1), strict=True):
        y, _, state = stack(piece, state, given)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-12, rtol=0)
    assert len(activations) == 3


def test_a_constant_condition_equals_the_same_at_every_step():
    stack = GatedStack((1, 2), 3, 2)
    x, constant = torch.randn(2, 9, 3), torch.randn(2, 1, 2, 4)
    torch.testing.assert_close(stack(x, None, constant)[0], stack(x, None, constant.expand(2, 9, 2, 4))[0])


def test_each_layer_receives_its_own_condition():
    stack = GatedStack((1, 2), 3, 2)
    x, condition = torch.randn(1, 9, 3), torch.zeros(1, 1, 2, 4)
    plain = stack(x, None, condition)[1]
    condition[:, :, 1] = 1.0
    changed = stack(x, None, condition)[1]
    torch.testing.assert_close(changed[0], plain[0])
    assert not torch.allclose(changed[1], plain[1])


def test_gradients_of_a_stack_are_right():
    stack = GatedStack((1, 2), 2, 2)
    x, condition = torch.randn(1, 5, 2, requires_grad=True), torch.randn(1, 5, 2, 4, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, condition: stack(x, None, condition)[0], (x, condition))


def test_frames_are_joined_by_straight_lines_and_the_last_one_holds():
    values = torch.tensor([[[0.0], [4.0], [2.0]]])
    expected = [0, 1, 2, 3, 4, 3.5, 3, 2.5, 2, 2, 2, 2]
    assert interpolated(FrameCondition(values, hop=4), 12).flatten().tolist() == expected
    assert interpolated(FrameCondition(values, hop=4, phase=3), 6).flatten().tolist() == expected[3:9]
    assert interpolated(FrameCondition(values, hop=1), 3).flatten().tolist() == [0, 4, 2]


@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_frames_enter_a_stack_as_their_values_at_every_step_would(chunk):
    stack, x = GatedStack((1, 2, 4), 3, 2), torch.randn(2, 13, 3)
    frames = FrameCondition(torch.randn(2, 4, 3, 4), hop=5, phase=2)
    at_steps = torch.stack([interpolated(frames._replace(values=frames.values[:, :, n]), 13) for n in range(3)], dim=2)
    whole = stack(x, None, at_steps)[0]
    torch.testing.assert_close(stack(x, None, frames)[0], whole)
    state, pieces = None, []
    for first in range(0, 13, chunk):
        piece = x[:, first : first + chunk]
        y, _, state = stack(piece, state, frames.part(first, piece.shape[1]))
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
