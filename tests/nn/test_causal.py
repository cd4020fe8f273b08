import pytest
import torch

from wavegen.nn.causal import CausalConv, shift

pytestmark = pytest.mark.usefixtures("float64")

# kernel_size, dilation, shape of the input (B, T, C) or (B, H, W, C)
CONVS = [
    (1, 1, (2, 11, 3)),
    (2, 1, (2, 11, 3)),
    (2, 4, (2, 11, 3)),
    (3, 2, (1, 11, 3)),
    (5, 3, (2, 29, 3)),
    ((2, 3), 1, (2, 7, 5, 3)),
    ((3, 5), 2, (1, 9, 6, 3)),
    ((1, 3), 1, (1, 4, 6, 3)),
]


@pytest.mark.parametrize(("kernel_size", "dilation", "shape"), CONVS)
def test_causal_conv_is_a_padded_torch_convolution(kernel_size, dilation, shape):
    conv = CausalConv(3, 4, kernel_size, dilation)
    x = torch.randn(shape)
    n = len(shape) - 2
    weight = conv.weight.permute(n, n + 1, *range(n))  # (out, in, *kernel_size)
    before = x.movedim(-1, 1)
    sides = [side for size in reversed(conv.kernel_size[1:]) for side in (size // 2, size // 2)]
    padded = torch.nn.functional.pad(before, (*sides, conv.history, 0))
    function = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}[n]
    expected = function(padded, weight, conv.bias, dilation=(dilation, *([1] * (n - 1)))).movedim(1, -1)
    torch.testing.assert_close(conv(x)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kernel_size", "dilation", "shape"), CONVS)
@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_causal_conv_output_and_state_are_the_same_for_any_chunking(kernel_size, dilation, shape, chunk):
    conv = CausalConv(3, 4, kernel_size, dilation)
    x = torch.randn(shape)
    whole, last_state = conv(x)
    state, pieces = None, []
    for piece in x.split(chunk, dim=1):
        y, state = conv(piece, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(state, last_state, atol=0, rtol=0)


@pytest.mark.parametrize(("kernel_size", "dilation", "shape"), CONVS)
def test_gradients_with_respect_to_the_future_are_exactly_zero(kernel_size, dilation, shape):
    conv = CausalConv(3, 4, kernel_size, dilation)
    x = torch.randn(shape, requires_grad=True)
    step = shape[1] // 2
    conv(x)[0][:, step].sum().backward()
    assert (x.grad[:, step + 1 :] == 0).all()
    assert (x.grad[:, step] != 0).any()


def test_state_beyond_one_chunk_reaches_back_into_the_state_before():
    conv = CausalConv(3, 4, kernel_size=2, dilation=8)
    x = torch.randn(1, 20, 3)
    _, state = conv(x[:, :3])
    assert state.shape == (1, 8, 3)
    assert (state[:, :5] == 0).all()
    torch.testing.assert_close(state[:, 5:], x[:, :3])


def test_gradients_of_weight_input_and_state_are_right():
    conv = CausalConv(2, 3, kernel_size=(2, 3), dilation=2)
    x, state = torch.randn(1, 3, 4, 2, requires_grad=True), torch.randn(1, 2, 4, 2, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *inputs: conv(*inputs), (x, state))


def test_even_kernels_beside_the_first_axis_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        CausalConv(1, 1, kernel_size=(2, 2))


def test_shift_delays_by_one_step_for_any_chunking():
    x = torch.randn(2, 7, 3)
    whole, _ = shift(x)
    assert (whole[:, 0] == 0).all()
    torch.testing.assert_close(whole[:, 1:], x[:, :-1])
    state, pieces = None, []
    for piece in x.split(3, dim=1):
        y, state = shift(piece, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
