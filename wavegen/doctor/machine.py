"""What works on this machine: each line a thing wavegen can use, whether it is there, and what to do if not."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from typing import NamedTuple

import soundfile

from wavegen.data import store
from wavegen.errors import InputError
from wavegen.playback import devices_of, import_sounddevice

TO_EVALUATE = "how near a vocoder comes to recordings: pip install 'wavegen[evaluate]'"


class Finding(NamedTuple):
    """One line of the report. `ok` is None where nothing is wrong but something optional is missing."""

    what: str
    ok: bool | None
    detail: str


def examine() -> list[Finding]:
    """Look at everything that wavegen can use here."""
    return [
        Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}"),
        Finding("processor", True, f"{os.cpu_count()} cores, {platform.machine()}"),
        *_cpu_engine(),
        *_torch(),
        Finding("sound files", True, f"libsndfile {soundfile.__libsndfile_version__}"),
        *_sound_card(),
        *_corpora(),
        *(_optional(package, TO_EVALUATE) for package in ("auraloss", "pesq", "pystoi")),
        _optional("tensorboard", "training curves in a browser: pip install 'wavegen[tensorboard]'"),
    ]


def _cpu_engine() -> list[Finding]:
    """What the compiled engine makes of this processor, and whether its compiled code is whole."""
    from wavegen.engines.cpu import compiled, host
    from wavegen.engines.cpu.engine import PRECISIONS, missing_instructions

    usable = [precision for precision in PRECISIONS if missing_instructions(precision) is None]
    detail = f"vectors of {32 * host.LANES} bits; precisions {', '.join(usable)}"
    lines = [Finding("CPU engine", True, f"numba for {host.CPU_NAME}, {detail}")]
    if bad := compiled.damaged():
        names = ", ".join(path.name for path in bad)
        remedy = f"thrown away and compiled anew by the next sound, in about {compiled.COMPILE_S} s"
        lines.append(Finding("compiled code", None, f"damaged in {compiled.folder()}: {names}; {remedy}"))
    return lines


def _torch() -> list[Finding]:
    """Torch, the precision it trains in here, and the GPU."""
    try:
        import torch

        from wavegen.devices import choose_device, multiplies_bfloat16
    except ImportError as error:
        return [Finding("torch", False, f"{error}; training and the reference engine need it: pip install torch")]

    device = choose_device("auto")
    precision = "bfloat16" if multiplies_bfloat16(device) else "float32"
    threads = torch.get_num_threads()
    lines = [Finding("torch", True, f"{torch.__version__}, {threads} threads, trains in {precision} on {device.type}")]
    if not torch.cuda.is_available():
        return [*lines, Finding("GPU", None, "torch finds none; networks are trained and sounds made on the processor")]
    used = "trained on; sounds are made on the processor, or with --device cuda on it, by the engine reference"
    lines.append(Finding("GPU", True, f"{torch.cuda.get_device_name()}, {used}"))
    if importlib.util.find_spec("triton") is None:
        missing = "not installed; --engine cuda-graph does without, for --engine triton: pip install triton"
        return [*lines, Finding("triton", None, missing)]
    version = importlib.metadata.version("triton")
    unseen = "makes many sounds at once, if asked for: it has not been seen on a card yet"
    return [*lines, Finding("triton", True, f"{version}; --engine triton {unseen}")]


def _sound_card() -> list[Finding]:
    try:
        sounddevice = import_sounddevice()
    except InputError as error:
        return [Finding("sound card", None, str(error))]
    version = sounddevice.get_portaudio_version()[1].split(",")[0]
    outputs = [device.name for device in devices_of(sounddevice, "output")]
    lines = [Finding("PortAudio", True, version)]
    if outputs:
        lines.append(Finding("sound card", True, "; ".join(outputs)))
    else:
        lines.append(Finding("sound card", None, "none found; `wavegen generate` writes files instead"))
    return lines


def _corpora() -> list[Finding]:
    prepared = store.prepared()
    if not prepared:
        return [Finding("corpora", None, f"none prepared in {store.root()}; see `wavegen data list`")]
    return [Finding("corpora", True, f"{', '.join(path.name for path, _ in prepared)} in {store.root()}")]


def _optional(package: str, use: str) -> Finding:
    if importlib.util.find_spec(package) is None:
        return Finding(package, None, f"not installed; {use}")
    return Finding(package, True, importlib.metadata.version(package))
