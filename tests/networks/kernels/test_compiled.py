"""Every kernel is loaded before the first request, and none is compiled after that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from driftline.networks.kernels import all_kernels, compiled

ROOM = Path(compiled.__file__).parent


def test_every_file_of_kernels_is_warmed_up() -> None:
    files = {path.stem for path in ROOM.glob("*.py") if "@kernel(" in path.read_text()}
    assert {module.__name__.rpartition(".")[2] for module in all_kernels.ALL} == files


def test_a_kernel_is_compiled_again_when_a_file_that_it_calls_has_changed() -> None:
    for name in ("bank", "mixture", "weights"):
        source = (ROOM / f"{name}.py").read_bytes()
        imported = {next(filter(None, found)).decode() for found in compiled._IMPORTED.findall(source)}
        assert {"compiled", "elementary"} <= imported or name == "mixture"
        digests = {compiled._sources(each) for each in [name, *imported]}
        assert len(digests) == 1 + len(imported)


PROGRAM = """
import sys
import numpy as np
from driftline.networks.kernels.all_kernels import warm
from driftline.networks.kernels.encoding import encode
if "warm" in sys.argv:
    warm()
row, one = np.zeros((1, 1), np.float32), np.ones(1, np.float32)
assert encode(row, one, one, 0)[0, 0] == -1
try:
    encode(row.astype(np.float64), one, one, 0)
except TypeError:
    print("refused")
"""


@pytest.mark.parametrize("when", ["warm", "at the first call"])
def test_other_types_are_refused_and_not_compiled_for(when: str) -> None:
    """Else a test or a backtest, which do not warm up, could pass with what fails in every worker."""
    found = subprocess.run([sys.executable, "-c", PROGRAM, when], capture_output=True, text=True, check=True)
    assert found.stdout == "refused\n"


def test_without_a_folder_to_write_to_kernels_are_compiled_all_the_same() -> None:
    program = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
from driftline.networks.kernels import compiled, encoding
assert compiled.folder() is None
assert not any(compiled._is_cached(*each) for each in compiled._kernels)
import numpy as np
assert encoding.encode(np.zeros((1, 1), np.float32), *[np.ones(1, np.float32)] * 2, 0)[0, 0] == -1
print("compiled")
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "compiled\n", found.stderr
