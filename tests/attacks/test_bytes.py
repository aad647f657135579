"""Bytes that are no JSON, or too much of it: one answer to each kind, on every way in, and no other item pays for it."""

from __future__ import annotations

import itertools
import json
import secrets
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftline.client.clients import AsyncClient
from driftline.ingest import feedback
from tests.app.conftest import AppClient, create, predict

pytestmark = pytest.mark.anyio

MALFORMED, INVALID = "malformed_json", "invalid_input"
BROKEN: dict[str, tuple[bytes, str]] = {
    "NaN": (b"NaN", MALFORMED),
    "-Infinity": (b"-Infinity", MALFORMED),
    "1e999": (b"1e999", INVALID),
    "an integer of 65 bits": (b"18446744073709551616", INVALID),
    "an integer of 5,000 digits": (b"9" * 5000, INVALID),
    "half a surrogate pair": (b'"\\ud800"', MALFORMED),
    "Latin-1": (b'"caf\xe9"', MALFORMED),
    "UTF-16": ('"é"'.encode("utf-16"), MALFORMED),
    "a control character": (b'"a\x01b"', MALFORMED),
    "a raw NUL": (b'"a\x00b"', MALFORMED),
    "2,000 brackets": (b"[" * 2000 + b"]" * 2000, MALFORMED),
    "500 brackets": (b"[" * 500 + b"]" * 500, MALFORMED),
    "a name twice": (b'{"a": 1, "a": 2}', MALFORMED),
    "no value": (b"", MALFORMED),
    "a word": (b"nothing", MALFORMED),
    "single quotes": (b"'a'", MALFORMED),
}
CASES = pytest.mark.parametrize(("value", "code"), BROKEN.values(), ids=BROKEN)
GOOD = b'{"inputs": [1, 2], "label": 1, "id": "%b"}'
NUMBERS = itertools.count()
JSON_CALLS = {
    "POST /v1/models": b'{"name": %b}',
    "POST /v1/models/weather/predict": b'{"inputs": %b}',
    "POST /v1/models/rows/predict": b'{"inputs": [{"age": 1}, {"note": %b}]}',
    "POST /v1/models/named/predict": b'{"inputs": {"user": [[1, 2]], "item": %b}}',
    "POST /v1/models/weather/retrain": b'{"recipe": {"batch_size": %b}}',
    "POST /v1/models/weather/compare": b'{"versions": [1, %b]}',
    "POST /v1/models/weather/rollback": b'{"version": %b}',
    "POST /v1/models/weather/pause": b'{"reason": %b}',
    "PATCH /v1/models/weather/recipe": b'{"batch_size": %b}',
    "POST /v1/models/weather/receipts": b'{"ids": [%b]}',
    "PUT /v1/models/weather/imports/0123456789abcdef": b'{"name": %b}',
    "POST /v1/keys": b'{"scopes": ["admin"], "name": %b}',
    "POST /v2/models/weather/infer": b'{"inputs": [{"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": %b}]}',
}


def fresh() -> bytes:
    """An item that is right, with an id that no other has."""
    return GOOD % b"n%d" % next(NUMBERS)


async def own_model(client: AppClient) -> str:
    """A model that no other test uses."""
    name = f"own-{secrets.token_hex(4)}"
    await create(client, name=name, inputs={"shape": [2]})
    return name


async def call(client: httpx.AsyncClient, what: str, body: bytes, kind: str = "application/json") -> httpx.Response:
    method, path = what.split()
    return await client.request(method, path, content=body, headers={"content-type": kind})


def statuses_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """What became of each item, also where none was accepted."""
    body = answer.json()
    found: list[dict[str, Any]] = body["items"] if "items" in body else body["error"]["details"]["items"]
    return found


@CASES
@pytest.mark.parametrize("field", [b"label", b"id", b"inputs", b"weight", b"time", b"source", b"prediction_id", b"x"])
async def test_what_is_wrong_with_one_item_costs_no_other(
    attacked: AppClient, value: bytes, code: str, field: bytes
) -> None:
    fields = {b"label": b"1", b"inputs": b"[1, 2]", b"id": b'"broken"'} | {field: value}
    broken = b"{" + b", ".join(b'"%b": %b' % pair for pair in fields.items()) + b"}"
    if (field, value) == (b"time", b"18446744073709551616"):
        return  # It is a number, and so it is a time.
    items = [fresh(), broken, fresh()]
    answer = await call(attacked, "POST /v1/models/open/feedback", b'{"items": [' + b", ".join(items) + b"]}")
    assert answer.status_code == 202, answer.text
    found = answer.json()
    assert found["accepted"] == 2 and [item["status"] for item in found["items"]] == ["queued", "error", "queued"]
    if field not in (b"id", b"x"):
        assert found["items"][1]["id"] == "broken"
    streamed = await call(attacked, "POST /v1/models/open/feedback/stream", b"\n".join(items), "application/x-ndjson")
    lines = [json.loads(line) for line in streamed.content.split(b"\n") if line]
    assert [line["status"] for line in lines] == ["duplicate", "error", "duplicate"]
    assert lines[1]["error"] == found["items"][1]["error"], "every way in gives the same answer"
    uid, decoder = await attacked.services.feedback_decoder("open")
    log, predictions = attacked.services.log(uid), attacked.services.predictions(uid)
    outcomes = await feedback.append(log, predictions, decoder, items, ["s1", "s2", "s3"])
    assert [outcome.status for outcome in outcomes] == ["duplicate", "error", "duplicate"]
    assert outcomes[1].error is not None and outcomes[1].error.code == lines[1]["error"]["code"]


@CASES
@pytest.mark.parametrize("what", JSON_CALLS)
async def test_no_body_is_read_otherwise_than_another(attacked: AppClient, what: str, value: bytes, code: str) -> None:
    answer = await call(attacked, what, JSON_CALLS[what] % value)
    error = answer.json()["error"]
    assert answer.status_code == (400 if what.startswith("POST /v2") else 422), answer.text
    # Where a number is expected, what is not one may be refused as that before it is read.
    is_typed = what.endswith(("predict", "infer")) or (what.endswith("receipts") and not value)
    if code == MALFORMED and not is_typed:
        assert error["code"] == code, answer.text


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-ndjson", "multipart/form-data"])
@pytest.mark.parametrize("what", [what for what in JSON_CALLS if "/v2/" not in what])
async def test_a_body_of_another_content_type_is_refused(attacked: AppClient, what: str, kind: str) -> None:
    answer = await call(attacked, what, b'{"version": 1}', kind)
    if what == "POST /v1/models" and kind == "multipart/form-data":
        assert answer.status_code == 422, "it is no form"
        return
    assert answer.status_code == 415, answer.text


@pytest.mark.parametrize("what", JSON_CALLS)
async def test_a_byte_order_mark_is_dropped(attacked: AppClient, what: str) -> None:
    body = JSON_CALLS[what] % b"1"
    plain, marked = await call(attacked, what, body), await call(attacked, what, b"\xef\xbb\xbf" + body)
    assert marked.status_code == plain.status_code
    if plain.is_error:
        assert marked.json() == plain.json()


async def test_a_mark_before_labels_is_dropped(attacked: AppClient) -> None:
    items = b"\xef\xbb\xbf" + b'{"items": [' + fresh() + b"]}"
    assert (await call(attacked, "POST /v1/models/weather/feedback", items)).status_code == 202
    lines = b"\xef\xbb\xbf" + fresh() + b"\r\n" + fresh()
    streamed = await call(attacked, "POST /v1/models/weather/feedback/stream", lines, "application/x-ndjson")
    assert streamed.content.count(b'"queued"') == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": [], "items": [%b]}',
        b'{"items": [%b], "items": [%b]}',
        b'{"items": [%b}',
        b'{"items": [%b]',
        b'{"items": [%b], "more": 1}',
        b"[%b]",
        b'{"items": [{"inputs": [1, 2], "label": "open}, %b]}',
        b'{"items": [{"inputs": [1, 2, "label": 1}, %b]}',
    ],
)
async def test_a_list_whose_items_cannot_be_told_apart_changes_nothing(attacked: AppClient, body: bytes) -> None:
    answer = await call(attacked, "POST /v1/models/weather/feedback", body.replace(b"%b", GOOD % b"never"))
    assert answer.status_code == 422, answer.text
    assert (await attacked.get("/v1/models/weather/feedback/never")).status_code == 404


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200) | st.sampled_from(
    [
        ".",
        "..",
        "/",
        "//",
        "a/b",
        "a%2Fb",
        "a\nb",
        "\n",
        "a\r\n",
        "\x00",
        "\x7f",
        "\x85",
        "x\u2028y",
        "stream",
        "?",
        "#",
        " ",
    ]
)


async def test_an_id_that_is_accepted_can_be_asked_for_and_every_line_is_one(attacked: AppClient) -> None:
    model = await own_model(attacked)
    asked = AsyncClient("http://127.0.0.1:8000")
    asked._http = attacked

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.lists(IDS, min_size=1, max_size=8, unique=True))
    def ids(given: list[str]) -> None:
        taken.extend(given)

    taken: list[str] = []
    ids()
    unique = [each for each in dict.fromkeys(taken) if not each.startswith("p:")]
    await asked.feedback(model, [{"inputs": [1, 2], "label": 1, "id": each} for each in unique])
    assert [item["id"] async for item in asked.log(model)] == unique
    for each in unique[:150]:
        assert (await asked.receipt(model, each))["id"] == each
    found = await asked.receipts(model, unique)
    assert [(receipt["id"], receipt["state"]) for receipt in found] == [(each, "queued") for each in unique]
    resent = [
        item
        async for item in asked.feedback_stream(model, [{"inputs": [1, 2], "label": 1, "id": each} for each in unique])
    ]
    assert [(item["id"], item["status"]) for item in resent] == [(each, "duplicate") for each in unique]


async def test_no_other_way_to_write_the_id_of_a_prediction_is_one(attacked: AppClient) -> None:
    answered = (await predict(attacked, [[1, 2]]))["predictions"][0]["id"]
    uid, nonce, ms, seq, token, row = answered.split("-")
    numbers = [ms, seq, token, row]
    odd = ["f" * 17, "f" * 30, "-1", "+1", "0x1", " 1", "1_0", "٣", "", "G", "\n"]
    forms = [
        "-".join([uid, nonce, *numbers[:place], each, *numbers[place + 1 :]]) for each in odd for place in range(4)
    ]
    forms += [
        answered.upper(),
        answered + "-0",
        "0" + answered,
        f"{uid}-{nonce}-0{ms}-{seq}-{token}-{row}",
        "x" * 5000,
        "----",
    ]
    items = [{"prediction_id": form, "label": 1} for form in forms if form != answered]
    answer = await attacked.post(
        "/v1/models/weather/feedback", json={"items": [*items, {"prediction_id": answered, "label": 1}]}
    )
    assert answer.status_code == 202, answer.text
    statuses = [item["status"] for item in answer.json()["items"]]
    assert statuses == ["error"] * len(items) + ["queued"]


async def test_no_item_takes_the_place_of_a_prediction_s_own_label(attacked: AppClient) -> None:
    answered = (await predict(attacked, [[1, 2]]))["predictions"][0]["id"]
    squatting = {"inputs": [5, 5], "label": 0, "id": f"p:{answered}"}
    true = {"prediction_id": answered, "label": 1}
    answer = await attacked.post(
        "/v1/models/weather/feedback", json={"items": [squatting, true, true | {"id": f"p:{answered}"}]}
    )
    assert [item["status"] for item in answer.json()["items"]] == ["error", "queued", "error"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2/health/live", "/metrics", "/v1/models", "/"])
async def test_what_can_be_read_can_be_asked_for_by_head(attacked: AppClient, path: str) -> None:
    assert (await attacked.head(path)).status_code == (await attacked.get(path)).status_code


async def test_a_method_that_there_is_not_is_told_those_that_there_are(attacked: AppClient) -> None:
    answer = await attacked.put("/livez")
    assert answer.status_code == 405 and "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("tensor", "header"),
    [
        ({"shape": [1, 2, 3], "data": [[[1, 4], [2, 5], [3, 6]]]}, None),
        ({"shape": [1, 3, 2], "data": [[[1, 4, 2], [5, 3, 6]]]}, None),
        ({"shape": [1, 3, 2], "data": [[1, 4, 2, 5, 3, 6]]}, None),
        ({"shape": [1, 3, 2], "data": [[[1, 4], [2, 5, 3], [6]]]}, None),
        ({"shape": [1, 3, 2], "data": [[[1, 4], [2, 5], [3, [6]]]]}, None),
        ({"shape": [10**9, 10**9], "data": [1]}, None),
        ({"shape": [0, 10**30], "data": []}, None),
        ({"shape": [1] * 100, "data": [1]}, None),
        ({"shape": [10**300] * 2000, "data": [1]}, None),
        ({"shape": [1, 3, 2], "data": [1, 4, 2, 5, 3, 6]}, b"9" * 5000),
        ({"shape": [1, 3, 2], "data": [1, 4, 2, 5, 3, 6]}, "٣".encode()),
        ({"shape": [1, 3, 2], "parameters": {"binary_data_size": 10**30}}, None),
    ],
)
async def test_a_tensor_that_is_not_of_its_shape_is_refused(
    attacked: AppClient, tensor: dict[str, Any], header: bytes | None
) -> None:
    body = {"inputs": [{"name": "inputs", "datatype": "FP32", **tensor}]}
    headers = {} if header is None else {b"inference-header-content-length": header}
    answer = await attacked.post("/v2/models/cube/infer", json=body, headers=headers)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("data", [[[[1, 4], [2, 5], [3, 6]]], [1, 4, 2, 5, 3, 6]])
async def test_a_tensor_may_be_nested_or_flat(attacked: AppClient, data: Any) -> None:
    body = {"inputs": [{"name": "inputs", "datatype": "FP32", "shape": [1, 3, 2], "data": data}]}
    assert (await attacked.post("/v2/models/cube/infer", json=body)).status_code == 200


async def test_an_integer_is_a_class_as_far_as_it_can_be_stored_and_answered(attacked: AppClient) -> None:
    labels = [2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**400]
    items = [{"inputs": [1, 2], "label": label} for label in labels]
    answer = await attacked.post("/v1/models/open/feedback", json={"items": items})
    assert [item["status"] for item in answer.json()["items"]] == [
        "queued",
        "queued",
        "error",
        "error",
        "error",
        "error",
    ]
    logged = [
        json.loads(line)["label"] for line in (await attacked.get("/v1/models/open/log")).text.split("\n") if line
    ]
    assert logged[-2:] == labels[:2]
    refused = await attacked.post(
        "/v1/models", json={"name": "big", "inputs": {"shape": [1]}, "task": "classification", "classes": [2**63]}
    )
    assert refused.status_code == 422


@pytest.mark.parametrize(
    "text", ["/v1/models/%ff", "/v1/models/weather/feedback/%ff", "/v1/jobs/%00", "/v1/models/%0a"]
)
async def test_a_path_of_any_bytes_is_answered(attacked: AppClient, text: str) -> None:
    assert (await attacked.get(text)).status_code == 404


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e400", "9" * 30, "9" * 400, "", "٣", "0x1", "%00"])
@pytest.mark.parametrize(
    "path",
    [
        *(f"/v1/models/weather/{part}" for part in ("log?start=", "log?limit=", "rejected?before=", "jobs?limit=")),
        *(f"/v1/models/weather/scores?{part}=" for part in ("since", "until", "step")),
        *(f"/v1/events?{part}=" for part in ("since", "until", "before", "after", "limit")),
        "/v1/models/weather/versions/",
    ],
)
async def test_any_number_in_a_query_is_answered(attacked: AppClient, path: str, number: str) -> None:
    answer = await attacked.get(path + (number if number.startswith("%") else quote(number)))
    assert answer.status_code < 500, answer.text


async def test_after_a_hundred_errors_a_body_is_not_read_on_and_the_client_sends_the_rest_again(
    attacked: AppClient,
) -> None:
    model = await own_model(attacked)
    items = [{"x": 1}] * 100_000
    answer = await attacked.post(f"/v1/models/{model}/feedback", json={"items": items})
    details = answer.json()["error"]["details"]
    assert answer.status_code == 422 and len(answer.content) < 32_000
    assert len(details["items"]) == 100 and details["unread"] == 99_900

    mixed = [{"inputs": [1, 2], "label": 1 if number % 3 else 7, "id": str(number)} for number in range(900)]
    client = AsyncClient("http://127.0.0.1:8000")
    client._http = attacked
    refused: list[str] = []
    async with client.sender(model, on_error=lambda item: refused.append(item.id)) as sender:
        for item in mixed:
            await sender.send(item)
    assert refused == [item["id"] for item in mixed if item["label"] == 7]
    logged = [item["id"] async for item in client.log(model)]
    assert sorted(logged, key=int) == [item["id"] for item in mixed if item["label"] == 1]


async def test_an_error_is_not_longer_than_what_it_is_about_is_worth(attacked: AppClient) -> None:
    long = "x" * 1_000_000
    for body in ({"items": [{"inputs": [1, 2], "label": long}]}, {"items": [{"inputs": [1, 2], "label": [long] * 3}]}):
        answer = await attacked.post("/v1/models/weather/feedback", json=body)
        assert answer.status_code == 422 and len(answer.content) < 10_000
    for what in ("POST /v1/models/weather/predict", "PATCH /v1/models/weather/recipe", "POST /v1/models"):
        answer = await call(attacked, what, json.dumps({"inputs": long, long: long}).encode())
        assert answer.status_code == 422 and len(answer.content) < 10_000


async def test_a_file_of_very_many_tensors_is_refused_before_one_is_made(attacked: AppClient) -> None:
    for count, told in ((20_000, "20,000 tensors"), (100_000, "a header of")):
        names = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(count)}
        header = json.dumps(names).encode()
        spec = json.dumps({"name": "many", "task": "classification", "inputs": {"shape": [2]}, "classes": [0, 1]})
        files: dict[str, Any] = {"spec": (None, spec), "weights": ("w", len(header).to_bytes(8, "little") + header)}
        answer = await attacked.post("/v1/models", files=files)
        assert answer.status_code == 422 and answer.json()["error"]["code"] == "too_many_tensors"
        assert told in answer.json()["error"]["message"]
