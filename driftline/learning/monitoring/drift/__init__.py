"""Detectors of drift in the error of what was served, one a file."""

from __future__ import annotations

from typing import Any, TypeVar

from driftline.learning.runtime import Runtime
from driftline.spec.parts.detectors import Detector
from driftline.spec.registry import Behaviours

D = TypeVar("D", bound=Detector)


class DriftDetector(Runtime[D]):
    """A detector at work. Its state is plain data, which JSON keeps bit for bit."""

    def __init__(self, parameters: D) -> None:
        super().__init__(parameters)
        self.restart()

    def restart(self) -> None:
        """Sets the state before the first error."""

    def update(self, error: float) -> bool:
        """Takes in the error of the next prediction (0 right, 1 wrong; or an absolute error); True is an alarm."""
        raise NotImplementedError


DRIFT_DETECTORS: Behaviours[Detector, DriftDetector[Any]] = Behaviours(DriftDetector, __name__)


def drift_detector(detector: Detector) -> DriftDetector[Any]:
    """A detector before its first error."""
    return DRIFT_DETECTORS.of(detector)(detector)
