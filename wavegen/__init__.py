"""wavegen: WaveNets that train on any folder of recordings and generate sound, sample by sample.

import wavegen

samples, rate = wavegen.load("speech").generate(seconds=5)
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavegen.generation.session import LoadedModel

__version__ = "0.1.0"
__all__ = ["load"]


def load(model: str | Path) -> "LoadedModel":
    """Load a trained model: a run folder, a .safetensors file, or the name of one that ships, such as "speech".

    What it offers stands in `wavegen.generation.session.LoadedModel`.

    Raises: wavegen.errors.InputError if there is none, or it is damaged; the sentence says which.
    """
    from wavegen.generation import session  # not before: `import wavegen` stays light

    return session.load(model)
