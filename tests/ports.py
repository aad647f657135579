"""Ports that nobody uses, and what is said of a program that is not there."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import NoReturn

import pytest

from tests.waiting import until


def missing(what: str) -> NoReturn:
    """Skips for want of a tool, or fails where CI has promised to have all of them."""
    if os.environ.get("DRIFTLINE_TEST_REQUIRE_ALL"):
        pytest.fail(f"{what} is missing, and DRIFTLINE_TEST_REQUIRE_ALL is set")
    pytest.skip(f"{what} is not installed")


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses, each another one."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_for_port(port: int) -> None:
    until(lambda: listens(port))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
