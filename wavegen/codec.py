"""Waveforms to integer codes and back: mu-law and linear quantisers with any number of classes.

Both codecs place `n_classes` levels evenly over [-1, 1], ends included, on a companded axis y = f(x):

    encode  c = floor((f(x) + 1) / 2 * (n_classes - 1) + 1/2)
    decode  x = f^-1(2 c / (n_classes - 1) - 1)

so the round trip is off by at most half a step, `1 / (n_classes - 1)`, measured on the axis y; every code decodes to a
value that encodes to the same code; and because the levels are symmetric about zero, the codec adds no DC offset.
With an even number of classes zero lies between two levels: silence is code n_classes // 2, which decodes to one of the
two values nearest zero (8.6e-5, or -81 dB of full scale, for 256 mu-law classes). With an odd number zero is a level.

How this relates to other definitions of mu-law (`tests/test_codec.py` checks each statement):

* `torchaudio.functional.mu_law_encoding` has the same formula. In float64 both give the same codes; in float32
  torchaudio rounds differently for samples within float32 precision of a decision boundary.
* ITU-T G.711 replaces the logarithm by eight straight segments and quantises each uniformly. Its levels, mu = 255, lie
  within 1.1 steps of ours on the companded axis. It numbers codes differently (sign and magnitude, bits
  inverted), and it has two codes for zero, where we have the levels +-8.6e-5.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wavegen.errors import InputError


class Codec(Protocol):
    """What a codec offers: `make_codec` rebuilds it of `kind`, `n_classes` and its pre-emphasis."""

    @property
    def kind(self) -> str: ...

    @property
    def n_classes(self) -> int: ...

    @property
    def silence(self) -> int:
        """The code of zero."""
        ...

    def encode(self, waveform: ArrayLike) -> NDArray[np.int64]: ...

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]: ...

    def decoder(self) -> "Decoder":
        """What decodes a sound, or several, block by block."""
        ...


class Decoder(Protocol):
    """Codes to waveform, going on where the last call ended."""

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Linear:
    """Uniform quantisation, f(x) = x, with 2 to 65,536 classes.

    With 65,536 the levels are those of 16-bit sound but for half a step, because they lie evenly about zero: samples 0
    and 1 share code 32768, which decodes to half a step above zero and so is written as 1, and every other sample comes
    back as it was; code 65535 is full scale, which no 16-bit sample reaches. Models are trained on these codes.

    Raises: InputError if n_classes lies outside that range.
    """

    n_classes: int
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _check_n_classes(self)

    @property
    def silence(self) -> int:
        return self.n_classes // 2

    def encode(self, waveform: ArrayLike) -> NDArray[np.int64]:
        """Quantise a waveform.

        Shapes: waveform (..., T) float in [-1, 1] -> codes (..., T) int64 in [0, n_classes).
        Raises: InputError if waveform leaves [-1, 1] or is not finite, naming the extreme value; clip before calling.
        """
        return _quantise(_checked_waveform(waveform), self.n_classes)

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The value of each code.

        Shapes: codes (..., T) integers in [0, n_classes) -> waveform (..., T) float32 in [-1, 1].
        Raises: InputError if a code lies outside [0, n_classes), naming it.
        """
        return _dequantise(_checked_codes(codes, self.n_classes), self.n_classes).astype(np.float32)

    def decoder(self) -> Decoder:
        return self


@dataclass(frozen=True)
class MuLaw:
    """Quantisation that is finer for quiet samples, with 2 to 65,536 classes.

    f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu),  mu = n_classes - 1
    (WaveNet, arXiv:1609.03499, section 2.2; after ITU-T G.711.)

    Raises: InputError if n_classes lies outside that range.

    >>> codec = MuLaw(n_classes=256)
    >>> codes = codec.encode([-1.0, 0.0, 0.01, 1.0])
    >>> codes.tolist()
    [0, 128, 157, 255]
    >>> codec.decode(codes).round(2)
    array([-1.  ,  0.  ,  0.01,  1.  ], dtype=float32)
    """

    n_classes: int
    kind: ClassVar[str] = "mu-law"

    def __post_init__(self) -> None:
        _check_n_classes(self)

    @property
    def silence(self) -> int:
        return self.n_classes // 2

    def encode(self, waveform: ArrayLike) -> NDArray[np.int64]:
        """Quantise a waveform.

        Shapes: waveform (..., T) float in [-1, 1] -> codes (..., T) int64 in [0, n_classes).
        Raises: InputError if waveform leaves [-1, 1] or is not finite, naming the extreme value; clip before calling.
        """
        x = _checked_waveform(waveform)
        mu = self.n_classes - 1
        return _quantise(np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu), self.n_classes)

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The value of each code.

        Shapes: codes (..., T) integers in [0, n_classes) -> waveform (..., T) float32 in [-1, 1].
        Raises: InputError if a code lies outside [0, n_classes), naming it.
        """
        y = _dequantise(_checked_codes(codes, self.n_classes), self.n_classes)
        mu = self.n_classes - 1
        return (np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu).astype(np.float32)

    def decoder(self) -> Decoder:
        return self


@dataclass(frozen=True)
class PreEmphasised:
    """Another codec of sound whose high frequencies are raised: s[t] = x[t] - coefficient * x[t - 1].

    Speech falls with frequency, so its errors would be heard where it is weak; undone, x[t] = s[t] + coefficient *
    x[t - 1], they fall as speech does. What leaves [-1, 1] is clipped. A sound begins after silence.

    Raises: InputError if the coefficient lies outside [0, 1).

    >>> codec = PreEmphasised(Linear(65536), 0.85)
    >>> codec.decode(codec.encode([0.5, 0.5, 0.5])).round(3)
    array([0.5, 0.5, 0.5], dtype=float32)
    """

    codec: "MuLaw | Linear"
    coefficient: float

    def __post_init__(self) -> None:
        if not 0 <= self.coefficient < 1:
            raise InputError(f"pre_emphasis is {self.coefficient}; expected a number from 0 to below 1")

    @property
    def kind(self) -> str:
        return self.codec.kind

    @property
    def n_classes(self) -> int:
        return self.codec.n_classes

    @property
    def silence(self) -> int:
        return self.codec.silence

    def encode(self, waveform: ArrayLike) -> NDArray[np.int64]:
        """Raise the high frequencies of a waveform from its beginning on, and quantise it, as the other codec does."""
        x = _checked_waveform(waveform)
        raised = x.copy()
        raised[..., 1:] -= self.coefficient * x[..., :-1]
        return self.codec.encode(np.clip(raised, -1, 1))

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The waveform of codes from its beginning on, as the other codec does."""
        return self.decoder().decode(codes)

    def decoder(self) -> "Decoder":
        return _DeEmphasis(self)


class _DeEmphasis:
    """Decodes a sound block by block, going on where the last block ended."""

    def __init__(self, codec: PreEmphasised) -> None:
        self._codec = codec
        self._last: NDArray[np.float64] | None = None  # sample of each sound

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The next samples of sounds; as `Codec.decode`, with their sum clipped to [-1, 1].

        Whatever the lengths of the blocks, the same samples come out.
        """
        raised = self._codec.codec.decode(codes).astype(np.float64)
        if not raised.size:
            return raised.astype(np.float32)
        rows = np.atleast_1d(raised)
        rows = rows.reshape(-1, rows.shape[-1])
        last = np.zeros(len(rows)) if self._last is None else self._last
        factor = self._codec.coefficient
        sound = np.array(
            [
                list(accumulate(row.tolist(), lambda before, now: now + factor * before, initial=float(begin)))
                for row, begin in zip(rows, last, strict=True)
            ]
        )
        self._last = sound[:, -1]
        return np.clip(sound[:, 1:], -1, 1).reshape(raised.shape).astype(np.float32)


@dataclass(frozen=True)
class Levels:
    """Of what is codes already, and stays as it is: the levels of feature frames (features/frame_codes.py)."""

    n_classes: int
    kind: ClassVar[str] = "levels"

    @property
    def silence(self) -> int:
        return 0

    def encode(self, waveform: ArrayLike) -> NDArray[np.int64]:
        """Raises: InputError if a level lies outside [0, n_classes), naming it."""
        return _checked_codes(waveform, self.n_classes)

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The levels, as numbers. Raises: as `encode`."""
        return _checked_codes(codes, self.n_classes).astype(np.float32)

    def decoder(self) -> Decoder:
        return self


CODECS: dict[str, type[MuLaw] | type[Linear] | type[Levels]] = {codec.kind: codec for codec in (MuLaw, Linear, Levels)}


def coarse_and_offset(n_classes: int, n_coarse: int = 256) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Split the codes of a linear codec: the mu-law interval that each amplitude falls into, and its offset there.

    Shapes: -> (n_classes,) intervals in [0, n_coarse), offsets from -1 (first of its interval) to 1 (last).
    """
    codes = np.arange(n_classes)
    intervals = MuLaw(n_coarse).encode(Linear(n_classes).decode(codes))
    first = np.searchsorted(intervals, intervals, side="left")
    last = np.searchsorted(intervals, intervals, side="right") - 1
    return intervals, ((2 * codes - first - last) / np.maximum(1, last - first)).astype(np.float32)


def make_codec(kind: str, n_classes: int, pre_emphasis: float = 0.0) -> Codec:
    """The codec that a recipe or a model file names.

    Raises: InputError if no codec has that name, the pre-emphasis lies outside [0, 1), or levels are to have one.
    """
    if kind not in CODECS:
        raise InputError(f"unknown codec {kind!r}; expected one of {', '.join(CODECS)}")
    codec = CODECS[kind](n_classes)
    if not pre_emphasis:
        return codec
    if isinstance(codec, Levels):
        raise InputError(f"pre_emphasis is {pre_emphasis}, and {kind} are no sound; expected 0")
    return PreEmphasised(codec, pre_emphasis)


def _quantise(y: NDArray[np.float64], n_classes: int) -> NDArray[np.int64]:
    return np.floor((y + 1) / 2 * (n_classes - 1) + 0.5).astype(np.int64)


def _dequantise(codes: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    return 2 * codes / (n_classes - 1) - 1


def _check_n_classes(codec: Codec) -> None:
    if not 2 <= codec.n_classes <= 65536:
        raise InputError(f"n_classes is {codec.n_classes}; a {codec.kind} codec has 2 to 65536")


def _checked_waveform(waveform: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(waveform, dtype=np.float64)
    if x.size and not np.abs(x).max() <= 1:  # written so that NaN fails as well
        raise InputError(f"waveform holds {x.flat[np.abs(x).argmax()]}; expected samples in [-1, 1]")
    return x


def _checked_codes(codes: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    c = np.asarray(codes)
    if not np.issubdtype(c.dtype, np.integer):
        raise InputError(f"codes are {c.dtype}; expected integers")
    if c.size and (c.min() < 0 or c.max() >= n_classes):
        wrong = c.min() if c.min() < 0 else c.max()
        raise InputError(f"codes hold {wrong}; expected integers in [0, {n_classes})")
    return c.astype(np.int64)
