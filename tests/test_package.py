"""What installs: every module and recipe, from a wheel."""

import subprocess
import sys
import zipfile

from tests.conftest import REPOSITORY
from wavegen import checkpoint


def test_a_wheel_holds_every_module_and_recipe_and_is_well_typed(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, REPOSITORY],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "wavegen").rglob("*.py")}
    expected |= {f"wavegen/pretrained/{path.name}" for path in checkpoint.shipped().values()}
    for folder, pattern in (("cli", "*.py"), ("recipes", "*.py"), ("recipes", "*.yaml")):
        expected |= {f"wavegen/{folder}/{path.name}" for path in (REPOSITORY / folder).glob(pattern)}
    assert expected | {"wavegen/py.typed"} <= names
    assert not {name.split("/")[0] for name in names} - {"wavegen", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    # An editable tree hides wavegen.cli from a type checker, so it is the wheel's contents that are checked.
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", REPOSITORY / "pyproject.toml", "-p", "wavegen"],
        cwd=tmp_path / "installed",
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
