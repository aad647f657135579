"""Whose the artifacts of an object store are, and who uses them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from driftline.store.notes import NOTE, OWNER_FILE, Notes, note_name
from driftline.store.object_errors import refusals


class ObjectNotes(Notes):
    """Those among the objects."""

    url: str
    _store: ObjectStore
    _clock_ahead = 0.0

    @property
    def place(self) -> str:
        return self.url

    def are_of(self, store_id: str) -> bool:
        with refusals("read", self.place):
            try:
                self._store.put(OWNER_FILE, store_id.encode(), mode="create")
            except AlreadyExistsError:
                return bytes(self._store.get(OWNER_FILE).bytes()) == store_id.encode()
        return True

    def adopt(self, store_id: str) -> None:
        self._overwrite(OWNER_FILE, store_id)

    def leave_note(self, owner: str, text: str) -> None:
        key = note_name(owner)
        self._overwrite(key, text)
        with refusals("read", f"{self.place}/{key}"):
            # What is swept is told by its age: by the clock of the store, whatever that of this machine says.
            self._clock_ahead = self._store.head(key)["last_modified"].timestamp() - time.time()

    def _now(self) -> float:
        return time.time() + self._clock_ahead

    def _overwrite(self, key: str, text: str) -> None:
        with refusals("write", f"{self.place}/{key}"):
            self._store.put(key, text.encode(), use_multipart=False)

    def note_of(self, owner: str) -> str | None:
        key = note_name(owner)
        with contextlib.suppress(FileNotFoundError), refusals("read", f"{self.place}/{key}"):
            return bytes(self._store.get(key).bytes()).decode()
        return None

    def remove_note(self, owner: str) -> None:
        self._remove([note_name(owner)])

    def remove_abandoned_notes(self, orphan_seconds: float) -> None:
        with refusals("list", self.place):
            notes = [each for each in self._store.list_with_delimiter()["objects"] if NOTE in each["path"]]
        self._remove(
            [each["path"] for each in notes if self._now() - each["last_modified"].timestamp() > orphan_seconds]
        )

    def _remove(self, keys: Sequence[str]) -> None:
        with contextlib.suppress(FileNotFoundError), refusals("tidy", self.place):
            if keys:
                self._store.delete(keys)
