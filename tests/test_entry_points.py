"""A package of a user's own adds parts by entry points, without a change of Driftline."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = '''
"""What a spec may say of this package's parts; it is read without torch."""
from typing import Literal

from pydantic import Field

from driftline.spec.parts.detectors import Detector
from driftline.spec.parts.layers import Layer
from driftline.spec.parts.losses import CLASSIFICATION, Loss
from driftline.spec.parts.strategies import Strategy


class Twice(Loss):
    """Cross-entropy, ``factor`` times."""

    name: Literal["twice"] = "twice"
    factor: float = Field(2.0, gt=0)
    tasks = CLASSIFICATION


class Newest(Strategy):
    name: Literal["newest"] = "newest"


class EveryTenth(Detector):
    name: Literal["every_tenth"] = "every_tenth"


class Negate(Layer):
    type: Literal["negate"] = "negate"
'''
BEHAVIOURS = """
from torch import nn
from torch.nn.functional import cross_entropy

from driftline.learning.monitoring.drift import DriftDetector
from driftline.learning.training.losses import LossFunction
from driftline.learning.training.strategies import StrategyRuntime
from driftline.networks.layers import LayerBuilder
from driftline_extra.parameters import EveryTenth, Negate, Newest, Twice


class TwiceLoss(LossFunction[Twice]):
    def __call__(self, outputs, targets, counts):
        return self.parameters.factor * cross_entropy(outputs, targets, reduction="none")


class NewestRuntime(StrategyRuntime[Newest]):
    def batch(self, new, replay, generator):
        return new.take(slice(max(0, len(new) - 2), None))


class EveryTenthDetector(DriftDetector[EveryTenth]):
    STATE = ("count",)

    def restart(self):
        self.count = 0

    def update(self, error):
        self.count += 1
        return self.count % 10 == 0


class Negation(nn.Module):
    def forward(self, rows):
        return -rows


class NegateBuilder(LayerBuilder[Negate]):
    def build(self, shape):
        return Negation()
"""
SOURCES = """
from typing import Literal

from driftline.sources.base import Reader, Source, SourceBatch, SourceRecord


class Countdown(Source):
    type: Literal["countdown"] = "countdown"
    start: int

    @property
    def identity(self):
        return f"countdown:{self.start}"

    async def open(self):
        return CountdownReader(self.start)


class CountdownReader(Reader):
    def __init__(self, start):
        self.start = start

    async def read(self, position, count):
        left = int(position or self.start)
        record = SourceRecord(str(left), b'{"label": 1, "inputs": [1, 2]}', "json")
        return SourceBatch([record], str(left - 1), lag=left - 1, is_last=left == 1)
"""
ENTRY_POINTS = """
[driftline.parts]
extra = driftline_extra.parameters
[driftline.behaviours]
extra = driftline_extra.behaviours
[driftline.sources]
extra = driftline_extra.sources
"""
PROGRAM = """
import sys

from driftline.spec import ModelSpec, parse

assert "torch" not in sys.modules
spec = parse(ModelSpec, {
    "name": "m", "task": "classification", "inputs": {"shape": [2]}, "classes": [0, 1],
    "network": {"layers": [{"type": "linear", "features": 4}, {"type": "negate"}]},
    "recipe": {"loss": {"name": "twice", "factor": 3}, "strategy": "newest", "detector": "every_tenth"},
})

import numpy as np

from driftline.learning.learner import Learner
from driftline.records import Answer, Item, Plan

def items(first, count):
    rows = np.random.default_rng(first).normal(size=(count, 2)).astype(np.float32)
    answer = Answer(1, 0, np.full(2, 0.5, np.float32).tobytes())
    return [Item(f"i{first + n}", {"inputs": row.tobytes()}, int(row[0] > 0), answer=answer) for n, row in enumerate(rows)]

learner = Learner.create(spec, seed=1)
assert [layer for layer, _ in learner.module.network.named_children()] == ["linear1", "negate1"]
before = learner.digest()
result = learner.learn(items(0, 16), range(1, 17), Plan(updates=2, publish=True))
assert [alarm.at for alarm in result.alarms] == [10], result.alarms
assert learner.digest() != before
other = Learner.from_state(learner.state_dict())
for each in (learner, other):
    assert [alarm.at for alarm in each.learn(items(16, 8), range(17, 25), Plan(updates=2)).alarms] == [20]
assert learner.digest() == other.digest(), "a part of the user's own goes on from its state"

import asyncio

from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.sources.registry import parse_sources
from driftline.sources.trial import try_source

(source,), wrong = parse_sources('[{"type": "countdown", "model": "m", "start": 3}]')
assert source.identity == "countdown:3" and not wrong
tried = asyncio.run(try_source(source, FeedbackDecoder(spec), lambda row: None))
assert [(each.record.place, each.error) for each in tried] == [("3", None), ("2", None), ("1", None)]
print("well")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip leaves it of a package: the modules, and what the package says of itself."""
    package, described = tmp_path / "driftline_extra", tmp_path / "driftline_extra-1.0.dist-info"
    for folder in (package, described):
        folder.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in (("parameters", PARAMETERS), ("behaviours", BEHAVIOURS), ("sources", SOURCES)):
        (package / f"{name}.py").write_text(text)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: driftline-extra\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


def run(site: Path, program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, cwd=site, capture_output=True, text=True
    )


def test_an_installed_package_adds_a_loss_a_strategy_a_detector_a_layer_and_a_source(site: Path) -> None:
    found = run(site, PROGRAM)
    assert (found.returncode, found.stdout) == (0, "well\n"), found.stderr


def test_without_the_package_its_parts_are_not_known(tmp_path: Path) -> None:
    found = run(tmp_path, PROGRAM)
    assert found.returncode == 1 and "negate" in found.stderr


def test_a_package_that_cannot_be_loaded_is_named(site: Path) -> None:
    (site / "driftline_extra" / "parameters.py").write_text("raise RuntimeError('half installed')")
    found = run(site, "import driftline.spec")
    assert "the entry point 'extra' of driftline.parts, driftline_extra.parameters, cannot be loaded" in found.stderr
    assert "half installed" in found.stderr
