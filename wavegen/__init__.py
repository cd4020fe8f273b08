"""wavegen: WaveNets that train on any folder of recordings and generate sound, sample by sample.

>>> import wavegen
>>> samples, rate = wavegen.load("speech").generate(seconds=0.5)
>>> len(samples), rate
(8000, 16000)

Remarks and warnings go to the logger "wavegen", which is silent until `logging.basicConfig` or the like asks
for it; `wavegen.progress.show_bars()` draws progress bars.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavegen.generation.session import LoadedModel

__version__ = "0.1.0"
__all__ = ["load"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # or Python would print warnings on stderr


def load(model: str | Path) -> "LoadedModel":
    """Load a trained model: a run folder, a .safetensors file, or the name of one that ships, such as "speech".

    What it offers stands in `wavegen.generation.session.LoadedModel`.

    Raises: wavegen.errors.InputError if there is none, or it is damaged; the sentence says which.

    >>> import wavegen
    >>> digits = wavegen.load("digits")
    >>> digits.sample_rate, list(digits.labels)
    (8000, ['digit', 'speaker'])
    >>> waveform, rate = digits.generate(seconds=0.6, seed=1, labels={"digit": "7"})
    >>> waveform.shape, waveform.dtype
    ((4800,), dtype('float32'))
    """
    from wavegen.generation import session  # not before: `import wavegen` stays light

    return session.load(model)
