import builtins
import shutil
from pathlib import Path

import pytest

from tests.conftest import tiny_checkpoint
from wavegen.bench import web
from wavegen.errors import InputError


def test_onnx_runtime_web_is_found_in_the_first_folder_that_has_all_of_it(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("none", "part", "whole")]
    for folder in folders[1:]:
        (folder / "onnxruntime-web" / "dist").mkdir(parents=True)
    for name in web.RUNTIME:
        (folders[2] / "onnxruntime-web" / "dist" / name).touch()
    (folders[1] / "onnxruntime-web" / "dist" / web.RUNTIME[0]).touch()
    assert web.find_runtime(folders) == folders[2] / "onnxruntime-web" / "dist"
    assert web.find_runtime(folders[:2]) is None


def test_a_missing_playwright_or_browser_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = {"tiny": tiny_checkpoint()}
    if shutil.which("chromium") is not None:
        pytest.importorskip("playwright")
        monkeypatch.setattr(shutil, "which", lambda _name: str(tmp_path / "none"))
        with pytest.raises(InputError, match="playwright install chromium"):
            web.time_web(models, 1)
    imported = builtins.__import__

    def without_playwright(name: str, *given: object) -> object:
        if name.startswith("playwright"):
            raise ImportError(name)
        return imported(name, *given)

    monkeypatch.setattr(builtins, "__import__", without_playwright)
    with pytest.raises(InputError, match="pip install playwright"):
        web.time_web(models, 1)


@pytest.mark.exhaustive
def test_a_model_is_timed_in_a_page_and_here(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium")
    monkeypatch.setattr(web, "ROUND_S", 0.005)
    speeds = web.time_web({"tiny": tiny_checkpoint(), "labelled": tiny_checkpoint(labels={"who": 3})}, 2)
    for name in ("tiny", "labelled"):
        own = [speed for speed in speeds if speed.model == name]
        assert {speed.name for speed in own} >= {*web.MODULES, "here, auto"}
        assert own == sorted(own, key=lambda speed: -speed.samples_per_s)
    assert all(speed.times_real_time > 0 for speed in speeds)
