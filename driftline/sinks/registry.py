"""Which kinds of sinks there are."""

from __future__ import annotations

from driftline.sinks.base import Sink
from driftline.spec.registry import Registry

SINKS = Registry(Sink, "driftline.sinks", tag="type", group="driftline.sinks")
