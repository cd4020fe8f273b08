"""Which engine runs a network, and how, as one value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineOptions:
    """`name`: of `engines.ENGINES`, or auto: numba, or reference for device cuda and a model that numba cannot run.

    `device`: auto, cpu or cuda. `precision`: of the weights, float32, float16, int8, int8x8, int8x7 or bfloat16, by the
    engine; auto is the fastest that was measured to cost the model next to nothing. `n_threads`: cores that it may use
    at most; None is as many as the process may. An engine refuses what it cannot do (`engines.make_engine`).
    """

    name: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    n_threads: int | None = None
