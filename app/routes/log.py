"""``GET …/log``: the labels that a model's log still keeps, in the order in which they are learned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from driftline.ingest import rows
from driftline.records import Answer, Item
from driftline.spec import ModelSpec, parse
from driftline.store.log import Log, LogEntry

from ..services import Has

router = APIRouter(prefix="/v1/models", tags=["feedback"])

PAGE = 500
LINE = {
    "n": 481,
    "id": "p:4be0c1d2a3f4-9a8b7c6d-19f2c0de000-0-0",
    "inputs": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
    "label": 1,
    "weight": 1.0,
    "route": "live",
    "time": 1.8e9,
    "answer": {"version": 1, "label": 1, "probabilities": [0.4, 0.6]},
}


@router.get(
    "/{model}/log",
    summary="Show the kept log",
    response_class=StreamingResponse,
    responses={
        200: {"description": "a line of JSON for each label", "content": {"application/x-ndjson": {"example": LINE}}}
    },
)
async def show_log(
    model: str,
    services: Has,
    start: Annotated[int, Query(ge=1, description="the log number to begin at")] = 1,
    limit: Annotated[int | None, Query(ge=1, description="most labels; default: all")] = None,
) -> StreamingResponse:
    """Every label from ``start`` on that is kept, with its inputs and what was answered; ``n`` is its number in the log.

    ``time`` is when it became true, or else when it was acknowledged. ``answer`` is null for labels that brought their inputs.
    """
    found = await services.catalog.get(model)
    lines = _lines(services.log(found.uid), parse(ModelSpec, found.spec), start, limit)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(log: Log, spec: ModelSpec, start: int, limit: int | None) -> AsyncIterator[bytes]:
    left = limit
    while entries := await log.since(start, PAGE):
        items = [(entry, entry.record) for entry in entries if isinstance(entry.record, Item)][:left]
        if items:
            yield b"".join([orjson.dumps(_shown(spec, entry, item)) + b"\n" for entry, item in items])
        left = None if left is None else left - len(items)
        if left == 0:
            return
        start = entries[-1].n + 1


def _shown(spec: ModelSpec, entry: LogEntry, item: Item) -> dict[str, Any]:
    return {
        "n": entry.n,
        "id": item.id,
        "inputs": rows.row_as_json(spec, item.inputs),
        "label": item.label,
        "weight": item.weight,
        "route": item.route,
        "time": entry.time if item.time is None else item.time,
        "answer": _shown_answer(spec, item.answer) if item.answer else None,
    }


def _shown_answer(spec: ModelSpec, answer: Answer) -> dict[str, Any]:
    outputs = np.frombuffer(answer.outputs, "<f4").tolist()
    if spec.task == "regression":
        return {"version": answer.version, "value": outputs[0]}
    return {"version": answer.version, "label": answer.label, "probabilities": outputs}
