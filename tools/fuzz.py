"""Damaged files by the thousand: does every reader refuse them with a sentence, or read them?

    python -m tools.fuzz                    2,000 mutations of every seed; takes about a quarter of an hour on one core
    python -m tools.fuzz --n 200 wav png    some seeds
    python -m tools.fuzz --keep odd wav     leave what went wrong in a folder

Every seed is a small good file. A mutation changes it in one to eight places, by a random generator of the seed's name
and the mutation's number, so each can be made again. The reader gets it in a forked process with a limit of memory and
of time. Told are, for each seed: how many were refused (an InputError), how many read, and how many ended in another
exception, in the death of the process, or not at all. The last three must be 0; the exit code is 1 if they are not.
"""

import argparse
import os
import random
import resource
import select
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from wavegen import checkpoint, recipe, recipes
from wavegen.data import audio, images, sources
from wavegen.data.audio import SoundFormat
from wavegen.data.cleaning import Cleaning
from wavegen.data.images import ImageFormat
from wavegen.data.item_format import Notes
from wavegen.errors import InputError
from wavegen.features.frames import Features
from wavegen.features.log_mel import LogMel

LIMIT_S = 20.0  # of a reader; a mutation that takes longer hangs
MEMORY = 3 << 30  # bytes that a reader may take beyond what the process had
RATE = 8000
HEADER = 256  # bytes at the beginning that half of all changes hit
NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0")
WORDS = (
    b"null",
    b"[",
    b"{",
    b"1e999",
    b".nan",
    b"*x",
    b"&x",
    b"!!python/name:os",
    b"0x",
    b"-1",
    b"\xc3\x28",
    b": ",
    b"'",
)
OUTCOMES = ("refused", "read", "traceback", "crash", "hang")

Reader = Callable[[Path], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of seeds (default: all)")
    parser.add_argument("--n", type=int, default=2000, help="mutations of each")
    parser.add_argument("--keep", type=Path, help="a folder for the files that went wrong")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WAVEGEN_DATA"] = folder  # where entries of archives go
        seeds = make_seeds(Path(folder) / "seeds") | make_run(Path(folder))
        if unknown := set(options.names) - seeds.keys():
            parser.error(f"no seed {', '.join(sorted(unknown))}; expected some of {', '.join(seeds)}")
        print("| seed | " + " | ".join(OUTCOMES) + " |\n|---|" + "---|" * len(OUTCOMES))
        total: Counter[str] = Counter()
        for name in options.names or seeds:
            path, reader = seeds[name]
            counts = try_all(name, path, reader, options.n, options.keep)
            total += counts
            print(f"| {name} | " + " | ".join(f"{counts[outcome]:,}" for outcome in OUTCOMES) + " |", flush=True)
        print("| **all** | " + " | ".join(f"{total[outcome]:,}" for outcome in OUTCOMES) + " |")
    sys.exit(any(total[outcome] for outcome in OUTCOMES[2:]))


def make_seeds(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """Small good files, each with what reads it, by name."""
    folder.mkdir()
    seeds: dict[str, tuple[Path, Reader]] = {}
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (2000, 2))
    for suffix in ("wav", "rf64", "flac", "ogg", "mp3", "aiff", "caf"):
        seeds[suffix] = (folder / f"x.{suffix}", read_sound)
        soundfile.write(seeds[suffix][0], noise, RATE, format="RF64" if suffix == "rf64" else None)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    for suffix in ("png", "jpg", "gif", "tiff", "bmp", "webp"):
        seeds[suffix] = (folder / f"x.{suffix}", read_image)
        Image.fromarray(pixels).save(seeds[suffix][0])
    seeds["idx"] = (folder / "x.idx", lambda path: void(images.read_idx(path)))
    seeds["idx"][0].write_bytes(b"\0\0\x08\x03\0\0\0\x02\0\0\0\x03\0\0\0\x04" + bytes(range(24)))
    seeds["zip"] = (folder / "x.zip", read_archive)
    with zipfile.ZipFile(seeds["zip"][0], "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(folder / "x.wav", "a/x.wav")
    seeds["tar.gz"] = (folder / "x.tar.gz", read_archive)
    with tarfile.open(seeds["tar.gz"][0], "w:gz") as tar:
        tar.add(folder / "x.wav", "a/x.wav")
    seeds["tar"] = (folder / "x.tar", read_archive)
    with tarfile.open(seeds["tar"][0], "w") as tar:
        tar.add(folder / "x.wav", "a/x.wav")
    features = Features(LogMel(RATE, n_mels=20, hop=50, n_fft=256))
    seeds["npy"] = (folder / "x.npy", lambda path: void(features.read(path)))
    np.save(seeds["npy"][0], features.frames(noise[:, 0]))
    seeds["recipe"] = (folder / "x.yaml", lambda path: void(recipe.load(path)))
    seeds["recipe"][0].write_bytes(recipes.find("digits").read_bytes())
    return seeds


def make_run(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """A model and a training state, of the smallest training."""
    from wavegen.training import loop

    settings = ["training.steps=1", "training.batch_size=1", "training.window=100", "training.compile=false"]
    settings += [
        "training.sample_seconds=0.01",
        "training.validation_seconds=0.1",
        "data.seconds=0.2",
        "data.n_recordings=3",
    ]
    settings += ["model.n_blocks=1", "model.layers_per_block=2"]
    settings += [f"model.{name}_channels=4" for name in ("residual", "gate", "skip", "head")]
    loop.train(recipe.load(recipes.find("sine"), settings), folder / "run")
    return {
        "model": (folder / "run" / "model.safetensors", lambda path: void(checkpoint.load(path))),
        "training.pt": (folder / "run" / "training.pt", read_state),
    }


def read_sound(path: Path) -> None:
    for cleaning in (Cleaning(), Cleaning(20, "peak", True, 0.1)):
        with path.open("rb") as file:
            for _ in audio.decode(file, 16000, audio.Facts(), cleaning):
                pass
    audio.read(path, RATE)


def read_image(path: Path) -> None:
    for item_format in (ImageFormat(8, 8, 3), ImageFormat(8, 8, 1, is_binary=True)):
        for _ in item_format.decode(path.name, path, Notes()):
            pass


def read_archive(path: Path) -> None:
    for found in sources.items_in(path, SoundFormat(RATE)):
        if found.fault is None and found.passed_over is None:
            for _ in audio.decode(found.file, RATE, audio.Facts()):
                pass


def read_state(path: Path) -> None:
    from wavegen.training import state

    target = path.with_name("training.pt")
    if path != target:
        path.replace(target)
    state.read(target.parent, recipe.load(target.with_name("recipe.yaml")))


def void(_: object) -> None:
    """A reader tells nothing."""


def mutate(good: bytes, name: str, number: int) -> bytes:
    """Another file: the same, changed in one to eight places."""
    chance = random.Random(f"{name} {number}")
    while (data := _changed(good, name, chance)) == good:
        pass
    return data


def _changed(good: bytes, name: str, chance: random.Random) -> bytes:
    data = bytearray(good)
    words = WORDS if name == "recipe" else NUMBERS
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        end = len(data) if chance.random() < 0.5 else min(HEADER, len(data))
        at = chance.randrange(max(1, end))
        stretch = at + chance.randrange(1, 64)
        kind = chance.randrange(8)
        if kind <= 1:
            data[at : at + 1] = bytes([data[at] ^ (1 << chance.randrange(8))]) if data else b""
        elif kind == 2:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 3:
            word = chance.choice(words)
            data[at : at + len(word)] = word
        elif kind == 4:
            del data[at:stretch]
        elif kind == 5:
            data[at:at] = data[at:stretch]
        elif kind == 6:
            data[at:at] = chance.randbytes(chance.randrange(1, 16)) if name != "recipe" else chance.choice(words)
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def try_all(name: str, path: Path, reader: Reader, n: int, keep: Path | None) -> Counter[str]:
    """How n mutations of a seed end."""
    reader(path)  # the seed itself is good
    good, counts, number = path.read_bytes(), Counter[str](), 0
    while number < n:
        for outcome, words in run_child(name, path, good, reader, range(number, n)):
            counts[outcome] += 1
            if outcome not in ("refused", "read"):
                print(f"{name} {number}: {outcome} {words}", file=sys.stderr)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{number}-{path.name}").write_bytes(mutate(good, name, number))
            number += 1
    return counts


def run_child(name: str, path: Path, good: bytes, reader: Reader, numbers: range) -> list[tuple[str, str]]:
    """How mutations end, one after another in a forked process, up to the first that ends or stops it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in C talk
        limit = vm_size() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            for beside in path.parent.glob("recipe.yaml"):
                (Path(folder) / beside.name).write_bytes(beside.read_bytes())
            for number in numbers:
                mutated = Path(folder) / f"mutated-{path.name}"
                mutated.write_bytes(mutate(good, name, number))
                os.write(writing, f"{try_one(mutated, reader)}\n".encode())
        os._exit(0)
    os.close(writing)
    ended: list[tuple[str, str]] = []
    held, told_at = b"", time.monotonic()
    while True:
        left = told_at + LIMIT_S - time.monotonic()
        if not select.select([reading], [], [], max(0.0, left))[0]:
            os.kill(child, signal.SIGKILL)
            ended.append(("hang", f"after {LIMIT_S:g} s"))
            break
        block = os.read(reading, 1 << 16)
        if not block:
            break
        *lines, held = (held + block).split(b"\n")
        told_at = time.monotonic()
        for line in lines:
            outcome, _, words = line.decode(errors="replace").partition(" ")
            ended.append((outcome, words))
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if len(ended) < len(numbers) and not (ended and ended[-1][0] == "hang"):
        ended.append(("crash", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {status}"))
    return ended


def try_one(path: Path, reader: Reader) -> str:
    """How one ends that does not end the process: a word, and of a traceback what it says."""
    try:
        reader(path)
    except InputError:
        return "refused"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        return "traceback " + " ".join(said.split())
    return "read"


def vm_size() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
