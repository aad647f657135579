"""The arrows of the design: who may import whom."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

from tests.source_files import FILES, ROOT, read

BELOW_ALL = {"errors", "records", "settings", "support", "version"}
REACHES = {
    "errors": set[str](),
    "records": set[str](),
    "settings": set[str](),
    "version": set[str](),
    "support": {"errors"},
    "api": BELOW_ALL,
    "api_keys": BELOW_ALL | {"api"},
    "spec": BELOW_ALL,
    "rows": BELOW_ALL | {"spec"},
    "networks": BELOW_ALL | {"spec"},
    "learning": BELOW_ALL | {"rows", "spec", "networks"},
    "store": BELOW_ALL,
    "ingest": BELOW_ALL | {"api", "rows", "spec", "store"},
    "sinks": BELOW_ALL | {"spec", "store"},
    "sources": BELOW_ALL | {"api", "ingest", "rows", "sinks", "spec", "store", "tables"},
    "row_files": BELOW_ALL | {"spec", "networks", "store"},
    "versions": BELOW_ALL | {"rows", "row_files", "spec", "networks", "learning", "store"},
    "tables": BELOW_ALL | {"spec"},
    "backtest": BELOW_ALL
    | {"api", "api_keys", "rows", "tables", "spec", "networks", "learning", "ingest", "processes", "store"},
    "client": BELOW_ALL | {"api"},
    "files": BELOW_ALL | {"api", "client", "spec", "tables"},
    "processes": BELOW_ALL | {"api", "api_keys", "store"},
    "doctor": BELOW_ALL | {"api", "api_keys", "processes", "spec", "store"},
    "demo": BELOW_ALL | {"api", "api_keys", "client", "processes", "spec", "store"},
}
"""The rooms of the library that each room reaches at most, over any number of imports. Only app, worker and cli reach all."""
LIBRARIES = {
    "driftline/learning": {"redis", "fastapi", "httpx"},
    "driftline/networks": {"redis", "fastapi", "httpx"},
    "driftline/store": {"torch", "fastapi", "httpx"},
    "driftline/spec": {"torch", "numba", "redis", "fastapi", "httpx"},
    "driftline/api": {"torch", "redis", "httpx"},
    "driftline/client": {"torch", "numba", "redis", "fastapi", "pydantic", "msgspec", "pandas", "polars"},
    "driftline/doctor": {"torch"},
    "driftline/tables": {"torch", "redis", "fastapi", "httpx"},
    "driftline/sinks": {"torch", "fastapi"},
    "driftline/sources": {"torch", "fastapi"},
    "driftline/files": {"torch", "redis", "fastapi", "httpx"},
    "driftline/cli": {"torch"},
    "worker": {"fastapi", "starlette", "uvicorn"},
}
"""What the files of a folder do not import themselves."""


@cache
def arrows() -> dict[str, set[str]]:
    """The files of ours that each file imports, both by their module's name."""
    return {name: {module for module in read(path).imports if module in FILES} - {name} for name, path in FILES.items()}


@cache
def reached(name: str) -> set[str]:
    """All files that a file imports, over any number of others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = arrows()[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "driftline" and len(parts) > 1 else parts[0]


def test_there_is_no_circle() -> None:
    circles = {frozenset(other for other in reached(name) if name in reached(other)) for name in FILES}
    assert not [sorted(circle) for circle in circles if circle]


@pytest.mark.parametrize("name", REACHES)
def test_the_arrows_point_one_way(name: str) -> None:
    files = [file for file in FILES if file.startswith("driftline.") and room(file) == name]
    assert files
    wrong = {
        f"{file} reaches {other}"
        for file in files
        for other in reached(file)
        if room(other) not in {*REACHES[name], name, "driftline"}
    }
    assert not wrong


def test_app_and_worker_know_nothing_of_each_other() -> None:
    wrong = [
        f"{file} reaches {other}"
        for file in FILES
        for other in reached(file)
        if room(other) in {"app", "worker"} and room(other) != room(file)
    ]
    assert not wrong


def test_every_room_has_its_arrows() -> None:
    rooms = {room(file) for file in FILES if file != "driftline"}
    assert rooms == {*REACHES, "app", "worker", "cli"}


@pytest.mark.parametrize("folder", LIBRARIES)
def test_libraries_stay_in_their_rooms(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module in read(path).imports
        if module.split(".")[0] in LIBRARIES[folder]
    ]
    assert not wrong


def test_app_and_worker_import_their_own_by_relative_names() -> None:
    """The wheel has them below ``driftline``, where their names are others."""
    named = ("app", "worker", "driftline.app", "driftline.worker")
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in FILES.values()
        for module in read(path).absolute
        if any(module == name or module.startswith(f"{name}.") for name in named)
    ]
    assert not wrong


def test_nothing_is_unpickled() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in FILES.values()
        for module in read(path).imports
        if module.split(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
    ]
    assert not wrong


def test_a_spec_is_read_without_torch() -> None:
    program = (
        "import driftline.spec, driftline.cli, driftline.doctor, sys; "
        "assert not {'torch', 'driftline.learning', 'driftline.networks'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_files_and_classes_stay_small() -> None:
    lines = {name: path.read_text().count("\n") for name, path in FILES.items()}
    assert not {name: count for name, count in lines.items() if count > 400}
    classes = {f"{name}.{each}": size for name, path in FILES.items() for each, size in read(path).classes.items()}
    assert not {name: size for name, size in classes.items() if size >= 250}


def test_a_class_name_means_one_thing() -> None:
    found: dict[str, list[str]] = {}
    for name, path in FILES.items():
        for each in read(path).names:
            found.setdefault(each, []).append(name)
    assert not {name: files for name, files in found.items() if len(files) > 1}
