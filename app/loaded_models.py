"""Bounds what loaded models take in memory: those that were asked the longest ago are unloaded, and loaded again when asked."""

from __future__ import annotations

import time
from collections import Counter

from .engine import Engine, ModelQueue
from .snapshot import Snapshot

OWN_BYTES = 400_000
"""What a model takes beside its tensors, such as modules, parsers and counters: `python -m benchmarks.fleet --ask 1000`."""
EASED = 0.9
"""So much of the budget is left in use when it was exceeded: not every load should look for what to unload."""


class LoadedModels:
    """What the models of an engine take, tensors that several share once.

    Args:
        max_bytes: the most that they may take, but for those that are in use; 0: any.
        idle_seconds: a model that was asked within so long is in use.
    """

    def __init__(self, engine: Engine, max_bytes: int, idle_seconds: float = 10.0) -> None:
        self.engine = engine
        self.max_bytes = max_bytes
        self.idle_seconds = idle_seconds
        self._held: dict[str, dict[int, int]] = {}
        self._holders: Counter[int] = Counter()
        self.bytes = 0

    def changed(self, uid: str) -> None:
        """Counts what a model takes by now, and makes room where all take too much."""
        if not self.max_bytes:
            return
        self._count(uid)
        if self.bytes > self.max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        now = time.monotonic()
        idle = sorted((model.asked_at, uid) for uid, model in self.engine.models.items() if not model.is_busy)
        for asked_at, uid in idle:
            if self.bytes <= EASED * self.max_bytes or now - asked_at < self.idle_seconds:
                return
            del self.engine.models[uid]
            self._count(uid)

    def _count(self, uid: str) -> None:
        model = self.engine.models.get(uid)
        held = {} if model is None else _storages(model)
        for place, size in held.items():
            self._holders[place] += 1
            self.bytes += size if self._holders[place] == 1 else 0
        for place, size in self._held.pop(uid, {}).items():
            self._holders[place] -= 1
            if not self._holders[place]:
                del self._holders[place]
                self.bytes -= size
        if held:
            self._held[uid] = held


def _storages(model: ModelQueue) -> dict[int, int]:
    """The memory of a model's snapshots, by where it begins: that of the model itself, and of each tensor."""
    snapshots = [model.snapshot, model.spare, model.canary.snapshot if model.canary else None]
    found = {id(model): OWN_BYTES}
    for snapshot in snapshots:
        found |= {} if snapshot is None else _tensors(snapshot)
    return found


def _tensors(snapshot: Snapshot) -> dict[int, int]:
    storages = (tensor.untyped_storage() for tensor in snapshot.module.state_dict(keep_vars=True).values())
    return {storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes()}
