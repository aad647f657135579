"""A virtual environment for each peer, made once and reused until its pins change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


class Unavailable(Exception):
    """A server that cannot be measured here, and why."""


def interpreter(name: str, requirements: Path, folder: Path) -> Path:
    """The Python of an environment with exactly these ``requirements``, below ``folder``.

    The environment variable TORCH_INDEX takes torch from another index, as for ``make``.
    """
    pins = requirements.read_text()
    digest = hashlib.sha256(f"{sys.version}\n{pins}".encode()).hexdigest()[:12]
    environment = folder / f"{name}-{digest}"
    python, is_complete = environment / "bin" / "python", environment / ".complete"
    if not is_complete.exists():
        print(f"{name}: making {environment}", file=sys.stderr, flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(environment))
        if index := os.environ.get("TORCH_INDEX"):
            torch = next(line for line in pins.splitlines() if line.startswith("torch=="))
            _run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--index-url", index, torch)
        _run(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements))
        is_complete.touch()
    return python


def _run(*command: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        problem = next((line for line in process.stderr.splitlines() if "error" in line.lower()), process.stderr[-200:])
        raise Unavailable(f"not installed: {problem.strip()}")
