"""How far a file was imported before: the server knows it for as long as it has the model, the ids of single rows for a day."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from driftline.client.clients import Client
from driftline.client.requests import pauses
from driftline.client.retries import TRANSIENT
from driftline.errors import InvalidInput, NotFound
from driftline.files.sending import RowSender

if TYPE_CHECKING:
    from driftline.api.history import ImportedFile

NOTE_SECONDS: Final = 5.0
LAST_NOTE_SECONDS: Final = 60.0


class ImportLedger:
    """One file and one model.

    Args:
        digest: by what the file is recognised.
        name: what it is called.
        is_again: whether what was imported before is to be learned once more.
        is_ordered: whether rows are sent in the order of their numbers.

    Raises:
        InvalidInput: the file was imported in part, too long ago to know in which.
    """

    def __init__(self, client: Client, model: str, digest: str, name: str, *, is_again: bool, is_ordered: bool) -> None:
        self.client, self.model = client, model
        self.digest, self.name = digest, name
        self.is_ordered = is_ordered
        self.round = self.skipped = 0
        self.known_row = 0
        self.doubt: str | None = None
        self._noted = time.monotonic()
        known = self._known()
        if known is not None:
            self._go_on(known, is_again)

    @property
    def prefix(self) -> str:
        """How the ids of its rows begin."""
        return f"import:{self.digest}" + (f":{self.round}" if self.round else "")

    def skips(self, row: int) -> bool:
        """Whether a row is in the log for longer than its id is known; it is counted then."""
        is_known = row <= self.known_row
        self.skipped += is_known
        return is_known

    def note(self, sender: RowSender) -> None:
        """Notes, some times a minute, how far it has come."""
        if sender.first_taken is None or time.monotonic() - self._noted < NOTE_SECONDS:
            return
        self._noted = time.monotonic()
        with contextlib.suppress(*TRANSIENT, NotFound):
            self._tell(sender.first_taken, max(sender.settled if self.is_ordered else 1, self.known_row))

    def end(self, sender: RowSender, last_row: int) -> None:
        """Notes that all rows up to the last one are in the log."""
        if sender.first_taken is None:
            return
        for pause in pauses(LAST_NOTE_SECONDS):
            try:
                self._tell(sender.first_taken, last_row, is_whole=True)
                return
            except TRANSIENT:
                time.sleep(pause)
            except NotFound:
                return  # A server of a release that does not keep it.

    def _tell(self, first: int, row: int, is_whole: bool = False) -> None:
        self.client.note_import(self.model, self.digest, self.name, first, row, is_whole, self.round)

    def _known(self) -> ImportedFile | None:
        try:
            found = self.client.imports(self.model)
        except NotFound as error:
            if error.code == "unknown_model":
                raise
            return None
        return next((each for each in found if each["file"] == self.digest), None)

    def _go_on(self, known: ImportedFile, is_again: bool) -> None:
        self.round = known["round"]
        is_broken_off = not known["is_whole"] and self.round > 0
        if is_again and not (is_broken_off and self._are_ids_known(known["first"])):
            self.round += 1
            return
        if is_again or self._are_ids_known(known["first"]):
            return
        when = datetime.fromtimestamp(known["time"]).astimezone().isoformat(sep=" ", timespec="minutes")
        if not known["is_whole"] and not self.is_ordered:
            message = (
                f"{self.name} was imported in part on {when}, in the order of its times, and nothing says any more which rows: "
                "--again learns all of them once more"
            )
            raise InvalidInput(message, field="again", value=self.name)
        self.known_row = known["row"]
        self.doubt = (
            f"rows up to {self.known_row:,} were imported until {when} and are left out; --again learns them once more"
        )

    def _are_ids_known(self, row: int) -> bool:
        """Whether the server still recognises the rows: the first one is forgotten first."""
        try:
            self.client.receipt(self.model, f"{self.prefix}:{row}")
        except NotFound as error:
            if error.code != "unknown_item":
                raise
            return False
        return True
