"""Messages of the probes."""

from __future__ import annotations

from typing import Literal, NotRequired

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
    store: Literal["available", "read_only", "unavailable"]
    """Whether the store can be read and written; without it, predictions go on from the loaded versions."""
    age: float
    """How long ago the store was looked at, in seconds."""
    alarms: list[AlarmState]
    """What is wrong with the store, the workers and the artifacts, and which models cannot follow their newest version."""


@message
class Computation(TypedDict):
    """What a compute thread is at."""

    model: str
    """The model that it works for."""
    seconds: float
    """For how long, in one call."""


@message
class WorkerState(TypedDict):
    """A process that learns."""

    id: str
    """Its name."""
    state: Literal["working", "stuck", "silent"]
    """``working``; ``stuck`` where its compute thread has been in one call for too long; ``silent`` where it tells nothing of
    itself: it hangs, was killed, or does not reach the store."""
    host: str
    """The machine that it runs on."""
    pid: int
    """Its process id there."""
    version: str
    """The release of Driftline."""
    started: float
    """When it started, in seconds since 1970."""
    silent_seconds: float
    """How long ago it last told of itself."""
    load: float
    """The share of the last half minute in which it computed."""
    restarts: int
    """How often it has been started again under its name since it last ended in order."""
    models: list[str]
    """The models that it owns."""
    computing: NotRequired[Computation]
    """What its compute thread is at; not while it waits."""


@message
class WorkerList(TypedDict):
    """Every worker."""

    workers: list[WorkerState]
    """By name. One that has been silent for ten minutes is left out."""
    unowned: list[str]
    """The models that no worker owns: their labels wait."""
