"""Runs scenarios in a process of their own, whose arithmetic depends little on the machine, and compares the results."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
TOLERANCE = {"accuracy": 0.05, "hamming_loss": 0.05, "mae": 0.1}
"""How far the measures of another machine or build may be off; that of ``mae`` is a share."""
FROM_FILES = "differs_from_files"
"""The results of a scenario that differ where it goes on from files: none, on every machine."""

ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Prescott",
    # Numpy and the C library choose among instructions too, where their logarithms differ in the last bit.
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX2_Usable,-FMA_Usable",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
"""The least that every x86-64 CPU has, for all that choose their instructions by the CPU; one thread."""

Results = dict[str, dict[str, Any]]


@cache
def this_build() -> dict[str, str]:
    """What must be equal for the same digests."""
    import numba
    import numpy
    import torch

    return {
        "torch": str(torch.__version__).partition("+")[0],
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "arithmetic": arithmetic(),
        "cpu": cpu(),
    }


def cpu() -> str:
    """A digest of what the CPU is and can do: libraries choose instructions by more than any setting holds them to."""
    told = Path("/proc/cpuinfo")
    if not told.exists():
        return platform.processor()
    named = ("vendor_id", "cpu family", "model\t", "flags", "Features", "CPU part")
    first, *_ = told.read_text().split("\n\n")
    return hashlib.sha256(
        "\n".join(line for line in first.splitlines() if line.startswith(named)).encode()
    ).hexdigest()[:16]


def is_same_build() -> bool:
    """Whether the digests that are recorded hold here."""
    return bool(read()["build"] == this_build())


def arithmetic() -> str:
    """A digest of what libraries compute from what the CPU approximates, as far as no setting makes it the same on all."""
    environment = {**os.environ, **ENVIRONMENT}
    command = [sys.executable, "-m", "tests.golden", "arithmetic"]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def arithmetic_here() -> str:
    """The same, of this process."""
    import torch

    from tests.golden import square_root

    square_root.install()
    numbers = torch.linspace(1e-3, 10, 100_003)
    square = numbers[:2500].view(50, 50)
    found = [numbers.sqrt(), numbers.rsqrt(), numbers.exp(), numbers.log(), numbers.cos(), numbers.tanh()]
    found += [square @ square, torch.linalg.cholesky(square @ square.T + 1e4 * torch.eye(50))]
    return hashlib.sha256(b"".join(each.numpy().tobytes() for each in found)).hexdigest()[:16]


def read() -> dict[str, Any]:
    """What is recorded: ``build``, and ``scenarios``."""
    recorded: dict[str, Any] = json.loads(GOLDEN.read_text())
    return recorded


def write(results: Results) -> None:
    GOLDEN.write_text(json.dumps({"build": this_build(), "scenarios": results}, indent=1) + "\n")


class Runner:
    """Another process that runs scenarios, as often as it is asked to."""

    def __init__(self, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.golden", "run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **environment},
            cwd=ROOT,
            text=True,
        )

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._errors.close()

    def run(self, names: Iterable[str]) -> Results:
        """The results of scenarios by name."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(list(names)), file=self._process.stdin, flush=True)
        if not (line := self._process.stdout.readline()):
            self._errors.seek(0)
            raise RuntimeError(f"the scenarios could not be run:\n{self._errors.read()[-4000:]}")
        results: Results = json.loads(line)
        return results


def run(names: Iterable[str], environment: Mapping[str, str] = ENVIRONMENT) -> Results:
    """The results of scenarios by name, from a process of their own."""
    with Runner(environment) as runner:
        return runner.run(names)


def run_here(names: Iterable[str], told: Callable[[str], None] = lambda name: None) -> Results:
    """The results of scenarios by name, from this process."""
    import torch

    from tests.golden import driver, scenarios, square_root

    torch.set_num_threads(1)
    square_root.install()
    every, results = scenarios.every(), {}
    for name in names:
        told(name)
        results[name] = driver.run(every[name])
    return results


def differences(recorded: Mapping[str, Any], found: Mapping[str, Any], is_same_build: bool = True) -> list[str]:
    """How a result differs from what is recorded of it; on another build only its measure is compared."""
    differing = [name for name in recorded if recorded[name] != found.get(name)]
    if not is_same_build:
        differing = [name for name in differing if name == FROM_FILES or _is_far(name, recorded, found)]
    return [_difference(name, recorded.get(name), found.get(name)) for name in differing]


def _is_far(name: str, recorded: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    if name not in TOLERANCE:
        return False
    allowed = TOLERANCE[name] * (recorded[name] if name == "mae" else 1)
    return name not in found or not abs(recorded[name] - found[name]) <= allowed


def _difference(name: str, before: Any, now: Any) -> str:
    if isinstance(before, list) and isinstance(now, list):
        place = next((n for n, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]), None)
        place = min(len(before), len(now)) if place is None else place
        return f"{name}, from place {place} of {len(before)}: {before[place : place + 4]} → {now[place : place + 4]}"
    return f"{name}: {before} → {now}"
