"""Codes -> channels, beginning as smooth functions of the amplitude that a code stands for.

Codes are quantised amplitudes, so a network need not first learn from data that 127 lies beside 128.
"""

import math

import torch
from torch import Tensor, nn

from wavegen.codec import coarse_and_offset

MAX_TABLE = 4096  # classes; beyond it a row per class would rarely be trained
N_COARSE = 256


def embed_codes(n_classes: int, channels: int) -> nn.Module:
    """The embedding for a number of classes: a row for each, or coarse and fine."""
    if n_classes > MAX_TABLE:
        return CoarseFineEmbedding(n_classes, channels)
    table = nn.Embedding(n_classes, channels)
    table.weight.data = smooth_features(n_classes, channels)
    return table


class CoarseFineEmbedding(nn.Module):
    """An embedding for so many classes that most are rarely seen, such as 16-bit samples.

    embed(c) = coarse[k] + r * fine[k]

    where k is the mu-law interval (of 256) that the amplitude of code c falls into and r in [-1, 1] its offset in
    that interval: a straight line for each interval, so neighbouring codes share what is learnt and none look alike.
    """

    coarse_of: Tensor
    offset_of: Tensor

    def __init__(self, n_classes: int, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Embedding(N_COARSE, channels)
        self.fine = nn.Embedding(N_COARSE, channels)
        self.coarse.weight.data = smooth_features(N_COARSE, channels)
        # At first the lines of neighbouring intervals nearly meet; a shared part keeps the offset easy to read.
        slope = torch.gradient(self.coarse.weight.data, dim=0)[0] / 2
        self.fine.weight.data = slope + 0.3 * torch.randn(channels)
        coarse, offset = coarse_and_offset(n_classes, N_COARSE)
        self.register_buffer("coarse_of", torch.from_numpy(coarse), persistent=False)
        self.register_buffer("offset_of", torch.from_numpy(offset), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Shapes: codes (...) int64 -> (..., channels)."""
        interval = self.coarse_of[codes]
        offset = self.offset_of[codes].to(self.fine.weight.dtype)
        embedded: Tensor = self.coarse(interval) + offset[..., None] * self.fine(interval)
        return embedded


def smooth_features(n_classes: int, channels: int) -> Tensor:
    """Random Fourier features of each class's value (Rahimi and Recht, NIPS 2007), in which neighbours look alike.

    cos(w v + phase) with v in [-1, 1] and w of a scale from 1 to 12. Shapes: -> (n_classes, channels).
    """
    value = torch.linspace(-1, 1, n_classes)[:, None]
    frequency = torch.randn(channels) * torch.linspace(1, 12, channels)
    phase = torch.rand(channels) * 2 * math.pi
    return math.sqrt(2) * torch.cos(value * frequency + phase)
