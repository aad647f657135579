"""Every part has its two halves: parameters in the spec, and one behaviour that takes them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from driftline.learning.monitoring.drift import DRIFT_DETECTORS
from driftline.learning.replay.policies import PLACEMENT_POLICIES
from driftline.learning.training.averaging import WEIGHT_AVERAGINGS
from driftline.learning.training.hooks import HOOK_RUNTIMES
from driftline.learning.training.losses import LOSS_FUNCTIONS
from driftline.learning.training.schedules import SCHEDULE_RUNTIMES
from driftline.learning.training.strategies import STRATEGY_RUNTIMES
from driftline.networks.edits import EDIT_BEHAVIOURS
from driftline.networks.layers import LAYER_BUILDERS
from driftline.spec.parts.averaging import AVERAGINGS
from driftline.spec.parts.detectors import DETECTORS
from driftline.spec.parts.edits import EDITS
from driftline.spec.parts.hooks import WEIGHT_HOOKS
from driftline.spec.parts.layers import LAYERS
from driftline.spec.parts.losses import LOSSES
from driftline.spec.parts.replay_policies import REPLAY_POLICIES
from driftline.spec.parts.schedules import SCHEDULES
from driftline.spec.parts.strategies import STRATEGIES
from driftline.spec.registry import Behaviours, Part, import_below

ROOT = Path(__file__).resolve().parents[1]
KINDS: list[tuple[Mapping[str, type[Part]], Behaviours[Any, Any]]] = [
    (LOSSES.parts, LOSS_FUNCTIONS),
    (SCHEDULES.parts, SCHEDULE_RUNTIMES),
    (AVERAGINGS.parts, WEIGHT_AVERAGINGS),
    (WEIGHT_HOOKS, HOOK_RUNTIMES),
    (STRATEGIES.parts, STRATEGY_RUNTIMES),
    (DETECTORS.parts, DRIFT_DETECTORS),
    (REPLAY_POLICIES.parts, PLACEMENT_POLICIES),
    (LAYERS.parts, LAYER_BUILDERS),
    (EDITS.parts, EDIT_BEHAVIOURS),
]
EVERY_KIND = pytest.mark.parametrize(("parts", "behaviours"), KINDS, ids=lambda value: getattr(value, "package", ""))


def subclasses(base: type[Any]) -> list[type[Any]]:
    return [each for child in base.__subclasses__() for each in (child, *subclasses(child))]


@EVERY_KIND
def test_every_part_has_one_behaviour_and_every_behaviour_a_part(
    parts: Mapping[str, type[Part]], behaviours: Behaviours[Any, Any]
) -> None:
    import_below(behaviours.package)
    implemented = Counter(each.part for each in subclasses(behaviours.base) if each.part is not None)
    assert implemented == Counter(parts.values())


@EVERY_KIND
def test_a_behaviour_keeps_the_parameters_that_it_is_found_by(
    parts: Mapping[str, type[Part]], behaviours: Behaviours[Any, Any]
) -> None:
    for part, behaviour in behaviours.by_part.items():
        assert behaviour.part is part and part.__module__.startswith("driftline.spec.parts.")


def test_a_part_that_nothing_implements_is_named() -> None:
    class Unknown(Part):
        pass

    with pytest.raises(LookupError, match=r"nothing implements the part .*Unknown"):
        LOSS_FUNCTIONS.of(Unknown())  # type: ignore[arg-type]


def test_no_file_of_a_part_imports_in_a_function() -> None:
    folders = [ROOT / behaviours.package.replace(".", "/") for _, behaviours in KINDS]
    files = [path for folder in [*folders, ROOT / "driftline/spec/parts"] for path in folder.rglob("*.py")]
    late = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path in files
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert files and not late
