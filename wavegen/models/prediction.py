"""What a network is told of the next code beforehand (features/linear_prediction.py), and how it enters the network.

past codes d, past excitations e, the prediction p; d and e around one period ago, and around two   [companded]
  |  linear                             levels of e[t - 1], d[t - period], p[t], d[t - 1], one embedding each
  +--------------------------------------+
x (B, T, residual_channels), in place of the embedding of the code before
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wavegen.architectures import PredictionSizes
from wavegen.features.frame_condition import FrameCondition
from wavegen.features.linear_prediction import N_EMBEDDED, N_LEVELS, SHIFT, companding
from wavegen.models.embedding import smooth_features


class Past(NamedTuple):
    """The newest codes less silence and their excitations, (B, n_past) int64 each; zeros before the beginning."""

    codes: Tensor
    excitations: Tensor


class Predicted(NamedTuple):
    """What the next code departs from: the predicted code, and the gain and its logarithm, (B, T) each."""

    code: Tensor
    gain: Tensor
    log_gain: Tensor


class PredictionInput(nn.Module):
    """The module. Its weights are a linear layer and the embeddings, (4, 256, channels)."""

    values: Tensor
    levels: Tensor

    def __init__(self, sizes: PredictionSizes, n_classes: int, channels: int) -> None:
        super().__init__()
        self.sizes, self.n_classes, self.silence = sizes, n_classes, n_classes // 2
        self.linear = nn.Linear(sizes.n_inputs, channels)
        tables = [smooth_features(N_LEVELS, channels) for _ in range(N_EMBEDDED)]
        self.embeddings = nn.Parameter(torch.stack(tables) / N_EMBEDDED**0.5)
        tables_of_d = companding(n_classes)
        self.register_buffer("values", torch.from_numpy(tables_of_d.values), persistent=False)
        self.register_buffer("levels", torch.from_numpy(tables_of_d.levels), persistent=False)

    def forward(
        self, codes: Tensor, past: Past | None, condition: FrameCondition[Tensor] | None
    ) -> tuple[Tensor, Predicted, Past]:
        """What enters the network, and what each code of a chunk departs from, of the codes before it.

        Shapes: codes (B, T) int64 -> x (B, T, channels), predictions (B, T), the past behind the chunk.
        """
        order, lag_taps, longest = self.sizes
        n_streams, n_steps = codes.shape
        n_past = self.sizes.n_past
        if past is None:
            past = Past(codes.new_zeros(n_streams, n_past), codes.new_zeros(n_streams, n_past))
        coefficients, gains, periods = self._at_steps(condition, codes)
        d = torch.cat([past.codes, codes - self.silence], dim=1)
        before = d[:, n_past - order : -1].unfold(1, order, 1).flip(-1) if n_steps else d.new_zeros(n_streams, 0, order)
        whole = (coefficients * before).sum(dim=-1)
        predicted = ((whole + (1 << (SHIFT - 1))) >> SHIFT).clamp(-self.silence, self.n_classes - 1 - self.silence)
        e = torch.cat([past.excitations, codes - self.silence - predicted], dim=1)

        companded_d, companded_e, companded_p = self._values(d), self._values(e), self._values(predicted)
        steps = torch.arange(n_steps, device=codes.device)[:, None] + n_past
        back = torch.arange(1, order + 1, device=codes.device)
        recent = (steps - back).expand(n_streams, -1, -1)
        inputs = [_at(companded_e, recent), _at(companded_d, recent), companded_p[..., None]]
        one_ago = torch.zeros_like(predicted)
        if lag_taps:
            is_voiced = periods > 0
            lag = periods.clamp(lag_taps + 1, longest)
            for n_periods, reach in ((1, lag_taps), (2, lag_taps // 2)):
                around = torch.arange(-reach, reach + 1, device=codes.device)
                at = steps - (n_periods * lag)[..., None] + around
                inputs += [_at(companded, at) * is_voiced[..., None] for companded in (companded_e, companded_d)]
            one_ago = d.gather(1, steps[:, 0] - lag) * is_voiced
        with torch.autocast(codes.device.type, enabled=False):
            x = self.linear(torch.cat(inputs, dim=-1).to(self.linear.weight.dtype))
            embedded = (e[:, n_past - 1 : -1], one_ago, predicted, d[:, n_past - 1 : -1])
            for table, numbers in zip(self.embeddings, embedded, strict=True):
                x = x + table[self.levels[numbers + self.n_classes - 1].long()]
        following = Past(d[:, n_steps:], e[:, n_steps:])
        return x, Predicted(predicted + self.silence, gains[..., 0], gains[..., 1]), following

    def observe(self, past: Past, codes: Tensor) -> Past:
        """The past with the newest code replaced, and so its excitation. Shapes: codes (B, 1)."""
        departure = codes - self.silence - past.codes[:, -1:]
        d = torch.cat([past.codes[:, :-1], codes - self.silence], dim=1)
        return Past(d, torch.cat([past.excitations[:, :-1], past.excitations[:, -1:] + departure], dim=1))

    def _values(self, numbers: Tensor) -> Tensor:
        return self.values[numbers + self.n_classes - 1]

    def _at_steps(self, condition: FrameCondition[Tensor] | None, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The prediction at each step: coefficients (B, T, order), gains (B, T, 2), periods (B, T)."""
        n_streams, n_steps = codes.shape
        if condition is None or condition.prediction is None:
            assert not n_steps  # only a beginning has no frames
            empty = codes.new_zeros(n_streams, 0)
            return codes.new_zeros(n_streams, 0, self.sizes.order), self.values.new_zeros(n_streams, 0, 2), empty
        hop, phase, (coefficients, gains, periods, _) = condition.hop, condition.phase, condition.prediction
        frame = (torch.arange(n_steps, device=codes.device) + phase) // hop
        at_steps = periods.flatten(1)[:, phase : phase + n_steps]
        return coefficients[:, frame].long(), gains[:, frame], at_steps.long()


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Shapes: values (B, N), places (B, T, K) in it -> (B, T, K)."""
    return values.gather(1, places.flatten(1)).view(places.shape)
