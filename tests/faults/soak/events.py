"""What a soak has seen, a line an event: all that the checker is told beside what the store itself says afterwards.

Times are seconds of the one clock of the machine that ran the soak. A ``call`` is one try to hand in items; the same items
are sent again, in another call, until they are answered.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec


class Began(msgspec.Struct, frozen=True, tag="began"):
    """The first event. ``models`` gives each model's uid."""

    seed: int
    models: dict[str, str]


class Predicted(msgspec.Struct, frozen=True, tag="predicted"):
    """An answer, and the version that gave it."""

    app: str
    model: str
    begin: float
    end: float
    version: int


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """Items on their way, by the ids that they will go by."""

    call: int
    app: str
    model: str
    at: float
    ids: list[str]
    is_known: bool
    """Whether all of them have been acknowledged before: each is then a duplicate."""


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """What became of the items of a call: ``queued``, ``duplicate``, or the code of an error."""

    call: int
    at: float
    statuses: list[str]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A request that got an error, or no answer. ``kind`` is ``predict`` or ``feedback``."""

    kind: str
    app: str
    begin: float
    end: float
    error: str


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """Something is broken from now on, until :class:`Over`."""

    number: int
    what: str
    of: str
    at: float
    detail: str = ""


class Over(msgspec.Struct, frozen=True, tag="over"):
    """What a fault has broken answers again."""

    number: int
    at: float


class CaughtUp(msgspec.Struct, frozen=True, tag="caught_up"):
    """All that was in the logs when a fault was over has been learned."""

    number: int
    at: float


class Stuck(msgspec.Struct, frozen=True, tag="stuck"):
    """What a fault has broken did not heal in time."""

    number: int
    at: float
    error: str


class Logged(msgspec.Struct, frozen=True, tag="logged"):
    """A record as it stood in the log; ``id`` is None for a command."""

    model: str
    n: int
    id: str | None


class Stepped(msgspec.Struct, frozen=True, tag="stepped"):
    """A committed step as it stood in the store."""

    model: str
    k: int
    start: int
    end: int
    digest: str


class Received(msgspec.Struct, frozen=True, tag="received"):
    """The receipt of an item at the end."""

    model: str
    id: str
    state: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The last event: without it, the soak itself was cut off."""

    at: float


Event = (
    Began | Predicted | Sent | Answered | Failed | Fault | Over | CaughtUp | Stuck | Logged | Stepped | Received | Ended
)

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class EventLog:
    """Writes events from any thread, each at once: what was seen before a crash of the soak itself is there."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._lock = threading.Lock()
        self._encoder = msgspec.json.Encoder()

    def write(self, event: Event) -> None:
        with self._lock:
            self._file.write(self._encoder.encode(event) + b"\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Event]:
    """The events of a soak, in the order in which they were written."""
    with path.open("rb") as file:
        return [_decoder.decode(line) for line in file]
