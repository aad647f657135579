"""What a model has been through: its jobs, many labels at once, and the files that were imported."""

from __future__ import annotations

import bisect
import re
from typing import Annotated, Any, cast

import msgspec
from fastapi import Query

from driftline.api import endpoints
from driftline.api.feedback import MAX_ID_LENGTH, Receipt
from driftline.api.history import (
    ImportedFile,
    ImportList,
    ImportNote,
    JobList,
    ListedJob,
    ListedReceipt,
    ReceiptIds,
    ReceiptList,
    RejectedLabel,
    RejectedLabelList,
)
from driftline.errors import InvalidInput
from driftline.store.facts import Known
from driftline.store.imports import ImportRecord, Imports
from driftline.store.job_list import list_jobs
from driftline.store.owners import shown_name
from driftline.store.rejected import RejectedLabels

from ..receipts import final_state, revised
from ..services import Has, Reads
from .feedback import receipt_of_key
from .mount import json_router, serves

router = json_router()
DIGEST = re.compile(r"[0-9a-f]{16}")


@serves(router, endpoints.LIST_JOBS)
async def jobs(model: str, services: Has, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JobList:
    uid = await services.catalog.uid(model)
    found: list[ListedJob] = []
    for job in await list_jobs(services.connection, uid, limit):
        about: dict[str, Any] = {
            name: value
            for name in ("kind", "began", "ended", "actor", "reason", "message")
            if (value := getattr(job, name)) is not None
        }
        record = job.record
        listed = {
            **{"id": record.id, "state": record.state, "progress": record.progress},
            **{"promoted": record.promoted, "version": record.version},
        }
        found.append(cast(ListedJob, listed | about))
    return {"jobs": found}


@serves(router, endpoints.LIST_RECEIPTS)
async def receipts(model: str, body: ReceiptIds, services: Has, access: Reads) -> ReceiptList:
    uid = await services.catalog.uid(model)
    commit_log = services.commit_log(uid)
    # The head comes first: what it covers then is covered still where the coverage is read.
    offset = (await commit_log.head()).offset
    coverage = await commit_log.coverage()
    found = await services.log(uid).find_seen(body.ids, access)
    listed = [_receipt(each, known, offset, coverage) for each, known in zip(body.ids, found, strict=True)]
    return {"receipts": listed}


def _receipt(identifier: str, known: Known | None, offset: int, coverage: list[tuple[int, int]]) -> ListedReceipt:
    if known is None:
        return {"id": identifier, "state": "unknown"}
    about = {"id": identifier, **final_state(known), **revised(known)}
    place = bisect.bisect_left(coverage, (known.n, 0))
    if "state" not in about and place < len(coverage):
        about |= {"state": "served", "version": coverage[place][1]}
    return cast(ListedReceipt, {"state": "learned" if offset >= known.n else "queued"} | about)


@serves(router, endpoints.SHOW_KEY)
async def show_key(
    model: str, services: Has, access: Reads, key: Annotated[str, Query(min_length=1, max_length=MAX_ID_LENGTH)]
) -> Receipt:
    return await receipt_of_key(services, await services.catalog.uid(model), key, access)


@serves(router, endpoints.LIST_REJECTED)
async def rejected(
    model: str,
    services: Has,
    access: Reads,
    before: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RejectedLabelList:
    labels = RejectedLabels(services.connection, await services.catalog.uid(model))
    found = await labels.newest(limit + 1, before, access)
    listed = [
        cast(RejectedLabel, msgspec.structs.asdict(label) | {"id": shown_name(label.id)}) for label in found[:limit]
    ]
    return {"labels": listed, "next": listed[-1]["n"] if len(found) > limit else None}


@serves(router, endpoints.LIST_IMPORTS)
async def imports(model: str, services: Has) -> ImportList:
    uid = await services.catalog.uid(model)
    return {"imports": [_shown(record) for record in await Imports(services.connection, uid).all()]}


@serves(router, endpoints.NOTE_IMPORT)
async def note_import(model: str, file: str, body: ImportNote, services: Has) -> ImportedFile:
    if DIGEST.fullmatch(file) is None:
        raise InvalidInput(f"file: 16 hexadecimal digits, not {file!r}", field="file", value=file)
    uid = await services.catalog.uid(model)
    record = ImportRecord(file=file, time=0.0, **body.model_dump())
    return _shown(await Imports(services.connection, uid).note(record))


def _shown(record: ImportRecord) -> ImportedFile:
    return cast(ImportedFile, msgspec.structs.asdict(record))
