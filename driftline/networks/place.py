"""Whether a computation comes to the same on another machine, or in another process, as where it was begun."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from driftline.errors import DriftlineError
from driftline.networks.bundle import build_changes, this_build
from driftline.networks.own_code import digest_of, own_code
from driftline.networks.user_code import reason_of
from driftline.spec import ModelSpec


class OtherPlace(Exception):
    """What is computed here would be something else than where it was begun."""


@dataclass(frozen=True)
class ComputedWith:
    """The build and the files of a user's own code (:func:`own_code`) that a computation was begun with."""

    build: dict[str, Any]
    code: dict[str, str]

    @classmethod
    def here(cls, specs: Iterable[ModelSpec]) -> ComputedWith:
        """That of this process, for what it computes of some specs."""
        return cls(this_build(), {name: digest for spec in specs for name, digest in own_code(spec).items()})

    def check(self) -> None:
        """Checks that this process would compute the same.

        Raises:
            OtherPlace: it has another build, or other code.
        """
        if changes := build_changes(self.build):
            raise OtherPlace(f"{socket.gethostname()} has another build: {', '.join(changes)}")
        if others := [name for name, digest in self.code.items() if digest_of(name) != digest]:
            raise OtherPlace(f"{socket.gethostname()} has not the same file of {', '.join(others)}")


def lost_or_failed(error: OtherPlace | DriftlineError) -> tuple[str | None, str | None]:
    """What a process tells of an error: why this is no place for a computation that is as good where it was begun, or why it
    failed.
    """
    if isinstance(error, OtherPlace):
        return str(error), None
    # Where it was begun, there is such a device.
    return (error.message, None) if error.code == "device_missing" else (None, reason_of(error))
