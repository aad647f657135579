"""Rows that are decoded to a struct are coded and recorded as the same rows field by field, or left to that."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given

from driftline.rows.categories import category_keys
from driftline.rows.fields import FieldCoder, coder_of
from driftline.rows.row_struct import MAX_FIELDS
from driftline.spec.parts.fields import FieldsSpec
from tests.rows.test_fields import FIELDS, ROWS, coder


def of_json(one: FieldCoder, rows: list[dict[str, Any]]) -> Any:
    """What is made of rows as they come from a client."""
    assert one.struct is not None
    structs = msgspec.json.decode(msgspec.json.encode(rows), type=list[one.struct.type])  # type: ignore[name-defined]
    return one.from_structs(structs)


@given(rows=ROWS)
def test_a_struct_is_coded_and_recorded_as_its_row_is(rows: list[dict[str, Any]]) -> None:
    one = coder(**FIELDS, unused="ignore")
    sent = msgspec.json.decode(msgspec.json.encode(rows))
    tensors, records, _ = one.from_rows(sent)
    found = of_json(one, [{**row, "unused": 5} for row in rows])
    assert found is not None and found[1] == records
    assert found[0].keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[0][name], array)
        assert found[0][name].dtype == array.dtype


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, True, False, None])
def test_a_boolean_may_be_a_zero_or_a_one(value: Any) -> None:
    one = coder(b="boolean")
    found = of_json(one, [{"b": value}])
    assert found is not None
    np.testing.assert_array_equal(found[0]["numbers"], one.from_rows([{"b": value}])[0]["numbers"])


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"n": "number"}, {"n": "1"}),
        ({"n": "number"}, {"n": True}),
        ({"n": "number"}, {"n": 1e39}),
        ({"n": "number"}, {"n": -1e39}),
        ({"n": "number"}, {"n": 2**70}),
        ({"b": "boolean"}, {"b": 0.5}),
        ({"b": "boolean"}, {"b": 2}),
        ({"b": "boolean"}, {"b": 2.0}),
        ({"b": "boolean"}, {"b": "1"}),
        ({"c": "category"}, {"c": [1]}),
        ({"x": "text"}, {"x": 1}),
        ({"x": "text"}, {"other": 1}),
    ],
)
def test_what_is_no_value_of_its_field_and_no_field_is_no_such_row(fields: dict[str, Any], row: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        of_json(coder(**fields), [row])


def test_a_whole_number_that_is_not_recorded_as_it_came_is_left_to_the_precise_way() -> None:
    assert of_json(coder(c="category"), [{"c": 2**70}]) is None


def test_a_number_that_came_as_null_is_missing_as_one_that_did_not_come() -> None:
    one = coder(n="number", b="boolean", gone={"type": "number", "dropped": True})
    tensors, records, _ = of_json(one, [{"n": None, "b": None, "gone": 5}, {"n": 2, "gone": None}, {}])
    np.testing.assert_array_equal(tensors["numbers"][:, :2], [[np.nan, np.nan], [2, np.nan], [np.nan, np.nan]])
    assert [one.as_json(record) for record in records] == [{}, {"n": 2}, {}]


def test_a_record_of_former_fields_is_read() -> None:
    record = coder(n="number", gone="number", c="category").from_rows([{"n": 1, "gone": 2, "c": 5}])[1]
    now = coder(n="number", gone={"type": "number", "dropped": True}, c="category", new="number")
    found = now.from_records(record)
    np.testing.assert_array_equal(found["numbers"], [[1, np.nan, np.nan]])
    assert found["categories"].tolist() == [category_keys(["5"])]


def test_fields_of_any_name_have_a_struct_and_those_of_several_names_none() -> None:
    names = ["class", "two words", "f0", "日付"]
    found = of_json(coder(**dict.fromkeys(names, "number")), [{name: n for n, name in enumerate(names)}])
    assert found is not None and found[0]["numbers"].tolist() == [[0, 1, 2, 3]]
    assert coder(n={"type": "number", "aliases": ["m"]}).struct is None
    assert coder(**{f"n{i}": "number" for i in range(MAX_FIELDS + 1)}).struct is None


@given(rows=ROWS)
def test_columns_are_coded_as_their_rows_are(rows: list[dict[str, Any]]) -> None:
    one = coder()
    columns = {name: [row.get(name) for row in rows] for name in (*FIELDS, "more")}
    tensors, records, _ = one.from_rows(rows)
    found = one.from_columns(columns)
    assert found[1] == records and dict(found[2]) == {"more": len(rows)}
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[0][name], array)


def test_the_key_of_a_category_does_not_hang_on_what_was_seen_before() -> None:
    values = [1, 1.0, "1", True, "true", 0, False, None, "", 2.5, -0.0]
    alone = [category_keys([value])[0] for value in values]
    assert category_keys(values) == alone == category_keys(values)
    assert len(set(alone)) == 7


def test_equal_fields_have_one_coder() -> None:
    one, other = (FieldsSpec.model_validate({"fields": FIELDS}) for _ in "ab")
    assert coder_of(one) is coder_of(other)
    assert coder_of(FieldsSpec.model_validate({"fields": {"n": "number"}})) is not coder_of(one)
