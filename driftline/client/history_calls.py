"""The calls about what a model has been through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from driftline.api import endpoints
from driftline.client.methods import CallMethod
from driftline.client.requests import Call, call, encode, given

if TYPE_CHECKING:
    from driftline.api.feedback import Receipt
    from driftline.api.history import ImportedFile, ListedJob, ListedReceipt, RejectedLabel


class HistoryCalls:
    """Jobs, and the files that were imported."""

    @CallMethod
    def jobs(self, model: str, limit: int | None = None) -> Call[list[ListedJob]]:
        """The jobs of a model, the newest first."""
        return call(endpoints.LIST_JOBS, query=given(limit=limit), model=model).then(lambda answer: answer["jobs"])

    @CallMethod
    def receipts(self, model: str, identifiers: Sequence[str]) -> Call[list[ListedReceipt]]:
        """How far several items have come, in their order; ``unknown`` where there is none."""
        asked = call(endpoints.LIST_RECEIPTS, content=encode({"ids": list(identifiers)}), is_safe=True, model=model)
        return asked.then(lambda answer: answer["receipts"])

    @CallMethod
    def receipt_of(self, model: str, key: str) -> Call[Receipt]:
        """How far the live label has come of what was given this key."""
        return call(endpoints.SHOW_KEY, query={"key": key}, model=model)

    @CallMethod
    def rejected(self, model: str, limit: int | None = None, before: int | None = None) -> Call[list[RejectedLabel]]:
        """The newest labels that were not learned, and why; ``before`` a number in the log."""
        asked = call(endpoints.LIST_REJECTED, query=given(limit=limit, before=before), model=model)
        return asked.then(lambda answer: answer["labels"])

    @CallMethod
    def imports(self, model: str) -> Call[list[ImportedFile]]:
        """The files of history that a model has learned, the newest first."""
        return call(endpoints.LIST_IMPORTS, model=model).then(lambda answer: answer["imports"])

    @CallMethod
    def note_import(
        self, model: str, file: str, name: str, first: int, row: int, is_whole: bool = False, round: int = 0
    ) -> Call[ImportedFile]:
        """Remember that all rows of a file up to ``row`` are in the log."""
        body = {"name": name, "first": first, "row": row, "is_whole": is_whole, "round": round}
        return call(endpoints.NOTE_IMPORT, content=encode(body), model=model, file=file)
