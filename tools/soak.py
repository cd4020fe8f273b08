"""Play a full-size network through a real sound server for a long time, and measure how soon it sounds and obeys.

    python -m tools.soak --minutes 10 --busy-minutes 2        (make soak)

Random weights in the shape of the LibriSpeech recipe: what is heard is noise, what is measured is time. It plays alone,
then beside a loop that keeps another core busy; prints for each the drop-outs that the command counted, and measures at
the sink's monitor how long after the start of the command the first sound came and how long after a key it went quiet.
The share of the sound server itself, from a program that writes samples to the monitor that hears them, is printed too,
and how soon `wavegen play` sounds with the model that ships.
"""

import argparse
import multiprocessing
import os
import pty
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from tools import sound_server
from tools.sound_server import PATIENCE_S, Listener, SoundServer, command, longest_stop, missing
from wavegen import checkpoint, recipes
from wavegen.models.build import with_random_weights
from wavegen.recipe import load

LOUD = 1e-3
TEMPERATE = ("--temperature", "0.8")
N_STARTS = 9
QUIETER = b"-" * 60  # keys: a gain of 0.8 to the power of 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--busy-minutes", type=float, default=2)
    parser.add_argument("--precision", default="int8x8")
    arguments = parser.parse_args()
    if reason := missing():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = full_size(folder / "full.safetensors")
        server = SoundServer(folder)
        try:
            print(f"this machine stands still for up to {1000 * longest_stop(3):.1f} ms at a time")
            print(f"the server alone, from a write to the monitor: {1000 * server_delay(server):.0f} ms")
            play(server, ["speech"], folder, seconds=0.5)  # compiles, fills the caches of files
            firsts = sorted(first_sound(server, folder) for _ in range(N_STARTS))
            print(f"speech: first sound after {1000 * firsts[0]:.0f} ms, median {1000 * firsts[N_STARTS // 2]:.0f} ms")
            words = [str(model), "--precision", arguments.precision]
            play(server, words, folder, seconds=0.5)
            for run in range(3):
                first, key = first_sound_and_key(server, words, folder)
                print(
                    f"run {run + 1}: first sound after {1000 * first:.0f} ms, quiet {1000 * key:.0f} ms after the key"
                )
            print(f"alone: {play(server, words, folder, 60 * arguments.minutes)}")
            busy = multiprocessing.Process(target=spin, daemon=True)
            busy.start()
            print(f"beside a busy loop: {play(server, words, folder, 60 * arguments.busy_minutes)}")
            busy.kill()
        finally:
            server.stop()


def full_size(path: Path) -> Path:
    recipe = load(recipes.find("librispeech"))
    model = with_random_weights(recipe.architecture({}), recipe.data.sample_rate)
    checkpoint.save(path, model.description, model.weights, "")
    return path


def play(server: SoundServer, words: list[str], folder: Path, seconds: float) -> str:
    """The command's own count."""
    done = subprocess.run(
        [*command(*TEMPERATE, *words), "--headless", "--seconds", str(seconds)],
        env=server.environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return next(line for line in done.stderr.splitlines() if line.startswith("Played"))


def first_sound(server: SoundServer, folder: Path) -> float:
    """Seconds from the start of `wavegen play` to the first sample heard."""
    with server.heard() as listener:
        began = time.monotonic()
        playing = sound_server.play(server, "--seed", 1, "--headless", cwd=folder)
        first = listener.arrival(wait_for_sound(listener)) - began
        playing.kill()
        playing.wait()
    return first


def first_sound_and_key(server: SoundServer, words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds from the start of the command to the first sample heard, and from a key to the sound it asks for."""
    keyboard, terminal = pty.openpty()
    with server.heard() as listener:
        began = time.monotonic()
        playing = subprocess.Popen(
            command(*TEMPERATE, *words),
            env=server.environment,
            cwd=folder,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        n_silent = wait_for_sound(listener)
        first = listener.arrival(n_silent) - began
        read_for(keyboard, 1.0)
        pressed = time.monotonic()
        os.write(keyboard, QUIETER)
        read_for(keyboard, 1.0)
        os.write(keyboard, b"q")
        read_for(keyboard, 1.0)
        playing.wait(PATIENCE_S)
        samples = listener.samples
        loud_until = n_silent + np.flatnonzero(np.abs(samples[n_silent:]) > LOUD)
        since = [number for number in loud_until if listener.arrival(int(number)) > pressed - 0.01]
        quiet = listener.arrival(int(since[-1])) - pressed
    os.close(keyboard)
    os.close(terminal)
    return first, quiet


def wait_for_sound(listener: Listener) -> int:
    """The number of the first sample that is not silence."""
    began = time.monotonic()
    while not (loud := np.flatnonzero(np.abs(listener.samples) > LOUD)).size:
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError("nothing was heard")
        time.sleep(0.01)
    return int(loud[0])


def read_for(terminal: int, seconds: float) -> None:
    """Take what the program draws, which would stop if nobody did."""
    until = time.monotonic() + seconds
    os.set_blocking(terminal, False)
    while time.monotonic() < until:
        try:
            os.read(terminal, 1 << 16)
        except BlockingIOError:
            time.sleep(0.005)


def server_delay(server: SoundServer) -> float:
    """Seconds that the server takes from `pacat` to the monitor, with the latency that our card asks for."""
    with server.heard() as listener:
        writing = subprocess.Popen(
            ["pacat", "--rate=16000", "--channels=1", "--format=float32le", "--latency-msec=30"],
            env=server.environment,
            stdin=subprocess.PIPE,
        )
        assert writing.stdin is not None
        silence, loud = np.zeros(160, dtype="<f4"), np.ones(160, dtype="<f4")
        for _ in range(50):  # a stream in its stride
            writing.stdin.write(silence.tobytes())
            writing.stdin.flush()
            time.sleep(0.01)
        written = time.monotonic()
        writing.stdin.write(loud.tobytes())
        writing.stdin.close()
        arrived = listener.arrival(wait_for_sound(listener))
        writing.wait()
    return arrived - written


def spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
