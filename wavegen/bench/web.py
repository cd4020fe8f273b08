"""How fast a page makes sound: its player in headless Chromium, in one Web Worker, beside the engine of this CPU.

What is timed is what the page tells as its speed: the samples that its thread makes in a second of work (worker.js).
"""

import functools
import http.server
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import torch

from wavegen.bench import rivals
from wavegen.bench.generation import interleave_seconds, seconds_of
from wavegen.checkpoint import Checkpoint
from wavegen.engines.cpu.ahead_of_time import FOUR_LANES
from wavegen.engines.cpu.engine import missing_instructions
from wavegen.engines.weights import stack_weights
from wavegen.errors import InputError
from wavegen.export.web import PAGE, PLAYERS
from wavegen.generation.live import BLOCKSIZE, Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.player import player_file
from wavegen.progress import Bar

logger = logging.getLogger(__name__)

MODELS = ("speech", "digits", "music")  # of those that ship
ROUNDS = 20
ROUND_S = 0.05  # of a turn: of shorter ones some would hold no frame that is planned, or only what was made before
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MODULES = {"page, int8x8": "wasm32", "page, int8x7, relaxed SIMD": "wasm32-relaxed"}
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")  # of onnxruntime-web
WITHOUT_RUNTIME = (
    "left out: ONNX Runtime Web is not among the packages of Node.js here; npm install onnxruntime-web, and say where "
    "with --node-modules or NODE_PATH"
)
# A thread with the makers of sound, and a function that asks it.
START = """
() => {
  const worker = new Worker("worker.js", { type: "module" });
  window.ask = (message) => new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => resolve({ fault: event.message });
    worker.postMessage(message);
  });
}
"""


class WebSpeed(NamedTuple):
    """What one contestant made of a model, by the quickest tenth of its rounds."""

    model: str
    name: str
    samples_per_s: float
    times_real_time: float


class Timed(NamedTuple):
    """A contestant: one of a model's names. A run makes some blocks of BLOCKSIZE samples and returns its seconds."""

    model: str
    name: str


def time_web(
    models: Mapping[str, Checkpoint], rounds: int, node_modules: Sequence[Path] = (), bar: Bar | None = None
) -> list[WebSpeed]:
    """Time models by name, in the page and here, one core each; in the order of the models, fastest first within each.

    `node_modules`: folders that may have the package onnxruntime-web.

    Raises: InputError where playwright or Chromium is missing, or for a model that a page cannot play.
    """
    runtime = find_runtime(node_modules)
    if runtime is None:
        logger.warning(WITHOUT_RUNTIME)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _thread_in_chromium(runtime) as thread:
            contestants: dict[Timed, Callable[[int], float]] = {}
            for name, model in models.items():
                of_model = {**_in_page(thread, name, model), **_here(model)}
                contestants |= {Timed(name, one): run for one, run in of_model.items()}
            seconds = interleave_seconds(contestants, rounds, 0, bar, ROUND_S)
    finally:
        torch.set_num_threads(n_threads)
    speeds = [
        WebSpeed(*timed, BLOCKSIZE / needed, BLOCKSIZE / needed / models[timed.model].description.sample_rate)
        for timed, needed in seconds.items()
    ]
    order = list(models)
    return sorted(speeds, key=lambda speed: (order.index(speed.model), -speed.samples_per_s))


def find_runtime(node_modules: Sequence[Path]) -> Path | None:
    """Where the files of ONNX Runtime Web lie, in the first of some folders that has the package."""
    candidates = [folder / "onnxruntime-web" / "dist" for folder in node_modules]
    return next((one for one in candidates if all((one / name).exists() for name in RUNTIME)), None)


@dataclass(frozen=True)
class _Thread:
    """The Web Worker, and the folder that it reads files from."""

    page: Any
    folder: Path
    has_runtime: bool

    def ask(self, what: str, **given: object) -> float:
        """What a function of worker.js returns."""
        answer = self.page.evaluate("(message) => window.ask(message)", {"what": what, **given})
        if "fault" in answer:
            raise RuntimeError(f"{what} in Chromium: {answer['fault']}")
        return float(answer["result"])

    def timing(self, name: str) -> Callable[[int], float]:
        return lambda n_blocks: self.ask("time", name=name, n=n_blocks)


def _in_page(thread: _Thread, name: str, model: Checkpoint) -> dict[str, Callable[[int], float]]:
    """What makes sound of a model in the browser."""
    file = f"{name}.wavegen"
    (thread.folder / file).write_bytes(player_file.encode(model, "int8x8", FOUR_LANES))
    contestants = {}
    for title, target in MODULES.items():
        n_samples = thread.ask("player", name=f"{name} {title}", module=PLAYERS[target].name, file=quote(file))
        assert n_samples == BLOCKSIZE  # of a block there and here
        contestants[title] = thread.timing(f"{name} {title}")
    weights, graph, title = stack_weights(model), f"{name}.onnx", "page, ONNX Runtime Web"
    if thread.has_runtime:
        try:
            rivals.check(weights)
            (thread.folder / graph).write_bytes(rivals.step_model(weights))
        except InputError as error:
            logger.warning(f"{name} without ONNX Runtime Web: {error}")
            return contestants
        _, n_taps, _, n_channels = weights.convolution.shape
        sizes = {"n_taps": n_taps, "n_channels": n_channels, "dilations": list(weights.dilations)}
        thread.ask("onnx", name=f"{name} {title}", library="./runtime/", graph=quote(graph), **sizes)
        contestants[title] = thread.timing(f"{name} {title}")
    return contestants


def _here(model: Checkpoint) -> dict[str, Callable[[int], float]]:
    """What makes the same sound on this CPU: as `wavegen play` does."""
    labels = {label: values[0] for label, values in player_file.description_of(model, "int8x8")["labels"].items()}
    contestants = {}
    for precision in ("auto",) if missing_instructions("int8x8") else ("auto", "int8x8"):
        options = GenerationOptions(labels=labels, seed=0, precision=precision, engine="numba", n_threads=1)
        blocks = Live(Session(model, options, labels_follow=True)).blocks()
        contestants[f"here, {precision}"] = seconds_of(functools.partial(_take, blocks))
    return contestants


def _take(blocks: Iterator[object], n: int) -> None:
    for _ in islice(blocks, n):
        pass


@contextmanager
def _thread_in_chromium(runtime: Path | None) -> Iterator[_Thread]:
    """A thread in a browser that has the page's files, and those of ONNX Runtime Web if there are any.

    Raises: InputError where playwright or Chromium is missing.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise InputError("--web drives Chromium with playwright, which is missing: pip install playwright") from error
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for path in (*PLAYERS.values(), PAGE / "player.js", PAGE / "live.js", Path(__file__).with_name("worker.js")):
            shutil.copy(path, folder)
        (folder / "index.html").write_text("<!doctype html>")
        if runtime is not None:
            (folder / "runtime").mkdir()
            for name in RUNTIME:
                shutil.copy(runtime / name, folder / "runtime")
        server = stack.enter_context(
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        playwright = stack.enter_context(sync_playwright())
        executable = next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)
        try:
            browser = playwright.chromium.launch(executable_path=executable)
        except Error as error:
            raise InputError(
                f"--web found no Chromium that starts ({error.message.splitlines()[0]}): install it, or run "
                "playwright install chromium"
            ) from error
        stack.callback(browser.close)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.evaluate(START)
        yield _Thread(page, folder, runtime is not None)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Says nothing, and isolates the page from others, for which browsers give it a finer clock."""

    def log_message(self, *_: Any) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()
