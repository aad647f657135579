"""Labels: as items, as a table of items, or as columns; and what is told of one that is refused."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from driftline import FeedbackRefused, errors
from driftline.client import retries
from driftline.client.feedback import RefusedItem
from tests.client.test_clients import kind, server
from tests.scripted_server import ScriptedServer

__all__ = ["kind", "server"]


@pytest.fixture
def client(server: ScriptedServer, kind: Any) -> Iterator[Any]:
    with kind(server.url) as client:
        yield client


def items_sent(server: ScriptedServer) -> list[dict[str, Any]]:
    """The items of the last request, without the ids that the client has made."""
    items: list[dict[str, Any]] = server.sent[-1][2]["items"]
    return [{name: value for name, value in item.items() if name != "id" or value[:2] != "r:"} for item in items]


TABLE = {"prediction_id": ["p", "q"], "label": [0, 1], "weight": [2.0, None]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_a_table_of_items_is_an_item_a_row(server: ScriptedServer, client: Any, make: Any) -> None:
    client.feedback("m", make(TABLE))
    assert items_sent(server) == [
        {"prediction_id": "p", "label": 0, "weight": 2.0},
        {"prediction_id": "q", "label": 1},
    ]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_rows_and_their_labels_are_items(server: ScriptedServer, client: Any, make: Any) -> None:
    rows = make({"tenure": [3, 4], "contract": ["a", None]})
    client.feedback("m", inputs=rows, labels=pd.Series([0, 1]), ids=["a", "b"], weights=np.array([1.0, 2.0]))
    assert items_sent(server) == [
        {"id": "a", "label": 0, "weight": 1.0, "inputs": {"tenure": 3, "contract": "a"}},
        {"id": "b", "label": 1, "weight": 2.0, "inputs": {"tenure": 4, "contract": None}},
    ]
    client.feedback("m", inputs=np.ones((1, 2)), labels=["rain"])
    assert items_sent(server) == [{"label": "rain", "inputs": [1.0, 1.0]}]
    time = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    client.feedback("m", prediction_ids=["p"], labels=[0.5], times=[time])
    assert items_sent(server) == [{"prediction_id": "p", "label": 0.5, "time": time.timestamp()}]


def test_an_item_without_an_id_gets_one_and_only_such(server: ScriptedServer, client: Any) -> None:
    client.feedback("m", [{"inputs": [1], "label": 1}] * 2 + [{"prediction_id": "p", "label": 1}])
    first, second, third = server.sent[-1][2]["items"]
    assert first["id"] != second["id"] and "id" not in third


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([{"inputs": [1.0], "label": 1}, {"inputs": [float("nan")], "label": 1}], "items[1].inputs[0]"),
        ([{"inputs": {"a": float("inf")}, "label": 1}], "items[0].inputs.a"),
        ([{"inputs": [1.0], "label": float("nan")}], "items[0].label"),
        ([{"inputs": [1.0], "label": object()}], "items[0].label"),
        (["rain"], "items[0]"),
    ],
)
def test_what_cannot_be_sent_is_named(server: ScriptedServer, client: Any, items: Any, field: str) -> None:
    for method in (client.feedback, lambda *arguments: list(client.feedback_stream(*arguments))):
        with pytest.raises(errors.InvalidInput) as refused:
            method("m", items)
        assert refused.value.details["field"] == field
    assert not server.requests


def test_columns_of_different_length_are_refused(client: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="columns of different length"):
        client.feedback("m", inputs=[[1.0], [2.0]], labels=[1])


WRONG = {"code": "unknown_class", "message": "label: 7 is not a class", "details": {"field": "label", "value": 7}}
STATUSES: list[dict[str, Any]] = [
    {"id": "a", "status": "queued"},
    {"id": "b", "status": "duplicate"},
    {"id": None, "status": "error", "error": WRONG},
]
ITEMS = [{"id": name, "inputs": [1], "label": 7} for name in "abc"]


def test_a_refused_item_is_raised_with_its_id_place_field_and_value(server: ScriptedServer, client: Any) -> None:
    server.answers = [(202, {"accepted": 2, "items": STATUSES, "durability": "everysec"})]
    with pytest.raises(FeedbackRefused) as caught:
        client.feedback("m", ITEMS)
    error = caught.value
    assert error.refused == [RefusedItem(2, "c", "unknown_class", "label: 7 is not a class", "label", 7)]
    assert error.message == "items[2] (c): label: 7 is not a class; 1 of 3 items were refused"
    assert (error.code, error.details["field"], error.details["value"]) == ("unknown_class", "label", 7)
    assert [status["status"] for status in error.statuses] == ["queued", "duplicate", "error"]
    assert isinstance(error, errors.InvalidInput), "one class catches all that does not fit"


def test_the_statuses_are_given_where_that_is_asked_for(server: ScriptedServer, client: Any) -> None:
    server.answers = [(202, {"accepted": 2, "items": STATUSES, "durability": "everysec"})]
    answer = client.feedback("m", ITEMS, raise_errors=False)
    assert [status["id"] for status in answer["items"]] == ["a", "b", "c"]
    server.answers = [(422, {"error": WRONG | {"details": {"items": STATUSES[2:]}}})]
    answer = client.feedback("m", ITEMS[2:], raise_errors=False)
    assert answer["accepted"] == 0 and [status["id"] for status in answer["items"]] == ["c"]


def test_a_label_whose_prediction_is_not_recorded_yet_is_sent_again(
    server: ScriptedServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.005)
    missing = {"code": "prediction_not_stored", "message": "not recorded (yet)"}
    status = {"id": "p:q", "status": "error", "error": missing}
    nothing = (422, {"error": missing | {"details": {"items": [status]}}})
    items = [{"prediction_id": "q", "label": 1}]
    server.answers = [nothing, nothing, (202, {"accepted": 1, "items": [{"id": "p:q", "status": "queued"}]})]
    assert client.feedback("m", items)["accepted"] == 1
    line = json.dumps(status).encode() + b"\n"
    server.answers = [(200, line), (200, b'{"id": "p:q", "status": "queued"}\n')]
    assert [found["status"] for found in client.feedback_stream("m", items)] == ["queued"]
    server.answers = [nothing] * 100
    with pytest.raises(FeedbackRefused, match="not recorded"):
        client.feedback("m", items)
    assert client.feedback("m", items, raise_errors=False)["accepted"] == 0, "who asks for the status gets it at once"


def test_a_body_that_is_refused_as_a_whole_is_an_error_in_either_way(server: ScriptedServer, client: Any) -> None:
    for raise_errors in (True, False):
        server.answers = [(422, {"error": {"code": "invalid_input", "message": "items: there is no item"}})]
        with pytest.raises(errors.InvalidInput, match="there is no item"):
            client.feedback("m", [], raise_errors=raise_errors)


def test_a_line_that_is_refused_is_raised_by_its_place_in_the_whole_stream(server: ScriptedServer, client: Any) -> None:
    queued = b'{"id":"x","status":"queued"}\n'
    refused = (
        b'{"status":"error","error":{"code":"wrong_shape","message":"inputs: wrong","details":{"field":"inputs"}}}\n'
    )
    items = [{"id": str(n), "inputs": [n], "label": n} for n in range(502)]
    server.answers = [(200, queued * 500), (200, queued + refused)]
    with pytest.raises(FeedbackRefused) as caught:
        list(client.feedback_stream("m", items))
    (found,) = caught.value.refused
    assert (found.index, found.id, found.field) == (501, "501", "inputs")
    server.answers = [(200, queued * 500), (200, queued + refused)]
    statuses = list(client.feedback_stream("m", items, raise_errors=False))
    assert len(statuses) == 502 and statuses[-1]["id"] == "501"


@pytest.mark.parametrize(
    "labels", [np.array([[1.0, 2.0], [3.0, 4.0]]), [[1, 2], [3, 4]], [{"a": 1, "b": 2}, {"a": 3, "b": 4}]]
)
def test_labels_of_several_outputs_are_rows_of_an_array_or_objects(
    client: Any, server: ScriptedServer, labels: Any
) -> None:
    client.feedback("m", inputs=[[1], [2]], labels=labels)
    sent = [item["label"] for item in items_sent(server)]
    assert sent == ([{"a": 1, "b": 2}, {"a": 3, "b": 4}] if isinstance(labels[0], dict) else [[1, 2], [3, 4]])
