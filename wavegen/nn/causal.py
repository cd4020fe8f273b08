"""The only convolution with a past.

Going forward in time is a function from input and past to output and new past; `None` is the beginning of time, where
every past value is zero. Training is one long chunk, streaming is many short ones, generation is chunks of length one.

Axes are (B, T, C) for sound and (B, H, W, C) for images: time (or rows) comes right after the batch, channels last.
Channels last makes a convolution one matrix product per kernel tap on slices of the input, which is the fastest of the
formulations measured in `docs/training.md`, and it is the order the engines use.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv(nn.Module):
    """Dilated convolution whose output at step t reads inputs at t, t - dilation, t - 2 dilation, ...

    y[t] = bias + sum over k of W[k] x[t - (kernel_size - 1 - k) * dilation]
    (WaveNet, arXiv:1609.03499, section 2.1.)

    It streams along the first axis after the batch. The second axis of a `kernel_size` of two is padded evenly with
    zeros, so that `kernel_size=(2, 3)` on (B, H, W, C) reads this row and the one above, one pixel to either side.

    Weight: (*kernel_size, out_channels, in_channels).
    Raises: ValueError if the second axis has an even kernel, which cannot be padded evenly.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 2,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.kernel_size = (kernel_size,) if isinstance(kernel_size, int) else kernel_size
        self.dilation = dilation
        if any(size % 2 == 0 for size in self.kernel_size[1:]):
            raise ValueError(f"kernel_size is {self.kernel_size}; the second axis needs an odd size")
        self.weight = nn.Parameter(torch.empty(*self.kernel_size, out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=1 / math.sqrt(in_channels * math.prod(self.kernel_size)))

    @property
    def history(self) -> int:
        """How many past steps the convolution needs."""
        return (self.kernel_size[0] - 1) * self.dilation

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Convolve a chunk.

        Shapes: x (B, T, ..., in_channels), state (B, history, ..., in_channels) -> y (B, T, ..., out_channels), state.
        """
        n_steps = x.shape[1]
        if torch.is_autocast_enabled(x.device.type):  # once, instead of once for every tap
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if state is None:
            state = x.new_zeros(x.shape[0], self.history, *x.shape[2:])
        x = torch.cat([state, x], dim=1)  # the past is the padding
        new_state = x[:, x.shape[1] - self.history :]
        if len(self.kernel_size) == 2:  # conv2d reads (B, H, W, C) as it lies; conv1d would be slower than products
            weight, sides = self.weight.permute(2, 3, 0, 1), self.kernel_size[1] // 2
            plane = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, 1, (0, sides), (self.dilation, 1))
            return plane.permute(0, 2, 3, 1), new_state
        y = F.linear(x[:, :n_steps], self.weight[0], self.bias)
        for tap in range(1, self.kernel_size[0]):
            y = y + F.linear(x.narrow(1, tap * self.dilation, n_steps), self.weight[tap])
        return y, new_state


def shift(x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Delay by one step, so that what a network says at t depends on inputs before t only. It replaces mask A.

    Shapes: x (B, T, ..., C), state (B, 1, ..., C) -> y (B, T, ..., C), state. Zeros come before the beginning of time.
    """
    if state is None:
        state = x.new_zeros(x.shape[0], 1, *x.shape[2:])
    x = torch.cat([state, x], dim=1)
    return x[:, :-1], x[:, -1:]
