"""A model made ready to sound: what Python, `wavegen generate` and `wavegen play` have in common.

import wavegen

samples, rate = wavegen.load("speech").generate(seconds=5)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint, Description
from wavegen.codec import Codec
from wavegen.engines import make_engine, n_at_once
from wavegen.errors import InputError
from wavegen.features.log_mel import FRAME_SUFFIXES, check_frames, read_frames
from wavegen.generation import conditioning
from wavegen.generation.beam import beam_search
from wavegen.generation.conditioning import FrameConditioner, Labels
from wavegen.generation.images import ImageSession
from wavegen.generation.scheduler import Piece, generate_each
from wavegen.generation.stream import BLOCKSIZE, ConditionAt, generate, n_samples
from wavegen.progress import Bar
from wavegen.sampling import DECODING, Decoding, fresh_seed


class Sound(NamedTuple):
    """What was generated: samples in [-1, 1], (T,) or for several sounds (n, T), and their rate in Hz."""

    samples: NDArray[np.float32]
    sample_rate: int


@dataclass(frozen=True)
class GenerationOptions:
    """How a model is to sound. None takes the model's own default (for `seed`: a new one each time; guidance only where
    there are labels).

    `temperature`, `top_k`, `top_p`, `guidance`: see `sampling.Decoding`. `labels`: values by name; left out, "unknown".
    `prime`: a recording to continue, a file or a waveform (T,) at the model's rate. `frames`: the feature frames
    (F, n_features) of what a vocoder is to say. `n`: how many sounds side by side. `beam`: search for a probable sound
    with so many candidates, instead of drawing (beam.py). `engine`, `device`, `precision`: see `engines.make_engine`.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    seed: int | None = None
    labels: Mapping[str, str | None] | None = None
    prime: Path | str | NDArray[np.floating] | None = None
    frames: NDArray[np.floating] | None = None
    n: int = 1
    beam: int | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"


class Session:
    """One wish made ready: engine, codec, seed and everything else a sound depends on.

    `frames_follow`: they come with each sound (`vocode_each`). `labels_follow`: they may be given while it sounds
    (live.py), so guidance waits for them.

    Raises: InputError for whatever in the wish does not fit the model.
    """

    def __init__(
        self, loaded: Checkpoint, wish: GenerationOptions, *, frames_follow: bool = False, labels_follow: bool = False
    ) -> None:
        described = loaded.description
        if described.shape:
            raise InputError(f"{loaded.path} draws images; `wavegen image sample` is what it is for")
        self.description: Description = described
        self.codec: Codec = described.make_codec()
        if described.features and wish.frames is None and not frames_follow:
            raise InputError(
                f"{loaded.path} is a vocoder, which needs a recording or frames to make again; use `wavegen vocode`"
            )
        if frames_follow and (not described.features or wish.frames is not None):
            what = "takes no frames" if not described.features else "is given frames, and others follow"
            raise InputError(f"{loaded.path} {what}; expected a vocoder, and frames with each of its sounds")
        frames = None
        if wish.frames is not None:
            frames = check_frames(np.asarray(wish.frames), described.features.get("n_mels", 0), "the array")
        wanted = {name: getattr(wish, name) for name in DECODING}
        if wish.beam is not None:
            wanted["guidance"] = 1.0
        self.labels = dict(wish.labels or {})
        conditioning.label_indices(described.labels, self.labels)
        self.decoding: Decoding = conditioning.decoding_for(loaded, [self.labels], wanted, labels_follow)
        self.seed = fresh_seed() if wish.seed is None else wish.seed
        self.beam = wish.beam
        if wish.beam is not None:
            _check_beam(wish, described)
        if described.features and wish.prime is not None:
            raise InputError("a vocoder makes a sound of its frames from the beginning; it continues no recording")
        self.prime = None if wish.prime is None else self.codec.encode(_waveform(wish.prime, described.sample_rate))
        n_streams = wish.n if wish.beam is None else wish.beam
        if n_streams < 1:
            what = "sounds" if wish.beam is None else "candidates"
            raise InputError(f"{n_streams} {what} are wanted; expected 1 or more")
        self.engine_title, self.engine = make_engine(
            wish.engine if wish.beam is None else "reference",
            loaded,
            n_streams,
            wish.device,
            wish.precision,
            is_guided=self.decoding.is_guided,
        )
        self._loaded = loaded
        self.condition = self.condition_of(self.labels)
        self._under_frames: ConditionAt | None = None
        if frames is not None:
            self._under_frames = self._frame_conditioner(frames, n_streams).at

    def condition_of(self, labels: Mapping[str, str | None]) -> NDArray[np.float32] | None:
        """What the engine reads for these labels, the same for every sound; None for a model that has none.

        Raises: InputError for a label or a value that the model does not know.
        """
        return conditioning.condition_of(self._loaded, self._streams_of(labels, self.engine.n_streams))

    def blocks(self, n_samples: int | None, blocksize: int = BLOCKSIZE) -> Iterator[NDArray[np.float32]]:
        """Waveforms (n, T), from the beginning of time at each call; endless if n_samples is None.

        T is at most blocksize; of a beam search, as many samples as its candidates have come to agree on.
        """
        if self.beam is None:
            codes = generate(
                self.engine,
                n_samples,
                seed=self.seed,
                decoding=self.decoding,
                condition=self._under_frames or self.condition,
                prime=self.prime,
                blocksize=blocksize,
            )
        else:
            if n_samples is None:
                raise InputError("beam search needs to know how long the sound is to be; give its seconds")
            codes = beam_search(self.engine, n_samples, self.decoding.temperature, self.condition, self.prime)
        for block in codes:
            yield self.codec.decode(block)

    def make_each(self, n: int, n_samples: int, bar: Bar | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """n sounds of one length, however many the engine makes at once: (number, waveform (T,)) as each is complete.

        They are those that a session of n sounds makes side by side.
        """
        condition = conditioning.condition_of(self._loaded, self._streams_of(self.labels, 1))
        pieces = (Piece(n_samples, condition, stream, self.prime) for stream in range(n))
        return self._make_pieces(pieces, 1, bar)

    def vocode_each(
        self, sources: Iterable[tuple[NDArray[np.floating], int]], bar: Bar | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """A sound of each of some frames (F, n_features) and lengths: (number, waveform (T,)) as each is complete.

        Each is the one that a session with these frames makes. A source is asked for when a stream is free for it.
        """
        hop: int = self.description.features["hop"]
        pieces = (Piece(n_samples, self._frame_conditioner(frames, 1).at) for frames, n_samples in sources)
        return self._make_pieces(pieces, hop, bar)

    def _streams_of(self, labels: Labels, n: int) -> list[Labels]:
        """The labels that the engine's condition of n sounds is made of."""
        return conditioning.guidance_pairs([labels] * n) if self.decoding.is_guided else [labels] * n

    def _frame_conditioner(self, frames: NDArray[np.floating], n: int) -> FrameConditioner:
        """What n sounds of the same frames (F, n_features) are made under."""
        streams = self._streams_of(self.labels, n)
        return FrameConditioner(self._loaded, streams, np.broadcast_to(frames, (len(streams), *frames.shape)))

    def _make_pieces(self, pieces: Iterable[Piece], hop: int, bar: Bar | None) -> Iterator[tuple[int, NDArray]]:
        made = generate_each(self.engine, pieces, seed=self.seed, decoding=self.decoding, hop=hop, bar=bar)
        return ((number, self.codec.decode(codes)) for number, codes in made)


class LoadedModel:
    """A trained model, of sound or of images. `description` says what it is (checkpoint.Description)."""

    def __init__(self, loaded: Checkpoint) -> None:
        self._loaded = loaded

    @property
    def description(self) -> Description:
        return self._loaded.description

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self._loaded.description.sample_rate

    @property
    def labels(self) -> Mapping[str, list[str]]:
        """The values of each label that the model knows."""
        return self._loaded.description.labels

    def generate(self, seconds: float = 5.0, **wish: Any) -> Sound:
        """Make a sound of some length; the keywords are the fields of `GenerationOptions`.

        Returns samples and rate: `samples` is (T,), or (n, T) if `n` was given.
        Raises: InputError for whatever does not fit the model; TypeError for an unknown keyword.
        """
        session = self.session(**wish)
        blocks = list(session.blocks(n_samples(seconds, self.sample_rate)))
        samples = np.concatenate(blocks, axis=1)
        return Sound(samples if "n" in wish else samples[0], self.sample_rate)

    def vocode(self, source: Path | str | NDArray[np.floating], **wish: Any) -> Sound:
        """Make a sound again from its feature frames alone, with a vocoder.

        `source`: a recording, its waveform (T,) at the model's rate, a file of frames (.npy or .safetensors), or frames
        (F, n_features) themselves, as features.py defines them. The keywords are the fields of `GenerationOptions`.
        Raises: InputError if the model is no vocoder, or for whatever does not fit it.
        """
        frames, n = self.frames_of(source)
        session = self.session(**wish, frames=frames)
        samples = np.concatenate(list(session.blocks(n)), axis=1)
        return Sound(samples if "n" in wish else samples[0], self.sample_rate)

    def vocode_each(
        self, sources: Sequence[Path | str | NDArray[np.floating]], **wish: Any
    ) -> Iterator[tuple[int, Sound]]:
        """Make many sounds again, some at once: the number of a source and its sound, as soon as it is complete.

        Each is what `vocode` makes of it alone, with the same seed. The keywords are fields of `GenerationOptions`, but
        for `n`, which says how many are made at once (default: as many as suit the engine).
        Raises: InputError as `vocode`, when a source's turn comes.
        """
        wanted = GenerationOptions(**wish)
        if "n" not in wish:
            wanted = replace(wanted, n=n_at_once(wanted.engine, wanted.device, len(sources)))
        session = Session(self._loaded, wanted, frames_follow=True)
        for number, samples in session.vocode_each(self.frames_of(source) for source in sources):
            yield number, Sound(samples, self.sample_rate)

    def frames_of(self, source: Path | str | NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
        """The frames (F, n_features) of a source of `vocode`, and the samples that they stand for."""
        features = self.description.make_features()
        if features is None:
            raise InputError(f"{self._loaded.path} takes no frames; expected a vocoder, trained with data.features")
        if isinstance(source, np.ndarray) and source.ndim == 2:
            frames = check_frames(source, features.n_mels, "the array")
        elif not isinstance(source, np.ndarray) and Path(source).suffix.lower() in FRAME_SUFFIXES:
            frames = read_frames(Path(source), features.n_mels)
        else:
            waveform = _waveform(source, self.sample_rate)
            if not len(waveform) or not np.abs(waveform).max() <= 1:  # NaN is not, either
                name = "the waveform to make again" if isinstance(source, np.ndarray) else source
                raise InputError(f"{name} is empty, or leaves [-1, 1]")
            return features.frames(waveform), len(waveform)
        return frames, len(frames) * features.hop

    def stream(
        self, seconds: float | None = None, blocksize: int = BLOCKSIZE, **wish: Any
    ) -> Iterator[NDArray[np.float32]]:
        """Make a sound block by block, each as soon as it is there: (T,), or (n, T) if `n` was given.

        It is endless if `seconds` is None. The keywords are the fields of `GenerationOptions`.
        """
        session = self.session(**wish)
        length = None if seconds is None else n_samples(seconds, self.sample_rate)
        for block in session.blocks(length, blocksize):
            yield block if "n" in wish else block[0]

    def draw(
        self,
        n: int = 1,
        *,
        labels: Mapping[str, str | None] | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float | None = None,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
    ) -> NDArray[np.uint8]:
        """Draw n images of the same labels: (n, height, width, colours), 0 to 255.

        The keywords are as in `GenerationOptions`.

        Raises: InputError if the model makes sound, or for what does not fit it.
        """
        wanted = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
        canvas = ImageSession(self._loaded, [labels or {}] * n, wanted, engine, device, precision)
        rows = canvas.rows(fresh_seed() if seed is None else seed)
        return canvas.pixels(np.stack(list(rows), axis=1))

    def session(self, **wish: Any) -> Session:
        """Make a wish ready to sound; the keywords are the fields of `GenerationOptions`."""
        return Session(self._loaded, GenerationOptions(**wish))


def load(model: str | Path) -> LoadedModel:
    """Load a trained model: a run folder, a .safetensors file, or the name of a model that ships with wavegen.

    Raises: InputError if there is none, or it is damaged; the sentence says which.
    """
    return LoadedModel(checkpoint.load(Path(model)))


def _waveform(source: Path | str | NDArray[np.floating], sample_rate: int) -> NDArray[np.floating]:
    if isinstance(source, np.ndarray):
        if source.ndim != 1:
            raise InputError(f"the waveform has shape {source.shape}; expected (T,)")
        return source
    from wavegen.data import audio

    if not Path(source).is_file():
        raise InputError(f"there is no recording {source}")
    return audio.read(Path(source), sample_rate)


def _check_beam(wish: GenerationOptions, described: Description) -> None:
    """Raises: InputError for what a beam search cannot do or would not heed."""
    if not described.head.lists_probabilities:
        raise InputError(f"beam search needs a categorical head; this model has a {described.head.kind} head")
    if wish.n != 1:
        raise InputError(f"beam search makes one sound, and {wish.n} are wanted; leave out one of the two")
    if described.features:
        raise InputError("beam search is for models without frames; a vocoder draws")
    if wish.engine not in ("auto", "reference"):
        raise InputError(
            f"beam search runs on the reference engine, and {wish.engine} is wanted; leave out one of them"
        )
    if wish.top_k is not None or wish.top_p is not None or wish.temperature == 0 or wish.guidance not in (None, 1):
        raise InputError("beam search weighs all codes; top_k, top_p, guidance and temperature 0 are for drawing")
