"""Connections that bring much are read in turns by caller."""

from __future__ import annotations

import asyncio

import pytest

from app.read_turns import ReadTurns

pytestmark = pytest.mark.anyio


async def test_each_time_the_loop_comes_round_one_connection_of_each_caller_is_read_on() -> None:
    turns, read = ReadTurns(), list[str]()

    def wait(connection: str) -> None:
        turns.wait(connection[0], lambda: read.append(connection))

    for connection in ("a1", "a2", "a3", "b1"):
        wait(connection)
    assert not read
    await asyncio.sleep(0)
    assert read == ["a1", "b1"]
    wait("a1")
    for _ in range(3):
        await asyncio.sleep(0)
    assert read == ["a1", "b1", "a2", "a3", "a1"], "whoever has been read waits for the others of its caller"
    wait("a2")
    await asyncio.sleep(0)
    assert read[-1] == "a2"
