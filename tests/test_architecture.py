"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "driftline": {"app", "worker"},
    "app": {"worker"},
    "worker": {"app", "fastapi", "starlette", "uvicorn"},
    "driftline/learning": {"driftline.store", "redis", "fastapi", "httpx"},
    "driftline/networks": {"driftline.store", "driftline.learning", "redis", "fastapi", "httpx"},
    "driftline/store": {"driftline.learning", "driftline.networks", "torch", "fastapi", "httpx"},
    "driftline/cli": {"torch", "driftline.learning.learner", "driftline.networks.build"},
    "driftline/doctor": {"torch", "driftline.learning.learner", "driftline.networks"},
}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_the_arrows_point_one_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imported(path)
        if any(module == banned or module.startswith(banned + ".") for banned in FORBIDDEN[folder])
    ]
    assert not wrong


def test_nothing_is_unpickled() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for folder in ("driftline", "app", "worker")
        for path in (ROOT / folder).rglob("*.py")
        for module in imported(path)
        if module.split(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
    ]
    assert not wrong


def test_a_spec_is_read_without_torch() -> None:
    program = "import driftline.spec, driftline.cli, driftline.doctor, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
