"""What a core has made."""

from dataclasses import dataclass


@dataclass
class Counts:
    """What a core has made of a model so far, and the seconds of work that it took. `n_late`: blocks of live streams
    that came later than somebody needed them who began to play with the first one."""

    n_blocks: int = 0
    n_late: int = 0
    n_samples: int = 0
    n_images: int = 0
    work_s: float = 0.0
