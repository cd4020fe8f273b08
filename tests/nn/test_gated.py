import pytest
import torch

from wavegen.nn.gated import GatedBlock, GatedStack, condition_channels

pytestmark = pytest.mark.usefixtures("float64")


def test_block_computes_the_equations_of_the_paper():
    block = GatedBlock(residual_channels=3, gate_channels=2, dilation=2)
    x, condition = torch.randn(1, 9, 3), torch.randn(1, 9, 4)
    out, z, _ = block(x, None, condition)
    h = block.conv(x)[0] + condition
    torch.testing.assert_close(z, torch.tanh(h[..., :2]) * torch.sigmoid(h[..., 2:]))
    torch.testing.assert_close(out, x + z @ block.project.weight.T + block.project.bias)


def test_ablations_change_the_activation_and_drop_the_residual():
    block = GatedBlock(3, 2, activation="relu", residual=False)
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
