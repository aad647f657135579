"""No detector."""

from __future__ import annotations

from typing import Any, Literal

from driftline.learning.monitoring.drift import Detector


class NoDetector(Detector):
    """Never alarms."""

    name: Literal["none"] = "none"

    def start(self) -> dict[str, Any]:
        return {}

    def update(self, state: dict[str, Any], error: float) -> bool:
        return False
