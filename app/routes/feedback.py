"""``POST …/feedback`` and ``…/feedback/stream`` take labels; ``GET …/feedback/{id}`` answers the state of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import cast

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from driftline.api import endpoints
from driftline.api.errors import ErrorBody
from driftline.api.feedback import MAX_ITEMS, Durability, ItemStatus, LineStatus, Receipt
from driftline.errors import DriftlineError, InvalidInput, NotFound, TooLarge, UnsupportedMedia
from driftline.ingest import feedback, rows
from driftline.ingest.feedback_items import sent_id
from driftline.store.facts import KEY, Known
from driftline.store.owners import Access, shown_name
from driftline.support import json_text
from driftline.support.failpoints import reach
from driftline.support.lines import LineCutter, without_bom
from driftline.support.tasks import end

from ..buffered_body import BufferedBody
from ..fast_path import by_length, check_kind, read_body
from ..gatekeeper import access_of, caller_of, key_of
from ..receipts import final_state, labeller_of, revised
from ..responses import Content, error_body, error_content, json_content, send_content
from ..services import Services
from ..traces import RequestTrace


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    items: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Body)

MAX_AT_ONCE = 500
"""Items that are read and appended before other calls have their turn."""
MAX_ERRORS = 100
"""After so many items that cannot be read, the rest of a body is not looked at."""


class Feedback:
    """Takes items, each accepted or refused by itself; 202 when at least one is accepted."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        trace = _trace(services, scope)
        try:
            content = await self._content(services, scope, receive, trace)
        except DriftlineError as error:
            content = error_content(error)
        if trace is not None:
            trace.end(content.status)
        await send_content(send, content)

    async def _content(self, services: Services, scope: Scope, receive: Receive, trace: RequestTrace | None) -> Content:
        check_kind(dict(scope["headers"]), b"application/json")
        services.charges.check(caller_of(scope), "items")
        items = await _items(await read_body(receive))
        outcomes = await _append(services, scope, items, trace, MAX_ERRORS)
        lasts = await _lasts(services)
        answers = [_answer(outcome) for outcome in outcomes]
        accepted = sum(outcome.error is None for outcome in outcomes)
        unread = {"unread": len(items) - len(outcomes)} if len(outcomes) < len(items) else {}
        if accepted:
            return json_content(202, {"accepted": accepted, "items": answers, **unread} | lasts)
        return json_content(422, {"error": _none_accepted(outcomes, answers, unread)})


class FeedbackStream:
    """Takes one item a line and answers line by line, for as long as the client sends.

    ``max_lines`` is how many lines go into the log at once.
    """

    def __init__(self, max_lines: int = 500) -> None:
        self.max_lines = max_lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        name = scope["path_params"]["model"]
        try:
            _check_is_ndjson(scope)
            await services.feedback_decoder(name)
            close = await services.open_streams.open(caller_of(scope))
        except DriftlineError as error:
            await send_content(send, error_content(error))
            return
        try:
            await self._answer_lines(services, scope, receive, send)
        finally:
            await close()

    async def _answer_lines(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/x-ndjson")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(
            _lines(receive, self.max_lines, services.settings.max_body_bytes, services.settings.read_timeout)
        ) as batches:
            async for lines in batches:
                answer = b"".join([orjson.dumps(line) + b"\n" for line in await self._answers(services, scope, lines)])
                await send({"type": "http.response.body", "body": answer, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _answers(self, services: Services, scope: Scope, lines: list[bytes] | DriftlineError) -> list[LineStatus]:
        if isinstance(lines, DriftlineError):
            return [{"status": "error", "error": error_body(lines)}]
        try:
            outcomes = await _append(services, scope, lines)
            lasts = await _lasts(services)
        except DriftlineError as error:
            return [{"id": sent_id(line), "status": "error", "error": error_body(error)} for line in lines]
        return [_line(outcome, lasts) for outcome in outcomes]


class ReceiptRoute:
    """Answers the state of one item: ``queued``, ``learned``, ``served``, ``rejected`` or ``quarantined``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        try:
            uid = await services.catalog.uid(scope["path_params"]["model"])
            state = await receipt(services, uid, scope["path_params"]["id"], access_of(scope))
        except DriftlineError as error:
            await send_content(send, error_content(error))
            return
        await send_content(send, json_content(200, state))


async def receipt(services: Services, uid: str, identifier: str, access: Access) -> Receipt:
    """The state of one item, while its id is recognised."""
    (found,) = await services.log(uid).find_seen([identifier], access)
    if found is None:
        raise NotFound(
            f"there is no item {identifier!r}, or it is too old", code="unknown_item", field="id", value=identifier
        )
    return await _receipt(services, uid, identifier, found)


async def receipt_of_key(services: Services, uid: str, key: str, access: Access) -> Receipt:
    """The state of the live label under a user's key; :class:`NotFound` where none is known."""
    found = await services.log(uid).find_seen_fact(KEY + key, access)
    if found is None:
        message = f"there is no label under the key {key!r}, or it is too old"
        raise NotFound(message, code="unknown_item", field="key", value=key)
    stored, known = found
    return await _receipt(services, uid, shown_name(stored), known)


async def _receipt(services: Services, uid: str, identifier: str, found: Known) -> Receipt:
    entry = await services.log(uid).get(found.n)
    whose = {} if entry is None else labeller_of(entry.record)
    about = {"id": identifier, **final_state(found), **revised(found), **whose}
    if "state" in about:
        return cast(Receipt, about)
    commit_log = services.commit_log(uid)
    version = await commit_log.covering(found.n)
    if version is not None:
        return cast(Receipt, about | {"state": "served", "version": version})
    return cast(Receipt, about | {"state": "learned" if (await commit_log.head()).offset >= found.n else "queued"})


async def _items(body: bytes) -> list[bytes]:
    """The JSON of each item, also of those that are broken: what is wrong with one is no matter of the others."""
    body = without_bom(body)
    try:
        items = [bytes(item) for item in _decoder.decode(body).items]
    except msgspec.ValidationError as error:
        raise rows.malformed(error, body) from None
    except json_text.UNREADABLE as error:
        cut = await _cut(body)
        if cut is None:
            raise rows.malformed(error, body) from None
        items = cut
    else:
        if body.count(b'"items"') != 1 and await _cut(body) != items:
            message = "body: the name 'items' is given twice"
            raise InvalidInput(message, code=json_text.MALFORMED, field="body")
    if not items:
        raise InvalidInput("items: there is no item", field="items", value=[])
    if len(items) > MAX_ITEMS:
        raise TooLarge(f"items: {len(items)} where {MAX_ITEMS} is the most", field="items", value=len(items))
    return items


async def _cut(body: bytes) -> list[bytes] | None:
    return await by_length(partial(json_text.elements, name="items"), body)


def _trace(services: Services, scope: Scope) -> RequestTrace | None:
    if services.tracing is None:
        return None
    path, model = endpoints.GIVE_FEEDBACK.shown_path, scope["path_params"]["model"]
    return RequestTrace(services.tracing, path, model, dict(scope["headers"]))


async def _append(
    services: Services,
    scope: Scope,
    raw: list[bytes],
    trace: RequestTrace | None = None,
    max_errors: int | None = None,
) -> list[feedback.ItemOutcome]:
    """The outcomes of the items, or of those up to the last of ``max_errors`` that were refused."""
    name, key = scope["path_params"]["model"], key_of(scope)
    may_weigh, caller = key is None or key.may("weights"), caller_of(scope)
    uid, decoder = await services.feedback_decoder(name)
    context = feedback.no_context if trace is None else trace.label
    log, predictions = services.log(uid), services.predictions(uid)
    services.charges.take(caller, "items", len(raw))
    outcomes: list[feedback.ItemOutcome] = []
    errors = 0
    try:
        for first in range(0, len(raw), MAX_AT_ONCE):
            left = None if max_errors is None else max_errors - errors
            part = raw[first : first + MAX_AT_ONCE]
            found = await feedback.append(
                log,
                predictions,
                decoder,
                part,
                context=context,
                may_weigh=may_weigh,
                caller=caller,
                max_errors=left,
                access=access_of(scope),
            )
            outcomes += found
            errors += sum(outcome.error is not None for outcome in found)
            if len(found) < len(part) or (max_errors is not None and errors >= max_errors):
                break
    except NotFound:
        await services.catalog.get(name)  # Raises store_lost where the model was not deleted, but lost by the store.
        raise
    reach("app.appended")
    if all(outcome.error is not None for outcome in outcomes):
        await services.catalog.uid(name)
    return outcomes


async def _lasts(services: Services) -> Durability:
    """The durability of an acknowledgement, which every response names."""
    state = await services.connection.server.state()
    lasts: Durability = {"durability": state.durability}
    if state.warning:
        lasts["warning"] = state.warning
    return lasts


def _answer(outcome: feedback.ItemOutcome) -> ItemStatus:
    answer: ItemStatus = {"id": outcome.id, "status": outcome.status}
    if outcome.error is not None:
        answer["error"] = error_body(outcome.error)
    return answer


def _line(outcome: feedback.ItemOutcome, lasts: Durability) -> LineStatus:
    answer = _answer(outcome)
    return cast(LineStatus, answer if outcome.error is not None else {**answer, **lasts})


def _none_accepted(
    outcomes: list[feedback.ItemOutcome], answers: list[ItemStatus], unread: dict[str, int]
) -> ErrorBody:
    index, error = next((n, outcome.error) for n, outcome in enumerate(outcomes) if outcome.error is not None)
    if isinstance(error, InvalidInput):
        error = error.within(f"items[{index}]", answers[index]["id"])
    first = error_body(error)
    first["details"] = first.get("details", {}) | {"items": answers, **unread}
    return first


def _check_is_ndjson(scope: Scope) -> None:
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if not kind.startswith(b"application/x-ndjson"):
        raise UnsupportedMedia(
            "this call takes application/x-ndjson", field="Content-Type", value=kind.decode("latin-1")
        )


async def _lines(
    receive: Receive, max_lines: int, max_bytes: int, seconds: float
) -> AsyncGenerator[list[bytes] | DriftlineError, None]:
    """The lines of a body as they arrive, in batches; an error where a line has no end or the client stalls inside one."""
    body = BufferedBody(receive)
    reading = asyncio.create_task(body.read())
    try:
        cutter = LineCutter()
        while True:
            try:
                async with asyncio.timeout(seconds if cutter.waiting_bytes else None):
                    part = await body.take()
            except TimeoutError:
                yield InvalidInput("the last line has no end", code="unfinished_line")
                return
            is_over = body.is_over
            whole = cutter.add(part)
            if is_over and not body.is_cut:
                whole += cutter.rest()
            for first in range(0, len(whole), max_lines):
                yield whole[first : first + max_lines]
            if cutter.waiting_bytes > max_bytes:
                yield TooLarge(f"a line may have {max_bytes} bytes at most", field="line", limit=max_bytes)
                return
            if is_over:
                return
    finally:
        await end(reading)
