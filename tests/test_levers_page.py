"""docs/levers.md names every edit, with JSON that parses, and says rightly whether the function stays."""

from __future__ import annotations

import json
import re
from pathlib import Path

from driftline.learning.retraining.plan import RetrainPlan, check_retrain
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import EDITS, parse_edits
from tests.services import spec

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "levers.md").read_text()
ROWS = re.findall(r"^\| `(\{.+?\})` \| .+ \| (.+) \|$", PAGE, re.MULTILINE)


def test_every_edit_has_its_line() -> None:
    edits = parse_edits([json.loads(given) for given, _ in ROWS])
    assert sorted(edit.type for edit in edits) == sorted(EDITS.parts)


def test_it_says_whether_the_function_stays() -> None:
    for given, said in ROWS:
        (edit,) = parse_edits([json.loads(given)])
        if edit.type != "remove_classes":
            assert edit.keeps_function == ("stay" in said.split(";")[0].split(",")[0]), edit.type


def test_the_race_that_it_shows_fits() -> None:
    (shown,) = re.findall(r"^```json\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    job, one = json.loads(shown), parse(ModelSpec, spec())
    retrain_plan, classes = RetrainPlan.of(one, {}, race=job["race"]), one.known_classes()
    check_retrain(Model(one, classes, build(one, classes, seed=0)), retrain_plan, [])
    assert len(retrain_plan.entries) == 4
