"""The web page: what is written; and in Chromium, what it plays and says.

The browser is Debian's, driven by playwright; without them those tests are skipped. What sounds is what reaches the end
of the page's audio graph, where an AudioWorklet of the test listens (TAP).
"""

import functools
import http.server
import io
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from wavegen import checkpoint
from wavegen.data import audio
from wavegen.errors import InputError
from wavegen.export import web
from wavegen.player import player_file

CHROMIUM = shutil.which("chromium")
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}  # without fused multiply-adds, as WebAssembly
OPTIONS: dict[str, Any] = {"seed": 5, "labels": {"digit": "7", "speaker": "theo"}, "precision": "int8x8"}
MADE_S = 1.0

TAP = """
class Tap extends AudioWorkletProcessor {
  process([input]) {
    if (input[0]) this.port.postMessage(input[0].slice());
    return true;
  }
}
registerProcessor("tap", Tap);
"""
LISTEN = """
const { addModule } = AudioWorklet.prototype;
AudioWorklet.prototype.addModule = async function (url) {
  await addModule.call(this, "tap.js");
  return addModule.call(this, url);
};
const { connect } = AudioNode.prototype;
window.heard = [];
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => window.heard.push(data);
    connect.call(this, tap);
  }
  return connect.call(this, to, ...rest);
};
"""
OTHER = {**OPTIONS, "labels": {"digit": "3", "speaker": "theo"}, "temperature": 0.75}
EVENTS = [  # blocks to make, and what is then asked for
    (6, "change", {"temperature": 1.5}),
    (3, "label", {"digit": "8"}),
    (16, "freeze", True),
    (40, "freeze", False),
    (5, "restart", 9),
    (4, "change", {"guidance": 1.0}),
    (8, "change", {}),
]
NATIVE = """
import json, sys
from pathlib import Path
import numpy as np, wavegen
from wavegen import checkpoint
from wavegen.generation.live import Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session

options, other, events, out = *map(json.loads, sys.argv[1:4]), sys.argv[4]
digits = wavegen.load("digits")
live = Live(Session(checkpoint.load(Path("digits")), GenerationOptions(**options), labels_follow=True))
blocks, made = live.blocks(), []
for n, what, value in events:
    made += [next(blocks)[:, 0] for _ in range(n)]
    if what == "change":
        live.change(**value)
    elif what == "label":
        live.change(labels={**live.controls.labels, **value})
    elif what == "freeze":
        live.change(is_frozen=value)
    else:
        live.restart(value)
# A second more, for the end of a sound is matched to nothing behind it.
asked = {"first": options, "second": other, "relaxed": {**options, "precision": "int8x7"}}
sounds = {
    name: digits.generate(SECONDS + 1, **one).samples[: round(SECONDS * 8000)] for name, one in asked.items()
}
np.savez(out, live=np.array(made), **sounds)
""".replace("SECONDS", str(MADE_S))
LIVE_IN_PAGE = """
async ({ seed, labels, events }) => {
  const { Player } = await import("./player.js");
  const { BLOCK, Live } = await import("./live.js");
  const [module, file] = await Promise.all(
    ["player.wasm", "digits.wavegen"].map(async (name) => (await fetch(name)).arrayBuffer()));
  const player = new Player(await WebAssembly.compile(module), new Uint8Array(file), BigInt(seed));
  const live = new Live(player, BigInt(seed));
  for (const [name, value] of Object.entries(labels)) live.changeLabel(name, value);
  const blocks = [];
  for (const [n, what, value] of events) {
    for (let index = 0; index < n; index++) blocks.push(Array.from(live.block()));
    if (what === "change") for (const [name, number] of Object.entries(value)) live.change(name, number);
    if (what === "label") for (const [name, text] of Object.entries(value)) live.changeLabel(name, text);
    if (what === "freeze") live.isFrozen = value;
    if (what === "restart") live.restart(BigInt(value));
  }
  return blocks;
}
"""

IMAGES = """
export class Player {
  #given = new Float32Array(0);
  #position = 0;
  description = {
    shape: [8, 8, 1], labels: { digit: ["0", "1"] }, decoding: {}, can_be_guided: true, has_top: true,
    precision: "int8", sample_rate: 0,
  };
  change() { return false; }
  changeLabel() { return true; }
  restart() { this.#given = new Float32Array(64).fill(-1); this.#position = 0; }
  give(values) { this.#given = values; }
  make(n) {
    this.#position += n;
    return this.#given.slice(this.#position - n, this.#position).map((value) => (value < 0 ? 0.5 : value));
  }
}
"""
GRID = """  // the first image
(() => {
  const grid = document.querySelector("#grid");
  const { data } = grid.getContext("2d").getImageData(0, 0, 8, 8);
  return Array.from({ length: 64 }, (_, index) => data[4 * index]);
})()
"""


def digits() -> checkpoint.Checkpoint:
    return checkpoint.load(Path("digits"))


def costing(costs: dict[str, float]) -> checkpoint.Checkpoint:
    """The same, of which it is known what precisions cost both its networks."""
    model = digits()
    assert model.planner is not None
    planner = replace(model.planner, description=replace(model.planner.description, precision_costs=costs))
    return replace(model, description=replace(model.description, precision_costs=costs), planner=planner)


def frugal() -> checkpoint.Checkpoint:
    """The same, of which 7 bits of an input are enough."""
    return replace(costing({"int8x8": 0.001, "int8x7": 0.001}), path=Path("frugal"))


# What is written


def test_page_is_a_folder_with_everything_it_needs(tmp_path: Path) -> None:
    written = web.export_web([digits(), checkpoint.load(Path("music"))], tmp_path / "site")
    assert {path.name for path in written} == {*web.ASSETS, "digits.wavegen", "music.wavegen", "models.json"}
    assert {path.name for path in (tmp_path / "site").iterdir()} == {path.name for path in written}
    listed = json.loads((tmp_path / "site" / "models.json").read_text())["models"]
    assert [one["name"] for one in listed] == ["digits", "music"]
    for one in listed:
        assert (tmp_path / "site" / one["file"]).stat().st_size == one["n_bytes"] < 3e6
        assert one["credit"] and one["precision"] == "int8x8"


def test_every_file_of_the_page_is_exported() -> None:
    assert {path.name for path in web.PAGE.iterdir()} == set(web.ASSETS)


def test_page_names_no_file_that_is_not_there_and_no_other_host() -> None:
    for path in web.PAGE.glob("*.[hjc]*s*"):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://localhost:8000", "")
        assert "//" not in re.sub(r"(^|\s)//.*", "", text), path.name  # but for comments
        for name in re.findall(r'(?:from |import |src=|href=|URL\(|loadBytes\()"(?:\./)?([\w.]+)"', text):
            assert name in (*web.ASSETS, "models.json"), f"{path.name} asks for {name}"


def test_exporting_again_replaces_the_page_and_leaves_other_files(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text("old")
    (tmp_path / "CNAME").write_text("example.org")
    web.export_web([digits()], tmp_path)
    assert json.loads((tmp_path / "models.json").read_text())["models"][0]["name"] == "digits"
    assert (tmp_path / "CNAME").read_text() == "example.org"


@pytest.mark.parametrize(
    ("costs", "precision"),
    [({"int8x8": 0.001}, "int8x8"), ({"int8x8": 0.5, "int8": 0.001}, "int8"), ({"int8x8": 1, "int8": 1}, "float32")],
)
def test_a_precision_that_costs_much_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, costs: dict[str, float], precision: str
) -> None:
    dear = costing(costs)
    with caplog.at_level("INFO"):
        web.export_web([dear], tmp_path)
    assert json.loads((tmp_path / "models.json").read_text())["models"][0]["precision"] == precision
    assert ("int8x8 costs" in caplog.text) == (precision != "int8x8")


@pytest.mark.parametrize(
    ("costs", "wanted", "relaxed"),
    [
        ({"int8x8": 0.001, "int8x7": 0.002}, None, "int8x7"),
        ({"int8x8": 0.001, "int8x7": 0.02}, None, "int8x8"),
        ({"int8x8": 0.001}, None, "int8x8"),
        ({"int8x8": 0.001, "int8x7": 0.002}, "int8", "int8"),
        ({}, "int8x7", "int8x7"),
    ],
)
def test_relaxed_products_are_for_models_that_they_are_known_to_cost_little(
    tmp_path: Path, costs: dict[str, float], wanted: str | None, relaxed: str
) -> None:
    web.export_web([costing(costs)], tmp_path, wanted)
    assert json.loads((tmp_path / "models.json").read_text())["models"][0]["relaxed_precision"] == relaxed


def test_a_run_folder_gives_the_model_its_name() -> None:
    run = replace(digits(), path=Path("/runs/my digits/model.safetensors"))
    assert player_file.name_of(run) == "my-digits"


def test_models_that_ship_and_play_by_themselves_are_all_exported() -> None:
    names = [model.path.stem for model in web.playable_models()]
    assert set(names) == {*checkpoint.shipped()} - {"vocoder"}


def test_what_no_page_can_be_made_of_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no model"):
        web.export_web([], tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        web.export_web([digits()], tmp_path / "file")
    with pytest.raises(InputError, match="is a file, not a folder"):
        web.export_web([digits()], tmp_path / "file" / "site")
    with pytest.raises(InputError, match="both be called digits"):
        web.export_web([digits(), digits()], tmp_path / "site")
    with pytest.raises(InputError, match="makes sound of frames"):
        web.export_web([checkpoint.load(Path("vocoder"))], tmp_path / "site")
    with pytest.raises(InputError, match="a player takes int8x8, int8, float32"):
        web.export_web([digits()], tmp_path / "site", "float16")
    assert not (tmp_path / "site").exists()


# In the browser


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with digits, twice, and with files that are no models."""
    folder = tmp_path_factory.mktemp("site")
    web.export_web([costing({"int8x8": 0.001}), frugal()], folder)
    (folder / "tap.js").write_text(TAP)
    good = (folder / "digits.wavegen").read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 16
    longer, other_version = good + bytes(8), good[:8] + struct.pack("<q", 99) + good[16:]
    wrong = {"damaged": bytes(damaged), "cut-off": good[:5000], "longer": longer, "other-version": other_version}
    wrong |= {"foreign": b"\x89PNG\r\n\x1a\n" * 1000, "empty": b""}
    for name, data in wrong.items():
        (folder / f"{name}.wavegen").write_bytes(data)
    listed = json.loads((folder / "models.json").read_text())
    listed["models"] += [
        {**listed["models"][0], "name": name, "file": f"{name}.wavegen"} for name in (*wrong, "missing")
    ]
    (folder / "models.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as where:
        yield where


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a plain file server of a folder."""
    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


class Visit:
    """A page in a browser; what went wrong in it, and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda one: self.errors.append(one.text) if one.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.page.wait_for_selector("#play:visible", timeout=30_000)

    def text(self, name: str) -> str:
        return self.page.text_content(f"#{name}")

    def wait(self, condition: str) -> None:
        """Until a condition in JavaScript holds. (The page's policy forbids playwright's own way, which is `eval`.)"""
        until = time.monotonic() + 60
        while not self.page.evaluate(condition):
            assert time.monotonic() < until, f"not within a minute: {condition}"
            time.sleep(0.02)

    def begin(self, seed: int, digit: str = "7", speaker: str = "theo") -> None:
        """Choose labels and a seed, as somebody would who has not yet pressed Play."""
        self.page.uncheck("#again")
        self.page.get_by_label(digit, exact=True).check()
        self.page.get_by_label(speaker, exact=True).check()
        self.page.fill("#seed", str(seed))
        self.page.click("#seed-form button")

    def hear(self, seconds: float) -> None:
        """Wait until so much was heard."""
        self.wait(f"window.heard.length * 128 > {seconds} * 8000")

    def heard(self) -> NDArray[np.float32]:
        """What has come to the end of the audio graph, from the first sample that is not 0 on."""
        values = self.page.evaluate("window.heard.map((block) => Array.from(block)).flat()")
        sound = np.array(values, dtype=np.float32)
        return sound[np.flatnonzero(sound)[0] :]


@contextmanager
def visit(browser: Any, *, ahead_s: float | None = None) -> Iterator[Visit]:
    """A page with a tap, which takes little time to find out how fast it is.

    `ahead_s`: how much it makes before it plays, so that a machine that is busy has no drop-outs.
    """
    context = browser.new_context()
    context.add_init_script(LISTEN)
    _patch(context, "worker.js", r"WARM_UP_MS = \d+|SECOND_MS = \d+", r"\g<0> / 20")
    if ahead_s is not None:
        _patch(context, "sound.js", r"AHEAD_S = 0\.[28]", f"AHEAD_S = {ahead_s}")
    try:
        yield Visit(context.new_page())
    finally:
        context.close()


def _patch(context: Any, name: str, pattern: str, replacement: str) -> None:
    """Have the browser get one of the page's files with some text replaced."""
    text, n = re.subn(pattern, replacement, (web.PAGE / name).read_text())
    assert n
    context.route(f"**/{name}", lambda route: route.fulfill(body=text, content_type="text/javascript"))


@pytest.fixture(scope="module")
def natives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.float32]]:
    """What a machine without fused multiply-adds makes.

    `wavegen generate` of OPTIONS (first), in int8x7 as well (relaxed), and of OTHER (second), and blocks of
    `wavegen play` with EVENTS (live).
    """
    out = tmp_path_factory.mktemp("native") / "sounds.npz"
    command = [sys.executable, "-c", NATIVE, *map(json.dumps, (OPTIONS, OTHER, EVENTS)), str(out)]
    subprocess.run(command, env={**os.environ, **GENERIC}, check=True, timeout=600)
    return dict(np.load(out))


@pytest.mark.parametrize(
    ("model", "precision", "made"), [("digits", "int8x8", "first"), ("frugal", "int8x7", "relaxed")]
)
def test_page_plays_the_samples_of_generate_bit_for_bit(
    browser: Any, address: str, natives: dict[str, NDArray[np.float32]], model: str, precision: str, made: str
) -> None:
    native = natives[made]
    with visit(browser, ahead_s=1.2) as one:
        one.open(f"{address}#{model}")
        assert one.page.text_content("#sound .precision") == precision
        one.begin(5)
        one.page.click("#play")
        one.hear(MADE_S + 0.3)
        one.wait("parseFloat(document.querySelector('#save').textContent.split(':')[1]) >= 1")
        one.page.click("#play")
        with one.page.expect_download() as download:
            one.page.click("#save")
        saved, rate = soundfile.read(io.BytesIO(Path(download.value.path()).read_bytes()), dtype="int16")
        heard = one.heard()
        assert download.value.suggested_filename == f"{model}-5.wav"
        assert f"--seed 5 --precision {precision} --label digit=7 --label speaker=theo" in one.text("command")
        assert one.errors == []
        assert all(url.startswith((address, "data:", f"blob:{address}")) for url in one.requests), one.requests
    expected = native[np.flatnonzero(native)[0] :]
    assert np.array_equal(heard[: len(expected)], expected)
    assert rate == 8000 and np.array_equal(saved[: len(native)], audio.as_int16(native))


def test_what_every_browser_has_is_used_where_the_address_asks_for_it_or_there_is_nothing_else(
    browser: Any, address: str
) -> None:
    with visit(browser) as one:
        one.open(f"{address}?precision=int8x8#frugal")
        assert one.page.text_content("#sound .precision") == "int8x8"
        assert " --precision int8x8 " in one.text("command")
    with visit(browser) as one:
        one.page.add_init_script("WebAssembly.validate = (bytes) => bytes.length < 40")  # as if it had plain SIMD only
        one.open(f"{address}#frugal")
        assert one.page.text_content("#sound .precision") == "int8x8"
        assert not any("relaxed" in url for url in one.requests)


def test_a_new_label_and_temperature_are_those_of_generate_bit_for_bit(
    browser: Any, address: str, natives: dict[str, NDArray[np.float32]]
) -> None:
    """Once a word has ended another label begins it anew, with the same seed."""
    first, second = (sound[np.flatnonzero(sound)[0] :] for sound in (natives["first"], natives["second"]))
    with visit(browser, ahead_s=1.2) as one:
        one.open(address)
        one.begin(5)
        one.page.click("#play")
        one.wait("document.querySelector('#note').textContent.startsWith('The sound has ended')")
        one.page.get_by_label("temperature", exact=True).fill("0.75")
        one.page.get_by_label("3", exact=True).check()
        assert "--label digit=3 --label speaker=theo --temperature 0.75" in one.text("command")
        one.hear(3.2)
        heard = one.heard()
        one.page.get_by_label("gain", exact=True).fill("0.5")
        one.page.evaluate("window.heard.length = 0")
        one.hear(0.5)
        softer, before = np.abs(one.heard()[-2000:]).max(), np.abs(heard[-2000:]).max()
        assert 0.3 * before < softer < 0.7 * before  # what is silent is not quite 0
        one.page.check("#again")  # from here on with the next seed
        one.wait("document.querySelector('#seed').value === '6'")
        assert one.errors == []
    n = 4096
    assert np.array_equal(heard[:n], first[:n])
    windows = np.lib.stride_tricks.sliding_window_view(heard, n)
    assert (windows[:, :: n // 64] == second[:n][:: n // 64]).all(axis=1).any()
    assert any(np.array_equal(window, second[:n]) for window in windows[windows[:, 0] == second[0]])


def test_page_changes_restarts_and_freezes_a_sound_as_play_does(
    browser: Any, address: str, natives: dict[str, NDArray[np.float32]]
) -> None:
    """The module live.js and generation/live.py, asked for the same."""
    with visit(browser) as one:
        one.page.goto(address)
        blocks = one.page.evaluate(
            LIVE_IN_PAGE, {"seed": OPTIONS["seed"], "labels": OPTIONS["labels"], "events": EVENTS}
        )
    played, expected = np.array(blocks, dtype=np.float32), natives["live"]
    n_first = EVENTS[0][0]
    assert np.array_equal(played[:n_first], expected[:n_first])
    # Fades multiply by cosines in float32 there and in float64 here: a few units in the last place of float32.
    assert np.abs(played - expected).max() < 1e-6
    assert len(played) == sum(n for n, _, _ in EVENTS)


def test_keys_do_what_they_do_in_play(browser: Any, address: str) -> None:
    with visit(browser) as one:
        one.open(address)
        for key, note in (
            ("ArrowUp", "temperature 0.90"), ("t", "temperature of frames 0.35"), ("G", "guidance 1.75"),
            ("-", "gain 0.80"), ("l", "digit 1"), ("L", "digit 0"), ("k", "speaker jackson"), ("K", "speaker george"),
            ("w", "nothing was heard yet"), ("f", "frozen: the newest half second repeats"), ("f", "unfrozen"),
        ):  # fmt: skip
            one.page.keyboard.press(key)
            assert one.text("note") == note
        one.page.keyboard.press("r")
        assert re.fullmatch(r"restarted, seed \d+", one.text("note"))
        one.page.keyboard.press(" ")
        one.hear(0.5)
        one.page.keyboard.press("q")
        one.wait("document.querySelector('#play').textContent.includes('Play')")
        one.page.keyboard.press("r")
        seed = one.text("note").split()[-1]
        time.sleep(0.3)  # for what the worker says to that
        assert one.page.input_value("#seed") == seed and f"--seed {seed} " in one.text("command")
        one.page.click("#keys-details summary")
        one.page.uncheck("#keys-on")
        one.page.keyboard.press("p")
        assert one.text("note") == f"restarted, seed {seed}"
        assert one.errors == []


def test_a_file_that_is_no_model_is_told_in_one_sentence_and_another_model_still_plays(
    browser: Any, address: str
) -> None:
    sentences = {
        "damaged": "damaged", "cut-off": "damaged", "longer": "damaged", "other-version": "another version of wavegen",
        "foreign": "no model", "empty": "no model", "missing": "missing.wavegen could not be loaded (404)",
    }  # fmt: skip
    with visit(browser) as one:
        one.open(address)
        for name, sentence in sentences.items():
            one.page.click(f"nav a[data-name={name}]")
            one.page.wait_for_selector("#fault:visible")
            assert sentence in one.text("fault")
            assert not one.page.is_visible("#play")
            one.page.evaluate("document.querySelector('#fault').hidden = true")
        one.page.click("nav a[data-name=digits]")
        one.page.wait_for_selector("#play:visible")
        one.page.click("#play")
        one.hear(0.5)
        assert not one.page.is_visible("#fault")
        assert [error for error in one.errors if "404" not in error] == []


def test_a_slow_device_is_told_so_and_may_make_some_sound_first(browser: Any, address: str) -> None:
    with visit(browser) as one:
        slowly = "const until = performance.now() + 45; while (performance.now() < until); $&".replace("$&", r"\g<0>")
        _patch(one.page.context, "player.js", r"this\.#exports\.wavegen_make", slowly)
        _patch(one.page.context, "sound.js", r"RENDERED_S = 10", "RENDERED_S = 0.8")
        one.open(address)
        assert "too slow to play without gaps" in one.text("slow-text")
        one.page.click("#render")
        one.wait("document.querySelector('#note').textContent.startsWith('Making 0.8 s')")
        one.wait("document.querySelector('#note').textContent.startsWith('Playing')")
        assert one.text("dropouts") == "0"
        one.page.click("#unguided")
        assert one.page.input_value("#slider-guidance") == "1"
        assert one.errors == []


def test_images_fill_a_grid_and_what_was_drawn_stays(browser: Any, address: str) -> None:
    """With a stand-in for the player: of pixels that are to be drawn each is half bright."""
    with visit(browser) as one:
        one.page.context.route("**/player.js", lambda route: route.fulfill(body=IMAGES, content_type="text/javascript"))
        one.page.goto(address)
        one.page.wait_for_selector("#draw:visible", timeout=30_000)
        one.page.fill("#image-seed", "18446744073709551615")
        one.page.click("#image-seed-form button")
        one.wait("document.querySelector('#image-note').textContent === '16 images drawn'")
        assert one.text("image-seeds") == "18446744073709551615, images 0 to 15"  # of 64 bits
        assert set(one.page.evaluate(GRID)) == {128}
        one.page.focus("#easel")
        for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", " "):
            one.page.keyboard.press(key)
        one.page.get_by_label("rows that stay").fill("2")
        one.page.click("#complete-draw")
        one.wait("document.querySelector('#image-note').textContent === '16 images drawn'")
        grid = np.array(one.page.evaluate(GRID)).reshape(8, 8)
        assert (grid[2:] == 128).all() and grid[0, 4] == 255 and grid[0, 0] == 0
        assert one.errors == []


def test_a_browser_without_simd_is_told_so(browser: Any, address: str) -> None:
    with visit(browser) as one:
        one.page.add_init_script("WebAssembly.validate = () => false")
        one.page.goto(address)
        one.page.wait_for_selector("#fault:visible")
        assert "no WebAssembly with SIMD" in one.text("fault")


def test_a_sample_rate_that_a_browser_refuses_is_told(browser: Any, address: str) -> None:
    with visit(browser) as one:
        one.page.add_init_script("AudioContext = class { constructor() { throw new DOMException('not supported') } }")
        one.open(address)
        one.page.click("#play")
        assert "cannot play 8000 samples per second" in one.text("fault")


def test_nothing_is_wider_than_the_screen_and_controls_are_large_enough_for_a_finger(
    browser: Any, address: str
) -> None:
    with visit(browser) as one:
        one.open(address)
        for summary in one.page.query_selector_all("summary:visible"):
            summary.click()
        for width in (320, 390, 1280):
            one.page.set_viewport_size({"width": width, "height": 800})
            assert one.page.evaluate("document.documentElement.scrollWidth") <= width
            boxes = one.page.evaluate(
                "[...document.querySelectorAll('button, select, summary, nav a, .chip, .check, input[type=range]')]"
                ".filter((one) => one.offsetParent).map((one) => [one.textContent, one.offsetWidth, one.offsetHeight])"
            )
            assert len(boxes) > 20 and [box for box in boxes if min(box[1:]) < 44] == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["speech", "music"])
def test_other_models_play_what_the_command_line_in_the_page_makes(browser: Any, tmp_path: Path, name: str) -> None:
    web.export_web([checkpoint.load(Path(name))], tmp_path)
    (tmp_path / "tap.js").write_text(TAP)
    with served(tmp_path) as where, visit(browser, ahead_s=3) as one:
        one.open(where)
        one.page.uncheck("#again")
        one.page.fill("#seed", "5")
        one.page.click("#seed-form button")
        one.page.click("#play")
        one.wait("window.heard.filter((block) => block[0] !== 0).length > 24000 / 128 + 8")
        heard = audio.as_int16(one.heard())
        line = shlex.split(one.text("command"))
        assert one.errors == []
    out = tmp_path / "made.wav"
    line = [sys.executable, "-m", *line, "--seconds", "3", "--out", str(out)]
    subprocess.run(line, env={**os.environ, **GENERIC}, check=True, timeout=600)
    made, _ = soundfile.read(out, dtype="int16")
    made, heard = made[np.flatnonzero(made)[0] :][:24000], heard[np.flatnonzero(heard)[0] :][:24000]
    np.testing.assert_array_equal(heard, made)


@pytest.mark.exhaustive
def test_images_of_the_page_are_those_of_its_command_line(browser: Any, tmp_path: Path) -> None:
    web.export_web([checkpoint.load(Path("mnist"))], tmp_path)
    with served(tmp_path) as where, visit(browser) as one:
        one.page.goto(where)
        one.page.wait_for_selector("#draw:visible", timeout=30_000)
        one.page.fill("#image-seed", "5")
        one.page.click("#image-seed-form button")
        one.wait("document.querySelector('#image-note').textContent === '16 images drawn'")
        drawn = np.array(one.page.evaluate(GRID.replace("8, 8", "28, 28").replace("64", "784"))).reshape(28, 28)
        line = shlex.split(one.text("image-command"))
        assert one.errors == []
    out = tmp_path / "made.png"
    environment = {**os.environ, **GENERIC}
    subprocess.run([sys.executable, "-m", *line, "--out", str(out)], env=environment, check=True, timeout=600)
    with Image.open(out) as made:
        np.testing.assert_array_equal(drawn, np.asarray(made.convert("L"))[2:30, 2:30])


@pytest.mark.exhaustive
def test_digits_play_ten_minutes_without_a_drop_out(browser: Any, address: str) -> None:
    """Wants a machine that does nothing else: where others take its cores, there are drop-outs."""
    with visit(browser) as one:
        one.open(address)
        one.page.click("#play")
        for _ in range(60):
            time.sleep(10)
            one.page.evaluate("window.heard.length = 0")
        assert one.text("dropouts") == "0", f"with a load of {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores"
        assert one.errors == []
