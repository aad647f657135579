"""docs/models.md names what there is, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from driftline.spec import ModelSpec, Recipe, Serving, parse
from driftline.spec.parts.averaging import AVERAGINGS
from driftline.spec.parts.detectors import DETECTORS
from driftline.spec.parts.edits import EDITS
from driftline.spec.parts.layers import LAYERS
from driftline.spec.parts.losses import LOSSES
from driftline.spec.parts.replay_policies import REPLAY_POLICIES
from driftline.spec.parts.schedules import SCHEDULES
from driftline.spec.parts.strategies import STRATEGIES
from driftline.spec.registry import Registry

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "models.md").read_text()


@pytest.mark.parametrize(
    "registry",
    [LAYERS, LOSSES, REPLAY_POLICIES, STRATEGIES, DETECTORS, EDITS, SCHEDULES, AVERAGINGS],
    ids=lambda r: r.base.__name__,
)
def test_every_part_is_named(registry: Registry) -> None:  # type: ignore[type-arg]
    for name in registry.parts:
        assert f"`{name}`" in PAGE or f'"{name}"' in PAGE, name


def test_the_example_is_a_spec() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    parse(ModelSpec, json.loads(example))


@pytest.mark.parametrize("kind", [Recipe, Serving])
def test_every_field_has_its_line(kind: type[BaseModel]) -> None:
    section = PAGE.partition(f"## {kind.__name__}\n")[2].partition("\n##")[0]
    assert re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", section, re.MULTILINE) == list(kind.model_fields)


def test_the_defaults_are_those_of_the_code() -> None:
    recipe = Recipe()
    for name in ("memory", "trigger", "input_detector", "gate"):
        assert f"| `{json.dumps(getattr(recipe, name).model_dump(mode='json'))}` |".replace(".0,", ",") in PAGE, name
