"""``/v2``: the Open Inference Protocol, so that its clients work unchanged."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from starlette.types import Scope

from driftline.api import endpoints
from driftline.api.inference import (
    InferRequest,
    LiveProbe,
    ModelDescription,
    OutputRequest,
    ReadyProbe,
    ServerDescription,
    TensorDescription,
)
from driftline.errors import InvalidInput, Unavailable
from driftline.ingest.keys import keys_of, with_keys
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec
from driftline.version import __version__

from .. import inference_protocol
from ..answers import BatchAnswer
from ..engine import ModelQueue, too_many_rows
from ..fast_path import ON_LOOP_BYTES, Encode, FastPathCall, Headers, find_model, parse_version
from ..inference_protocol import Output
from ..responses import JSON, Content
from ..services import Has
from .mount import json_router, serves

router = json_router()

PREDICTION_ID = "prediction_id"


@serves(router, endpoints.DESCRIBE_SERVER)
async def server() -> ServerDescription:
    return {"name": "driftline", "version": __version__, "extensions": ["binary_tensor_data"]}


@serves(router, endpoints.SERVER_LIVE)
async def live() -> LiveProbe:
    return {"live": True}


@serves(router, endpoints.SERVER_READY)
async def ready(services: Has) -> ReadyProbe:
    services.check_background()
    if not services.version_watcher.is_ready:
        raise Unavailable("the store has not answered yet", code="not_ready", retry_after=1)
    return {"ready": True}


@serves(router, endpoints.DESCRIBE_MODEL)
@serves(router, endpoints.DESCRIBE_VERSION)
async def describe(model: str, services: Has, version: str | None = None) -> ModelDescription:
    found = await find_model(services, model, parse_version(version) if version is not None else None)
    snapshot = found.snapshot
    versions = await services.commit_log(snapshot.uid).versions()
    return {
        "name": model,
        "versions": [str(known.version) for known in versions],
        "platform": "pytorch",
        "inputs": [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, datatype, shape in snapshot.tensors.described()
        ],
        "outputs": _described_outputs(snapshot.spec, len(snapshot.classes)),
    }


@serves(router, endpoints.MODEL_READY)
@serves(router, endpoints.VERSION_READY)
async def model_ready(model: str, services: Has, version: str | None = None) -> ReadyProbe:
    await find_model(services, model, parse_version(version) if version is not None else None)
    return {"ready": True}


def _outputs(spec: ModelSpec) -> list[str]:
    """What can be asked for, what is answered by default first."""
    if spec.kind.has_classes:
        return [spec.answer_field, "probabilities", PREDICTION_ID]
    return [spec.answer_field, *(["interval"] if spec.intervals else []), PREDICTION_ID]


def _described_outputs(spec: ModelSpec, classes: int) -> list[TensorDescription]:
    types = {"label": _label_type(spec), "labels": "BOOL", PREDICTION_ID: "BYTES"}
    layout = spec.values
    by_output = [layout.outputs] if layout.has_several else []
    shapes = {
        "probabilities": [-1, classes],
        "labels": [-1, classes],
        "values": [-1, *by_output],
        "interval": [-1, *by_output, len(layout.levels)],
    }
    return [
        {"name": name, "datatype": types.get(name, "FP32"), "shape": shapes.get(name, [-1])} for name in _outputs(spec)
    ]


def _label_type(spec: ModelSpec) -> str:
    """INT64 where every class is an integer; else a class is its text."""
    return "INT64" if spec.has_integer_classes else "BYTES"


class Infer(FastPathCall):
    """Answers infer calls of all models."""

    is_v2 = True
    kind = None
    path = endpoints.INFER.shown_path

    def version(self, scope: Scope) -> int | None:
        where = scope["path_params"]
        return parse_version(where["version"]) if "version" in where else None

    def on_loop_bytes(self, model: ModelQueue) -> int:
        return ON_LOOP_BYTES

    def read(self, model: ModelQueue, headers: Headers, body: bytes) -> tuple[Rows, Encode]:
        request, binary = inference_protocol.decode(body, headers.get(b"inference-header-content-length"))
        _check_outputs(request, model.snapshot.spec)
        most = model.snapshot.limits.max_queue
        count = max((sum(tensor.shape[:1]) for tensor in request.inputs), default=0)
        if most < count <= len(body):  # More rows than bytes are no rows, and told so.
            raise too_many_rows(count, most)
        rows = model.snapshot.tensors.rows(request, binary)
        if "keys" in request.parameters:
            rows = with_keys(rows, keys_of(request.parameters["keys"]))
        return rows, partial(_encode, request)


def _check_outputs(request: InferRequest, spec: ModelSpec) -> None:
    known = _outputs(spec)
    seen: set[str] = set()
    for output in request.outputs:
        if output.name not in known:
            raise _wrong(output, f"the model has no such output; it has {', '.join(map(repr, known))}")
        if output.name in seen:
            raise _wrong(output, "it is asked for twice")
        for unsupported in ("classification", "shared_memory_region"):
            if output.parameters.get(unsupported):
                raise _wrong(output, f"the parameter {unsupported!r} is not supported")
        seen.add(output.name)


def _wrong(output: OutputRequest, reason: str) -> InvalidInput:
    return InvalidInput(f"output {output.name!r}: {reason}", field=f"outputs.{output.name}")


def _encode(request: InferRequest, answer: BatchAnswer) -> Content:
    snapshot = answer.batch.snapshot
    head: dict[str, Any] = {"model_name": snapshot.spec.name, "model_version": str(snapshot.version)}
    if request.id:
        head["id"] = request.id
    if answer.batch.prefix is not None:
        head["parameters"] = {"prediction_id": ",".join(filter(None, answer.ids))}
    by_default = bool(request.parameters.get("binary_data_output"))
    is_binary = {output.name: bool(output.parameters.get("binary_data", by_default)) for output in request.outputs}
    names = list(is_binary) or _outputs(snapshot.spec)[:-1]
    binary = {name for name in names if is_binary.get(name, by_default)}
    body, json_length = inference_protocol.encode(head, {name: MAKERS[name](answer) for name in names}, binary)
    if json_length is None:
        return Content(200, body, JSON)
    length = (b"inference-header-content-length", b"%d" % json_length)
    return Content(200, body, ((b"content-type", b"application/octet-stream"), length))


def _labels(answer: BatchAnswer) -> Output:
    labels = [answer.batch.label(row) for row in answer.places]
    if _label_type(answer.batch.snapshot.spec) == "INT64":
        return "INT64", np.array(labels, np.int64), [answer.count]
    return "BYTES", ["" if label is None else str(label) for label in labels], [answer.count]


def _label_sets(answer: BatchAnswer) -> Output:
    """Whether a row is of each class, in the order of the probabilities."""
    part = answer.batch.is_of_class[answer.first : answer.first + answer.count]
    return "BOOL", part, list(part.shape)


def _probabilities(answer: BatchAnswer) -> Output:
    part = answer.outputs
    return "FP32", part, list(part.shape)


def _values(answer: BatchAnswer) -> Output:
    return "FP32", answer.outputs[:, 0], [answer.count]


def _several_values(answer: BatchAnswer) -> Output:
    values = answer.outputs[:, : answer.batch.snapshot.spec.values.outputs]
    return "FP32", values, list(values.shape)


def _intervals(answer: BatchAnswer) -> Output:
    layout = answer.batch.snapshot.spec.values
    by_output = [layout.outputs] if layout.has_several else []
    return "FP32", answer.outputs[:, layout.outputs :], [answer.count, *by_output, len(layout.levels)]


def _ids(answer: BatchAnswer) -> Output:
    return "BYTES", [identifier or "" for identifier in answer.ids], [answer.count]


MAKERS = {
    "label": _labels,
    "labels": _label_sets,
    "probabilities": _probabilities,
    "value": _values,
    "values": _several_values,
    "interval": _intervals,
    PREDICTION_ID: _ids,
}
