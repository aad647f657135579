"""The client: every call of the REST interface, what it sends, and what an answer or its absence means."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline import errors
from driftline.client.clients import AsyncClient, Client
from tests.scripted_server import Answer, ScriptedServer, scripted_server
from tests.waiting import SECONDS


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


class Blocking:
    """The async client with the sync client's interface, so that each test runs over both."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments, self._options = arguments, options

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return asyncio.run(self._call(name, arguments, options))

        return call

    async def _call(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        async with AsyncClient(*self._arguments, **self._options) as client:
            result = getattr(client, name)(*arguments, **options)
            return [value async for value in result] if inspect.isasyncgen(result) else await result


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(server: ScriptedServer, kind: Any) -> Iterator[Any]:
    with kind(server.url, retries=0) as client:
        yield client


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, str, Any]]] = [
    ("create_model", ({"name": "m"},), {}, ("POST", "/v1/models", {"name": "m"})),
    ("model", ("m",), {}, ("GET", "/v1/models/m", None)),
    ("model", ("../x y",), {}, ("GET", "/v1/models/..%2Fx%20y", None)),
    ("delete_model", ("m",), {}, ("DELETE", "/v1/models/m", None)),
    ("predict", ("m", [[1.5]]), {}, ("POST", "/v1/models/m/predict", {"inputs": [[1.5]]})),
    ("predict", ("m", [[1.5]], 7), {}, ("POST", "/v1/models/m/predict?version=7", {"inputs": [[1.5]]})),
    (
        "feedback",
        ("m", [{"id": "a", "label": 1}]),
        {},
        ("POST", "/v1/models/m/feedback", {"items": [{"id": "a", "label": 1}]}),
    ),
    ("receipt", ("m", "p:1/2"), {}, ("GET", "/v1/models/m/feedback/p%3A1%2F2", None)),
    ("job", ("u-1",), {}, ("GET", "/v1/jobs/u-1", None)),
    ("cancel_job", ("u-1",), {}, ("DELETE", "/v1/jobs/u-1", None)),
    ("rollback", ("m", 3), {}, ("POST", "/v1/models/m/rollback", {"version": 3})),
    ("version", ("m", 3), {}, ("GET", "/v1/models/m/versions/3", None)),
    ("promote", ("m",), {}, ("POST", "/v1/models/m/promote", {})),
    ("pause", ("m",), {}, ("POST", "/v1/models/m/pause", {})),
    ("resume", ("m",), {}, ("POST", "/v1/models/m/resume", {})),
    ("change_recipe", ("m", {"batch_size": 8}), {}, ("PATCH", "/v1/models/m/recipe", {"batch_size": 8})),
    ("metrics", ("m",), {}, ("GET", "/v1/models/m/metrics", None)),
]


@pytest.mark.parametrize(("name", "arguments", "options", "sent"), CALLS)
def test_a_call_is_the_request_that_the_interface_names(
    server: ScriptedServer, client: Any, name: str, arguments: Any, options: Any, sent: Any
) -> None:
    server.answers = [(200, {"answer": 1})]
    assert getattr(client, name)(*arguments, **options) == {"answer": 1}
    assert server.sent[-1] == sent


@pytest.mark.parametrize(
    ("name", "arguments", "path"), [("models", (), "/v1/models"), ("versions", ("m",), "/v1/models/m/versions")]
)
def test_a_list_comes_without_its_wrapping(
    server: ScriptedServer, client: Any, name: str, arguments: Any, path: str
) -> None:
    server.answers = [(200, {name: [{"version": 1}]})]
    assert getattr(client, name)(*arguments) == [{"version": 1}]
    assert server.sent[-1] == ("GET", path, None)


def test_a_retrain_sends_what_is_given_and_gives_the_job(server: ScriptedServer, client: Any) -> None:
    server.answers = [(202, {"job_id": "u-1"}), (202, {"job_id": "u-2"})]
    assert client.retrain("m") == "u-1"
    assert server.sent[-1] == ("POST", "/v1/models/m/retrain", {})
    edits = [{"type": "widen", "layer": "linear1", "features": 64}]
    what = {
        "recipe": {"batch_size": 8},
        "edits": edits,
        "race": [{}, {"loss": "focal"}],
        "epochs": 2,
        "reason": "wider",
    }
    assert client.retrain("m", **what) == "u-2"
    assert server.sent[-1][2] == what


def test_a_dry_run_of_a_retrain_gives_what_it_would_do(server: ScriptedServer, client: Any) -> None:
    server.answers = [(200, {"before": {}, "after": {}})]
    assert client.retrain_dry_run("m", race=[{}, {}], epochs=2) == {"before": {}, "after": {}}
    assert server.sent[-1] == ("POST", "/v1/models/m/retrain", {"race": [{}, {}], "epochs": 2, "dry_run": True})


def test_a_comparison_names_the_versions_and_gives_the_job(server: ScriptedServer, client: Any) -> None:
    server.answers = [(202, {"job_id": "u-1"})]
    assert client.compare("m", 12, 17) == "u-1"
    assert server.sent[-1] == ("POST", "/v1/models/m/compare", {"versions": [12, 17]})


@pytest.mark.parametrize("as_path", [True, False])
def test_weights_go_beside_the_spec(server: ScriptedServer, client: Any, tmp_path: Path, as_path: bool) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x00weights\xff")
    client.create_model({"name": "m"}, tmp_path / "w.safetensors" if as_path else b"\x00weights\xff")
    _, path, body, headers = server.requests[-1]
    assert path == "/v1/models"
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="spec"\r\n' in body and b'{"name":"m"}' in body
    assert b'name="weights"; filename=' in body and b"\x00weights\xff" in body


def test_missing_weights_are_one_sentence(client: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match=r"w\.safetensors cannot be read"):
        client.create_model({"name": "m"}, tmp_path / "w.safetensors")


@pytest.mark.parametrize("inputs", [np.ones((2, 3), "float32"), torch.ones(2, 3), [np.ones(3), np.ones(3)]])
def test_arrays_and_tensors_are_inputs(server: ScriptedServer, client: Any, inputs: Any) -> None:
    client.predict("m", inputs)
    assert server.sent[-1][2] == {"inputs": [[1.0] * 3] * 2}


def test_numbers_of_numpy_are_labels(server: ScriptedServer, client: Any) -> None:
    client.feedback("m", ({"label": label, "prediction_id": "p"} for label in np.arange(2)))
    assert server.sent[-1][2] == {"items": [{"label": 0, "prediction_id": "p"}, {"label": 1, "prediction_id": "p"}]}


def test_what_json_cannot_say_is_refused_before_it_is_sent(server: ScriptedServer, client: Any) -> None:
    for inputs in ([[float("nan")]], [[object()]]):
        with pytest.raises(errors.InvalidInput):
            client.predict("m", inputs)
    assert not server.requests


def test_a_stream_is_answered_item_by_item(server: ScriptedServer, client: Any) -> None:
    answers = [{"id": str(n), "status": "queued"} for n in range(501)]
    lines = [json.dumps(answer).encode() + b"\n" for answer in answers]
    server.answers = [(200, b"".join(lines[:500])), (200, lines[500])]
    items = ({"id": str(n), "label": n, "inputs": [n]} for n in range(501))
    assert list(client.feedback_stream("m", items)) == answers
    sent = [json.loads(line) for _, _, body, _ in server.requests for line in body.splitlines()]
    assert sent == [{"id": str(n), "label": n, "inputs": [n]} for n in range(501)]
    assert server.requests[0].path == "/v1/models/m/feedback/stream"
    assert server.requests[0].headers["content-type"] == "application/x-ndjson"


def test_a_log_comes_item_by_item(server: ScriptedServer, client: Any) -> None:
    items = [{"n": n, "label": 1} for n in range(3)]
    server.answers = [(200, b"".join(json.dumps(item).encode() + b"\n" for item in items)), (200, b"")]
    assert list(client.log("m")) == items
    assert server.sent[-1] == ("GET", "/v1/models/m/log?start=1", None)
    assert list(client.log("m", start=4, limit=2)) == []
    assert server.sent[-1] == ("GET", "/v1/models/m/log?start=4&limit=2", None)


def test_a_refused_stream_raises(server: ScriptedServer, client: Any) -> None:
    server.answers = [(404, {"error": {"code": "not_found", "message": "there is no model 'm'"}})]
    with pytest.raises(errors.NotFound, match="no model"):
        list(client.feedback_stream("m", [{"label": 1}]))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.TooLarge),
        (422, errors.InvalidInput),
        (429, errors.Busy),
        (503, errors.Unavailable),
        (504, errors.Late),
    ],
)
def test_the_error_of_the_server_is_raised(server: ScriptedServer, client: Any, status: int, error: Any) -> None:
    body = {"code": "special", "message": "what went wrong", "details": {"field": "inputs"}}
    server.answers = [(status, {"error": body})]
    server.headers = {"retry-after": "2"}
    with pytest.raises(error) as caught:
        client.predict("m", [])
    assert caught.value.as_json() == body
    assert caught.value.retry_after == 2.0


@pytest.mark.parametrize("answer", [(502, b"<html>Bad Gateway</html>"), (200, b"<html>"), (500, [])])
def test_an_answer_of_something_else_names_the_url(server: ScriptedServer, client: Any, answer: Answer) -> None:
    server.answers = [answer]
    with pytest.raises(errors.DriftlineError, match=f"{server.url}/v1/models/m"):
        client.model("m")


def test_a_server_that_is_not_there_is_unavailable_by_its_url(kind: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with kind(url, retries=1) as client:
            with pytest.raises(errors.Unavailable, match=url):
                client.models()
            assert not client.live() and not client.ready()


def test_a_server_that_does_not_answer_in_time_is_late(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with kind(url, timeout=0.2) as client, pytest.raises(errors.Late):
            client.models()


@pytest.mark.parametrize("url", ["localhost:1", "ftp://localhost", "http://localhost:port"])
def test_a_url_that_is_none_is_one_sentence(kind: Any, url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="is not the URL of a server"), kind(url) as client:
        client.models()


def test_url_and_key_come_from_the_environment(
    server: ScriptedServer, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_URL", server.url)
    monkeypatch.setenv("DRIFTLINE_KEY", "id.secret")
    with kind() as client:
        client.model("m")
        assert server.requests[-1].headers["authorization"] == "Bearer id.secret"
    with kind(key="other.secret") as client:
        client.model("m")
        assert server.requests[-1].headers["authorization"] == "Bearer other.secret"


def test_probes_say_yes_or_no(server: ScriptedServer, client: Any) -> None:
    server.answers = [(200, {}), (503, {"error": {"code": "unavailable", "message": "no Redis"}})]
    assert client.live() and not client.ready()
    assert [path for _, path, _, _ in server.requests] == ["/livez", "/readyz"]


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_waiting_for_a_job_ends_with_the_job(server: ScriptedServer, client: Any, state: str) -> None:
    server.answers = [(200, {"state": "queued"}), (200, {"state": "running"}), (200, {"state": state})]
    assert client.wait_for_job("u-1", timeout=SECONDS)["state"] == state


@pytest.mark.parametrize("state", ["served", "rejected", "quarantined"])
def test_waiting_for_an_item_ends_with_its_receipt(server: ScriptedServer, client: Any, state: str) -> None:
    server.answers = [(200, {"state": "queued"}), (200, {"state": "learned"}), (200, {"state": state})]
    assert client.wait_served("m", "i", timeout=SECONDS)["state"] == state


def test_waiting_in_vain_is_late(server: ScriptedServer, client: Any) -> None:
    server.answers = [(200, {"state": "queued"})] * 100
    with pytest.raises(errors.Late, match=r"item i of m is still queued after 2 s"):
        client.wait_served("m", "i", timeout=2)
    with pytest.raises(errors.Late, match="job u-1 is still queued"):
        client.wait_for_job("u-1", timeout=2)


def test_both_clients_take_the_same_calls() -> None:
    def parameters(kind: type) -> dict[str, Any]:
        return {
            name: inspect.signature(method).parameters
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert parameters(Client) == parameters(AsyncClient)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_only_https_reads_the_certificates_that_the_machine_trusts(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = ssl.SSLContext.load_verify_locations

    def load_verify_locations(context: ssl.SSLContext, *arguments: Any, **options: Any) -> None:
        read.append("read")
        load(context, *arguments, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load_verify_locations)
    kind("http://127.0.0.1:8000")
    assert not read
    kind("https://127.0.0.1:8000")
    assert read
