"""Heads: a network's last numbers -> the log-likelihood of a code. How they are sampled stands in `sampling.py`."""

import math

import torch.nn.functional as F
from torch import Tensor


class Categorical:
    """One logit per class; softmax (WaveNet, arXiv:1609.03499, section 2.2)."""

    def __init__(self, n_classes: int) -> None:
        self.n_parameters = n_classes

    def bits(self, logits: Tensor, codes: Tensor) -> Tensor:
        """-log2 p(code) of each code, in float32 whatever the precision of the logits.

        Shapes: logits (..., n_classes), codes (...) -> (...).
        """
        nats = F.cross_entropy(logits.flatten(0, -2).float(), codes.flatten(), reduction="none")
        return nats.reshape(codes.shape) / math.log(2)
