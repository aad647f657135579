"""``GET …/log``: the labels that a model's log still holds, in the order in which they are learned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import numpy as np
import orjson
from fastapi import Query
from fastapi.responses import StreamingResponse

from driftline.api import endpoints
from driftline.api.feedback import LogItem, ServedAnswer
from driftline.records import Answer, Item
from driftline.rows.rows import item_as_json
from driftline.spec import ModelSpec, parse
from driftline.spec.label_set import chosen
from driftline.store.facts import fact_of, key_of_fact
from driftline.store.log import Log, LogEntry
from driftline.store.owners import shown_name
from driftline.support.json_text import LARGEST_INTEGER

from ..receipts import labeller_of
from ..services import Has
from .mount import json_router, serves

router = json_router()

MAX_PAGE = 500
"""Most records that are read at once."""


@serves(router, endpoints.SHOW_LOG)
async def show_log(
    model: str,
    services: Has,
    start: Annotated[int, Query(ge=1, le=LARGEST_INTEGER)] = 1,
    limit: Annotated[int | None, Query(ge=1)] = None,
) -> StreamingResponse:
    found = await services.catalog.get(model)
    lines = lines_of(services.log(found.uid), parse(ModelSpec, found.spec), start, limit)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def lines_of(
    log: Log, spec: ModelSpec, start: int = 1, limit: int | None = None, page: int = MAX_PAGE
) -> AsyncIterator[bytes]:
    """The labels of a log as lines of JSON, read ``page`` records at once."""
    left = limit
    while entries := await log.since(start, page):
        items = [(entry, entry.record) for entry in entries if isinstance(entry.record, Item)][:left]
        if items:
            yield b"".join([orjson.dumps(_shown(spec, entry, item)) + b"\n" for entry, item in items])
        left = None if left is None else left - len(items)
        if left == 0:
            return
        start = entries[-1].n + 1


def _shown(spec: ModelSpec, entry: LogEntry, item: Item) -> LogItem:
    key = key_of_fact(fact_of(item))
    about = {} if key is None else {"key": shown_name(key)}
    revises = {} if item.revises is None else {"revises": item.revises.n}
    return {
        "n": entry.n,
        "id": shown_name(item.id),
        "inputs": item_as_json(spec, item.inputs),
        "label": spec.shown_label(item.label),
        "weight": item.weight,
        "route": item.route,
        "time": entry.time if item.time is None else item.time,
        "answer": _shown_answer(spec, item.answer) if item.answer else None,
        **about,  # type: ignore[typeddict-item]
        **revises,
        **labeller_of(item),
    }


def _shown_answer(spec: ModelSpec, answer: Answer) -> ServedAnswer:
    outputs = np.frombuffer(answer.outputs, "<f4").tolist()
    if not spec.kind.has_classes:
        return {"version": answer.version, **spec.values.shown(outputs)}  # type: ignore[typeddict-item]
    if spec.kind.is_multilabel:
        labels = chosen(spec.known_classes(), outputs)
        return {"version": answer.version, "labels": labels, "probabilities": outputs}
    return {"version": answer.version, "label": answer.label, "probabilities": outputs}
