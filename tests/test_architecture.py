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
    "driftline": {"app", "worker", "driftline.app", "driftline.worker"},
    "app": {"worker"},
    "worker": {"app", "fastapi", "starlette", "uvicorn"},
    "driftline/spec": {"driftline.networks", "driftline.store", "torch", "redis", "fastapi", "httpx"},
    "driftline/learning": {"driftline.store", "redis", "fastapi", "httpx"},
    "driftline/networks": {"driftline.store", "driftline.learning", "redis", "fastapi", "httpx"},
    "driftline/store": {"driftline.learning", "driftline.networks", "torch", "fastapi", "httpx"},
    "driftline/cli": {"torch", "driftline.learning.learner", "driftline.networks.build"},
    "driftline/doctor": {"torch", "driftline.learning.learner", "driftline.networks"},
}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever it does so."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def test_app_and_worker_import_their_own_by_relative_names() -> None:
    """The wheel has them below ``driftline``, where their names are others."""
    named = ("app", "worker", "driftline.app", "driftline.worker")
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for folder in ("driftline", "app", "worker")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for module in absolute(node)
        if any(module == name or module.startswith(f"{name}.") for name in named)
    ]
    assert not wrong


def absolute(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


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
