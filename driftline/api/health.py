"""Messages of the probes."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from driftline.api.message import message
from driftline.api.metrics import AlarmState


@message
class Alive(TypedDict):
    """The process answers."""

    status: Literal["alive"]
    """It is alive."""


@message
class Ready(TypedDict):
    """The process can serve."""

    status: Literal["ready"]
    """It is ready."""
    store: Literal["available", "unavailable"]
    """Whether the store answers; without it, predictions go on from the loaded versions."""
    alarms: list[AlarmState]
    """What is wrong with the store, and which models cannot be brought to their newest version."""
