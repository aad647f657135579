"""What has happened to models, as pages and as a stream; and how good their answers were when."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, ClassVar

import msgspec
import orjson
from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from driftline.api import endpoints
from driftline.api.endpoint import EVENT_STREAM
from driftline.api.events import AUDIT_KINDS, KINDS, MAX_TIME, Acknowledged, Acknowledgement, Event, EventPage
from driftline.errors import InvalidInput
from driftline.store.catalog import by_uid
from driftline.store.events import (
    BEGINNING,
    END,
    INSTANCE,
    EventLog,
    EventPlace,
    StoredEvent,
    newest_of_all,
    parse_cursor,
)

from ..event_feed import Batch, shown
from ..gatekeeper import caller_of
from ..services import Actor, Has, Sees, Services, Sight
from .mount import json_router, serves

router = json_router()

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": still here\n\n"


class Wanted(msgspec.Struct, frozen=True):
    """Which events a call asks for."""

    low: EventPlace
    high: EventPlace
    limit: int
    kinds: frozenset[str] | None

    def keeps(self, stored: StoredEvent) -> bool:
        """Whether an event of a stream is asked for."""
        return self.kinds is None or stored.event.kind in self.kinds

    def within(self, sees: Sight) -> Wanted:
        """The same, without what only auditors see."""
        if sees.may("audit"):
            return self
        return msgspec.structs.replace(self, kinds=frozenset(self.kinds or KINDS) - AUDIT_KINDS)


async def wanted(
    kind: str | None = None,
    since: Annotated[float | None, Query(ge=0, le=MAX_TIME)] = None,
    until: Annotated[float | None, Query(ge=0, le=MAX_TIME)] = None,
    before: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Wanted:
    """What the query of a call says."""
    low = max(_time(since, BEGINNING), BEGINNING if after is None else parse_cursor(after, "after"))
    high = min(_time(until, END), END if before is None else parse_cursor(before, "before"))
    return Wanted(low, high, limit, _kinds(kind))


def _time(seconds: float | None, default: EventPlace) -> EventPlace:
    return default if seconds is None else EventPlace.at(seconds)


def _kinds(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    kinds = frozenset(part.strip() for part in text.split(","))
    for unknown in sorted(kinds - KINDS.keys()):
        message = f"kind: there are no events of kind {unknown!r}; known: {', '.join(KINDS)}"
        raise InvalidInput(message, field="kind", value=unknown)
    return kinds


Asked = Annotated[Wanted, Depends(wanted)]


@serves(router, endpoints.LIST_EVENTS)
async def list_events(model: str, asked: Asked, request: Request, services: Has) -> EventPage | StreamingResponse:
    uid = await services.catalog.uid(model)
    log = EventLog(services.connection, uid)
    if is_streamed(request):
        place = _last_seen(request, asked) or await log.end()
        batches = services.events.of_model(uid, place)
        return await _streamed(services, request, batches, asked, {uid: model})
    return _page(await log.newest(asked.low, asked.high, asked.limit + 1, asked.kinds), asked, {uid: model})


@serves(router, endpoints.LIST_ALL_EVENTS)
async def list_all_events(asked: Asked, request: Request, services: Has, sees: Sees) -> EventPage | StreamingResponse:
    asked = asked.within(sees)
    if is_streamed(request):
        reader = await services.events.all_events(_last_seen(request, asked))
        batches = _seen(services.events.of_all(reader), reader.names, sees)
        return await _streamed(services, request, batches, asked, reader.names)
    names = {uid: name for uid, name in by_uid(await services.catalog.names()).items() if sees.allows(name)}
    # Events of the instance are about models that are gone, or about none.
    uids = [INSTANCE, *names] if sees.is_of_all else list(names)
    found = await newest_of_all(services.connection, uids, asked.low, asked.high, asked.limit + 1, asked.kinds)
    return _page(found, asked, names)


@serves(router, endpoints.ACKNOWLEDGE)
async def acknowledge(
    model: str, kind: str, services: Has, actor: Actor, body: Acknowledgement | None = None
) -> Acknowledged:
    alarms = services.alarms(await services.catalog.uid(model))
    reason = body.reason if body is not None else ""
    return {"alarm": kind, "acknowledged_by": await alarms.acknowledge(kind, actor, reason)}


async def _seen(batches: AsyncIterator[Batch], names: Mapping[str, str], sees: Sight) -> AsyncIterator[Batch]:
    """The events of models that a caller sees; of those that are gone, and of the instance, only where it sees all."""
    async for batch in batches:
        yield [stored for stored in batch if sees.allows(names.get(stored.cursor.uid))]


def is_streamed(request: Request) -> bool:
    """Whether the call accepts a stream of events."""
    return EVENT_STREAM in request.headers.get("accept", "")


def _last_seen(request: Request, asked: Wanted) -> EventPlace | None:
    """After which event a stream begins; None: from now on."""
    identifier = request.headers.get("last-event-id")
    if identifier:
        return parse_cursor(identifier, "Last-Event-ID")
    return asked.low if asked.low > BEGINNING else None


def _page(found: list[StoredEvent], asked: Wanted, names: Mapping[str, str]) -> EventPage:
    events, is_more = found[: asked.limit], len(found) > asked.limit
    return {
        "events": [shown(stored, names) for stored in events],
        "next": str(events[-1].cursor) if is_more else None,
    }


class EventStream(StreamingResponse):
    """Events as they happen; ``close`` is called when the stream ends, however that is."""

    # A proxy that buffers answers would hold events back.
    HEADERS: ClassVar = {"cache-control": "no-store", "x-accel-buffering": "no"}

    def __init__(self, messages: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> None:
        super().__init__(messages, media_type=EVENT_STREAM, headers=self.HEADERS)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._close()


async def _streamed(
    services: Services, request: Request, batches: AsyncIterator[Batch], asked: Wanted, names: Mapping[str, str]
) -> EventStream:
    close = await services.open_streams.open(caller_of(request.scope))
    return EventStream(_messages(batches, asked, names), close)


async def _messages(
    batches: AsyncIterator[Batch], asked: Wanted, names: Mapping[str, str], heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncIterator[bytes]:
    """Server-sent events; a comment whenever nothing was sent for ``heartbeat`` seconds, and at first."""
    yield HEARTBEAT
    sent_at = time.monotonic()
    async for batch in batches:
        messages = [_message(shown(stored, names)) for stored in batch if asked.keeps(stored)]
        if not messages and time.monotonic() - sent_at >= heartbeat:
            messages = [HEARTBEAT]
        if messages:
            yield b"".join(messages)
            sent_at = time.monotonic()


def _message(event: Event) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event["id"].encode(), event["kind"].encode(), orjson.dumps(event))
