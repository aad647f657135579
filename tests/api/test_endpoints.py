"""One table says what calls there are: app, gatekeeper, OpenAPI page and client have these, and no others."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from pydantic import TypeAdapter

from app import openapi
from app.gatekeeper import scopes_for
from app.main import PLAIN, App, create_app
from app.openapi import schema_of
from driftline.api import control, events, feedback, health, history, keys, metrics, models, predictions, sources
from driftline.api.control import RecipeChange, Retrain
from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.endpoints import ENDPOINTS, PROMETHEUS, PROTOCOL, STREAM_FEEDBACK
from driftline.api.feedback import FeedbackItem
from driftline.api.models import SpecBody
from driftline.api.scopes import SCOPES, default_scopes
from driftline.cli.output import MOMENTS
from driftline.client import calls, event_calls, forget_calls, history_calls, labeller_calls, source_calls
from driftline.client.calls import Calls
from driftline.client.clients import AsyncClient, Client
from driftline.client.methods import CallMethod, StreamMethod
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from tests.services import spec

ROOT = Path(__file__).parents[2]
# The client names the types of its results for type checkers alone.
MESSAGES = {
    name: value
    for module in (control, events, feedback, health, history, keys, metrics, models, predictions, sources)
    for name, value in vars(module).items()
}
CALLS = {
    **vars(event_calls.EventCalls),
    **vars(forget_calls.ForgetCalls),
    **vars(history_calls.HistoryCalls),
    **vars(labeller_calls.LabellerCalls),
    **vars(source_calls.SourceCalls),
    **vars(Calls),
}
PAGES = {"/", "/docs", "/openapi.json", "/page/{digest}/{name:path}"}
PARTS = {
    "model": "weather",
    "version": "3",
    "id": "p:1/2",
    "job": "u-1",
    "kind": "drift",
    "file": "9f3c2a17d05b44e1",
    "key": "k1",
    "source": "labels",
}


@cache
def described_page() -> dict[str, Any]:
    """What OpenAPI shows; making it takes a second."""
    return openapi.described()


def name(endpoint: Endpoint[Any]) -> str:
    return f"{endpoint.method} {endpoint.path}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    # Nothing connects before the app is started.
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path_factory.mktemp("data")))


def mounted(routes: Iterable[Any]) -> Iterator[str]:
    """The calls that an app answers, without those of its pages."""
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield from mounted(router.routes)
        elif route.path not in PAGES and not route.path.startswith("/swagger"):
            yield from (f"{method} {route.path}" for method in route.methods - {"HEAD"})


def test_the_app_mounts_the_table_and_nothing_else(app: App) -> None:
    assert sorted(mounted(app.routes)) == sorted(map(name, ENDPOINTS))


def test_the_fast_path_takes_the_calls_that_the_table_has_for_it(app: App) -> None:
    for endpoint in ENDPOINTS:
        scope: dict[str, Any] = {"method": endpoint.method, "path": endpoint.url(PARTS)}
        taken = app.fast_path_call(scope)
        assert taken is (PLAIN[endpoint] if endpoint.summary.startswith(("Predict", "Infer")) else None)
        if taken is not None:
            assert scope["path_params"] == {part: PARTS[part] for part in endpoint.parts}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name)
def test_every_endpoint_says_who_may_call_it_and_the_gatekeeper_asks_for_that(endpoint: Endpoint[Any]) -> None:
    assert endpoint.scopes <= set(SCOPES)
    if not endpoint.scopes:
        assert endpoint.tag in ("health", PROTOCOL), "only a probe needs no key"
    assert scopes_for(endpoint.method, endpoint.url(PARTS)) == endpoint.scopes


def test_what_is_no_endpoint_is_guarded_by_the_rule_of_its_method() -> None:
    assert scopes_for("GET", "/v1/nothing") == default_scopes("GET")
    assert scopes_for("PUT", "/v1/models") == scopes_for("POST", "/v1/nothing") == {"admin"}
    assert scopes_for("GET", "/v1/models/weather/log/more") == default_scopes("GET")
    for method, path, scope in (
        ("GET", "predict", "predict"),
        ("DELETE", "feedback/x", "feedback"),
        ("POST", "log", "admin"),
    ):
        assert scopes_for(method, f"/v1/models/weather/{path}") == {scope}
    for page in ("/", "/docs", "/openapi.json", "/swagger/swagger-ui.css"):
        assert not scopes_for("GET", page)
    assert scopes_for("GET", "/docs/more") and scopes_for("GET", "/swagger/a/b")


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema, and of what it holds."""
    if isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from properties(value, f"{path}[{number}]")
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                for field, described in value.items():
                    yield f"{path}.{field}", described
                    yield from properties(described, f"{path}.{field}")
            elif key not in ("example", "examples", "default"):
                yield from properties(value, path)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name)
def test_every_endpoint_stands_on_the_page_with_every_field_described(endpoint: Endpoint[Any]) -> None:
    operation = described_page()["paths"][endpoint.shown_path][endpoint.method.lower()]
    assert operation["summary"] == endpoint.summary and operation["description"]
    for parameter in operation["parameters"]:
        assert parameter["description"], parameter
    assert {part["name"] for part in operation["parameters"] if part["in"] == "path"} == set(endpoint.parts)
    assert str(endpoint.status) in operation["responses"]
    assert bool(endpoint.bodies) == ("requestBody" in operation)
    found = list(properties(operation))
    assert found or endpoint is PROMETHEUS
    undescribed = [path for path, described in found if not described.get("description")]
    assert not undescribed


def test_a_terminal_shows_each_moment_as_one() -> None:
    every = properties(described_page())
    moments = {path.rpartition(".")[2] for path, field in every if "seconds since 1970" in field.get("description", "")}
    assert moments == MOMENTS


def test_every_field_of_a_spec_is_described() -> None:
    undescribed = [
        path for path, described in properties(described_page()["components"]) if not described.get("description")
    ]
    assert not undescribed


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name)
def test_every_example_is_what_its_type_says(endpoint: Endpoint[Any]) -> None:
    answer = MediaType(endpoint.answer, endpoint.example)
    for content in (answer, *endpoint.bodies, *endpoint.also.values()):
        for example in (content.example, *content.examples):
            if content.type is SpecBody:
                parse(ModelSpec, example)
            elif isinstance(content.type, type) and issubclass(content.type, msgspec.Struct):
                msgspec.json.decode(msgspec.json.encode(example), type=content.type)
            elif example is not None:
                TypeAdapter(content.type).validate_python(example, strict=True)


def test_a_message_is_described_where_it_is_declared() -> None:
    """The library reads the strings below the fields from the source: that of another class must not be taken."""
    assert schema_of(FeedbackItem)["properties"]["label"]["description"].startswith("A class, of a multi-label model")
    assert schema_of(Retrain)["properties"]["epochs"]["description"].startswith("How often")
    assert schema_of(RecipeChange)["type"] == "object"


def test_both_clients_have_a_method_for_every_endpoint_but_those_with_clients_of_their_own() -> None:
    declared = {key: value for key, value in CALLS.items() if isinstance(value, CallMethod | StreamMethod)}
    for endpoint in ENDPOINTS:
        has_own_clients = endpoint.tag == PROTOCOL or endpoint is PROMETHEUS
        assert (endpoint.client is None) == has_own_clients, name(endpoint)
        if endpoint.client is not None:
            assert endpoint.client in declared, name(endpoint)
            assert callable(getattr(Client, endpoint.client)) and callable(getattr(AsyncClient, endpoint.client))
            assert getattr(Client, endpoint.client).__doc__


def arguments(method: Any) -> dict[str, Any]:
    """Something for each argument that must be given."""
    values: dict[str, Any] = {
        "spec": {},
        "model": "weather",
        "items": [{"label": 1}],
        "inputs": [[1]],
        "identifier": "u-1",
        "identifiers": ["u-1"],
        "file": PARTS["file"],
        "key": "order-17",
        "name": "history.csv",
        "row": 40,
        "scopes": ["predict"],
        "source": {},
        "changes": {},
        "labeller": "k1/ward-7",
    }
    values |= {"number": 3, "version": 3, "kind": "drift", "first": 1, "second": 2, "recipe": {}}
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return {part.name: values[part.name] for part in parameters if part.default is inspect.Parameter.empty}


@pytest.mark.parametrize("endpoint", [found for found in ENDPOINTS if found.client], ids=name)
def test_a_method_asks_its_endpoint_and_gives_what_that_answers(endpoint: Endpoint[Any]) -> None:
    assert endpoint.client is not None
    declaration = CALLS[endpoint.client].declared
    made = declaration(Calls(), **arguments(declaration))
    call = next(made) if endpoint is STREAM_FEEDBACK or inspect.isgenerator(made) else made
    assert call.endpoint is endpoint
    assert endpoint.pattern.fullmatch(endpoint.url(call.parts)), "every part of the path is given"
    result = get_type_hints(
        getattr(Client, endpoint.client),
        vars(calls)
        | vars(event_calls)
        | vars(forget_calls)
        | vars(history_calls)
        | vars(labeller_calls)
        | vars(source_calls)
        | MESSAGES,
    )["return"]
    if call.pick is None and endpoint.tag != "health":
        assert endpoint.answer in (result, *getattr(result, "__args__", ()))


def test_a_label_has_the_fields_that_the_server_takes() -> None:
    """The server reads items into a struct of its own, whose inputs have the shape of the spec."""
    taken: Any = FeedbackDecoder(parse(ModelSpec, spec())).decode(b'{"prediction_id": "p", "label": 1}')
    assert [field.name for field in msgspec.structs.fields(type(taken))] == list(FeedbackItem.__annotations__)


def test_the_docs_name_every_call_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    named = set(re.findall(r"`(GET|POST|PUT|DELETE|PATCH) (/[^`?]*)(?:\?[^`]*)?`", page))
    short = {"{model}": "{m}", "{version}": "{v}", "{job}": "{id}"}
    shown = {
        (found.method, re.sub("|".join(short), lambda part: short[part[0]], found.shown_path)) for found in ENDPOINTS
    }
    assert named == shown


def test_no_page_names_a_call_that_is_not_there() -> None:
    paths = [endpoint.pattern for endpoint in ENDPOINTS]
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for method, path in re.findall(r"`(GET|POST|PUT|DELETE|PATCH) (/[^`? …]*)", page.read_text()):
            assert any(pattern.fullmatch(path) for pattern in paths), f"{page.name}: {method} {path}"
