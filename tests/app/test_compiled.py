"""A compiled network answers as one that is not, is compiled once, and is swapped without compiling again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx

from app.version_loader import VersionLoader
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.networks import compilation
from driftline.networks.model import Model
from driftline.rows.rows import zeros
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.versions import START, VersionFiles
from tests.services import spec

UID = "0123456789ab"
RECIPE = {"strategy": "replay"}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many graphs were compiled: one entry each."""
    found: list[int] = []

    def backend(graph: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        found.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(compilation, "BACKEND", backend)
    return found


@pytest.mark.anyio
async def test_it_answers_the_same_and_a_swap_compiles_nothing(compiled: list[int], tmp_path: Path) -> None:
    learner = Learner.create(parse(ModelSpec, spec(compile=True, recipe=RECIPE)), seed=1)
    files = VersionFiles(Artifacts(tmp_path), UID)
    loader = VersionLoader(files.artifacts, Settings(), warm_up_rows=(1, 8))
    before, spare, counts = None, None, []
    for number in range(1, 6):
        with torch.no_grad():
            for parameter in learner.module.parameters():
                parameter.add_(torch.randn_like(parameter))
        model = Model(learner.spec, learner.classes, learner.module)
        digest = files.write_version(model, number, None, START, "", {}).manifest
        snapshot = await loader.load(UID, digest, before, spare)
        before, spare = snapshot, before
        for rows in (1, 3, 8, 20):
            given = zeros(learner.spec, rows)
            expected = learner.module.eval()({name: torch.from_numpy(each) for name, each in given.tensors.items()})
            np.testing.assert_allclose(snapshot.compute(given)[0], expected.softmax(1).detach().numpy(), rtol=1e-5)
        counts.append(len(compiled))
    loader.close()
    assert counts[1] and counts[1:] == [counts[1]] * 4, (
        "the two modules that take turns are compiled, and no version is"
    )


def test_without_a_compiler_it_is_refused_and_a_server_answers_all_the_same(
    monkeypatch: pytest.MonkeyPatch, compiled: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InvalidInput, match=r"compile: there is no C\+\+ compiler here \(no-such-compiler\)"):
        compilation.check_compiler()
    learner = Learner.create(parse(ModelSpec, spec(compile=True, recipe=RECIPE)), seed=1)
    compilation.compile_network(learner.module, learner.spec)
    learner.module.eval()({"inputs": torch.zeros(2, 8)})
    assert not compiled and "is not compiled: there is no C++ compiler here" in caplog.text


@pytest.mark.long
def test_torchs_own_compiler_gives_the_same_answers() -> None:
    learner = Learner.create(parse(ModelSpec, spec(compile=True, recipe=RECIPE)), seed=1)
    rows = {"inputs": torch.randn(5, 8)}
    with torch.inference_mode():
        expected = learner.module.eval()(rows)
        compilation.compile_network(learner.module, learner.spec)
        torch.testing.assert_close(learner.module(rows), expected)
