"""What installs: every module and recipe, from a wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from wavegen import checkpoint


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.mark.exhaustive
def test_a_wheel_holds_every_module_recipe_and_model(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "wavegen").rglob("*.py")}
    expected |= {f"wavegen/pretrained/{path.name}" for path in checkpoint.shipped().values()}
    for page in (REPOSITORY / "wavegen" / "export" / "page", REPOSITORY / "wavegen" / "serving" / "page"):
        expected |= {path.relative_to(REPOSITORY).as_posix() for path in page.iterdir()}
    expected |= {"wavegen/serving/wavegen.proto", "wavegen/serving/wavegen.desc"}
    for folder, pattern in (("cli", "*.py"), ("recipes", "*.py"), ("recipes", "*.yaml")):
        expected |= {f"wavegen/{folder}/{path.name}" for path in (REPOSITORY / folder).glob(pattern)}
    assert expected | {"wavegen/py.typed"} <= names
    assert not {name.split("/")[0] for name in names} - {"wavegen", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


@pytest.mark.exhaustive
def test_what_installs_is_well_typed(wheel, tmp_path):
    """An editable tree hides wavegen.cli from a type checker, so it is the wheel's contents that are checked."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", REPOSITORY / "pyproject.toml", "-p", "wavegen"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
