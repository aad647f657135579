"""The events of commands that take effect, or are shown, from the moment at which they are in the log."""

from __future__ import annotations

from driftline.records import Command
from driftline.store.events import EventRecord

PAUSES = {"pause": "learning is paused", "resume": "learning goes on"}
JOBS = {"retrain": "a retrain", "compare": "a comparison", "forget": "an erasure"}


def asked(command: Command) -> EventRecord | None:
    """The event of a command that was just appended; None where its step will tell of it."""
    actor, reason = command.actor or "system", command.reason
    if command.kind in PAUSES:
        return EventRecord(command.kind, _because(PAUSES[command.kind], reason), actor, reason)
    if command.kind in JOBS:
        message = _because(f"{JOBS[command.kind]}, job {command.id}, was asked for", reason)
        details = {"state": "queued", "kind": command.kind}
        return EventRecord("job", message, actor, reason, job=command.id, details=details)
    return None


def _because(message: str, reason: str) -> str:
    return f"{message}: {reason}" if reason else message
