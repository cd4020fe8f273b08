"""Models as a web page: a folder that any static host serves, and that asks no other machine for anything.

The page is plain JavaScript (page/). Beside it lie the kernel in WebAssembly, a player file for each model
(player/player_file.py), and `models.json`, which lists them.
"""

import json
import logging
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from wavegen import checkpoint, files
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu.ahead_of_time import FOUR_LANES
from wavegen.engines.cpu.packing import Precision
from wavegen.errors import InputError
from wavegen.player import player_file

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
ASSETS = (
    "index.html", "style.css", "plain.js", "page.js", "engine.js", "controls.js", "keys.js", "sound.js", "output.js",
    "spectrogram.js", "tape.js", "images.js", "easel.js", "worker.js", "live.js", "player.js", "playback.js",
    "player.wasm", "player-relaxed.wasm",
)  # fmt: skip
PLAYERS = {"wasm32": PAGE / "player.wasm", "wasm32-relaxed": PAGE / "player-relaxed.wasm"}  # by ahead_of_time.TARGETS
LIST = "models.json"
SUFFIX = ".wavegen"


def export_web(models: Sequence[Checkpoint], out: Path, precision: str | None = None) -> list[Path]:
    """Write a page with one or more models to a folder, each file whole or not at all; the list of models comes last.

    Without a precision each model gets the fastest that costs it less than `MAX_COST` bits per sample. Files of the
    folder that have other names stay.

    Returns the files.
    Raises: InputError for a model that a page cannot play, for two of one name, for a precision that there is not, or
        if the folder cannot be written to.
    """
    if not models:
        raise InputError("no model is given; expected at least one for the page")
    by_name: dict[str, Checkpoint] = {}
    for model in models:
        name = player_file.name_of(model)
        if name in by_name:
            raise InputError(
                f"{by_name[name].path} and {model.path} would both be called {name} in the page; rename one"
            )
        player_file.check_playable(model)
        by_name[name] = model
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder to write the page to")
    files.check_writable(out)
    written, listed = [], []
    for name, model in by_name.items():
        chosen = player_file.choose_precision(model, precision)
        data = player_file.encode(model, chosen, FOUR_LANES)
        written.append(_write(out / f"{name}{SUFFIX}", data))
        listed.append(_entry(name, model, chosen, len(data)))
    written += [_write(out / name, (PAGE / name).read_bytes()) for name in ASSETS]
    text = json.dumps({"version": metadata.version("wavegen"), "models": listed}, indent=1, ensure_ascii=False)
    written.append(_write(out / LIST, f"{text}\n".encode()))
    return written


def playable_models() -> list[Checkpoint]:
    """The models that ship and that a page can play; those that it cannot are said."""
    playable = []
    for path in checkpoint.shipped().values():
        model = checkpoint.load(path)
        try:
            player_file.check_playable(model)
        except InputError as error:
            logger.info(f"left out: {error}")
        else:
            playable.append(model)
    return playable


def _entry(name: str, model: Checkpoint, precision: Precision, n_bytes: int) -> dict[str, Any]:
    """What the page's list says of a model."""
    description = player_file.description_of(model, precision)
    told = {key: description[key] for key in ("about", "credit", "sample_rate", "shape", "precision")}
    relaxed = player_file.relaxed_precision(model, precision)
    return {"name": name, "file": f"{name}{SUFFIX}", "n_bytes": n_bytes, **told, "relaxed_precision": relaxed}


def _write(path: Path, data: bytes) -> Path:
    files.write(path, data)
    return path
