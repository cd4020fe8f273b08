"""Heads: a network's last numbers -> the probability of a code, and a draw from it.

Draws are defined in `sampling.py`, in numpy, where the engines find them; a head only says which one is its own.
"""

import math
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wavegen import sampling
from wavegen.architectures import CategoricalHead, Head, LogisticMixtureHead, find
from wavegen.models.prediction import Predicted
from wavegen.sampling import Decodings

SizesT = TypeVar("SizesT", bound=Head)
BROADNESS = (0.02, 2.0)  # in units of the means: the scales that a mixture begins with, from the first to the last


class Distribution(Generic[SizesT]):
    """The distribution of a code, of which a network gives the parameters. A head derives from this.

    `sizes` are those of the head, `n_classes` the number of codes.
    """

    def __init__(self, sizes: SizesT, n_classes: int) -> None:
        self.sizes, self.n_classes = sizes, n_classes

    @property
    def n_parameters(self) -> int:
        """Numbers that the network gives for each code."""
        return self.sizes.n_parameters(self.n_classes)

    def init_output_layer(self, weight: Tensor, bias: Tensor) -> None:
        """Set the last layer's weights (n_parameters, channels) and bias (n_parameters,) before training."""

    def shift_by_previous(self, parameters: Tensor, previous: Tensor, has_previous: Tensor) -> Tensor:
        """Turn what the network says into parameters, knowing the code before (where there is one).

        Shapes: parameters (..., n_parameters), previous and has_previous (...) -> (..., n_parameters).
        """
        return parameters

    def shift_by_prediction(self, parameters: Tensor, predicted: Predicted) -> Tensor:
        """Turn what the network says into parameters, knowing what is predicted; of a relative head alone.

        Shapes: parameters (..., n_parameters), predicted (...) -> (..., n_parameters).
        """
        raise NotImplementedError

    def bits(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """-log2 p(code) of each code, in float32 or better.

        Shapes: parameters (..., n_parameters), codes (...) -> (...).
        """
        raise NotImplementedError

    def draw(
        self,
        parameters: NDArray[np.floating],
        uniforms: NDArray[np.float64],
        decoding: Decodings,
    ) -> NDArray[np.int64]:
        """One code for each stream.

        Shapes: parameters (B, n_parameters), uniforms (B,) -> codes (B,).
        """
        raise NotImplementedError


class Categorical(Distribution[CategoricalHead]):
    """One logit per class; softmax (WaveNet, arXiv:1609.03499, section 2.2). All begin about equally likely."""

    def bits(self, parameters: Tensor, codes: Tensor) -> Tensor:
        logits = _at_least_float32(parameters)
        nats = F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none")
        return nats.reshape(codes.shape) / math.log(2)

    def draw(
        self,
        parameters: NDArray[np.floating],
        uniforms: NDArray[np.float64],
        decoding: Decodings,
    ) -> NDArray[np.int64]:
        return sampling.draw_categorical(parameters, uniforms, decoding)


class LogisticMixture(Distribution[LogisticMixtureHead]):
    """A mixture of logistic distributions, each code holding the probability between its edges.

    p(c) = sum_k w_k (sigmoid((c + 1/2 - m_k) / s_k) - sigmoid((c - 1/2 - m_k) / s_k)),

    the lowest and the highest code taking their whole tails (PixelCNN++, arXiv:1701.05517, section 2.1; for sound
    Parallel WaveNet, arXiv:1711.10433, section 2). The parameters are, n_mixtures of each: the logits of w, the
    means m on the axis from -1 (code 0) to 1 (the last), and the natural logarithms of s on the same axis.

    The network says how far the means depart from the code before, in units of `mean_scale` (`shift_by_previous`). An
    optimiser moves whatever it trains by steps of about one size, so quiet or smooth sound, whose samples depart from
    each other by thousandths, needs a unit of thousandths to be learnt.

    Everything is computed on the axis of codes, where edges are exact and neighbours share them, so the sum over all
    codes stays 1 in float32 as well. The number of parameters does not depend on the number of classes.
    """

    def shift_by_previous(self, parameters: Tensor, previous: Tensor, has_previous: Tensor) -> Tensor:
        """Add the value of the code before to the means, so that a network says only how the next departs from it.

        A sample resembles the one before, so the departure is small, and what rounding inside the network does to it
        is small beside the sound. Before the first code the value is 0.

        Shapes: parameters (..., n_parameters), previous and has_previous (...) -> (..., n_parameters).
        """
        value = torch.where(has_previous, previous.to(parameters.dtype) * (2 / (self.n_classes - 1)) - 1, 0.0)
        weights, means, scales = parameters.chunk(3, dim=-1)
        return torch.cat([weights, means * self.sizes.mean_scale + value[..., None], scales], dim=-1)

    def shift_by_prediction(self, parameters: Tensor, predicted: Predicted) -> Tensor:
        """Add the predicted code's value to the means, and let means and scales count in units of the gain, so that
        quiet sound is as easy to learn as loud."""
        value = predicted.code.to(parameters.dtype) * (2 / (self.n_classes - 1)) - 1
        weights, means, scales = parameters.chunk(3, dim=-1)
        means = means * predicted.gain[..., None] + value[..., None]
        return torch.cat([weights, means, scales + predicted.log_gain[..., None]], dim=-1)

    def init_output_layer(self, weight: Tensor, bias: Tensor) -> None:
        """Distributions around the sample before, from narrow to broad, so that each finds sound to specialise in."""
        with torch.no_grad():
            weight.mul_(0.1)
            weights, means, scales = bias.view(3, self.sizes.n_mixtures)
            weights.zero_()
            means.zero_()
            narrowest, broadest = (math.log(share * self.sizes.mean_scale) for share in BROADNESS)
            scales.copy_(torch.linspace(narrowest, broadest, self.sizes.n_mixtures))

    def log_probabilities(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """log p(code), in nats.

        Shapes: parameters (..., n_parameters), codes broadcastable to (...) -> (...).
        """
        logits, means, log_scales = _at_least_float32(parameters).chunk(3, dim=-1)
        per_code = 2 / (self.n_classes - 1)  # width of a code on the axis of the parameters
        means = (means + 1) / per_code
        log_scales = (log_scales - math.log(per_code)).clamp(*sampling.LOG_SCALES)
        sharpness = torch.exp(-log_scales)
        codes = codes[..., None]
        from_mean = codes.to(means.dtype) - means
        upper, lower = (from_mean + 0.5) * sharpness, (from_mean - 0.5) * sharpness
        # log(sigmoid(upper) - sigmoid(lower)), with nothing that overflows or cancels:
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-sharpness))
        mass = torch.where(codes == 0, F.logsigmoid(upper), inside)
        mass = torch.where(codes == self.n_classes - 1, F.logsigmoid(-lower), mass)
        return torch.logsumexp(F.log_softmax(logits, dim=-1) + mass, dim=-1)

    def bits(self, parameters: Tensor, codes: Tensor) -> Tensor:
        return -self.log_probabilities(parameters, codes) / math.log(2)

    def draw(
        self,
        parameters: NDArray[np.floating],
        uniforms: NDArray[np.float64],
        decoding: Decodings,
    ) -> NDArray[np.int64]:
        return sampling.draw_logistic_mixture(parameters, uniforms, decoding, self.n_classes)


def make_head(sizes: Head, n_classes: int) -> Distribution[Any]:
    """The distribution of a head (architectures.py)."""
    made: Distribution[Any] = find(sizes.distribution)(sizes, n_classes)
    return made


def _at_least_float32(parameters: Tensor) -> Tensor:
    return parameters if parameters.dtype == torch.float64 else parameters.float()
