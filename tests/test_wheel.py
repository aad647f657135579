"""The wheel, installed: it brings ``driftline`` alone, and works beside packages that have the names ``app`` and ``worker``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.services import spec, up_of
from tests.waiting import SECONDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "driftline", "app", "worker")
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"
DATA = (".py", ".lua", ".typed", ".html", ".js", ".css", ".svg", ".txt")

FOREIGN = """\
import sys

import torch

OWNER = "somebody else"


def build() -> torch.nn.Module:
    assert not {"driftline.app.main", "driftline.worker.main"}.isdisjoint(sys.modules), "not the installed Driftline"
    return torch.nn.Linear(8, 2)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing built before gets into it."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel, what it needs, and an ``app`` and a ``worker`` of somebody else.

    What it needs comes from the folder of this process's packages; what ``.pth`` files there add, as the checkout, does not.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    packages = Path(shown(python, SITE))
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    needed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "needed.pth").write_text("\n".join(needed))
    for name in ("app", "worker"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text(FOREIGN)
    return python


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        env=clean(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def clean() -> dict[str, str]:
    """The environment, without what would show a process the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTLINE_", "PYTHON"))}


def shown(python: Path, program: str) -> str:
    """What a program prints that runs in the environment, away from the checkout."""
    done = subprocess.run(
        [str(python), "-P", "-c", program], cwd=python.parent, env=clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_driftline_is_at_the_top_of_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    version = wheel.name.split("-")[1]
    assert {name.split("/")[0] for name in names} == {"driftline", f"driftline-{version}.dist-info"}


def test_the_wheel_has_every_file_of_the_three_packages(wheel: Path) -> None:
    def files(name: str) -> set[Path]:
        return {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.suffix in DATA}

    wanted = files("driftline") | {Path("driftline") / file for name in ("app", "worker") for file in files(name)}
    assert {Path("driftline/app/py.typed"), Path("driftline/app/page/model/view.js")} <= wanted and Path(
        "driftline/store/scripts/append.lua"
    ) in wanted
    there = {Path(name) for name in zipfile.ZipFile(wheel).namelist() if name.startswith("driftline/")}
    assert there == wanted


def test_the_names_app_and_worker_stay_their_owners(python: Path) -> None:
    program = "import app, worker; print(app.OWNER, worker.OWNER, sep=', ')"
    assert shown(python, program) == "somebody else, somebody else"
    package = Path(shown(python, SITE)) / "driftline"
    program = "import driftline.app, driftline.worker; print(*driftline.__path__ + driftline.app.__path__, sep=':')"
    assert shown(python, program) == f"{package}:{package / 'app'}"


def test_up_serves_and_learns_beside_them(python: Path, tmp_path: Path) -> None:
    """The model's network is a factory of the other ``app``: the processes import that one by its name."""
    # The kernels are compiled for the checkout, and need not be once more for this installation.
    allowed = {"DRIFTLINE_FACTORIES": "app:build", "NUMBA_DISABLE_JIT": "1"}
    with up_of(python, tmp_path, **allowed) as instance:
        instance.client.create_model(spec(network={"factory": "app:build"}))
        answer = instance.client.predict("weather", [[0.0] * 8])
        assert answer["version"] == 1
        label = {"prediction_id": answer["predictions"][0]["id"], "label": 1}
        instance.client.feedback("weather", [label])
        receipt = instance.client.wait_served("weather", f"p:{label['prediction_id']}", SECONDS)
        assert receipt["state"] == "served", receipt


def test_the_doctor_has_nothing_to_say_of_them(python: Path) -> None:
    program = "import driftline.doctor.packages as p, sys; print(*p.check_names(p.Path.cwd(), sys.path))"
    found = shown(python, program)
    assert "level='ok'" in found and found.count("Finding") == 1
