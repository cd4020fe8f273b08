"""A sound server for tests: PulseAudio with a null sink, which paces like a card and whose monitor can be heard."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wavegen.files import user_cache

SINK = "card"
ROOM = "room"  # a sink whose monitor is a microphone
PATIENCE_S = 20.0  # for what the server should do at once
PLUGIN = "lib*/**/alsa-lib/libasound_module_pcm_pulse.so"
NAP_S = 0.005
STILL_S = 0.03  # a machine that stops for longer cannot be asked to play without a gap


class Listener:
    """What the sink's monitor hears, one channel, float32, as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], rate: int) -> None:
        self._process, self._rate = process, rate
        self._blocks: list[np.ndarray] = []
        self._arrived: list[float] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while raw := os.read(self._process.stdout.fileno(), 1 << 12):
            self._arrived.append(time.monotonic())
            self._blocks.append(np.frombuffer(raw, dtype="<f4"))

    @property
    def samples(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype=np.float32), *self._blocks.copy()])

    def arrival(self, number: int) -> float:
        """When a sample arrived, in s of `time.monotonic`."""
        ends = np.cumsum([len(block) for block in self._blocks.copy()])
        block = int(np.searchsorted(ends, number, side="right"))
        return self._arrived[block] - float(ends[block] - 1 - number) / self._rate

    def wait_for(self, n: int) -> None:
        """Raises: TimeoutError if the monitor does not deliver n samples."""
        began = time.monotonic()
        while sum(map(len, self._blocks.copy())) < n:
            if time.monotonic() - began > PATIENCE_S + n / self._rate:
                raise TimeoutError(f"the monitor delivered fewer than {n} samples")
            time.sleep(0.005)


class SoundServer:
    """A PulseAudio of one's own in a folder; `environment` leads programs to it."""

    def __init__(self, folder: Path, rate: int = 16000, n_channels: int = 1) -> None:
        self._rate = rate
        socket = folder / "native"
        self.environment = {**os.environ, "PULSE_SERVER": f"unix:{socket}", "XDG_RUNTIME_DIR": str(folder)}
        self.environment["HOME"] = str(folder)  # whose settings of sound are nobody's
        self.environment["XDG_CACHE_HOME"] = str(user_cache().parent)  # where the engine is compiled already
        self._process = subprocess.Popen(
            [
                "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--realtime=no",
                "--high-priority=no", f"--load=module-native-protocol-unix auth-anonymous=1 socket={socket}",
                f"--load=module-null-sink sink_name={SINK} rate={rate} channels={n_channels} format=float32le",
            ],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        began = time.monotonic()
        while not (socket.exists() and self._control("info")):
            if self._process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                self.stop()
                raise RuntimeError("PulseAudio did not start")
            time.sleep(0.02)

    def _control(self, *words: str) -> bool:
        return subprocess.run(["pactl", *words], env=self.environment, capture_output=True).returncode == 0

    @contextlib.contextmanager
    def heard(self, sink: str = SINK) -> Iterator[Listener]:
        """Listen at the monitor of a sink while the block runs."""
        command = ["parec", f"--device={sink}.monitor", f"--rate={self._rate}", "--channels=1", "--format=float32le"]
        process = subprocess.Popen(
            [*command, "--latency-msec=5"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.environment
        )
        try:
            listener = Listener(process, self._rate)
            listener.wait_for(1)
            yield listener
        finally:
            process.kill()
            process.wait()

    def add_room(self) -> None:
        """Add a second sink, whose monitor is the microphone of programs that take the default one."""
        form = (f"rate={self._rate}", "channels=1", "format=float32le")
        assert self._control("load-module", "module-null-sink", f"sink_name={ROOM}", *form)
        assert self._control("set-default-sink", SINK)
        assert self._control("set-default-source", f"{ROOM}.monitor")

    def sound_in_room(self, path: Path) -> None:
        """Play a recording in the room, to its end."""
        command = ["paplay", f"--device={ROOM}", "--latency-msec=20", str(path)]
        subprocess.run(command, env=self.environment, check=True)

    def remove_room(self) -> None:
        """Unplug the microphone."""
        command = ["pactl", "list", "short", "modules"]
        listed = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout
        line = next(line for line in listed.splitlines() if f"sink_name={ROOM}" in line)
        assert self._control("unload-module", line.split()[0])

    def remove_sink(self) -> None:
        """Unplug the card."""
        assert self._control("unload-module", "module-null-sink")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def command(*words: object) -> list[str]:
    """`wavegen play`, at the server's card."""
    return [sys.executable, "-m", "wavegen.cli.main", "play", "--output", "pulse", *map(str, words)]


def play(server: SoundServer, *words: object, cwd: Path) -> subprocess.Popen[str]:
    """Start that command, without a terminal."""
    return subprocess.Popen(
        command(*words), env=server.environment, cwd=cwd, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def missing() -> str | None:
    """Why there can be no such server here; None if there can."""
    absent = [name for name in ("pulseaudio", "pactl", "pacat", "paplay", "parec") if shutil.which(name) is None]
    if not any(Path("/usr").glob(PLUGIN)):
        absent.append("ALSA's plugin for PulseAudio")
    return f"not installed: {', '.join(absent)}" if absent else None


def longest_stop(seconds: float = 1.0) -> float:
    """The longest time, in s, that this machine did not run a thread that wanted to run."""
    last = began = time.perf_counter()
    longest = 0.0
    while last - began < seconds:
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


@contextlib.contextmanager
def overslept() -> Iterator[list[float]]:
    """How much too late, in s, a thread that sleeps a little again and again is woken while the block runs."""
    late, is_over = [0.0], threading.Event()

    def sleep() -> None:
        while not is_over.is_set():
            began = time.perf_counter()
            time.sleep(NAP_S)
            late.append(time.perf_counter() - began - NAP_S)

    watcher = threading.Thread(target=sleep, daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        is_over.set()
        watcher.join()


def place_of(wanted: np.ndarray, samples: np.ndarray) -> int:
    """Where the samples, bit by bit, hold the wanted ones; -1 if they do not."""
    raw, sought = samples.astype("<f4").tobytes(), wanted.astype("<f4").tobytes()
    at = raw.find(sought)
    while at > 0 and at % 4 > 0:
        at = raw.find(sought, at + 1)
    return at if at < 0 else at // 4
