"""Every kernel is loaded before the first request, and none is compiled after that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline.learning.learner import Learner
from driftline.networks.kernels import all_kernels, compiled
from driftline.records import Item, Label, Plan
from driftline.spec import ModelSpec, parse

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
row, one, out = np.zeros((1, 1), np.float32), np.ones(1, np.float32), np.empty((1, 1), np.float32)
encode(row, one, one, 0, out)
assert out[0, 0] == -1
try:
    encode(row.astype(np.float64), one, one, 0, out)
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
from numba import config
config.CACHE_LOCATOR_CLASSES = "IPythonCacheLocator"  # which knows of none, outside of a notebook
from driftline.networks.kernels import compiled, encoding
assert compiled.folder() is None
assert not any(compiled._is_cached(*each) for each in compiled._kernels)
import numpy as np
out = np.zeros((1, 1), np.float32)
encoding.encode(np.zeros((1, 1), np.float32), *[np.ones(1, np.float32)] * 2, 0, out)
assert out[0, 0] == -1
print("compiled")
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "compiled\n", found.stderr


def test_kernels_that_an_image_brings_are_loaded_where_nothing_can_be_written() -> None:
    program = """
import logging, numpy as np
from numba.core import caching
def refuse(self):
    raise PermissionError
caching._CacheLocator.ensure_cache_path = refuse
from driftline.networks.kernels import all_kernels, compiled, encoding
assert compiled.folder() is None
dispatcher, arguments = compiled._kernels[0]
assert all(compiled._is_cached(*each) for each in compiled._kernels)
all_kernels.warm()
assert dispatcher.stats.cache_hits and not dispatcher.stats.cache_misses
dispatcher._cache.save_overload(None, None)
print("loaded")
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "loaded\n" and not found.stderr, found.stderr


def test_processes_compile_what_the_cache_lacks_and_what_they_cannot_is_left(tmp_path: Path) -> None:
    program = """
import sys
from driftline.networks.kernels import all_kernels, compiled
from driftline.networks.kernels.compilation import compilation
compiled.usable_cores = lambda: 2
names = "encoding.encode", "trees.sums", "window.write"
few = [each for each in compiled._kernels if compiled._name(each[0]).endswith(names)]
compiled._kernels[:] = few
with compiled._loading:
    assert compilation().endswith("0 of 3 are ready")
python, sys.executable = sys.executable, "/bin/false"
compiled._compile_on_all_cores(few)
assert not any(compiled._is_cached(*each) for each in few)
sys.executable = python
compiled._compile_on_all_cores(few)
assert all(compiled._is_cached(*each) for each in few) and len(few) == 3
with compiled._loading:
    assert compilation() is None
compiled._load(few)
assert all(dispatcher.stats.cache_hits and not dispatcher.stats.cache_misses for dispatcher, _ in few)
print("loaded")
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert found.stdout == "loaded\n" and not found.stderr, found.stderr


AT_ONCE = 5


def answers() -> list[list[list[float]]]:
    """What a model of each task answers, which learns a few labels again and again."""
    random, found = np.random.default_rng(1), []
    numbers, two = {"task": "regression"}, {"task": "classification", "classes": [0, 1]}
    for task in ({"task": "classification", "classes": "open"}, numbers, two):
        one = Learner.create(parse(ModelSpec, {"name": "m", "inputs": {"shape": [3]}} | task), seed=7)
        for first in range(0, 3 * AT_ONCE, AT_ONCE):
            rows = random.normal(size=(AT_ONCE, 3)).astype(np.float32)
            one.module.eval()
            with torch.no_grad():
                found.append(one.module.predict({"inputs": torch.from_numpy(rows)}).tolist())
            labels = [label_of(row, task.get("classes")) for row in rows]
            items = [Item(f"i{first + n}", {"inputs": row.tobytes()}, labels[n]) for n, row in enumerate(rows)]
            one.learn(items, [first + n + 1 for n in range(AT_ONCE)], Plan(updates=1))
    return found


def label_of(row: np.ndarray[Any, Any], classes: object) -> Label:
    if classes is None:
        return float(row[0])
    return f"c{row[0] > 0}" if classes == "open" else int(row[0] > 0)


def test_kernels_stay_within_their_arrays() -> None:
    """Compiled, nothing looks at an index; run by Python, each is looked at, and what comes out is the same."""
    program = f"import json; from {__name__} import answers; print(json.dumps(answers()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_python: list[list[list[float]]] = json.loads(done.stdout)
    assert by_python[0] == [[]] * AT_ONCE, "no class is known yet"
    for one, other in zip(by_python, answers(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
