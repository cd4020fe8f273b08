"""Models as a web page: a folder that any static host serves, and that asks no other machine for anything.

The page is plain JavaScript (page/). Beside it lie the kernel in WebAssembly, a player file for each model
(player_file.py), and `models.json`, which lists them.
"""

import json
import logging
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from wavegen import checkpoint, files
from wavegen.checkpoint import MODEL_FILE, Checkpoint
from wavegen.engines.cpu.ahead_of_time import FOUR_LANES
from wavegen.engines.cpu.packing import MAX_COST, NUMBERS, Precision
from wavegen.errors import InputError
from wavegen.export import player_file

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
ASSETS = (
    "index.html", "style.css", "plain.js", "page.js", "engine.js", "controls.js", "keys.js", "sound.js", "output.js",
    "spectrogram.js", "tape.js", "images.js", "easel.js", "worker.js", "live.js", "player.js", "playback.js",
    "player.wasm",
)  # fmt: skip
LIST = "models.json"
SUFFIX = ".wavegen"
PRECISIONS: tuple[Precision, ...] = ("int8x8", "int8", "float32")  # for a page, fastest first


def export_web(models: Sequence[Checkpoint], out: Path, precision: Precision | None = None) -> list[Path]:
    """Write a page with one or more models to a folder, each file whole or not at all; the list of models comes last.

    Without a precision each model gets the fastest that costs it less than `MAX_COST` bits per sample. Files of the
    folder that have other names stay.

    Returns the files.
    Raises: InputError for a model that a page cannot play, for two of one name, for a precision that there is not, or
        if the folder cannot be written to.
    """
    if not models:
        raise InputError("no model is given; expected at least one for the page")
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"precision is {precision}; a page takes {', '.join(PRECISIONS)}")
    by_name: dict[str, Checkpoint] = {}
    for model in models:
        name = name_of(model)
        if name in by_name:
            raise InputError(
                f"{by_name[name].path} and {model.path} would both be called {name} in the page; rename one"
            )
        check_playable(model)
        by_name[name] = model
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder to write the page to")
    files.check_writable(out)
    written, listed = [], []
    for name, model in by_name.items():
        chosen = precision or _precision_of(name, model)
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
            check_playable(model)
        except InputError as error:
            logger.info(f"left out: {error}")
        else:
            playable.append(model)
    return playable


def name_of(model: Checkpoint) -> str:
    """What a page calls a model: its run folder or its file, in letters that every host and address takes."""
    name = model.path.absolute().parent.name if model.path.name == MODEL_FILE else model.path.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"


def check_playable(model: Checkpoint) -> None:
    """Raises: InputError for a model that a page cannot play, saying why."""
    description = model.description
    if description.features and model.planner is None:
        raise InputError(
            f"{model.path} makes sound of frames, which a page has none of; expected a model that makes sound or "
            "images by itself"
        )
    if model.planner is not None or description.shape or description.architecture.makes != "sound":
        what = "plans its frames" if model.planner is not None else "draws images"
        raise InputError(f"{model.path} {what}, which pages cannot do yet; expected a model that makes sound by itself")


def _precision_of(name: str, model: Checkpoint) -> Precision:
    """The fastest precision that is not known to cost a model much."""
    costs = model.description.precision_costs
    chosen = next(one for one in PRECISIONS if costs.get(one, 0.0) < MAX_COST)
    if chosen != PRECISIONS[0]:
        logger.info(f"{name}: {chosen}, for {PRECISIONS[0]} costs {costs[PRECISIONS[0]]:.3f} bits per sample")
    elif chosen not in costs:
        logger.info(f"{name}: {chosen}, whose cost in bits was not measured; training measures it at its end")
    return chosen


def _entry(name: str, model: Checkpoint, precision: Precision, n_bytes: int) -> dict[str, Any]:
    """What the page's list says of a model."""
    description = player_file.description_of(model, precision)
    told = {key: description[key] for key in ("about", "credit", "sample_rate", "shape", "precision")}
    return {"name": name, "file": f"{name}{SUFFIX}", "n_bytes": n_bytes, **told}


def _write(path: Path, data: bytes) -> Path:
    files.write(path, data)
    return path


assert set(PRECISIONS) <= set(NUMBERS)
