"""Predicted rows are compared with those before without a label, a network or a learner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from driftline.learning.monitoring.predicted_inputs import PredictedInputs
from driftline.learning.monitoring.two_window_test import DriftReport
from driftline.rows.fields import coder_of
from driftline.spec import ModelSpec, parse
from tests.services import spec

QUICK = {"input_detector": {"reference": 200, "recent": 100}}
FIELDS = {
    "at": {"type": "time", "unit": "s"},
    "size": {"type": "number"},
    "colour": {"type": "category"},
    "note": {"type": "text"},
}


def of_shape(*shape: int, **recipe: Any) -> ModelSpec:
    return parse(ModelSpec, spec(inputs={"shape": list(shape)}, recipe=QUICK | recipe))


def normal(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32))


def see(watch: PredictedInputs, rows: torch.Tensor, first: int) -> list[DriftReport]:
    return watch.see({"inputs": rows}, range(first, first + len(rows)))


def test_a_number_that_moves_is_named_with_the_row_since_which_it_has() -> None:
    watch = PredictedInputs(of_shape(3))
    assert not watch.is_settled and see(watch, normal(2000, 3), 1) == [] and watch.is_settled
    moved = normal(400, 3, seed=1)
    moved[:, 1] += 2
    report, *others = see(watch, moved, 2001)
    assert not others and 1960 <= report.since <= 2040
    assert [(feature["input"], feature["index"]) for feature in report.features] == [("inputs", [1])]
    assert watch.is_settled, "what came since then is alike"


def test_of_a_wide_row_as_many_numbers_are_kept_as_are_compared_and_named_by_their_places() -> None:
    watch = PredictedInputs(of_shape(64, 64))
    rows = normal(300, 64, 64)
    rows[250:, 40:] += 3
    (report,) = see(watch, rows, 1)
    assert all(feature["index"][0] >= 40 and feature["index"][1] % 4 == 0 for feature in report.features)
    assert watch._test is not None and watch._test.reference.rows["inputs"].shape[1] == 1024


def of_fields(count: int, seed: int, colours: list[str], day: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "at": day * 86400 + n,
            "size": float(random.normal()),
            "colour": str(random.choice(colours)),
            "note": f"no {n}",
        }
        for n in range(count)
    ]


def test_of_fields_new_values_of_a_category_are_seen_and_times_and_texts_never() -> None:
    found = parse(ModelSpec, {**spec(), "inputs": {"fields": FIELDS}, "recipe": QUICK})
    watch = PredictedInputs(found)
    assert found.fields is not None
    before = of_fields(600, 0, ["red", "green", "blue"], 1)
    records = coder_of(found.fields).from_rows([*before, *of_fields(300, 1, ["green", "pink"], 2)])[1]
    assert records is not None
    items = [{"inputs": record} for record in records]
    assert watch.see_items(items[:600], range(600)) == []
    (report,) = watch.see_items(items[600:], range(600, 900))
    assert {feature["input"] for feature in report.features} == {"colour"} and report.since >= 590


def test_rows_that_do_not_fit_are_left_out() -> None:
    watch = PredictedInputs(of_shape(3))
    rows = [{"inputs": row.numpy().tobytes()} for row in normal(300, 3)]
    assert watch.see_items([*rows, {"inputs": b"1234"}, {"other": b""}], range(302)) == []
    assert watch.see_items([{"inputs": b"1234"}], [302]) == [] and watch.is_settled


def test_it_begins_again_only_where_other_rows_are_compared_or_otherwise() -> None:
    watch = PredictedInputs(of_shape(3))
    see(watch, normal(300, 3), 1)
    watch.follow(of_shape(3, batch_size=8))
    assert watch.is_settled
    for changed in (of_shape(4), of_shape(4, input_detector={"reference": 300})):
        watch.follow(changed)
        assert not watch.is_settled and watch.is_watching
        see(watch, normal(500, 4), 1)
        assert watch.is_settled
    watch.follow(of_shape(4, input_detector=None))
    assert not watch.is_watching and see(watch, normal(500, 4), 1) == []


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_stay_as_they_are_are_no_drift(seed: int) -> None:
    assert see(PredictedInputs(of_shape(8)), normal(20_000, 8, seed=seed), 1) == []
