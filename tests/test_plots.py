import matplotlib.image
import numpy as np
import pytest

from wavegen import plots


def test_sounds_are_drawn_in_columns(tmp_path):
    tone = np.sin(np.arange(8000) * 0.3)
    plots.sounds(tmp_path / "one.png", {"tone": tone}, 8000)
    plots.sounds(tmp_path / "two.png", {"tone": tone, "silence": np.zeros(8000)}, 8000)
    one, two = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert two.shape[1] == 2 * one.shape[1]
    assert one.std() > 0.05


def test_very_short_sounds_and_empty_curves_are_drawn_too(tmp_path):
    plots.sounds(tmp_path / "x.png", {"one sample": np.zeros(1)}, 8000)
    plots.losses(tmp_path / "y.png", {"training": [], "validation": []})
    plots.losses(tmp_path / "z.png", {"training": [(1, 8.0), (2, 5.0)], "validation": []})
    assert all((tmp_path / name).exists() for name in ("x.png", "y.png", "z.png"))


@pytest.mark.parametrize("name", ["a$_$b.wav", "US$5 & AU$6.wav", "caf\udce9.wav"])
def test_a_sound_may_be_called_anything(tmp_path, name):
    plots.sounds(tmp_path / "x.png", {name: np.zeros(100)}, 8000)
    assert (tmp_path / "x.png").exists()
