"""A model made ready to sound: what Python, `wavegen generate` and `wavegen play` have in common."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from wavegen import checkpoint
from wavegen.checkpoint import Checkpoint, Description
from wavegen.codec import Codec, Decoder
from wavegen.engines import make_engine, most_at_once, n_at_once
from wavegen.engines.memory import check_memory
from wavegen.errors import InputError
from wavegen.features.frame_codes import FrameCodes
from wavegen.features.frames import FRAME_SUFFIXES
from wavegen.features.matching import JOINED_HZ, FramesAt, Matcher, matched
from wavegen.generation import conditioning, live_frames
from wavegen.generation.beam import beam_search
from wavegen.generation.conditioning import FrameConditioner, Labels
from wavegen.generation.live_frames import LiveFrames
from wavegen.generation.options import (
    EngineKeywords,
    GenerationKeywords,
    GenerationOptions,
    ImageKeywords,
    SoundKeywords,
    make_options,
    whole_number,
)
from wavegen.generation.planning import Plan
from wavegen.generation.scheduler import Scheduler, generate_blocks, generate_each
from wavegen.generation.sound_input import SoundInput
from wavegen.generation.stream import BLOCKSIZE, Codes, ConditionAt, Stream, StreamGroup, blocks, n_samples
from wavegen.paths import user_path
from wavegen.progress import Bar
from wavegen.sampling import Decoding, fresh_seed

MAX_SEMITONES = 48  # 4 octaves


class Sound(NamedTuple):
    """What was generated: samples in [-1, 1], (T,) or for several sounds (n, T), and their rate in Hz."""

    samples: NDArray[np.float32]
    sample_rate: int


class StreamMaker:
    """Makes streams of a model by some options, which fit it, and sound of their codes.

    `frames_follow`: they come with each sound. `labels_follow`: they may be given while it sounds (live.py), so
    guidance waits for them.

    Raises: InputError for whatever in the options does not fit the model.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        options: GenerationOptions,
        *,
        frames_follow: bool = False,
        labels_follow: bool = False,
    ) -> None:
        description = loaded.description
        if description.shape:
            raise InputError(f"{loaded.path} draws images; `wavegen image sample` is what it is for")
        self.description: Description = description
        features = description.make_features()
        self._matched_by = None if features is None or not options.match else features.log_mel  # None: nothing is
        self._least_hz = JOINED_HZ if options.transpose else 0.0
        self.codec: Codec = description.make_codec()
        self._planner = None if options.frames is not None or frames_follow else loaded.planner
        if description.features and options.frames is None and not frames_follow and self._planner is None:
            raise InputError(
                f"{loaded.path} is a vocoder, which needs a recording or frames to make again; "
                "use `wavegen vocode`, or `wavegen play --frames` or `--input`"
            )
        if frames_follow and (not description.features or options.frames is not None):
            what = "takes no frames" if not description.features else "is given frames, and others follow"
            raise InputError(f"{loaded.path} {what}; expected a vocoder, and frames with each of its sounds")
        self.frames: NDArray[np.floating] | None = None
        if options.frames is not None:
            if features is None:
                raise InputError(f"{loaded.path} takes no frames; expected a vocoder, trained with data.features")
            self.frames = features.check(np.asarray(options.frames), "the array")
        self._transpose = _transposition(options, description)
        if self.frames is not None:
            self.frames = self._transpose(self.frames)
        overrides = options.decoding
        if options.beam is not None:
            overrides["guidance"] = 1.0
        self.labels = dict(options.labels or {})
        self._loaded = loaded
        conditioning.label_indices(self.known_labels, self.labels)
        self.temperature_frames = self._temperature_frames(options)
        guidance = 1.0
        if self._planner is not None:  # labels say what is planned
            of_plan = {"temperature": self.temperature_frames, "guidance": overrides["guidance"]}
            guidance = conditioning.decoding_for(self._planner, [self.labels], of_plan, labels_follow).guidance
            overrides["guidance"] = 1.0
        self._own_decoding = conditioning.decoding_for(loaded, [self.labels], overrides, labels_follow)
        self.decoding: Decoding = (
            self._own_decoding if guidance == 1 else replace(self._own_decoding, guidance=guidance)
        )
        self.seed = fresh_seed() if options.seed is None else options.seed
        if options.beam is not None:
            _check_beam(options, description)
        if description.features and options.prime is not None and self._planner is None:
            raise InputError("a vocoder makes a sound of its frames from the beginning; it continues no recording")
        self._engine_options = options.engine_options
        waveform = None if options.prime is None else _waveform(options.prime, description.sample_rate)
        self._primed_frames: Codes | None = None
        if waveform is not None and self._planner is not None:
            assert features is not None  # there is a planner
            codes = FrameCodes(features, self._planner.description.n_classes)
            waveform, self._primed_frames = _whole_frames(waveform, codes, str(options.prime))
        self.prime = None if waveform is None else self.codec.encode(waveform)

    @property
    def known_labels(self) -> Mapping[str, Sequence[str]]:
        """The labels that there are: those of the model, and of what plans its frames."""
        return conditioning.joined_labels(self._loaded, self._planner)

    def _temperature_frames(self, options: GenerationOptions) -> float | None:
        """That of the plan; None where there is none.

        Raises: InputError if one is given and nothing is planned.
        """
        if self._planner is None:
            if options.temperature_frames is not None:
                raise InputError("temperature_frames is of a model that plans its frames, and this one plans none")
            return None
        return self._planner.description.make_decoding(temperature=options.temperature_frames).temperature

    def stream(self, number: int = 0, frames: NDArray[np.floating] | None = None) -> Stream:
        """The stream of a number, of frames (F, n_features) that come with it or those of the options."""
        if self._planner is not None:
            return self._stream(number, plan=self._plan(number))
        frames = self.frames if frames is None else self._transpose(frames)
        if frames is None:
            return self._stream(number, self.condition_of(self.labels), self.condition_of)
        return self._stream(number, self.frame_conditioner(frames, 1).at)

    def _stream(
        self,
        number: int,
        condition: NDArray[np.float32] | ConditionAt | None = None,
        condition_of: Callable[[Labels], NDArray[np.float32] | None] | None = None,
        plan: Plan | LiveFrames | None = None,
    ) -> Stream:
        """The stream of a number under a condition, or none of its own; the last three as `Stream` takes them."""
        return Stream(
            seed=self.seed,
            number=number,
            decoding=self.decoding,
            condition=condition,
            prime=self.prime,
            labels=self.labels,
            condition_of=condition_of,
            check_decoding=self._check_decoding,
            plan=plan,
            model=self._loaded,
        )

    def _check_decoding(self, decoding: Decoding) -> None:
        """Raises: InputError for one that the model does not have."""
        own = decoding if self._planner is None else replace(decoding, guidance=1.0)
        conditioning.check_decoding(self.description, own)

    def _plan(self, number: int) -> Plan:
        """What plans the frames of the sound of a number."""
        assert self._planner is not None  # whoever calls has seen to it
        assert self.temperature_frames is not None
        return Plan(
            self._loaded,
            make_engine(self._planner, 1, self._engine_options, self.decoding.is_guided)[1],
            seed=self.seed,
            number=number,
            decoding=self._planner.description.make_decoding(
                temperature=self.temperature_frames, guidance=self.decoding.guidance
            ),
            labels=self.labels,
            prime=self._primed_frames,
            transpose=self._transpose,
        )

    def condition_of(self, labels: Labels) -> NDArray[np.float32] | None:
        """What an engine reads of one stream of these labels; None for a model that has none.

        Raises: InputError for a label or a value that the model does not know.
        """
        return conditioning.condition_of(self._loaded, self._rows_of(labels, 1))

    def frame_conditioner(self, frames: NDArray[np.floating], n: int) -> FrameConditioner:
        """What n streams of the same frames (F, n_features) are made under."""
        rows = self._rows_of(self.labels, n)
        return FrameConditioner(self._loaded, rows, np.broadcast_to(frames, (len(rows), *frames.shape)))

    def _rows_of(self, labels: Labels, n: int) -> list[Labels]:
        """The labels that the engine's condition of n streams is made of."""
        return conditioning.guidance_pairs([labels] * n) if self._own_decoding.is_guided else [labels] * n

    def output(self, streams: Sequence[Stream | None]) -> "Output":
        """What makes sound of the codes of its streams, side by side, from the beginning of time."""
        return Output(self.decoder(len(streams)), self._matchers(streams))

    def _matchers(self, streams: Sequence[Stream | None]) -> list[Matcher]:
        """What matches the sounds of streams to their frames; none where nothing is matched."""
        matchers: list[Matcher] = []
        for stream in streams:
            frames = self._frames_of(stream)
            if frames is not None and self._matched_by is not None:
                matchers.append(Matcher(self._matched_by, frames, self._least_hz))
        return matchers

    def _frames_of(self, stream: Stream | None) -> NDArray[np.floating] | FramesAt | None:
        """The frames that a stream's sound is to have, behind what it continues."""
        plan = None if stream is None else stream.plan
        if plan is None:
            return self.frames
        n_primed = 0 if self.prime is None else len(self.prime) // self.hop
        return lambda begin, end: plan.frames(n_primed + begin, n_primed + end)

    @property
    def hop(self) -> int:
        """Samples from a frame to the next; 1 where there are none."""
        return int(self.description.features["hop"]) if self.description.features else 1

    def decoder(self, n: int) -> Decoder:
        """What decodes n sounds, each behind what it continues."""
        decoder = self.codec.decoder()
        if self.prime is not None:
            decoder.decode(np.tile(self.prime, (n, 1)))
        return decoder

    def copy(self, sound: SoundInput) -> Stream:
        """The stream of the frames of a sound that comes in, of a maker whose frames follow."""
        return self._stream(0, plan=self._live_frames(sound))

    @property
    def input_blocksize(self) -> int:
        """Samples that are made at a time of a sound that comes in: whole hops, about `BLOCKSIZE`."""
        return max(1, BLOCKSIZE // self.hop) * self.hop

    def input_delays(self) -> tuple[int, int]:
        """How many samples what is made of a sound that comes in is behind it: for the frames, and for matching."""
        blocksize, n_matched = self.input_blocksize, 0
        if self._matched_by is not None:
            silence = np.zeros((1, self._matched_by.n_mels), dtype=np.float32)
            n_blocks = -(-Matcher(self._matched_by, silence).n_to_feed(blocksize) // blocksize)
            n_matched = (n_blocks - 1) * blocksize
        return live_frames.delay(self._loaded, blocksize), n_matched

    def _live_frames(self, sound: SoundInput) -> LiveFrames:
        """What the copy of a sound that comes in is made under."""
        return LiveFrames(
            self._loaded,
            sound,
            labels=self.labels,
            is_guided=self.decoding.is_guided,
            transpose=self._transpose,
            n_behind=(self.input_delays()[1] + self.input_blocksize) // self.hop,
        )


class Session(StreamMaker):
    """Options made ready: streams of a model, and an engine for `options.n` of them side by side.

    What is asked of it at the same time, by iterators or threads, does not disturb each other: they take turns.

    Raises: InputError for whatever in the options does not fit the model or the engine.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        options: GenerationOptions,
        *,
        frames_follow: bool = False,
        labels_follow: bool = False,
    ) -> None:
        super().__init__(loaded, options, frames_follow=frames_follow, labels_follow=labels_follow)
        self.n_streams = options.n if options.beam is None else options.beam
        if self.n_streams < 1:
            what = "sounds" if options.beam is None else "candidates"
            raise InputError(f"{self.n_streams} {what} are wanted; expected 1 or more")
        self.beam = options.beam
        self.engine_title, self._engine = make_engine(
            loaded, self.n_streams, options.engine_options, self._own_decoding.is_guided
        )

    def streams(self, sound: SoundInput | None = None) -> StreamGroup:
        """Its sounds, from the beginning of time, to be advanced side by side; or one of the frames of a sound that
        comes in, of a session whose frames follow."""
        if sound is not None:
            return StreamGroup(self._engine, [self.copy(sound)])
        numbers = range(self.n_streams)
        if self.frames is None:
            return StreamGroup(self._engine, [self.stream(number) for number in numbers])
        condition = self.frame_conditioner(self.frames, self.n_streams).at  # of all together, so once for a frame
        return StreamGroup(self._engine, [self._stream(number) for number in numbers], condition)

    def blocks(
        self, n_samples: int | None, blocksize: int = BLOCKSIZE, sound: SoundInput | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Waveforms (n, T), from the beginning of time at each call; endless if n_samples is None. `sound`: as
        `streams` takes it.

        T is at most blocksize; of a beam search, as many samples as its candidates have come to agree on, and of what
        is matched to frames, as many as are ready: the first come later (`features.matching.Matcher.delay`).
        """
        if self.beam is None:
            streams = self.streams(sound)
            output = self.output(streams.streams)
            codes = blocks(streams, n_samples, blocksize)
        else:
            if n_samples is None:
                raise InputError("beam search needs to know how long the sound is to be; give its seconds")
            output = Output(self.decoder(1), [])
            condition = conditioning.condition_of(self._loaded, [self.labels] * self.n_streams)
            codes = beam_search(self._engine, n_samples, self.decoding.temperature, condition, self.prime)
        for block in codes:
            sounds = output.feed(block)
            if sounds.size:
                yield sounds
        rest = output.finish()
        for begin in range(0, rest.shape[1], blocksize):
            yield rest[:, begin : begin + blocksize]

    def blocks_of_each(
        self, numbers: Sequence[int], n_samples: int, bar: Bar | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32], bool]]:
        """Sounds of some numbers and one length, however many the engine makes at once, block by block: the number of a
        sound, a waveform (T,), and whether that is its last.

        They are those of these numbers that a session of more sounds makes side by side, the first of which is 0.
        """
        outputs: dict[int, Output] = {}

        def pieces() -> Iterator[tuple[Stream, int]]:
            for number in numbers:
                stream = self.stream(number)
                outputs[number] = self.output([stream])
                yield stream, n_samples

        for index, codes, is_last in generate_blocks(self._engine, pieces(), hop=self.hop, bar=bar):
            number = numbers[index]
            sound = outputs[number].feed(codes[None])[0]
            if is_last:
                sound = np.concatenate([sound, outputs.pop(number).finish()[0]])
            yield number, sound, is_last

    def vocode_each(
        self, sources: Iterable[tuple[NDArray[np.floating], int]], bar: Bar | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """A sound of each of some frames (F, n_features) and lengths: (number, waveform (T,)) as each is complete.

        Each is the one that a session with these frames makes. A source is asked for when a stream is free for it.
        """
        frames_of: dict[int, NDArray[np.floating]] = {}

        def pieces() -> Iterator[tuple[Stream, int]]:
            for number, (frames, length) in enumerate(sources):
                frames_of[number] = frames
                yield self.stream(0, frames), length

        for number, codes in generate_each(self._engine, pieces(), hop=self.hop, bar=bar):
            frames, sound = frames_of.pop(number), self.decoder(1).decode(codes)
            yield (
                number,
                sound if self._matched_by is None else matched(self._matched_by, sound, frames, self._least_hz),
            )


class Output:
    """Codes to sound, block by block: decoded, and matched to frames where there are matchers, one for each sound."""

    def __init__(self, decoder: Decoder, matchers: Sequence[Matcher]) -> None:
        self._decoder, self._matchers = decoder, matchers

    def feed(self, codes: Codes) -> NDArray[np.float32]:
        """The next codes (n, T) -> the sound that is ready (n, samples)."""
        return self._matched(self._decoder.decode(codes))

    def finish(self) -> NDArray[np.float32]:
        """The rest (n, samples)."""
        if not self._matchers:
            return np.zeros((1, 0), dtype=np.float32)
        return np.stack([matcher.finish() for matcher in self._matchers])

    def _matched(self, sounds: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._matchers:
            return sounds
        return np.stack([matcher.feed(sound) for matcher, sound in zip(self._matchers, sounds, strict=True)])


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
        return conditioning.joined_labels(self._loaded, self._loaded.planner)

    def generate(self, seconds: float = 5.0, **options: Unpack[GenerationKeywords]) -> Sound:
        """Make a sound of some length; the keywords are the fields of `GenerationOptions`.

        Returns samples and rate: `samples` is (T,), or (n, T) if `n` was given.
        Raises: InputError for whatever does not fit the model; TypeError for an unknown keyword.

        >>> import wavegen
        >>> samples, rate = wavegen.load("speech").generate(seconds=0.1, temperature=0.9, seed=1)
        >>> samples.shape, rate
        ((1600,), 16000)
        """
        session = self.session(**options)
        samples = np.concatenate(list(session.blocks(n_samples(seconds, self.sample_rate))), axis=1)
        return Sound(samples if "n" in options else samples[0], self.sample_rate)

    def vocode(self, source: Path | str | NDArray[np.floating], **options: Unpack[GenerationKeywords]) -> Sound:
        """Make a sound again from its feature frames alone, with a vocoder.

        `source`: a recording, its waveform (T,) at the model's rate, a file of frames (.npy or .safetensors), or frames
        (F, n_features) themselves, as features/frames.py defines them. The keywords are the fields of
        `GenerationOptions`, but for `frames`.
        Raises: InputError if the model is no vocoder, or for what does not fit it; TypeError for an unknown keyword.

        >>> import wavegen
        >>> tone = 0.3 * np.sin(2 * np.pi * 220 / 16000 * np.arange(800))
        >>> wavegen.load("vocoder").vocode(tone, seed=1).samples.shape
        (800,)
        """
        frames, n = self.frames_of(source)
        session = Session(self._loaded, replace(make_options(options), frames=frames))
        samples = np.concatenate(list(session.blocks(n)), axis=1)
        return Sound(samples if "n" in options else samples[0], self.sample_rate)

    def vocode_each(
        self, sources: Sequence[Path | str | NDArray[np.floating]], **options: Unpack[GenerationKeywords]
    ) -> Iterator[tuple[int, Sound]]:
        """Make many sounds again, some at once: the number of a source and its sound, as soon as it is complete.

        Each is what `vocode` makes of it alone, with the same seed. The keywords are fields of `GenerationOptions`, but
        for `n`, which says how many are made at once (default: as many as suit the engine).
        Raises: InputError as `vocode`, when a source's turn comes; TypeError for an unknown keyword.
        """
        all_options = make_options(options)
        if "n" not in options:
            all_options = replace(all_options, n=n_at_once(self._loaded, all_options.engine_options, len(sources)))
        session = Session(self._loaded, all_options, frames_follow=True)
        for number, samples in session.vocode_each(self.frames_of(source) for source in sources):
            yield number, Sound(samples, self.sample_rate)

    def frames_of(self, source: Path | str | NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
        """The frames (F, n_features) of a source of `vocode`, and the samples that they stand for."""
        features = self.description.make_features()
        if features is None:
            raise InputError(f"{self._loaded.path} takes no frames; expected a vocoder, trained with data.features")
        if not isinstance(source, Path | str | np.ndarray):
            raise InputError(
                f"the source is of the type {type(source).__name__}; expected a file, or a waveform (T,) or frames "
                "(F, n_features) as a numpy array"
            )
        if isinstance(source, np.ndarray) and source.ndim == 2:
            frames: NDArray[np.floating] = features.check_foreign(source, "the array")
        elif not isinstance(source, np.ndarray) and user_path(source).suffix.lower() in FRAME_SUFFIXES:
            frames = features.read(user_path(source))
        else:
            waveform = _waveform(source, self.sample_rate)
            if not len(waveform) or not np.abs(waveform).max() <= 1:  # NaN is not, either
                name = "the waveform to make again" if isinstance(source, np.ndarray) else source
                raise InputError(f"{name} is empty, or leaves [-1, 1]")
            return features.frames(waveform), len(waveform)
        return frames, len(frames) * features.hop

    def stream(
        self, seconds: float | None = None, blocksize: int = BLOCKSIZE, **options: Unpack[GenerationKeywords]
    ) -> Iterator[NDArray[np.float32]]:
        """Make a sound block by block, each as soon as it is there: (T,), or (n, T) if `n` was given.

        It is endless if `seconds` is None. The keywords are the fields of `GenerationOptions`.

        >>> import wavegen
        >>> blocks = wavegen.load("music").stream(blocksize=256, seed=1)
        >>> next(blocks).shape
        (256,)
        """
        session = self.session(**options)
        length = None if seconds is None else n_samples(seconds, self.sample_rate)
        for block in session.blocks(length, whole_number("blocksize", blocksize)):
            yield block if "n" in options else block[0]

    def draw(self, n: int = 1, **options: Unpack[ImageKeywords]) -> NDArray[np.uint8]:
        """Draw n images of the same labels: (n, height, width, colours), 0 to 255.

        The keywords are fields of `GenerationOptions`.

        Raises: InputError if the model makes sound, or for what does not fit it; TypeError for an unknown keyword.

        >>> import wavegen
        >>> wavegen.load("mnist").draw(n=2, labels={"digit": "3"}, seed=1).shape
        (2, 28, 28, 1)
        """
        from wavegen.generation.images import ImageSession  # whose corpora and Pillow no sound needs

        drawing = make_options(options, ImageKeywords)
        n = whole_number("n", n)
        check_memory(self._loaded, n)
        session = ImageSession(self._loaded, [drawing.labels or {}] * n, drawing)
        return session.pixels(np.stack(list(session.rows()), axis=1))

    def session(self, **options: Unpack[GenerationKeywords]) -> Session:
        """Make options ready to sound; the keywords are the fields of `GenerationOptions`."""
        return Session(self._loaded, make_options(options))

    def new_stream(self, number: int = 0, **options: Unpack[SoundKeywords]) -> Stream:
        """One sound for a `scheduler` of this model; the keywords are fields of `GenerationOptions`.

        Streams of one seed and different numbers are different sounds. `description.make_codec().decoder()` decodes
        their codes, block by block.

        Raises: InputError for whatever does not fit the model; TypeError for an unknown keyword.
        """
        return StreamMaker(self._loaded, make_options(options, SoundKeywords)).stream(whole_number("number", number))

    def scheduler(
        self, n_streams: int | None = None, blocksize: int = BLOCKSIZE, **options: Unpack[EngineKeywords]
    ) -> Scheduler:
        """What makes so many sounds of many users at once (default: as many as suit the engine), to be submitted as
        streams of this model (`new_stream`). The keywords are fields of `engines.options.EngineOptions`.

        Raises: InputError for a model of images, or what the engine cannot do; TypeError for an unknown keyword.
        """
        description = self._loaded.description
        if description.shape:
            raise InputError(f"{self._loaded.path} draws images; expected a model of sound")
        engine = make_options(options, EngineKeywords).engine_options
        n = most_at_once(self._loaded, engine) if n_streams is None else whole_number("n_streams", n_streams)
        if n < 1:
            raise InputError(f"{n} streams are wanted; expected 1 or more")
        scheduler = Scheduler(
            lambda is_guided: make_engine(self._loaded, n, engine, is_guided)[1],
            hop=description.features["hop"] if description.features else 1,
            blocksize=whole_number("blocksize", blocksize),
            model=self._loaded,
        )
        scheduler.prepare()
        return scheduler


def load(model: str | Path) -> LoadedModel:
    """Load a trained model: a run folder, a .safetensors file, or the name of a model that ships with wavegen.

    Raises: InputError if there is none, or it is damaged; the sentence says which.
    """
    return LoadedModel(checkpoint.load(user_path(model)))


def _waveform(source: Path | str | NDArray[np.floating], sample_rate: int) -> NDArray[np.floating]:
    """A recording (T,) at a rate, from wherever it is."""
    if isinstance(source, np.ndarray):
        if source.ndim != 1:
            raise InputError(f"the waveform has shape {source.shape}; expected (T,)")
        return source
    from wavegen.data import audio

    path = user_path(source)
    if not path.is_file():
        raise InputError(f"there is no recording {source}")
    return audio.read(path, sample_rate)


def _transposition(
    options: GenerationOptions, description: Description
) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
    """What the frames of a sound are put through.

    Raises: InputError for semitones beyond `MAX_SEMITONES`, or frames that have no pitch.
    """
    semitones = options.transpose
    if not -MAX_SEMITONES <= semitones <= MAX_SEMITONES:  # nor is NaN
        raise InputError(f"transpose is {semitones}; expected -{MAX_SEMITONES} to {MAX_SEMITONES} semitones")
    if not semitones:
        return lambda frames: frames
    features = description.make_features()
    if features is None:
        raise InputError("transpose raises the pitch of frames, and this model takes none; expected a vocoder")
    features.transposed(features.silent, semitones)  # is there a pitch?
    return lambda frames: features.transposed(frames.astype(np.float32, copy=False), semitones)


def _whole_frames(waveform: NDArray[np.floating], codes: FrameCodes, name: str) -> tuple[NDArray[np.floating], Codes]:
    """As much of a recording as is in whole frames, none of which looks beyond its end; and the codes of these.

    Raises: InputError if there is not one.
    """
    features = codes.features
    n_frames = min((len(waveform) - features.reach) // features.hop + 1, len(waveform) // features.hop)
    if n_frames < 1:
        raise InputError(
            f"{name} has {len(waveform)} samples; expected {features.reach} or more, for a frame to go on from"
        )
    return waveform[: n_frames * features.hop], codes.encode(features.frames(waveform)[:n_frames]).astype(np.int64)


def _check_beam(options: GenerationOptions, description: Description) -> None:
    """Raises: InputError for what a beam search cannot do or would not heed."""
    if not description.head.lists_probabilities:
        raise InputError(f"beam search needs a categorical head; this model has a {description.head.kind} head")
    if options.n != 1:
        raise InputError(f"beam search makes one sound, and {options.n} are wanted; leave out one of the two")
    if description.features:
        raise InputError("beam search is for models without frames; a vocoder draws")
    is_drawn = options.top_k is not None or options.top_p is not None or options.temperature == 0
    if is_drawn or options.guidance not in (None, 1):
        raise InputError("beam search weighs all codes; top_k, top_p, guidance and temperature 0 are for drawing")
