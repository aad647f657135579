"""The calls about sources: streams, tables and files that labels are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from driftline.api import endpoints
from driftline.client.methods import CallMethod
from driftline.client.requests import Call, call, encode, given

if TYPE_CHECKING:
    from driftline.api.sources import DeadLetterState, SentAgainList, SourceInfo, SourceRemoved, TriedRecord


class SourceCalls:
    """Sources, and the records that they could not take."""

    @CallMethod
    def sources(self, model: str) -> Call[list[SourceInfo]]:
        """What the labels of a model are read from, and how each source does."""
        return call(endpoints.LIST_SOURCES, model=model).then(lambda answer: answer["sources"])

    @CallMethod
    def source(self, model: str, name: str) -> Call[SourceInfo]:
        """One source, and how it does."""
        return call(endpoints.SHOW_SOURCE, model=model, source=name)

    @CallMethod
    def make_source(self, model: str, source: Mapping[str, Any]) -> Call[SourceInfo]:
        """Read labels from a source: its ``type``, its ``name``, and the fields that its type has."""
        return call(endpoints.MAKE_SOURCE, content=encode(dict(source)), model=model)

    @CallMethod
    def try_source(self, model: str, source: Mapping[str, Any]) -> Call[list[TriedRecord]]:
        """The first records of a source as they would be learned, or why they would not; nothing is taken."""
        asked = call(endpoints.TRY_SOURCE, content=encode(dict(source)), model=model)
        return asked.then(lambda answer: answer["records"])

    @CallMethod
    def change_source(self, model: str, name: str, changes: Mapping[str, Any]) -> Call[SourceInfo]:
        """Change fields of a source: ``{"paused": True}`` stops it, and None takes a field out; its position stays."""
        return call(endpoints.CHANGE_SOURCE, content=encode(dict(changes)), model=model, source=name)

    @CallMethod
    def remove_source(self, model: str, name: str, *, forget: bool = False) -> Call[SourceRemoved]:
        """Read a source no longer; ``forget``: made again, it is read from its beginning."""
        query = {"forget": "true"} if forget else {}
        return call(endpoints.REMOVE_SOURCE, query=query, model=model, source=name)

    @CallMethod
    def dead_letters(
        self, model: str, source: str | None = None, limit: int | None = None
    ) -> Call[list[DeadLetterState]]:
        """What sources could not take, and why, the newest first."""
        asked = call(endpoints.LIST_DEAD, query=given(source=source, limit=limit), model=model)
        return asked.then(lambda answer: answer["letters"])

    @CallMethod
    def send_dead_letters(
        self, model: str, source: str | None = None, ids: Sequence[str] | None = None
    ) -> Call[SentAgainList]:
        """Send again what could not be taken: all, that of a source, or some by their ids."""
        body = given(source=source, ids=None if ids is None else list(ids))
        return call(endpoints.SEND_DEAD, content=encode(body), model=model)

    @CallMethod
    def drop_dead_letters(self, model: str, source: str | None = None, identifier: str | None = None) -> Call[int]:
        """Keep what could not be taken no longer: all, that of a source, or one; how many these were."""
        asked = call(endpoints.DROP_DEAD, query=given(source=source, id=identifier), model=model)
        return asked.then(lambda answer: answer["dropped"])
