"""docs/models.md names what there is, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from driftline.learning.drift import DETECTORS
from driftline.learning.losses import LOSSES
from driftline.learning.strategies import STRATEGIES
from driftline.networks.edits import EDITS
from driftline.networks.layers import LAYERS
from driftline.registry import Registry
from driftline.spec import ModelSpec, Recipe, parse

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "models.md").read_text()


@pytest.mark.parametrize("registry", [LAYERS, LOSSES, STRATEGIES, DETECTORS, EDITS], ids=lambda r: r.base.__name__)
def test_every_part_is_named(registry: Registry) -> None:  # type: ignore[type-arg]
    for name in registry.parts:
        assert f"`{name}`" in PAGE or f'"{name}"' in PAGE, name


def test_the_example_is_a_spec_and_every_field_of_a_recipe_has_its_line() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    parse(ModelSpec, json.loads(example))
    lines = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", PAGE.partition("## Recipe")[2], re.MULTILINE)
    assert lines == list(Recipe.model_fields)


def test_the_defaults_are_those_of_the_code() -> None:
    recipe = Recipe()
    for name in ("memory", "trigger", "gate"):
        assert f"| `{json.dumps(getattr(recipe, name).model_dump(mode='json'))}` |".replace(".0,", ",") in PAGE, name
