"""What a draw is: the random numbers, the decoding options and how they choose a code. numpy only.

Every engine draws by this definition, so the same weights and the same uniforms give the same codes everywhere.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, TypedDict

import numpy as np
from numpy.typing import NDArray

from wavegen.architectures import Head, LogisticMixtureHead, Size, sized_fields
from wavegen.errors import InputError

MAX_TOP_K = 2**31 - 1
MAX_GUIDANCE = 100.0  # far beyond what draws anything but noise
LOG_SCALES = (-3.0, 12.0)  # of a logistic distribution, in codes: from a twentieth of a code to flat over 16 bits


def fresh_seed() -> int:
    """A seed that nobody has chosen."""
    return secrets.randbelow(2**32)


def check_seed(value: int, name: str = "seed") -> None:
    """Raises: InputError if it lies outside [0, 2**64)."""
    if not 0 <= value < 2**64:
        raise InputError(f"{name} is {value}; expected an integer in [0, 2**64)")


def uniforms(seed: int, stream: int, step: int, n: int) -> NDArray[np.float64]:
    """The random number of each of the steps `step` to `step + n - 1` of one stream: (n,), float64 in [0, 1).

    They are the first column of `uniform_rows`.

    Raises: InputError if seed or stream lies outside [0, 2**64).
    """
    return uniform_rows(seed, stream, step, n, 1)[:, 0]


def uniform_rows(seed: int, stream: int, step: int, n: int, n_draws: int) -> NDArray[np.float64]:
    """Several random numbers for each step of one stream: (n, n_draws), float64 in [0, 1).

    Counter-based (Philox 4x64, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the key is
    (seed, stream) and the counter is the step, so a number depends on nothing but these and its own index: not on the
    block size, the batch, the engine or what was drawn before.

    Raises: InputError if seed or stream lies outside [0, 2**64).

    >>> uniforms(seed=0, stream=0, step=0, n=3).shape
    (3,)
    >>> bool((uniforms(0, 0, step=0, n=100)[40:] == uniforms(0, 0, step=40, n=60)).all())
    True
    """
    check_seed(seed)
    check_seed(stream, "stream")
    key = np.array([seed, stream], dtype=np.uint64)
    groups = []
    for group in range(-(-n_draws // 4)):  # one counter value yields four numbers
        philox = np.random.Philox(key=key, counter=np.array([step, group, 0, 0], dtype=np.uint64))
        groups.append(philox.random_raw(4 * n).reshape(n, 4))
    raw = np.concatenate(groups, axis=1)[:, :n_draws]
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


@dataclass(frozen=True)
class Decoding:
    """How a code is chosen from a network's probabilities.

    `temperature` divides the logits: 1 is the distribution that was learnt, lower is safer and duller, 0 is greedy (the
    most probable code). `voiced_temperature` takes its place where the frames of a vocoder tell of a voice, in
    proportion (`at_voicing`): noise is to be drawn as it was learnt, a voice to be steady. A mixture of logistics is
    made narrower in the same spirit (`draw_logistic_mixture`) and has no filters. Then `top_k` keeps the k most
    probable codes (nucleus and top-k sampling: Holtzman et al., arXiv:1904.09751; Fan et al., arXiv:1805.04833), then
    `top_p` keeps the smallest set of the most probable remaining codes that together hold at least probability p. Ties
    go to the lower code. None switches a filter off.

    `guidance` comes before all that, and makes labels count for more (classifier-free guidance: Ho and Salimans,
    arXiv:2207.12598; for networks that draw code by code: Kreuk et al., arXiv:2209.15352): 1 is as
    learnt, 0 is as without labels, and above 1 is further away from that. It takes an engine that runs every stream
    twice, with its labels and without (engines/guided.py).

    Raises: InputError if temperature is negative or not finite, top_k below 1, top_p outside (0, 1], or guidance
        outside [0, MAX_GUIDANCE]; top_k may be as large as the engines' integers, MAX_TOP_K.
    """

    temperature: Annotated[float, Size("1 as learnt, lower is safer, 0 is greedy", ge=0, lt=np.inf)] = 1.0
    top_k: Annotated[int | None, Size("keep only the k most probable codes", ge=1, le=MAX_TOP_K)] = None
    top_p: Annotated[float | None, Size("keep the most probable codes up to this probability", gt=0, le=1)] = None
    voiced_temperature: Annotated[
        float | None,
        Size("temperature where the frames tell of a voice, for networks with model.lag_taps", ge=0, lt=np.inf),
    ] = None
    guidance: Annotated[
        float,
        Size(
            "classifier-free guidance scale; 1 is off, others take twice the work and need label_dropout",
            ge=0,
            le=MAX_GUIDANCE,
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        for name, size, can_be_none in _decoding_fields():
            value = getattr(self, name)
            if value is None and can_be_none:
                continue
            if not size.holds(value):  # nor does NaN
                raise InputError(f"{name} is {value}; expected {size.range}")

    @property
    def title(self) -> str:
        """What people are told of it."""
        named = [f"temperature {self.temperature:g}"]
        named += [] if self.voiced_temperature is None else [f"voiced {self.voiced_temperature:g}"]
        named += [] if self.top_k is None else [f"top-k {self.top_k}"]
        named += [] if self.top_p is None else [f"top-p {self.top_p:g}"]
        return ", ".join(named + ([f"guidance {self.guidance:g}"] if self.is_guided else []))

    @property
    def numbers(self) -> list[float]:
        """Its fields in the order of `DECODING`, as compiled engines take them; NaN for None."""
        values = [getattr(self, name) for name in DECODING]
        return [np.nan if value is None else float(value) for value in values]

    @property
    def changed(self) -> list[str]:
        """The names of the fields that are not as they are by default."""
        return [one.name for one in fields(self) if getattr(self, one.name) != one.default]

    @property
    def is_guided(self) -> bool:
        """Whether labels count for more, or less, than they learnt to."""
        return self.guidance != 1

    def at_voicing(self, voicing: float) -> "Decoding":
        """The decoding of a step, from 0 (no voice) to 1; in float64, as every engine has it."""
        if self.voiced_temperature is None:
            return self
        temperature = self.temperature + (self.voiced_temperature - self.temperature) * float(voicing)
        return replace(self, temperature=temperature, voiced_temperature=None)

    def check_head(self, head: Head) -> None:
        """Raises: InputError for what needs a probability for each code, if the head lists none."""
        if head.lists_probabilities:
            return
        if self.top_k is not None or self.top_p is not None:
            raise InputError(f"top_k and top_p need a categorical head; this model has a {head.kind} head")
        if self.is_guided:
            raise InputError(f"guidance needs a categorical head; this model has a {head.kind} head")


@cache
def _decoding_fields() -> list[tuple[str, Size, bool]]:
    """The name of each field, what is known of it, and whether it may be None."""
    return [(one.name, one.size, one.default is None) for one in sized_fields(Decoding)]


class DecodingChanges(TypedDict, total=False):
    """Fields of `Decoding` by name."""

    temperature: float
    voiced_temperature: float | None
    top_k: int | None
    top_p: float | None
    guidance: float


DECODING = tuple(one.name for one in fields(Decoding))
Decodings = Decoding | Sequence[Decoding]  # one for all streams, or one for each


def probabilities(logits: NDArray[np.floating], decoding: Decoding) -> NDArray[np.float64]:
    """The distribution that a draw follows, in float64.

    Shapes: logits (..., n_classes) -> (..., n_classes), each sum 1.

    >>> logits = np.log([0.5, 0.25, 0.15, 0.1])
    >>> probabilities(logits, Decoding(temperature=0.5)).round(3).tolist()
    [0.725, 0.181, 0.065, 0.029]
    >>> probabilities(logits, Decoding(top_p=0.7)).round(3).tolist()
    [0.667, 0.333, 0.0, 0.0]
    """
    scaled = np.asarray(logits, dtype=np.float64)
    if decoding.temperature == 0:
        greedy = np.zeros(scaled.shape)
        np.put_along_axis(greedy, scaled.argmax(axis=-1, keepdims=True), 1.0, axis=-1)
        return greedy
    scaled = scaled / decoding.temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    if decoding.top_k is None and decoding.top_p is None:
        return weights / weights.sum(axis=-1, keepdims=True)

    order = np.argsort(-scaled, axis=-1, kind="stable")  # most probable first, ties by code
    ranked = np.take_along_axis(weights, order, axis=-1)
    if decoding.top_k is not None:
        ranked[..., decoding.top_k :] = 0
    if decoding.top_p is not None:
        ranked /= ranked.sum(axis=-1, keepdims=True)
        before = np.cumsum(ranked, axis=-1) - ranked  # probability of all codes ranked higher
        ranked[before >= decoding.top_p] = 0
    ranked /= ranked.sum(axis=-1, keepdims=True)
    filtered = np.empty_like(ranked)
    np.put_along_axis(filtered, order, ranked, axis=-1)
    return filtered


def guide(logits: NDArray[np.floating], each: Sequence[Decoding]) -> NDArray[np.floating]:
    """Logits of pairs of streams, with labels and without -> what both draw from, by the guidance of the first.

    `each`: the decoding of every stream.

    Shapes: (2 * n, ..., n_classes), a pair one after the other -> the same.
    """
    guidance = np.array([one.guidance for one in each[::2]], dtype=logits.dtype)
    guidance = guidance.reshape(-1, *[1] * (logits.ndim - 1))
    labelled, unlabelled = logits[::2], logits[1::2]
    return np.repeat(unlabelled + guidance * (labelled - unlabelled), 2, axis=0)


def draw_categorical(
    logits: NDArray[np.floating], uniforms: NDArray[np.float64], decoding: Decodings
) -> NDArray[np.int64]:
    """Draw one code per stream by inverting the cumulative distribution: the first code whose cumulative sum exceeds u.

    Shapes: logits (B, n_classes), uniforms (B,) -> codes (B,). `decoding` is one for all streams or one per stream.
    """
    if isinstance(decoding, Decoding):
        cumulative = np.cumsum(probabilities(logits, decoding), axis=-1)
    else:
        each = [probabilities(row, one) for row, one in zip(logits, decoding, strict=True)]
        cumulative = np.cumsum(np.stack(each), axis=-1)
    # Scaling u by the last sum keeps a sum that rounded to just below 1 from pushing the draw past the last class.
    return (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=-1)


def draw_logistic_mixture(
    parameters: NDArray[np.floating],
    uniforms: NDArray[np.float64],
    decoding: Decodings,
    n_classes: int,
) -> NDArray[np.int64]:
    """Draw one code per stream from a discretised mixture of logistics (models/heads.py says what the parameters are).

    One uniform number does both: its place among the cumulative weights chooses the component, and its place within
    that component's share is the quantile of the logistic, whose value is rounded to a code and clipped. Temperature
    divides the logits of the weights and multiplies the scales; at 0 the code is the mean of the component with the
    highest peak.

    Shapes: parameters (B, 3 * n_mixtures), uniforms (B,) -> codes (B,).
    Raises: InputError for top_k or top_p, which would need the probability of every code.
    """
    each = [decoding] * len(parameters) if isinstance(decoding, Decoding) else list(decoding)
    for one in each:
        one.check_head(LogisticMixtureHead())
    logits, means, log_scales = np.split(np.asarray(parameters, dtype=np.float64), 3, axis=-1)
    per_code = 2 / (n_classes - 1)
    means = (means + 1) / per_code
    scales = np.exp(np.clip(log_scales - np.log(per_code), *LOG_SCALES))
    temperature = np.array([one.temperature for one in each])
    is_greedy = temperature == 0

    scaled = logits / np.where(is_greedy, 1, temperature)[:, None]
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    cumulative = np.cumsum(weights, axis=-1)
    threshold = uniforms * cumulative[:, -1]
    drawn = np.minimum((cumulative <= threshold[:, None]).sum(axis=-1), logits.shape[-1] - 1)
    highest = (logits - np.log(scales)).argmax(axis=-1)
    component = np.where(is_greedy, highest, drawn)[:, None]

    weight, end, mean, scale = (
        np.take_along_axis(array, component, axis=-1)[:, 0] for array in (weights, cumulative, means, scales)
    )
    quantile = np.clip((threshold - (end - weight)) / weight, 2.0**-54, 1 - 2.0**-53)
    spread = np.where(is_greedy, 0.0, temperature * scale * (np.log(quantile) - np.log1p(-quantile)))
    return np.clip(np.floor(mean + spread + 0.5), 0, n_classes - 1).astype(np.int64)
