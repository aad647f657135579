"""Rows of fields are coded the same everywhere, and come back from their record as they were sent."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.rows.fields import FieldCoder
from driftline.rows.text import tokens
from driftline.spec.parts.fields import FieldsSpec

FIELDS = {
    "number": "number",
    "category": "category",
    "text": "text",
    "time": "time",
    "boolean": "boolean",
    "tensor": {"type": "tensor", "shape": [2]},
}
VALUES = {
    "number": st.floats(-1e38, 1e38) | st.integers(-(2**60), 2**60),
    "category": st.text()
    | st.integers(-(2**63), 2**64 - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False),
    "text": st.text(),
    "time": st.datetimes().map(lambda moment: moment.isoformat()) | st.floats(-1e11, 1e18),
    "boolean": st.booleans(),
    "tensor": st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=2),
}
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={name: value | st.none() for name, value in VALUES.items()}), min_size=1
)


def coder(**fields: Any) -> FieldCoder:
    return FieldCoder(FieldsSpec.model_validate({"fields": fields or FIELDS}))


@given(rows=ROWS)
def test_a_recorded_row_is_coded_as_it_was_and_comes_back_as_it_was_sent(rows: list[dict[str, Any]]) -> None:
    one = coder()
    tensors, records, unknown = one.from_rows(rows)
    assert not unknown
    for name, array in one.from_records(records).items():
        np.testing.assert_array_equal(array, tensors[name])
    for row, record in zip(rows, records, strict=True):
        assert one.as_json(record) == {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize("number", [2**64, 10**30, 2**70 + 1, -(2**63) - 1])
def test_whole_numbers_of_any_size_are_recorded(number: int) -> None:
    one = coder()
    tensors, records, _ = one.from_rows([{"category": number, "number": number}])
    for name, array in one.from_records(records).items():
        np.testing.assert_array_equal(array, tensors[name])


@given(rows=ROWS)
def test_rows_together_are_coded_as_each_by_itself(rows: list[dict[str, Any]]) -> None:
    one = coder()
    together = one.from_rows(rows)[0]
    for place, row in enumerate(rows):
        for name, array in one.from_rows([row])[0].items():
            np.testing.assert_array_equal(array[0], together[name][place])


def test_another_process_gives_the_same_numbers() -> None:
    program = (
        "from driftline.rows.categories import category_key; from driftline.rows.text import tokens;"
        "print(category_key('Zürich'), tokens('Grüße aus Zürich 東京', 9))"
    )
    told = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert len(told) == 1


def test_a_category_is_what_it_says_whichever_way_it_is_written() -> None:
    keys = coder(c="category").from_rows([{"c": value} for value in (1, 1.0, "1", True, "true", "01", None, "")])[0][
        "categories"
    ][:, 0]
    assert keys[0] == keys[1] == keys[2] and keys[3] == keys[4] and len({*keys.tolist()}) == 5
    assert keys[6] == 0


@pytest.mark.parametrize(
    ("options", "value", "seconds"),
    [
        ({}, "2024-05-01T12:30:00Z", 1714566600),
        ({}, "2024-05-01T14:30:00+02:00", 1714566600),
        ({}, "2024-05-01 12:30", 1714566600),
        ({}, "2024-05-01", 1714521600),
        ({}, 1714566600, 1714566600),
        ({}, 1714566600123, 1714566600.123),
        ({"unit": "ms"}, 1000, 1),
        ({"unit": "s"}, 1e12, 1e12),
        ({"format": "%d.%m.%Y %H:%M"}, "01.05.2024 12:30", 1714566600),
    ],
)
def test_a_time_is_read_as_its_field_says(options: dict[str, Any], value: Any, seconds: float) -> None:
    found = coder(t={"type": "time", **options}).from_rows([{"t": value}])[0]["numbers"][0, 0]
    assert found == pytest.approx(seconds, abs=1e-6)


def test_milliseconds_keep_their_minutes() -> None:
    times = [1_714_566_600_000 + 1000 * second for second in range(120)]
    found = coder(t="time").from_rows([{"t": time} for time in times])[0]["numbers"][:, 0]
    assert np.diff(found).tolist() == [1.0] * 119


def test_a_field_is_known_by_its_former_name_too() -> None:
    one = coder(size={"type": "number", "aliases": ["length"]})
    numbers = one.from_rows([{"length": 3}, {"size": 4}, {"size": None, "length": 5}])[0]["numbers"][:, 0]
    assert numbers.tolist() == [3, 4, 5]


def test_a_dropped_field_is_missing_in_every_row() -> None:
    one = coder(size={"type": "number", "dropped": True}, c={"type": "category", "dropped": True}, other="number")
    tensors, records, unknown = one.from_rows([{"size": 3, "c": "a", "other": 1}])
    assert math.isnan(tensors["numbers"][0, 0]) and tensors["categories"][0, 0] == 0
    assert one.as_json(records[0]) == {"other": 1} and not unknown


@pytest.mark.parametrize("fields", [{}, {"a": "ignore"}, {"a": {"type": "number", "aliases": ["b"]}, "b": "number"}])
def test_fields_that_no_row_could_be_read_by_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no field|two fields|at least 1"):
        FieldsSpec.model_validate({"fields": fields})


def test_a_row_with_a_field_too_many_names_it_where_the_spec_refuses() -> None:
    one = FieldCoder(FieldsSpec.model_validate({"fields": {"a": "number"}, "unknown": "refuse"}))
    with pytest.raises(InvalidInput, match=r'inputs\[1\]\.b: "x" is not a field of the model'):
        one.from_rows([{"a": 1}, {"a": 2, "b": "x"}])


@given(text=st.text(), limit=st.integers(1, 80))
def test_tokens_are_different_and_at_most_as_many_as_there_is_room(text: str, limit: int) -> None:
    found = tokens(text, limit)
    assert len(found) <= limit and all(0 < token < 2**32 for token in found)


@pytest.mark.parametrize(("one", "other"), [("Straße", "STRASSE"), ("naïve", "naïve"), ("ﬁne", "fine")])
def test_the_same_word_has_the_same_tokens_however_it_is_written(one: str, other: str) -> None:
    assert tokens(one, 64) == tokens(other, 64)


def test_words_without_spaces_between_them_are_parted() -> None:
    assert {*tokens("東京", 64)} & {*tokens("東京に行く", 64)}
