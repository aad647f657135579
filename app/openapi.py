"""The OpenAPI page, made from the table of endpoints and the types of their messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import FastAPI
from pydantic import TypeAdapter

from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.endpoints import ENDPOINTS, PARTS, PROTOCOL, TAGS
from driftline.api.errors import ErrorAnswer, SentenceAnswer
from driftline.api.models import SpecBody
from driftline.spec import ModelSpec
from driftline.spec.based import BasedSpec
from driftline.version import __version__

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
UNKNOWN = {"error": {"code": "unknown_model", "message": "there is no model 'wether'"}}
WRONG = {
    "error": {
        "code": "wrong_shape",
        "message": "inputs[0]: a row of shape [2] where [8] is expected",
        "details": {"field": "inputs[0]", "value": [2], "expected": [8]},
    }
}
SENTENCES = {"400": {"error": "input 'inputs': it is given twice"}, "404": {"error": "there is no model 'wether'"}}

REFUSED = {
    401: "there is no key, or none that is known here or still works",
    403: "the key lacks the scope or is for other models; or the page or machine that calls may not",
    408: "the request did not come in time",
    409: "it does not go with what is there",
    413: "the body is too large",
    414: "the URL is too long",
    415: "the body is of another kind than is taken",
    429: "there is too much of it at the moment; `Retry-After` says when to try again",
    431: "the headers are too large",
    503: "what is needed for it does not answer; `Retry-After` says when to try again",
    504: "the answer was not computed in time",
}
"""What a call may be refused for, by status, besides what is wrong with what it says."""


def install(app: FastAPI, prefix: str = "") -> None:
    """Makes ``app`` serve the description of the endpoints, which stand below ``prefix``."""

    def schema() -> Schema:
        if not app.openapi_schema:
            app.openapi_schema = described() | ({"servers": [{"url": prefix}]} if prefix else {})
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]


def described() -> Schema:
    """The whole page."""
    spec = ModelSpec.model_json_schema(ref_template=REFERENCE)
    based = BasedSpec.model_json_schema(ref_template=REFERENCE)
    parts = {**spec.pop("$defs", {}), **based.pop("$defs", {})}
    schemas = {**parts, ModelSpec.__name__: spec, BasedSpec.__name__: based}
    paths: dict[str, Schema] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.shown_path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Driftline", "version": __version__, "description": "PyTorch models that keep learning."},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": _shared_refusals(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
    }


def schema_of(kind: Any) -> Schema:
    """The schema of a message's type, whole: no message contains itself. A spec is large, and stands on the page once."""
    if kind is SpecBody:
        return {"anyOf": [{"$ref": REFERENCE.format(model=each.__name__)} for each in (ModelSpec, BasedSpec)]}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        (schema,), parts = msgspec.json.schema_components([kind], ref_template=REFERENCE.replace("model", "name"))
    else:
        schema = TypeAdapter(kind).json_schema(ref_template=REFERENCE)
        parts = schema.pop("$defs", {})
    whole: Schema = _whole(schema, parts)
    return whole


def _whole(schema: Any, parts: Schema) -> Any:
    """A schema with what it refers to in place of the references."""
    if isinstance(schema, list):
        return [_whole(value, parts) for value in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {name: _whole(value, parts) for name, value in schema.items() if name != "$ref"}
    if "$ref" not in schema:
        return rest
    return _whole(parts[schema["$ref"].rpartition("/")[2]], parts) | rest


def _operation(endpoint: Endpoint[Any]) -> Schema:
    answer = MediaType(endpoint.answer, endpoint.example, endpoint.answer_kind)
    answers = {str(endpoint.status): [answer, *([endpoint.streamed] if endpoint.streamed else [])]}
    answers |= {str(status): [content] for status, content in endpoint.also.items()}
    responses = {
        status: {
            "description": schema_of(contents[0].type).get("description") or "answered",
            "content": {kind: found for each in contents for kind, found in _content(each).items()},
        }
        for status, contents in answers.items()
    }
    operation = {
        "operationId": _identifier(endpoint),
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint), *_headers(endpoint)],
        "responses": dict(sorted((_refusals(endpoint) | responses).items())),
        "security": [{"key": sorted(endpoint.scopes | {"admin"})}, {}] if endpoint.scopes else [{}],
    }
    if endpoint.bodies:
        content = {kind: found for body in endpoint.bodies for kind, found in _content(body).items()}
        operation["requestBody"] = {"required": endpoint.is_body_needed, "content": content}
    return operation


def _identifier(endpoint: Endpoint[Any]) -> str:
    words = endpoint.shown_path.replace("{", "").replace("}", "").split("/")
    return "_".join([endpoint.method.lower(), *filter(None, words)])


def _content(content: MediaType) -> Schema:
    found: Schema = {"schema": schema_of(content.type)}
    if content.example is not None:
        found["example"] = content.example
    if content.examples:
        found["schema"]["examples"] = [content.example, *content.examples]
    return {content.kind: found}


def _path_parameters(endpoint: Endpoint[Any]) -> Iterator[Schema]:
    for name in endpoint.parts:
        schema = {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "description": PARTS[name], "schema": schema}


def _query_parameters(endpoint: Endpoint[Any]) -> Iterator[Schema]:
    if endpoint.query is not None:
        for name, schema in TypeAdapter(endpoint.query).json_schema()["properties"].items():
            described = {"description": schema.pop("description"), "schema": schema}
            yield {"name": name, "in": "query", "required": False, **described}


def _headers(endpoint: Endpoint[Any]) -> Iterator[Schema]:
    if endpoint.has_key:
        description = "Any text that is new for each new call: calls with the same one are done once, within a day."
        schema = {"type": "string", "minLength": 1, "maxLength": 200}
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": description,
            "schema": schema,
        }


def _refusals(endpoint: Endpoint[Any]) -> Schema:
    """The errors of an endpoint: its own with an example, and those that may come of any call."""
    is_protocol = endpoint.tag == PROTOCOL
    wrong, shown = ("400", SENTENCES) if is_protocol else ("422", {"422": WRONG, "404": UNKNOWN})
    own = {
        **({wrong: "refused"} if endpoint.bodies or endpoint.query is not None or endpoint.parts else {}),
        **({"404": "unknown"} if endpoint.parts else {}),
    }
    kind = SentenceAnswer if is_protocol else ErrorAnswer
    described = {
        status: {"description": text, "content": _content(MediaType(kind, shown[status]))}
        for status, text in own.items()
    }
    needs_key, changes = bool(endpoint.scopes), endpoint.method != "GET"
    is_predicted = endpoint.shown_path.endswith(("/predict", "/infer"))
    left_out = {401: not needs_key, 409: not changes, 504: not is_predicted}
    return described | {
        str(status): {"$ref": f"#/components/responses/{_refused(status, is_protocol)}"}
        for status in REFUSED
        if not left_out.get(status)
    }


def _refused(status: int, is_protocol: bool) -> str:
    return f"{'Protocol' if is_protocol else ''}Refused{status}"


def _shared_refusals() -> Schema:
    """What any call may be refused for, once for each form that errors have."""
    return {
        _refused(status, is_protocol): {"description": text, "content": _content(MediaType(kind, None))}
        for is_protocol, kind in ((False, ErrorAnswer), (True, SentenceAnswer))
        for status, text in REFUSED.items()
    }
