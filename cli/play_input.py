"""What `wavegen play --input` takes, and how late its copy is."""

import sys
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from wavegen.checkpoint import Checkpoint
from wavegen.data import audio
from wavegen.errors import InputError
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.generation.sound_input import RawInput, RecordingInput, SoundInput
from wavegen.microphone import Microphone
from wavegen.paths import user_path

from .terminal import say

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
    if not path.is_file() and path.suffix.lower() not in audio.SUFFIXES:
        return Microphone(text, rate, latency_s / 2)
    if not path.is_file():
        raise InputError(f"there is no recording {text}")
    waveform = audio.read(path, rate)
    if not len(waveform):
        raise InputError(f"the recording {text} is empty")
    return RecordingInput(waveform)


def delay_line(session: Session, sound: SoundInput, card_name: str | None, output_s: float) -> str:
    """How long after a sound has come in its copy goes out, and why."""
    of_frames, of_matching = session.input_delays()
    parts = {"until there are frames": of_frames / session.description.sample_rate}
    parts["for matching"] = of_matching / session.description.sample_rate
    source, target = "the input", "the output" if card_name is None else "the loudspeaker"
    if isinstance(sound, Microphone):
        source = "the microphone"
        parts["in the microphone's buffer"] = sound.latency_s
    if card_name is not None:
        parts["in the loudspeaker's"] = output_s
    each = ", ".join(f"{1000 * seconds:.0f} {what}" for what, seconds in parts.items() if seconds)
    return f"{1000 * sum(parts.values()):.0f} ms from {source} to {target}, of which {each}"


def say_what_was_missed(microphone: Microphone) -> None:
    say(f"Of the microphone {microphone.n_passed_over} frames passed over, {microphone.n_late} late")
    if microphone.peak == 0:
        say("The microphone gave digital silence; is it muted, or kept from this program by the system?")
