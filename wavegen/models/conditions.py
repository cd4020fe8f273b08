"""What conditions a network beside the codes: labels, once for all time, and feature frames, which change with it.

Both are projected into the gates of every layer; generation/conditioning.py does the same in numpy for the engines.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wavegen.architectures import FrameSizes, GatedArchitecture
from wavegen.errors import InputError
from wavegen.models.base import Model
from wavegen.nn.causal import CausalConv


class Labelled(Model):
    """What networks with labels have in common (WaveNet, arXiv:1609.03499, section 2.5, global conditioning)."""

    architecture: GatedArchitecture
    labels: nn.ModuleDict

    def add_labels(self) -> None:
        """Make the weights for the labels of the architecture.

        Raises: InputError for a name that a tensor cannot have.
        """
        shape = self.architecture
        for name in shape.labels:
            if hasattr(nn.ModuleDict(), name) or not name.isidentifier():
                raise InputError(f"a label cannot be called {name!r}; choose another word without dots or spaces")
        # One more row than known values: the last stands for "unknown" and is trained by label dropout.
        self.labels = nn.ModuleDict(
            {name: nn.Embedding(n_values + 1, shape.label_channels) for name, n_values in shape.labels.items()}
        )
        if self.labels:
            self.project_labels = nn.Linear(
                len(self.labels) * shape.label_channels, shape.n_conditions * shape.condition_channels, bias=False
            )

    def of_labels(self, labels: Mapping[str, Tensor]) -> Tensor | None:
        """Embed and project labels; the torch twin of `conditioning.condition_of`, for training.

        Shapes: per label (B,) rows of its embedding -> (B, 1, n_conditions, channels); None without labels.
        """
        if not self.labels:
            return None
        embedded = torch.cat([embedding(labels[name]) for name, embedding in self.labels.items()], dim=-1)
        projected: Tensor = self.project_labels(embedded)
        return projected.unflatten(-1, (1, self.architecture.n_conditions, -1))


class FrameNetwork(nn.Module):
    """Feature frames -> what enters every layer (WaveNet, arXiv:1609.03499, section 2.5, local conditioning).

        frames (B, look_ahead + F + look_ahead, n_features)
          |  convolution over a frame and its neighbours, relu, linear, relu
          |  projection
        condition (B, F, n_layers, channels)

    It works at the rate of the frames. A frame sees `look_ahead` others to either side, and so has to wait for them;
    between frames the stack interpolates (nn/gated.py), where the paper learns a transposed convolution.
    """

    def __init__(self, frames: FrameSizes, n_layers: int, channels: int) -> None:
        super().__init__()
        self._n_layers, hidden = n_layers, frames.channels
        self.around = CausalConv(frames.n_features, hidden, 2 * frames.look_ahead + 1)
        self.hidden = nn.Linear(hidden, hidden)
        self.project = nn.Linear(hidden, n_layers * channels, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        before = self.around.history
        around, _ = self.around(frames[:, before:], frames[:, :before])
        hidden = torch.relu(self.hidden(torch.relu(around)))
        projected: Tensor = self.project(hidden)
        return projected.unflatten(-1, (self._n_layers, -1))
