"""The page of the service in Chromium: it plays live, and obeys. What sounds is tapped as in export/test_web.py."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import wavegen
from tests.export import test_web
from tests.export.test_web import LISTEN, TAP
from tests.serving.conftest import Running
from tests.serving.test_http import until
from wavegen.serving import page_routes

browser = test_web.browser  # the fixture
TAPPED = LISTEN.replace('"tap.js"', f"URL.createObjectURL(new Blob([`{TAP}`], {{ type: 'text/javascript' }}))")


@pytest.fixture
def page(running: Running, browser: Any) -> Iterator[Any]:
    """A page with its own policy, in which nothing but it may run."""
    with visited(running, browser) as page:
        yield page


@pytest.fixture
def tapped_page(running: Running, browser: Any) -> Iterator[Any]:
    """One in which what is heard is noted."""
    with visited(running, browser, bypass_csp=True) as page:
        page.add_init_script(TAPPED)
        yield page


@contextmanager
def visited(running: Running, browser: Any, **settings: Any) -> Iterator[Any]:
    context = browser.new_context(**settings)
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    yield page
    assert page.faults == []
    context.close()
    until(lambda: running.service.pool.n_voices == 0)


def heard(page: Any) -> np.ndarray:
    """What has reached the end of the page's audio graph, from the first sound on."""
    quanta = page.evaluate("window.heard.map((quantum) => Array.from(quantum))")
    samples = np.concatenate([np.zeros(0), *map(np.array, quanta)])
    begin = np.flatnonzero(samples)
    return samples[begin[0] :] if len(begin) else samples[:0]


def wait_for(page: Any, seconds: float) -> np.ndarray:
    end = time.monotonic() + 20
    while len(samples := heard(page)) < seconds * 8000:
        assert time.monotonic() < end, f"only {len(samples)} samples were heard"
        page.wait_for_timeout(50)
    return samples


def test_it_plays_live_and_changes_temperature_and_label(running: Running, tapped_page: Any) -> None:
    page = tapped_page
    page.goto(f"{running.address}/#digits")
    page.fill("#seed", "5")
    page.press("#seed", "Enter")
    page.click("#play")
    sound = wait_for(page, 0.5)
    made = wavegen.load("digits").generate(3, seed=5, labels={"digit": "0", "speaker": "george"}).samples
    begin = np.flatnonzero(made)[0]
    np.testing.assert_allclose(sound[:4000], made[begin : begin + 4000], atol=1e-6)
    (voice,) = [voice for core in running.service.pool.cores for voice in core.live["digits"].voices()]
    page.evaluate(
        """() => {
          const slider = document.querySelector("#sliders input");
          slider.value = "0.3";
          slider.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
    )
    page.click("#sound-labels .chip:has-text('7')")
    until(lambda: voice.performance.heard.decoding.temperature == 0.3)
    until(lambda: voice.performance.heard.labels["digit"] == "7")
    page.click("#restart")
    until(lambda: voice.performance.heard.take >= 1)
    page.wait_for_function("() => Number(document.querySelector('#delay').textContent.split(' ')[0]) > 0")
    page.click("#freeze")
    until(lambda: voice.performance.heard.is_frozen)


def test_it_draws_and_completes_images(running: Running, page: Any) -> None:
    page.goto(f"{running.address}/#mnist-binary")
    page.click("#draw")
    page.wait_for_function("() => document.querySelector('#image-note').textContent === '16 images drawn'")
    drawn = page.evaluate(
        "() => Array.from(document.querySelector('#grid').getContext('2d').getImageData(0, 0, 28, 28).data)"
    )
    assert len(set(drawn)) >= 2
    page.focus("#easel")
    for key in (" ", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.click("#complete-draw")
    page.wait_for_function("() => document.querySelector('#image-seeds').textContent.includes('images 0 to 15')")
    page.wait_for_function("() => document.querySelector('#image-note').textContent === '16 images drawn'")


def test_a_fault_of_the_service_is_told(running: Running, page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.service.pool, "_max_streams", 0)
    page.goto(f"{running.address}/#digits")
    page.click("#play")
    page.wait_for_selector("#fault:not([hidden])")
    assert "--max-streams" in page.text_content("#fault")


def test_the_page_says_where_sound_is_made_and_asks_for_nothing_that_is_not_there(running: Running) -> None:
    html = page_routes.page_html()
    assert "made by the service" in html and "WebAssembly" not in html
    for name in page_routes.PAGE:
        assert running.client.get(f"/page/{name}").status_code == 200
