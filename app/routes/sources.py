"""Sources: made, changed, paused, tried and removed; and the records that they could not take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import Body, Query

from driftline.api import endpoints
from driftline.api.sources import (
    DeadLetterList,
    Dropped,
    SendAgain,
    SentAgain,
    SentAgainList,
    SourceInfo,
    SourceList,
    SourceRemoved,
    TriedRecord,
    TriedRecords,
)
from driftline.errors import Conflict, InvalidInput, NotFound
from driftline.sources.base import Source, SourceRecord
from driftline.sources.formats import shown
from driftline.sources.registry import changed, check_paths, parse_source, parse_sources, shown_spec
from driftline.sources.trial import send_again, try_source
from driftline.store.sources import DeadLetter, SourceBook, SourceState, StoredSource

from ..services import Actor, Has, Services
from ..streams.row_intake import RowIntake, check_row
from .mount import json_router, serves

router = json_router()
REFUSED_ALARM = "source_refused"


@serves(router, endpoints.LIST_SOURCES)
async def list_sources(model: str, services: Has) -> SourceList:
    found = await _Sources.of(model, services)
    return {"sources": await found.infos()}


@serves(router, endpoints.SHOW_SOURCE)
async def show_source(model: str, source: str, services: Has) -> SourceInfo:
    found = await _Sources.of(model, services)
    return await found.info(source)


@serves(router, endpoints.MAKE_SOURCE)
async def make_source(model: str, body: Annotated[dict[str, Any], Body()], services: Has, actor: Actor) -> SourceInfo:
    found = await _Sources.of(model, services)
    source = found.parsed(body)
    if not source.name:
        raise InvalidInput("name: it is missing", field="name")
    spec = {name: value for name, value in body.items() if name not in ("model", "paused") and value is not None}
    stored = await found.book.stored()
    if source.name in stored and stored[source.name].spec == spec:
        return await found.info(source.name)  # A call that is made again.
    for other in stored.values():
        if other.key == source.identity and other.name != source.name:
            message = f"the source {other.name!r} reads the same already"
            raise Conflict(message, code="source_exists", field="source", value=other.name)
    if source.name in found.fixed:
        raise Conflict(
            f"DRIFTLINE_SOURCES has a source {source.name!r}", code="source_exists", field="name", value=source.name
        )
    made = StoredSource(
        source.name, spec, source.identity, services.connection.now(), actor, paused=bool(body.get("paused"))
    )
    await found.book.write(None, made, "made", actor)
    return await found.info(source.name)


@serves(router, endpoints.TRY_SOURCE)
async def try_(model: str, body: Annotated[dict[str, Any], Body()], services: Has) -> TriedRecords:
    found = await _Sources.of(model, services)
    _, decoder = await services.feedback_decoder(model)
    records: list[TriedRecord] = []
    snapshot = (await services.version_watcher.model(model)).snapshot
    for tried in await try_source(found.parsed(body), decoder, partial(check_row, snapshot)):
        record: TriedRecord = {"place": tried.record.place, "raw": shown(tried.record.raw, tried.record.format)}
        if tried.item is not None:
            record["item"] = tried.item
        if tried.error is not None:
            record["error"] = tried.error
        records.append(record)
    return {"records": records}


@serves(router, endpoints.CHANGE_SOURCE)
async def change_source(
    model: str, source: str, body: Annotated[dict[str, Any], Body()], services: Has, actor: Actor
) -> SourceInfo:
    found = await _Sources.of(model, services)
    before = await found.stored(source)
    changes = {name: value for name, value in body.items() if name != "paused"}
    paused = body.get("paused", before.paused)
    if not isinstance(paused, bool):
        raise InvalidInput(f"paused: {paused!r} is neither true nor false", field="paused", value=paused)
    spec = changed(before.spec, changes)
    found.parsed(spec)
    after = StoredSource(before.name, spec, before.key, before.created, before.actor, paused)
    what = "changed" if spec != before.spec else "paused" if paused else "resumed"
    await found.book.write(before, after, what, actor)
    return await found.info(source)


@serves(router, endpoints.REMOVE_SOURCE)
async def remove_source(
    model: str, source: str, services: Has, actor: Actor, forget: Annotated[bool, Query()] = False
) -> SourceRemoved:
    found = await _Sources.of(model, services)
    before = await found.stored(source)
    await found.book.write(before, None, "removed", actor)
    if forget:
        await found.book.forget_position(before.key)
    await found.drop([letter.id for letter in await found.book.dead(source=source)])
    await found.book.wait_no_longer([label.id for label in await found.book.waiting(source)])
    return {"removed": source}


@serves(router, endpoints.LIST_DEAD)
async def dead_letters(
    model: str,
    services: Has,
    source: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> DeadLetterList:
    found = await _Sources.of(model, services)
    letters = await found.book.dead(limit, source)
    return {
        "letters": [
            {
                "id": each.id,
                "source": each.source,
                "place": each.place,
                "reason": each.reason,
                "raw": shown(each.raw, each.format),
                "time": each.time,
                "is_cut": each.is_cut,
            }
            for each in letters
        ]
    }


@serves(router, endpoints.SEND_DEAD)
async def send_dead(model: str, services: Has, body: SendAgain | None = None) -> SentAgainList:
    found, body = await _Sources.of(model, services), body or SendAgain()
    uid, decoder = await services.feedback_decoder(model)
    log, predictions = services.log(uid), services.predictions(uid)
    answers: list[SentAgain] = []
    sent: list[str] = []
    for letter in reversed(await found.letters(body.source, body.ids)):
        read = await found.readable(letter)
        if read is None:
            why: str | None = "its source has been removed"
        elif read[0].mode == "infer":
            why = await _answer_again(letter, services.row_sources.intake(log, model, read[0], letter.source, read[1]))
        else:
            why = await send_again(letter, *read, log, predictions, decoder)
        if why is None:
            sent.append(letter.id)
            answers.append({"id": letter.id})
        else:
            answers.append({"id": letter.id, "error": why})
    return {"sent": len(sent), "left": await found.drop(sent), "letters": answers}


@serves(router, endpoints.DROP_DEAD)
async def drop_dead(
    model: str,
    services: Has,
    source: Annotated[str | None, Query()] = None,
    id: Annotated[str | None, Query()] = None,
) -> Dropped:
    found = await _Sources.of(model, services)
    letters = await found.letters(source, None if id is None else [id])
    await found.drop([letter.id for letter in letters])
    return {"dropped": len(letters)}


async def _answer_again(letter: DeadLetter, intake: RowIntake) -> str | None:
    """Answers a row that could not be answered before; why it still cannot be, or None."""
    if letter.is_cut:
        return "only the beginning of the record is kept"
    try:
        return await intake.answer(SourceRecord(letter.place, letter.raw, letter.format), letter.id)
    finally:
        await intake.close()


class _Sources:
    """The sources of one model, stored and of the setting."""

    def __init__(self, services: Services, uid: str, fixed: Mapping[str, Source]) -> None:
        self.services = services
        self.uid = uid
        self.book = SourceBook(services.connection, uid)
        self.fixed = fixed

    @classmethod
    async def of(cls, model: str, services: Services) -> _Sources:
        fixed, _ = parse_sources(services.settings.sources)
        own = {source.name: source for source in fixed if source.model == model}
        return cls(services, await services.catalog.uid(model), own)

    def parsed(self, described: dict[str, Any]) -> Source:
        """A source as it is sent, checked."""
        source = parse_source({name: value for name, value in described.items() if name not in ("model", "paused")})
        check_paths(source, self.services.settings.source_folders)
        return source

    async def stored(self, name: str) -> StoredSource:
        """One that can be changed."""
        if name in self.fixed:
            message = f"the source {name!r} is configured in DRIFTLINE_SOURCES, and is changed there"
            raise Conflict(message, code="source_of_environment", field="source", value=name)
        return await self.book.get(name)

    async def infos(self) -> list[SourceInfo]:
        stored, states, refused = await self.book.stored(), await self.book.states(), await self.book.dead_counts()
        kept: dict[str, int] = {}
        for letter in await self.book.dead():
            kept[letter.source] = kept.get(letter.source, 0) + 1
        shown_specs = {name: (shown_spec(each.spec), "api") for name, each in stored.items()}
        # The setting of the worker may have some that that of this process has not.
        for name in {*self.fixed, *(name for name, state in states.items() if not state.is_stored)}:
            spec = self.fixed[name].model_dump(mode="json", exclude_defaults=True) if name in self.fixed else {}
            shown_specs[name] = shown_spec(spec), "environment"
        return [
            _info(name, spec, origin, states.get(name), stored.get(name), refused.get(name, 0), kept.get(name, 0))
            for name, (spec, origin) in sorted(shown_specs.items())
        ]

    async def info(self, name: str) -> SourceInfo:
        found = next((each for each in await self.infos() if each["name"] == name), None)
        if found is None:
            raise NotFound(f"there is no source {name!r}", code="unknown_source", field="source", value=name)
        return found

    async def letters(self, source: str | None, ids: list[str] | None) -> list[DeadLetter]:
        found = await self.book.dead(source=source)
        if ids is None:
            return found
        for each in ids:
            if each not in {letter.id for letter in found}:
                raise NotFound(f"there is no dead letter {each!r}", code="unknown_letter", field="ids", value=each)
        return [letter for letter in found if letter.id in ids]

    async def readable(self, letter: DeadLetter) -> tuple[Source, str] | None:
        """The source that a letter is read by, and what its position stands under."""
        if letter.source in self.fixed:
            return self.fixed[letter.source], self.fixed[letter.source].identity
        stored = (await self.book.stored()).get(letter.source)
        return None if stored is None else (self.parsed(stored.spec), stored.key)

    async def drop(self, ids: list[str]) -> int:
        """Keeps these letters no longer; how many are left. With the last one the alarm is over."""
        left = await self.book.unbury(ids)
        if not left:
            await self.services.alarms(self.uid).end(REFUSED_ALARM)
        return left


def _info(
    name: str,
    spec: dict[str, Any],
    origin: Any,
    state: SourceState | None,
    stored: StoredSource | None,
    refused: int,
    kept: int,
) -> SourceInfo:
    is_paused = stored is not None and stored.paused
    created = 0.0 if stored is None else stored.created
    return {
        "name": name,
        "type": str(spec.get("type") or (state.type if state else "")),
        "state": "paused" if is_paused else "starting" if state is None or state.state == "paused" else state.state,
        "since": created if state is None else state.since,
        "reason": "" if state is None or is_paused else state.reason,
        "spec": spec,
        "origin": origin,
        "taken": 0 if state is None else state.taken,
        "refused": refused,
        "dead": kept,
        "waiting": 0 if state is None else state.waiting,
        "lag_records": None if state is None else state.lag_records,
        "lag_seconds": None if state is None else state.lag_seconds,
        "position": "" if state is None else state.position,
        "gaps": [
            {"start": gap.start, "end": gap.end, "reason": gap.reason, "time": gap.time}
            for gap in (state.gaps if state else [])
        ],
    }
