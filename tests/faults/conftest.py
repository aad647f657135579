"""Everything that is made to die here is real: the trainer on a real store, or the processes of ``driftline up``."""

from __future__ import annotations

from tests.worker.conftest import bench, connection, thread

__all__ = ["bench", "connection", "thread"]
