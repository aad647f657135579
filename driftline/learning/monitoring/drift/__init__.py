"""Detectors of drift in the error of what was served, one a file. Their state is plain data."""

from __future__ import annotations

from typing import Any, ClassVar

from driftline.registry import Part, Registry


class Detector(Part):
    """Parameters of a detector. It alarms when the error has risen; a fall is no drift that anybody need fear.

    ``tasks`` are those it is for: what is made for errors of 0 and 1 cannot take those of a regression.
    """

    name: str
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})

    def start(self) -> dict[str, Any]:
        """The state before the first error: plain data, which JSON keeps bit for bit."""
        raise NotImplementedError

    def update(self, state: dict[str, Any], error: float) -> bool:
        """Takes the error of the next prediction (0 right, 1 wrong; or an absolute error) into ``state``; True is an alarm."""
        raise NotImplementedError


DETECTORS = Registry(Detector, __name__)
