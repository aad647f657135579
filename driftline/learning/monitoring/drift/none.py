"""No detector."""

from __future__ import annotations

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import NoDetector


class SilentDetector(DriftDetector[NoDetector]):
    """Never alarms."""

    def update(self, error: float) -> bool:
        return False
