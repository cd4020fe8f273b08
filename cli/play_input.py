"""What `wavegen play --input` takes, and how late its copy is."""

import sys
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from typer.core import TyperCommand

from wavegen.checkpoint import Checkpoint
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.generation.sound_input import RawInput, RecordingInput, SoundInput
from wavegen.microphone import Microphone
from wavegen.paths import user_path
from wavegen.playback import Player

from .terminal import say

N_LOOKS = 100  # at the buffers, of which the second half counts: about 0.5 s
DEFAULT = "default"  # what --input is taken for where no name follows


class PlayCommand(TyperCommand):
    """`play`, whose --input may stand without a value."""

    def parse_args(self, context: Any, words: list[str]) -> list[str]:
        completed: list[str] = []
        for word, following in zip_longest(words, words[1:], fillvalue="--"):
            completed.append(word)
            if word == "--input" and following.startswith("-") and following != "-":
                completed.append(DEFAULT)
        return super().parse_args(context, completed)


def check_takes_input(model: Path, loaded: Checkpoint, options: GenerationOptions, given: Mapping[str, object]) -> None:
    """Raises: InputError for a model that makes no sound of frames, or options that have no meaning with --input."""
    if not loaded.description.features:
        raise InputError(
            f"--input is for a model that makes sound of frames, such as speech or vocoder, and {model} takes none"
        )
    for option, is_given in {**given, "--temperature-frames": options.temperature_frames is not None}.items():
        if is_given:
            raise InputError(f"{option} has no meaning with --input, whose frames are those of the sound; leave it out")


def open_input(text: str, rate: int, latency_s: float) -> SoundInput:
    """What --input names.

    Raises: InputError if there is no such thing, or it holds no sound.
    """
    if text == "-":
        if sys.stdin.isatty():
            raise InputError("--input is -, and stdin is a terminal; expected a pipe or a file with raw samples")
        return RawInput(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
    if text == DEFAULT:
        return Microphone(None, rate, latency_s / 2)
    if text.isascii() and text.isdecimal():
        return Microphone(int(text), rate, latency_s / 2)
    path = user_path(text)
    from wavegen.data import audio

    if not path.is_file() and path.suffix.lower() not in audio.SUFFIXES:
        return Microphone(text, rate, latency_s / 2)
    if not path.is_file():
        raise InputError(f"there is no recording {text}")
    waveform = audio.read(path, rate)
    if not len(waveform):
        raise InputError(f"the recording {text} is empty")
    return RecordingInput(waveform)


class Delay:
    """How long after a sound has come in its copy is heard: measured at the buffers of the cards, the rest computed."""

    def __init__(self, session: Session, sound: SoundInput) -> None:
        self._session, self._sound = session, sound
        self._measured_s: list[float] = []

    def measure(self, player: Player, sample_rate: int, resampling_s: float) -> str | None:
        """Look at the buffers, as often as this is called; returns what to say, once, when that has been enough."""
        if player.counts.n_asked:
            behind_s = self._sound.behind_s() if isinstance(self._sound, Microphone) else 0.0
            self._measured_s.append(behind_s + player.heard_in(sample_rate) + resampling_s)
        if len(self._measured_s) != N_LOOKS:
            return None
        # What was read last is heard a block before all that the frames and matching take, which are counted from the
        # first sample of a block on.
        block_s = self._session.input_blocksize / self._session.description.sample_rate
        in_buffers_s = float(np.mean(self._measured_s[N_LOOKS // 2 :])) - block_s
        return self._line("the loudspeaker", {"in the buffers of the sound cards": max(in_buffers_s, 0.0)})

    def to_pipe(self) -> str:
        """What to say where the copy goes to a pipe."""
        return self._line("the output", {})

    def _line(self, target: str, in_buffers_s: Mapping[str, float]) -> str:
        rate = self._session.description.sample_rate
        of_frames, of_matching = self._session.input_delays()
        parts = {"until there are frames": of_frames / rate, "for matching": of_matching / rate, **in_buffers_s}
        source = "the microphone" if isinstance(self._sound, Microphone) else "the input"
        each = ", ".join(f"{1000 * seconds:.0f} {what}" for what, seconds in parts.items() if seconds)
        return f"{1000 * sum(parts.values()):.0f} ms from {source} to {target}, of which {each}"


def say_what_was_missed(microphone: Microphone) -> None:
    say(f"Of the microphone {microphone.n_passed_over} frames passed over, {microphone.n_late} late")
    if microphone.peak == 0:
        say("The microphone gave digital silence; is it muted, or kept from this program by the system?")
