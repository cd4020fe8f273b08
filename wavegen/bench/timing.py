"""What all measurements share: contestants that do the same, timed in turn within one run."""

from typing import NamedTuple


class Timing(NamedTuple):
    """Median speed of one contestant, and its share of the fastest's."""

    name: str
    samples_per_s: float
    share_of_best: float


def rank(seconds: dict[str, list[float]], n_samples: int) -> list[Timing]:
    """Medians, fastest first. Each round's contestants ran side by side, so shares are medians of ratios per round."""
    medians = {name: sorted(each)[len(each) // 2] for name, each in seconds.items()}
    best = min(medians, key=lambda name: medians[name])
    timings = []
    for name in sorted(medians, key=lambda name: medians[name]):
        ratios = sorted(b / own for b, own in zip(seconds[best], seconds[name], strict=True))
        timings.append(Timing(name, n_samples / medians[name], ratios[len(ratios) // 2]))
    return timings
