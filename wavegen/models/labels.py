"""Labels that condition a network: embedded, and projected into the gates of every layer, once for all time."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wavegen.errors import InputError


class Labelled(nn.Module):
    """What networks with labels have in common (WaveNet, arXiv:1609.03499, section 2.5, global conditioning)."""

    labels: nn.ModuleDict
    n_conditions: int

    def add_labels(
        self, labels: Mapping[str, int] | None, label_channels: int, n_conditions: int, channels: int
    ) -> None:
        """Make the weights for some labels, each with its number of known values.

        `n_conditions` layers get a condition of `channels` channels each.

        Raises: InputError for a name that a tensor cannot have.
        """
        for name in labels or {}:
            if hasattr(nn.ModuleDict(), name) or not name.isidentifier():
                raise InputError(f"a label cannot be called {name!r}; choose another word without dots or spaces")
        # One more row than known values: the last stands for "unknown" and is trained by label dropout.
        self.labels = nn.ModuleDict(
            {name: nn.Embedding(n_values + 1, label_channels) for name, n_values in (labels or {}).items()}
        )
        self.n_conditions = n_conditions
        if self.labels:
            self.project_labels = nn.Linear(len(self.labels) * label_channels, n_conditions * channels, bias=False)

    def condition(self, labels: Mapping[str, Tensor]) -> Tensor | None:
        """Embed and project labels; the torch twin of `conditioning.project_labels`, for training.

        Shapes: per label (B,) rows of its embedding -> (B, 1, n_conditions, channels); None without labels.
        """
        if not self.labels:
            return None
        embedded = torch.cat([embedding(labels[name]) for name, embedding in self.labels.items()], dim=-1)
        projected: Tensor = self.project_labels(embedded)
        return projected.unflatten(-1, (1, self.n_conditions, -1))
