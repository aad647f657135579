"""Everything that is made to die here is real: the trainer on a real store, or the processes of ``driftline up``."""

from __future__ import annotations

from tests.worker.conftest import bench

__all__ = ["bench"]
