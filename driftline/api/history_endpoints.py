"""The calls about what a model has been through: its jobs, and the files that were imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from driftline.api import examples
from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.lazily import LazyModule
from driftline.api.scopes import READER, Scope

if TYPE_CHECKING:
    from driftline.api import feedback, history
else:
    feedback, history = LazyModule("driftline.api.feedback"), LazyModule("driftline.api.history")

_FEEDBACK: frozenset[Scope] = frozenset({"feedback"})
_FILE = {"name": "history.csv", "first": 1, "row": 52000, "is_whole": True, "round": 0}
_IMPORTED = {"file": "9f3c2a17d05b44e1", **_FILE, "time": 1764482735.2}
_REJECTED = {
    "n": 7,
    "id": "order-7",
    "state": "rejected",
    "reason": "'red' is none of the model's classes",
    "time": 1.8e9,
}

LIST_JOBS: Final = Endpoint(
    "GET",
    "/v1/models/{model}/jobs",
    history.JobList,
    "List jobs",
    "control",
    READER,
    "The retrains and comparisons of a model, the newest first; `GET /v1/jobs/{job}` has the report of one.",
    {"jobs": [{name: value for name, value in examples.JOB.items() if name != "report"}]},
    declared_query=history.JobListQuery,
    client="jobs",
)
LIST_RECEIPTS: Final = Endpoint(
    "POST",
    "/v1/models/{model}/receipts",
    history.ReceiptList,
    "What became of many labels",
    "feedback",
    _FEEDBACK,
    "The receipts of up to 10,000 items at once, as of one moment.",
    {"receipts": [{"id": f"p:{examples.ID}", "state": "served", "version": 2}]},
    bodies=(MediaType(history.ReceiptIds, {"ids": [f"p:{examples.ID}"]}),),
    client="receipts",
)
SHOW_KEY: Final = Endpoint(
    "GET",
    "/v1/models/{model}/receipts",
    feedback.Receipt,
    "What became of the label of a key",
    "feedback",
    _FEEDBACK,
    "The receipt of the live label of what you have named so, whichever id it goes by.",
    {"id": "key:order-17", "state": "served", "version": 2},
    declared_query=history.KeyQuery,
    client="receipt_of",
)
LIST_REJECTED: Final = Endpoint(
    "GET",
    "/v1/models/{model}/rejected",
    history.RejectedLabelList,
    "List labels that were not learned",
    "feedback",
    READER,
    "The newest thousand labels that did not fit the model, or on which its network failed, and why.",
    {"labels": [_REJECTED], "next": None},
    declared_query=history.RejectedLabelQuery,
    client="rejected",
)
LIST_IMPORTS: Final = Endpoint(
    "GET",
    "/v1/models/{model}/imports",
    history.ImportList,
    "List imported files",
    "feedback",
    READER,
    "The files of history that `driftline import` has sent, and how far, so that none is learned twice, however late it is "
    "imported again.",
    {"imports": [_IMPORTED]},
    client="imports",
)
NOTE_IMPORT: Final = Endpoint(
    "PUT",
    "/v1/models/{model}/imports/{file}",
    history.ImportedFile,
    "Note an imported file",
    "feedback",
    _FEEDBACK,
    "Remembers how far a file has come. Its rows are sent as feedback.",
    _IMPORTED,
    bodies=(MediaType(history.ImportNote, _FILE),),
    client="note_import",
)
