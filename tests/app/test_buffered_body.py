"""A body that is read ahead: nothing is lost, and no more is held than there is room for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.buffered_body import MAX_AHEAD_BYTES, BufferedBody
from driftline.support.tasks import end

pytestmark = pytest.mark.anyio


class Sender:
    """Gives the parts of a body, then that it is over; or that its sender has gone."""

    def __init__(self, parts: list[bytes], *, is_cut: bool = False) -> None:
        self.parts = parts
        self.is_cut = is_cut
        self.given = 0

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.given == len(self.parts):
            return {"type": "http.disconnect"} if self.is_cut else {"type": "http.request", "body": b""}
        self.given += 1
        return {"type": "http.request", "body": self.parts[self.given - 1], "more_body": True}


async def test_what_comes_while_a_part_is_at_work_is_taken_at_once() -> None:
    arriving = BufferedBody(Sender([b"a", b"b", b"c"]).receive)
    reading = asyncio.create_task(arriving.read())
    first = await arriving.take()
    await asyncio.wait_for(reading, 5)
    assert first + await arriving.take() == b"abc"
    assert arriving.is_over and not arriving.is_cut


async def test_a_sender_that_goes_is_told_from_one_that_has_ended() -> None:
    arriving = BufferedBody(Sender([b"a"], is_cut=True).receive)
    await arriving.read()
    assert await arriving.take() == b"a"
    assert arriving.is_over and arriving.is_cut


async def test_it_waits_when_it_is_too_far_ahead() -> None:
    half = bytes(MAX_AHEAD_BYTES // 2)
    sender = Sender([half] * 6)
    arriving = BufferedBody(sender.receive)
    reading = asyncio.create_task(arriving.read())
    try:
        for _ in range(100):
            await asyncio.sleep(0)
        assert sender.given == 2
        taken = 0
        while taken < 6 * len(half):
            taken += len(await arriving.take())
        await asyncio.wait_for(reading, 5)
    finally:
        await end(reading)
