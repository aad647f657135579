"""The OpenAPI page: FastAPI's schema, with the plain ASGI routes described beside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from driftline import __version__
from driftline.spec import ModelSpec

TAGS = [
    {"name": "models", "description": "What is served: create, show, remove, look back."},
    {"name": "predict", "description": "Answers, each with an id that a label can refer to."},
    {"name": "feedback", "description": "Labels, and how far each has come."},
    {"name": "control", "description": "What an admin tells a model; the worker carries it out."},
    {"name": "Open Inference Protocol", "description": "The same models for the clients of that protocol."},
    {"name": "health", "description": "Probes and measurements."},
]
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object"},
            },
            "required": ["code", "message"],
        }
    },
    "required": ["error"],
}
_UNKNOWN = {"error": {"code": "unknown_model", "message": "there is no model 'wether'"}}
_WRONG = {
    "error": {
        "code": "wrong_shape",
        "message": "inputs[0]: a row of shape [2] where [8] is expected",
        "details": {"field": "inputs[0]", "value": [2], "expected": [8]},
    }
}
_ID = "4be0c1d2a3f4-9a8b7c6d-19f2c0de000-0-0"
_ITEM = {
    "type": "object",
    "properties": {
        "prediction_id": {"type": "string", "description": "the prediction that the label is about"},
        "inputs": {"description": "one row, where there is no prediction id"},
        "label": {"description": "a class, or the number of a regression"},
        "id": {"type": "string", "description": "recognises a resend for 24 hours"},
        "weight": {"type": "number", "minimum": 0, "default": 1},
        "source": {"type": "string"},
        "time": {"type": "number", "description": "when the label became true, in seconds since 1970"},
        "route": {"enum": ["import"], "description": "historical data: learned, but not scored and not held out"},
    },
    "required": ["label"],
    "additionalProperties": False,
}


_ROWS = {
    "type": "object",
    "properties": {"inputs": {"description": "rows of numbers in the spec's shape; columns by name for named inputs"}},
    "required": ["inputs"],
    "additionalProperties": False,
}
_ANSWER = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "integer", "minimum": 1},
        "classes": {"type": "array", "items": {"type": ["integer", "string"]}},
        "predictions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": ["string", "null"], "description": "null where predictions are not recorded"},
                    "label": {"type": ["integer", "string", "null"], "description": "null while there is no class"},
                    "probabilities": {"type": "array", "items": {"type": "number"}},
                    "value": {"type": "number", "description": "of a regression"},
                },
                "required": ["id"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["model", "version", "predictions"],
    "additionalProperties": False,
}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "description": "flat or nested; without it the bytes lie behind the JSON"},
    },
    "required": ["name", "shape", "datatype"],
}
_INFER = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
                "required": ["name"],
            },
        },
    },
    "required": ["inputs"],
}
_INFERRED = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["model_name", "model_version", "outputs"],
    "additionalProperties": False,
}
_SENTENCE = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def example(status: int, value: Any) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` for one example answer."""
    return {status: {"content": {"application/json": {"example": value}}}}


def _content(value: Any, kind: str = "application/json", schema: Any = None) -> dict[str, Any]:
    return {kind: {"example": value, **({"schema": schema} if schema else {})}}


def _operation(
    summary: str, tag: str, parameters: list[str], responses: dict[str, Any], body: Any = None
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
        ],
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _refusals(status: str, value: Any) -> dict[str, Any]:
    return {
        status: {"description": "refused", "content": _content(value, schema=ERROR)},
        "404": {"description": "unknown", "content": _content(_UNKNOWN, schema=ERROR)},
    }


def _plain_routes() -> dict[str, Any]:
    accepted = {"accepted": 1, "items": [{"id": f"p:{_ID}", "status": "queued"}], "durability": "fsync_always"}
    item = {"prediction_id": _ID, "label": 1}
    rows = {"inputs": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]]}
    answered = {
        "model": "weather",
        "version": 1,
        "classes": [0, 1],
        "predictions": [{"id": _ID, "label": 1, "probabilities": [0.4, 0.6]}],
    }
    given = {"name": "inputs", "shape": [1, 8], "datatype": "FP32", "data": rows["inputs"][0]}
    infer = {"id": "7", "inputs": [given]}
    inferred = {
        "model_name": "weather",
        "model_version": "1",
        "id": "7",
        "parameters": {"prediction_id": _ID},
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.4, 0.6]},
        ],
    }
    line = {"id": f"p:{_ID}", "status": "queued", "durability": "fsync_always"}
    items_schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _ITEM, "minItems": 1}},
        "required": ["items"],
        "additionalProperties": False,
    }
    return {
        "/v1/models/{model}/predict": {
            "post": _operation(
                "Predict",
                "predict",
                ["model"],
                {
                    "200": {"description": "answered", "content": _content(answered, schema=_ANSWER)},
                    **_refusals("422", _WRONG),
                },
                _content(rows, schema=_ROWS),
            )
        },
        **{
            f"/v2/models/{{model}}{versions}/infer": {
                "post": _operation(
                    "Infer",
                    "Open Inference Protocol",
                    parameters,
                    {
                        "200": {"description": "answered", "content": _content(inferred, schema=_INFERRED)},
                        "400": {
                            "description": "refused",
                            "content": _content({"error": "input 'inputs': it is given twice"}, schema=_SENTENCE),
                        },
                    },
                    _content(infer, schema=_INFER),
                )
            }
            for versions, parameters in (("", ["model"]), ("/versions/{version}", ["model", "version"]))
        },
        "/v1/models/{model}/feedback": {
            "post": _operation(
                "Give labels",
                "feedback",
                ["model"],
                {"202": {"description": "in the log", "content": _content(accepted)}, **_refusals("422", _WRONG)},
                _content({"items": [item]}, schema=items_schema),
            )
        },
        "/v1/models/{model}/feedback/stream": {
            "post": _operation(
                "Give labels, a line each",
                "feedback",
                ["model"],
                {
                    "200": {"description": "a line for a line", "content": _content(line, "application/x-ndjson")},
                    **_refusals("415", {"error": {"code": "unsupported_media_type", "message": "…"}}),
                },
                _content(item, "application/x-ndjson", _ITEM),
            )
        },
        "/v1/models/{model}/feedback/{id}": {
            "get": _operation(
                "What became of a label",
                "feedback",
                ["model", "id"],
                {
                    "200": {
                        "description": "queued, learned, served, rejected or quarantined",
                        "content": _content({"id": f"p:{_ID}", "state": "served", "version": 2}),
                    },
                    "404": {"description": "unknown", "content": _content(_UNKNOWN, schema=ERROR)},
                },
            )
        },
    }


def install(app: FastAPI) -> None:
    """Makes ``app`` describe all of its routes."""

    def schema() -> dict[str, Any]:
        if not app.openapi_schema:
            found = get_openapi(
                title="Driftline",
                version=__version__,
                description="PyTorch models that keep learning.",
                routes=app.routes,
                tags=TAGS,
            )
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            spec = ModelSpec.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= spec.pop("$defs", {}) | {"ModelSpec": spec}
            found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"key": []}, {}]
            found["paths"] = dict(sorted({**found["paths"], **_plain_routes()}.items()))
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]
