"""Rows of items are told from what does not fit their spec."""

from __future__ import annotations

from driftline.rows.fields import coder_of
from driftline.rows.rows import misfits
from driftline.spec import SINGLE_INPUT, ModelSpec, parse


def test_rows_of_fields_that_do_not_fit_are_named_among_those_that_do() -> None:
    spec = parse(ModelSpec, {"name": "m", "task": "regression", "inputs": {"fields": {"n": "number"}}})
    assert spec.fields is not None
    (record,) = coder_of(spec.fields).from_rows([{"n": 1}])[1]
    rows = [{SINGLE_INPUT: record}, {SINGLE_INPUT: b"\xc1"}, {"other": record}, {SINGLE_INPUT: record[:-1]}, {}]
    assert misfits(spec, rows[:1]) == {}
    assert misfits(spec, rows) == dict.fromkeys([1, 2, 3, 4], "the inputs are not a row of fields")


def test_a_record_whose_field_had_another_type_is_still_a_row() -> None:
    before, now = (
        parse(ModelSpec, {"name": "m", "task": "regression", "inputs": {"fields": {"a": kind}}})
        for kind in ("text", "number")
    )
    assert before.fields is not None
    record = coder_of(before.fields).from_rows([{"a": "one"}])[1][0]
    assert misfits(now, [{SINGLE_INPUT: record}]) == {}


def test_rows_of_tensors_that_do_not_fit_are_named_among_those_that_do() -> None:
    spec = parse(ModelSpec, {"name": "m", "task": "regression", "inputs": {"shape": [2]}})
    rows = [{SINGLE_INPUT: bytes(8)}, {SINGLE_INPUT: bytes(4)}, {"other": bytes(8)}]
    assert misfits(spec, rows) == dict.fromkeys([1, 2], "the inputs do not have the model's shape")
