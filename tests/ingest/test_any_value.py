"""Any JSON value as any field, on every way in: it is taken, or the refusal names row, field, value and what was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.field_tensors import FieldTensors
from app.inference_protocol import Tensors, decode
from app.json_rows import BodyDecoder
from driftline.errors import InvalidInput
from driftline.ingest.feedback_items import FeedbackDecoder, sent_id
from driftline.spec import ModelSpec, parse

KINDS: dict[str, Any] = {
    "number": "number",
    "boolean": "boolean",
    "category": "category",
    "time": "time",
    "day": {"type": "time", "format": "%d.%m.%Y"},
    "text": "text",
    "tensor": {"type": "tensor", "shape": [2]},
    "scalar": {"type": "tensor", "shape": []},
}
ODD = [
    2**63,
    2**64,
    10**400,
    -(10**400),
    1e308,
    "2024-02-30",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "\x00",
    "٣",
]
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(ODD),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def spec(inputs: Any) -> ModelSpec:
    return parse(ModelSpec, {"name": "m", "task": "classification", "classes": ["a", "b"], "inputs": inputs})


FIELDS = spec({"fields": KINDS})
BODY, FEEDBACK = BodyDecoder(FIELDS), FeedbackDecoder(FIELDS)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def refusal(call: Callable[[], object]) -> InvalidInput | None:
    """Why a call was refused; what is raised otherwise would be an answer of 500."""
    try:
        call()
    except InvalidInput as error:
        assert json.dumps(error.as_json())
        assert "expected `" not in error.message and "got `" not in error.message
        return error
    return None


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)), VALUES)
def test_a_value_is_taken_or_named_with_its_row_and_field(kind: str, value: Any) -> None:
    row = {kind: value}
    calls: dict[str, Callable[[], object]] = {
        f"inputs[1].{kind}": lambda: BODY.decode(encoded({"inputs": [{}, row]})),
        f"inputs[2].{kind}": lambda: BODY.decode(encoded({"inputs": {kind: [None, None, value]}})),
        f"inputs.{kind}": lambda: FEEDBACK.rows.row(FEEDBACK.decode(encoded({"label": "a", "inputs": row})).inputs),
    }
    found = {where: refusal(call) for where, call in calls.items()}
    assert len({error is None for error in found.values()}) == 1, "every way in takes the same"
    for where, error in found.items():
        if error is not None:
            assert error.message.startswith(f"{where}: ") and " is not " in error.message
            assert error.details["field"] == where and "value" in error.details


@settings(max_examples=200)
@given(VALUES)
def test_whatever_is_sent_is_taken_or_refused_by_its_place(value: Any) -> None:
    for name in ("inputs", "label", "weight", "id", "time", "source", "route", "delay", "prediction_id"):
        item = {"label": "a", "inputs": {}} | {name: value}
        error = refusal(lambda item=item: FEEDBACK.rows.row(FEEDBACK.decode(encoded(item)).inputs))  # type: ignore[misc]
        assert error is None or error.details.get("field"), error
    for body in ({"inputs": value}, {"inputs": [value]}, {"other": value}, value):
        refusal(lambda body=body: BODY.decode(encoded(body)))  # type: ignore[misc]
        refusal(lambda body=body: FEEDBACK.decode(encoded(body)))  # type: ignore[misc]


@settings(max_examples=300)
@given(
    st.sampled_from([*sorted(KINDS), "unknown"]),
    st.sampled_from(["BOOL", "INT8", "UINT64", "INT64", "FP16", "FP32", "FP64", "BYTES", "X"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.one_of(st.lists(VALUES, max_size=3), VALUES),
)
def test_any_tensor_of_the_inference_protocol_is_taken_or_named(
    name: str, datatype: str, shape: list[int], data: Any
) -> None:
    body = encoded({"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]})
    error = refusal(lambda: FieldTensors(FIELDS.fields).rows(*decode(body, None)))  # type: ignore[arg-type]
    assert error is None or error.details["field"].startswith("inputs")


@pytest.mark.parametrize(
    ("inputs", "body", "message"),
    [
        ({"shape": [2]}, {"inputs": [{"a": 1}]}, 'inputs[0]: {"a":1} is not a list'),
        ({"shape": [2]}, {"inputs": [[1, "x"]]}, 'inputs[0][1]: "x" is not a number'),
        ({"shape": [1], "dtype": "int64"}, {"inputs": [[1.5]]}, "inputs[0][0]: 1.5 is not a whole number"),
        ({"shape": [1], "dtype": "int64"}, {"inputs": [[2.0]]}, "inputs[0][0]: 2.0 is not a whole number"),
        ({"shape": [2]}, [1], "body: [1] is not an object"),
        ({"a": {"shape": [1]}}, {"inputs": {"a": 3}}, "inputs.a: 3 is not a list"),
    ],
)
def test_what_does_not_fit_a_tensor_is_named_with_its_value(inputs: Any, body: Any, message: str) -> None:
    error = refusal(lambda: BodyDecoder(spec(inputs)).decode(encoded(body)))
    assert error is not None and error.message == message


def test_half_a_surrogate_is_refused() -> None:
    body = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\\ud800"]}]}'
    assert refusal(lambda: FieldTensors(FIELDS.fields).rows(*decode(body, None)))  # type: ignore[arg-type]
    assert refusal(lambda: BODY.decode(b'{"inputs": [{"text": "\\ud800"}]}'))


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_an_embedding_takes_no_floats_of_the_inference_protocol(datatype: str) -> None:
    body = encoded({"inputs": [{"name": "inputs", "datatype": datatype, "shape": [1, 1], "data": [1.5]}]})
    error = refusal(lambda: Tensors(spec({"shape": [1], "dtype": "int64"})).rows(*decode(body, None)))
    assert error is not None and "the model takes whole numbers, not FP" in error.message


def test_times_that_float32_would_merge_are_told_apart() -> None:
    def times(datatype: str) -> Any:
        data = [1_700_000_000, 1_700_000_001]
        body = encoded({"inputs": [{"name": "time", "datatype": datatype, "shape": [2], "data": data}]})
        rows = FieldTensors(FIELDS.fields).rows(*decode(body, None))  # type: ignore[arg-type]
        return rows.tensors["numbers"][:, FIELDS.layout.times[0]]

    for datatype in ("FP64", "INT64"):
        assert times(datatype)[1] - times(datatype)[0] == 1
    with pytest.raises(InvalidInput, match="a time is FP64 or INT64"):
        times("FP32")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"id": "a", "label": {}}', "a"),
        (b'{"prediction_id": "b", "weight": "x"}', "p:b"),
        (b'{"id": 3}', None),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_an_item_that_is_refused_keeps_its_id(data: bytes, name: str | None) -> None:
    assert sent_id(data) == name


@pytest.mark.parametrize("number", ["1e400", "-1e999", "1" * 400 + ".0"])
@pytest.mark.parametrize("name", ["amount", "kind", "unknown", "a.b"])
def test_a_number_that_no_float_can_hold_is_named(number: str, name: str) -> None:
    text = f'{{"label": 1, "inputs": {{"other": {"9" * 5000}, "{name}": {number}}}}}'
    with pytest.raises(InvalidInput, match=re.escape(f"inputs.{name}: {number[:40]}")):
        FEEDBACK.decode(text.encode())
    with pytest.raises(InvalidInput):
        FEEDBACK.decode(text[:-1].encode())
