"""How a record becomes an item of feedback, for whatever a record may hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.sources.base import SourceRecord, row_record
from driftline.sources.formats import Decoded, decoded, encode_fields, encode_row, shown
from driftline.sources.items import ItemReader
from driftline.sources.registry import parse_source
from driftline.spec import ModelSpec, parse
from driftline.store.sources import RecordFormat
from driftline.support import json_text
from driftline.support.lines import without_bom

FIELDS = {"fields": {"age": "number", "city": "category", "since": "time"}}
SPEC = parse(ModelSpec, {"name": "m", "task": "classification", "inputs": FIELDS, "classes": ["no", "yes"]})
# Texts that are nearly JSON: names twice, numbers beyond any range, marks of the byte order, zeros, halves of characters.
PIECES = [
    *("{", "}", "[", "]", ",", ":", " ", "\r", "null", "true", "NaN", "\0", "\x0b", "\u2028", "\ufeff"),
    *('"a"', '"label"', '"\\ud800"', '"\\u0000"', '"a":1,', '{"a":1,"a":2}', '{"a":[{"b":1}]}'),
    *("1", "-0", "1e400", "1e5", "2" * 19, "9" * 20, "7" * 40),
]
LIKE_JSON = st.lists(st.sampled_from(PIECES), max_size=9).map(lambda parts: "".join(parts).encode()) | st.lists(
    st.sampled_from(PIECES), max_size=7
).map(lambda parts: f'{{"a":{"".join(parts)}}}'.encode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def items(raw: bytes, format: RecordFormat, mapping: Any = None, **described: Any) -> list[Any]:
    """The items of a record, or the reason where one is refused, by whoever reads it."""
    source = parse_source({"type": "files", "path": "x", "mapping": mapping, **described})
    found = ItemReader(source, SPEC, "key").items(SourceRecord("1", raw, format))
    return [item.error.message if item.error else read(item.json) for item in found]


def read(text: bytes) -> Any:
    try:
        return json_text.values(text)
    except InvalidInput as error:
        return error.message


def is_item(text: bytes) -> bool:
    """Whether the decoder of feedback takes the text."""
    try:
        FeedbackDecoder(SPEC).decode(text)
    except InvalidInput:
        return False
    return True


def test_places_are_names_or_paths() -> None:
    record = {"order": {"age": 3, "to": {"city": "Ulm"}}, "out come": "yes", "n": 17, "at": "2026-11-30T00:00:00Z"}
    mapping = {"inputs": {"age": "order.age", "city": "order.to.city"}, "label": "out come", "id": "n", "time": "at"}
    assert items(msgspec.json.encode(record), "json", mapping) == [
        {"id": "17", "label": "yes", "time": 1795996800.0, "inputs": {"age": 3, "city": "Ulm"}}
    ]


def test_fields_are_taken_by_their_own_names_and_texts_as_a_table_reads_them() -> None:
    entry = encode_fields({b"age": b"1,000.5", b"city": b"7", b"label": b"YES", b"since": b"2026-11-30"})
    (item,) = items(entry, "fields")
    assert item == {"label": "yes", "inputs": {"age": 1000.5, "city": "7", "since": "2026-11-30"}}
    (row,) = items(b"3;Ulm,no", "csv", {"label": "sold"}, columns=["city", "sold"])
    assert row == {"label": "no", "inputs": {"city": "3;Ulm"}}


def test_a_key_or_a_prediction_brings_no_inputs() -> None:
    record = msgspec.json.encode({"order": 17, "sold": "yes"})
    assert items(record, "json", {"key": "order", "label": "sold", "revise": True}) == [
        {"key": "17", "label": "yes", "revise": True}
    ]


def test_one_record_may_hold_several_items_each_with_an_id_of_its_own() -> None:
    source = parse_source({"type": "files", "path": "x", "mapping": {}})
    record = SourceRecord("9", b'{"label": "yes"}\n\nnothing\n{"label": "no"}\n', "ndjson")
    found = list(ItemReader(source, SPEC, "key").items(record))
    assert len({item.id for item in found}) == 3
    assert [item.error is None for item in found] == [True, False, True]


def test_typed_rows_keep_their_types() -> None:
    from datetime import UTC, datetime
    from decimal import Decimal

    row = {"age": Decimal("2.50"), "since": datetime(2026, 11, 30, tzinfo=UTC), "label": "yes"}
    (item,) = items(encode_row(row), "msgpack", {})
    assert item["inputs"]["age"] == 2.5 and item["inputs"]["since"].startswith("2026-11-30T00:00:00")


@given(
    st.dictionaries(st.text(min_size=1), st.none() | st.booleans() | st.integers() | st.floats(width=32) | st.text())
)
def test_a_row_of_a_table_holds_the_values_that_its_bytes_do(row: dict[str, Any]) -> None:
    record = row_record("1", row)
    (found,) = decoded(record.raw, record.format)
    assert isinstance(found, Decoded)
    assert record.values is None or repr(record.values) == repr(found.values)


def test_a_whole_number_of_any_size_is_a_number_of_its_field() -> None:
    written = b'{"age":1%s,"label":"yes"}' % (b"0" * 30)
    for (item,) in (items(encode_row({"age": 10**30, "label": "yes"}), "msgpack", {}), items(written, "json", {})):
        assert float(item["inputs"]["age"]) == 1e30


def test_lines_end_where_they_do_on_every_way_in() -> None:
    one, other = '{"label": "yes", "key": "\u2028\x85"}', '{"label": "no"}'
    found = items(f"\ufeff{one}\r\n\n{other}\n".encode(), "ndjson", {"label": "label"})
    assert [item["label"] for item in found] == ["yes", "no"]
    found = items(
        '\ufeff"Ulm\nold\u2028town",yes\r\nBonn,no\n'.encode(), "csv", {"label": "sold"}, columns=["city", "sold"]
    )
    assert [item["inputs"]["city"] for item in found] == ["Ulm\nold\u2028town", "Bonn"]


@pytest.mark.parametrize("format", ["json", "ndjson"])
@given(st.binary() | LIKE_JSON)
def test_bytes_mean_to_a_source_what_they_mean_to_the_interface(format: RecordFormat, raw: bytes) -> None:
    """An item that a record is itself is the same bytes to the decoder of feedback; the parts of a mapped one are read by the
    rules of a body."""
    raw = raw.replace(b"\n", b" ")
    source = parse_source({"type": "files", "path": "x"})
    (item,) = ItemReader(source, SPEC, "key").items(SourceRecord("1", raw, format))
    assert item.error is not None or item.json.strip() == without_bom(raw).strip()
    try:
        expected = json_text.loads(raw, "record")
    except InvalidInput as error:
        if "64 bits" not in error.message:
            assert item.error is not None or not is_item(item.json)
        return
    (found,) = decoded(raw, format)
    assert isinstance(found, InvalidInput) or found.values == expected
    assert isinstance(found, InvalidInput) is not isinstance(expected, dict)


@given(
    st.binary() | JSON.map(lambda value: repr(value).encode()),
    st.sampled_from(["json", "ndjson", "csv", "msgpack", "fields"]),
)
def test_whatever_bytes_come_they_are_items_or_refused_and_can_be_shown(raw: bytes, format: RecordFormat) -> None:
    for mapping in (None, {"inputs": {"age": "a.b"}, "label": "x", "time": "t"}):
        assert all(isinstance(found, str | dict) for found in items(raw, format, mapping, columns=["a", "x"]))
    assert isinstance(shown(raw, format), str)


@given(st.dictionaries(st.sampled_from(["age", "city", "since", "label", "id", "weight", "time", "key", "x"]), JSON))
def test_whatever_a_record_holds_it_is_an_item_or_refused(record: dict[str, Any]) -> None:
    try:
        raw = msgspec.msgpack.encode(record)
    except (OverflowError, ValueError):
        return
    for mapping in (None, {}, {"inputs": "x", "id": "id", "time": "time", "weight": "weight", "key": "key"}):
        assert all(isinstance(found, str | dict) for found in items(raw, "msgpack", mapping))


def test_an_expression_that_does_not_fit_the_record_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lable"):
        items(b"{}", "json", {"lable": "x"})
    (refused,) = items(b'{"a": 1}', "json", {"label": "length(a)"})
    assert "length(a)" in refused
