"""The calls about sources, and about the records that they could not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ADMIN, READER

if TYPE_CHECKING:
    from driftline.api import sources
else:
    sources = LazyModule("driftline.api.sources")

SOURCES = "sources"
_SPEC: dict[str, Any] = {"type": "redis_stream", "name": "labels", "url": "redis://10.0.0.5", "stream": "labels"}
_STATE: dict[str, Any] = {"state": "running", "since": 1.8e9, "reason": "", "origin": "api"}
_COUNTS: dict[str, Any] = {"taken": 5120, "refused": 1, "dead": 1, "waiting": 0, "lag_records": 0, "lag_seconds": 0.0}
_INFO = {
    **{"name": "labels", "type": "redis_stream", "spec": _SPEC, "position": '{"id":"1764482735000-0"}', "gaps": []},
    **_STATE,
    **_COUNTS,
}
_LETTER = {
    **{"id": "9f3c2a17d05b:1764482735000-0", "source": "labels", "place": "1764482735000-0", "time": 1.8e9},
    **{"reason": "label: `red` is none of the model's classes", "raw": '{"label": "red"}', "is_cut": False},
}

LIST_SOURCES: Final = Endpoint(
    "GET",
    "/v1/models/{model}/sources",
    sources.SourceList,
    "List sources",
    SOURCES,
    READER,
    "What labels are read from, and how each source does.",
    {"sources": [_INFO]},
    client="sources",
)
MAKE_SOURCE: Final = Endpoint(
    "POST",
    "/v1/models/{model}/sources",
    sources.SourceInfo,
    "Make a source",
    SOURCES,
    ADMIN,
    "The worker of the model begins to read it within a second or two. One that was removed goes on where it was.",
    _INFO,
    201,
    bodies=(MediaType(sources.SourceBody, _SPEC),),
    client="make_source",
)
TRY_SOURCE: Final = Endpoint(
    "POST",
    "/v1/models/{model}/sources/try",
    sources.TriedRecords,
    "Try a source",
    SOURCES,
    ADMIN,
    "Its first ten records as they would be learned, with what is wrong with each; nothing is taken.",
    {"records": [{"place": "1764482735000-0", "raw": '{"label": "1"}', "error": "inputs: it is missing"}]},
    bodies=(MediaType(sources.SourceBody, _SPEC),),
    client="try_source",
)
SHOW_SOURCE: Final = Endpoint(
    "GET",
    "/v1/models/{model}/sources/{source}",
    sources.SourceInfo,
    "Show a source",
    SOURCES,
    READER,
    "How it is configured, and how it does.",
    _INFO,
    client="source",
)
CHANGE_SOURCE: Final = Endpoint(
    "PATCH",
    "/v1/models/{model}/sources/{source}",
    sources.SourceInfo,
    "Change a source",
    SOURCES,
    ADMIN,
    "Pauses it, lets it go on, or changes how it is read; its position stays.",
    {**_INFO, "state": "paused"},
    bodies=(MediaType(sources.SourceChange, {"paused": True}),),
    client="change_source",
)
REMOVE_SOURCE: Final = Endpoint(
    "DELETE",
    "/v1/models/{model}/sources/{source}",
    sources.SourceRemoved,
    "Remove a source",
    SOURCES,
    ADMIN,
    "It is read no longer, and what it could not take is dropped. Its position stays, unless it is to be forgotten.",
    {"removed": "labels"},
    declared_query=sources.RemoveQuery,
    client="remove_source",
)
LIST_DEAD: Final = Endpoint(
    "GET",
    "/v1/models/{model}/dead-letters",
    sources.DeadLetterList,
    "Records that could not be taken",
    SOURCES,
    ADMIN,
    "What sources read and could not take, with the reason and the bytes, the newest first; the newest 1,000 are kept.",
    {"letters": [_LETTER]},
    declared_query=sources.DeadLetterQuery,
    client="dead_letters",
)
SEND_DEAD: Final = Endpoint(
    "POST",
    "/v1/models/{model}/dead-letters/send",
    sources.SentAgainList,
    "Send them again",
    SOURCES,
    ADMIN,
    "Reads them again by the source and the model as they are now; what is taken is no longer kept.",
    {"sent": 1, "left": 0, "letters": [{"id": _LETTER["id"]}]},
    bodies=(MediaType(sources.SendAgain, {"source": "labels"}),),
    is_body_needed=False,
    client="send_dead_letters",
)
DROP_DEAD: Final = Endpoint(
    "DELETE",
    "/v1/models/{model}/dead-letters",
    sources.Dropped,
    "Drop them",
    SOURCES,
    ADMIN,
    "They are kept no longer: all, those of a source, or one.",
    {"dropped": 1},
    declared_query=sources.DropQuery,
    client="drop_dead_letters",
)
