"""wavegen play"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.generation.blocks import Blocks, first, mixed, recorded, timed
from wavegen.generation.live import BLOCKSIZE, Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import LoadedModel, Session
from wavegen.generation.sound_input import RecordingInput
from wavegen.generation.stream import n_samples
from wavegen.microphone import Microphone, input_devices
from wavegen.playback import Card, Player, output_devices, prompt_callbacks, resampled, resampling_delay_s

from . import keys
from .options import MAX_SECONDS, Model, Prime, check_out, open_session, takes_generation_options
from .osc import listening
from .play_input import Delay, PlayCommand, check_takes_input, open_input, say_what_was_missed
from .streams import has_reader
from .terminal import say

if TYPE_CHECKING:
    from .play_screen import PlayScreen

app = typer.Typer()

NOISE_S = 10


@app.command("play", cls=PlayCommand)
@takes_generation_options
def play(
    model: Model = Path("speech"),
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, max=MAX_SECONDS, help="stop after this long, s (default: play until q or Ctrl-C)"),
    ] = None,
    prime: Prime = None,
    frames: Annotated[
        Path | None,
        typer.Option("--frames", help="a recording, or frames from a file, that a vocoder makes again, once"),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="number of voices, mixed to mono")] = 1,
    spread: Annotated[bool, typer.Option("--spread", help="one channel per voice instead of mono")] = False,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="a sound that a vocoder makes again while it comes in: a microphone by name or number (alone: the "
            "default one), a recording, or - for raw samples from a pipe",
        ),
    ] = None,
    match: Annotated[
        bool, typer.Option(help="scale the spectrum of what is made until it has its frames' bands; later, but nearer")
    ] = True,
    output: Annotated[
        str | None, typer.Option(help="sound card, by name or number, or - for raw samples to a pipe")
    ] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="list the sound cards and end")] = False,
    record: Annotated[Path | None, typer.Option(help="also write everything to this WAV file")] = None,
    latency: Annotated[
        float, typer.Option(min=5, max=5000, help="output buffer, ms; larger avoids drop-outs, smaller responds faster")
    ] = 40,
    blocksize: Annotated[int, typer.Option(min=0, help="audio block size in samples (0: device default)")] = 0,
    osc: Annotated[
        int | None, typer.Option(min=1, max=65535, help="listen for OSC on this UDP port (localhost only)")
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="no picture and no keys")] = False,
    *,
    options: GenerationOptions,
) -> None:
    """Play a model on the sound card while it is making the sound; keys change it while it plays.

    Without a MODEL it plays speech, by one that ships.

    Examples:
        wavegen play --temperature 0.95
        wavegen play runs/speech --seconds 10 --output pulse --record take.wav
        wavegen play --output - | aplay -f S16_LE -r 16000
        wavegen play vocoder --frames hello.flac
        wavegen play speech --input --label speaker=118 --transpose 3
    """
    if list_devices:
        _list_devices()
        return
    if record is not None:
        check_out("--record", ".wav", record, prime, frames, None if input_ is None else Path(input_))
    if frames is not None and osc is not None:
        raise InputError("--osc changes an endless sound, and what --frames tells of ends; leave out one of the two")
    labels_follow = frames is None and (osc is not None or (output != "-" and not headless))
    loaded = checkpoint.load(model)
    sound_input = None
    if input_ is not None:
        check_takes_input(model, loaded, options, {"--prime": prime, "--frames": frames, "--n": n > 1})
        sound_input = open_input(input_, loaded.description.sample_rate, latency / 1000)
    of_frames, length = (None, None) if frames is None else LoadedModel(loaded).frames_of(frames)
    options = replace(options, prime=prime, n=n, frames=of_frames, match=match)
    session = open_session(model, options, loaded, frames_follow=sound_input is not None, labels_follow=labels_follow)
    rate, n_channels = session.description.sample_rate, n if spread else 1
    card = None if output == "-" else _open_card(output, rate, n_channels)
    live = None if frames is not None else Live(session, sound_input)
    voices = (block.T for block in session.blocks(length, BLOCKSIZE)) if live is None else live.blocks()
    sound = voices if spread else mixed(voices)
    if sound_input is None:
        factor, sound = timed(sound, rate)
    else:  # it is not there yet: noise is made again instead
        noise = RecordingInput(0.1 * np.random.default_rng(0).standard_normal(NOISE_S * rate))
        factor, _ = timed((block.T for block in session.blocks(None, session.input_blocksize, noise)), rate)
    if factor is not None:
        _say_whether_it_keeps_up(factor, session, sound_input is not None)
    if seconds is not None:
        sound = first(sound, n_samples(seconds, rate))
    with contextlib.ExitStack() as stack:
        if osc is not None and live is not None:
            stack.enter_context(listening(live, osc))
        if record is not None:
            from wavegen.data.audio import recording

            sound = recorded(sound, stack.enter_context(recording(record, rate, n_channels)))
        if isinstance(sound_input, Microphone):
            stack.enter_context(sound_input)
            stack.callback(say_what_was_missed, sound_input)
        if card is None:
            if sound_input is not None:
                say(Delay(session, sound_input).to_pipe())
            say(f"Raw samples to stdout: 16 bits, signed, little-endian, {rate} Hz, {n_channels} channels")
            _write_raw(sound)
        else:
            title = None if headless or live is None else f"{model} on {card.name}"
            _play(live, sound, rate, card, latency / 1000, blocksize, title)


def _open_card(output: str | None, rate: int, n_channels: int) -> Card:
    """The sound card of a name or a number."""
    is_number = output is not None and output.isascii() and output.isdecimal()
    return Card(int(output or 0) if is_number else output, rate, n_channels)


def _play(
    live: Live | None, sound: Blocks, rate: int, card: Card, latency_s: float, blocksize: int, title: str | None
) -> None:
    """Play until the sound ends, q or Ctrl-C; with a picture of what is live if it has a title and there is a
    terminal."""
    if card.sample_rate != rate:
        say(f"{card.name} plays {card.sample_rate} Hz; the sound is resampled from {rate} Hz")
        sound = resampled(sound, rate, card.sample_rate, card.n_channels)
    capacity = max(2 * blocksize, round(latency_s * card.sample_rate), 2 * BLOCKSIZE * card.sample_rate // rate)
    player = Player(sound, card.n_channels, capacity, card.opener(blocksize, latency_s / 2))
    say_delay = _delay_teller(live, player, rate, card)
    say(f"Playing, {1000 * capacity / card.sample_rate:.0f} ms ahead of the card; Ctrl-C stops")
    try:
        with prompt_callbacks(), contextlib.suppress(KeyboardInterrupt):
            if live is None or title is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
                player.run(say_delay)
            else:
                _perform(live, player, rate, title, say_delay)
    finally:
        counts = player.counts
        say(
            f"Played {counts.n_played / card.sample_rate:.1f} s; {counts.n_dropouts} drop-outs "
            f"({counts.n_silent / card.sample_rate:.2f} s of silence), {counts.n_underflows} underflows reported"
        )


def _delay_teller(live: Live | None, player: Player, rate: int, card: Card) -> Callable[[], None]:
    """What says, soon after the card has begun, how late the copy of a sound that comes in is; and a microphone is told
    how much of it is ready."""
    if live is None or live.sound is None:
        return lambda: None
    if isinstance(live.sound, Microphone):
        live.sound.target_s = player.ring.capacity / card.sample_rate
        live.sound.reserve_s = lambda: player.ring.n_ready / card.sample_rate if player.counts.n_asked else None
    delay, resampling_s = Delay(live.session, live.sound), resampling_delay_s(rate, card.sample_rate)

    def tell() -> None:
        line = delay.measure(player, card.sample_rate, resampling_s)
        if line is not None:
            say(line)

    return tell


def _perform(live: Live, player: Player, rate: int, title: str, say_delay: Callable[[], None]) -> None:
    """Play with a picture and keys."""
    play_screen: PlayScreen | None = None
    with keys.pressed() as newest, contextlib.ExitStack() as stack:

        def tick() -> None:
            nonlocal play_screen
            if play_screen is None:  # what draws it takes long to import, and the sound is on by now
                from .play_screen import PlayScreen

                play_screen = stack.enter_context(PlayScreen(live, player, rate, title))
            for key in newest():
                play_screen.press(key)
            say_delay()
            play_screen.draw()

        player.run(tick)


def _say_whether_it_keeps_up(factor: float, session: Session, has_input: bool) -> None:
    say(f"This machine makes {factor:.2g} times real time with this model and engine")
    if factor < 1:
        smaller = "" if "int8" in session.engine_title else ", or --precision int8x8 or int8"
        unguided = ", or --guidance 1" if session.decoding.is_guided else ""
        command = "generate" if session.frames is None and not has_input else "vocode"
        say(
            "That is too slow to play without drop-outs. A smaller model would do"
            f"{smaller}{unguided}; `wavegen {command}` renders to a file first"
        )


def _write_raw(blocks: Blocks) -> None:
    """Samples to stdout until they end, Ctrl-C, or nobody reads any more.

    Raises: InputError if it is closed from the beginning.
    """
    if sys.stdout is None:
        raise InputError("--output is -, and stdout is closed; expected a pipe or a file")
    from wavegen.data.audio import as_int16

    with contextlib.suppress(KeyboardInterrupt):
        for block in blocks:
            sys.stdout.buffer.write(as_int16(block).astype("<i2").tobytes())
            sys.stdout.buffer.flush()
            if not has_reader(sys.stdout):
                return


def _list_devices() -> None:
    from .tables import Table

    table = Table("", "name", "for", "channels", "Hz", "", box=None)
    for option, devices in (("--output", output_devices()), ("--input", input_devices())):
        for number, name, n_channels, rate, is_default in devices:
            table.add_row(str(number), name, option, str(n_channels), str(rate), "default" if is_default else "")
    table.show()
