"""Whether this server and the workers keep their artifacts in one place, and read what the other encrypts.

It looks for the notes that workers leave there, and compares keys by their names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from driftline.api.metrics import AlarmState
from driftline.errors import Unavailable
from driftline.store.artifacts import Artifacts
from driftline.store.workers import Heartbeat
from driftline.support.formatting import time_text

from .sampling import Measurement

APART, UNAVAILABLE, KEYS_APART = "artifacts_apart", "artifacts_unavailable", "encryption_keys_apart"
OVERDUE_SECONDS = 10.0
"""Artifacts that have not answered for longer are an alarm, as a network file system whose server is gone."""


class ArtifactCheck:
    """Looks for the note of each worker; one that was found once is not looked for again."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self._found: dict[str, str] = {}
        self._looking_since: float | None = None

    async def look(self, heartbeats: Iterable[Heartbeat]) -> list[AlarmState]:
        """What is wrong with the artifacts of this server and of these workers; it may take any time."""
        told = list(heartbeats)
        self._found = {each.id: note for each in told if (note := self._found.get(each.id)) is not None}
        self._looking_since = time.monotonic()
        try:
            return await asyncio.to_thread(lambda: list(self._alarms(told)))
        finally:
            self._looking_since = None

    def newest(self, sample: Measurement[list[AlarmState]] | None) -> list[AlarmState]:
        """What the last look has found; and a look that takes too long."""
        found = [] if sample is None else sample.value
        seconds = 0.0 if self._looking_since is None else time.monotonic() - self._looking_since
        if seconds <= OVERDUE_SECONDS:
            return found
        why = f"this server: {self.artifacts.place} has not answered for {time_text(seconds)}"
        return [*found, alarm(UNAVAILABLE, why)]

    def _alarms(self, heartbeats: list[Heartbeat]) -> Iterator[AlarmState]:
        for heartbeat in heartbeats:
            if heartbeat.artifacts_failure:
                yield alarm(UNAVAILABLE, f"{_name(heartbeat)}: {heartbeat.artifacts_failure}", heartbeat)
            if missing := self._missing_keys(heartbeat):
                yield alarm(KEYS_APART, f"{_name(heartbeat)} and this server: {missing}", heartbeat)
        try:
            yield from [self._apart(heartbeat) for heartbeat in heartbeats if not self._has_note(heartbeat)]
        except Unavailable as error:
            yield alarm(UNAVAILABLE, f"this server: {error.message}")

    def _has_note(self, heartbeat: Heartbeat) -> bool:
        """Whether the note is here; workers of former releases leave none, and of one that has failed it may be an old one."""
        note = heartbeat.note
        if not note or self._found.get(heartbeat.id) == note:
            return True
        if self.artifacts.note_of(heartbeat.id) != note:
            return False
        self._found[heartbeat.id] = note
        return True

    def _missing_keys(self, heartbeat: Heartbeat) -> str:
        """Which key one of them encrypts by that the other does not have."""
        ours, theirs = self.artifacts.encryption.names, heartbeat.encryption_keys
        lacks = [
            f"{who} encrypts by `{keys[0]}`, which {other} does not have"
            for who, keys, other, known in (
                ("this server", ours, "the worker", theirs),
                ("the worker", theirs, "this server", ours),
            )
            if keys and keys[0] not in known
        ]
        if not lacks:
            return ""
        return (
            f"{', and '.join(lacks)}, and so cannot read: give both the same DRIFTLINE_ENCRYPTION_KEY_FILE, or "
            "DRIFTLINE_ENCRYPTION_KEY_COMMAND, and start them again"
        )

    def _apart(self, heartbeat: Heartbeat) -> AlarmState:
        message = (
            f"{_name(heartbeat)} keeps its artifacts elsewhere than this server, which has them in {self.artifacts.place}: "
            "what one of them writes, the other does not find, so labels wait and new versions are not served; give both "
            "the same DRIFTLINE_ARTIFACTS, or a DRIFTLINE_DATA_DIR on a disk that they share"
        )
        return alarm(APART, message, heartbeat)


def alarm(kind: str, message: str, heartbeat: Heartbeat | None = None) -> AlarmState:
    """An alarm that stands."""
    found: AlarmState = {"kind": kind, "message": message, "state": "standing"}
    return found if heartbeat is None else {**found, "worker": heartbeat.id}


def _name(heartbeat: Heartbeat) -> str:
    return f"worker {heartbeat.id} (process {heartbeat.pid} on {heartbeat.host})"
