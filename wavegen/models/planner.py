"""A planner: a WaveNet over the codes of feature frames (features/frame_codes.py), of which a vocoder makes sound.

    codes of a frame, one channel after the other, then those of the next (B, T)
      |  WaveNet (models/wavenet.py), whose dilations reach across frames first and then across the channels of one
      |  <-- position: which channel comes next, and labels, in every layer
    logits (B, T, head parameters)

A network that makes sound sample by sample hears a tenth of a second; what is said takes seconds. So one network plans,
80 times a second, how loud, how high and of what colour the sound is, and another makes it. Codes are codes: the
channels of a frame follow each other as the colours of a pixel do (models/pixelcnn.py), and everything that trains,
steps and draws a WaveNet does the same with a planner.

The first layer looks at the code before and at the same channel one frame ago; the later ones of `dilations` at frames
1, 2, 4, ... further back; and the last at the channels before, of this frame and the one before it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wavegen.architectures import PlannerArchitecture
from wavegen.features.frame_condition import Frames
from wavegen.models.base import Condition
from wavegen.models.wavenet import WaveNet


class Planner(WaveNet):
    """The network. Chunks are whole frames."""

    architecture: PlannerArchitecture

    def __init__(self, architecture: PlannerArchitecture) -> None:
        super().__init__(architecture)
        shape = (architecture.n_channels, architecture.n_conditions, architecture.condition_channels)
        self.position = nn.Parameter(0.1 * torch.randn(shape))

    def condition(self, labels: Mapping[str, Tensor], frames: Frames[Tensor] | None = None) -> Condition:
        """What enters the layers at each channel of a frame, which repeats with every frame.

        Shapes: per label (B,) -> (B or 1, n_channels, n_layers, condition_channels).
        """
        assert frames is None  # it makes them
        of_labels = self.of_labels(labels)
        return self.position[None] if of_labels is None else self.position + of_labels
