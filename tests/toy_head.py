"""A head in one file: a discretised Laplace distribution. HEADS["laplace"] = LaplaceHead registers it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavegen.architectures import Head, Size
from wavegen.models.heads import Distribution
from wavegen.sampling import Decoding


@dataclass(frozen=True)
class LaplaceHead(Head):
    """A Laplace distribution around a mean, both on the axis from -1 to 1."""

    kind: ClassVar[str] = "laplace"
    distribution: ClassVar[str] = "tests.toy_head:Laplace"

    broadness: Annotated[float, Size("scale that training begins with", gt=0, le=2)] = 0.3

    def n_parameters(self, n_classes: int) -> int:
        return 2


class Laplace(Distribution[LaplaceHead]):
    """The parameters are the mean and the logarithm of the scale."""

    def init_output_layer(self, weight: Tensor, bias: Tensor) -> None:
        with torch.no_grad():
            weight.mul_(0.1)
            bias.copy_(torch.tensor([0.0, math.log(self.sizes.broadness)]))

    def bits(self, parameters: Tensor, codes: Tensor) -> Tensor:
        mean, scale = parameters[..., 0], parameters[..., 1].clamp(-6, 3).exp()
        half = 1 / (self.n_classes - 1)
        value = codes * 2 * half - 1

        def below(edge: Tensor) -> Tensor:
            tail = 0.5 * torch.exp(-(edge - mean).abs() / scale)
            return torch.where(edge < mean, tail, 1 - tail)

        upper = torch.where(codes == self.n_classes - 1, 1.0, below(value + half))
        lower = torch.where(codes == 0, 0.0, below(value - half))
        return -torch.log2((upper - lower).clamp(min=1e-9))

    def draw(
        self, parameters: NDArray[np.floating], uniforms: NDArray[np.float64], decoding: Decoding | Sequence[Decoding]
    ) -> NDArray[np.int64]:
        each = [decoding] * len(parameters) if isinstance(decoding, Decoding) else decoding
        temperature = np.array([one.temperature for one in each])
        mean, scale = parameters[:, 0], np.exp(np.clip(parameters[:, 1], -6, 3))
        from_middle = uniforms - 0.5
        departure: Any = -scale * np.sign(from_middle) * np.log(np.maximum(1 - 2 * np.abs(from_middle), 1e-12))
        codes = np.rint((mean + temperature * departure + 1) / 2 * (self.n_classes - 1))
        return np.clip(codes, 0, self.n_classes - 1).astype(np.int64)
