"""While a batch is taken the next one is read: that alone, and in its turn."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from driftline.errors import Unavailable
from driftline.sources.base import Reader, SourceBatch, SourceRecord
from driftline.sources.runner import batches

pytestmark = pytest.mark.anyio


class Numbers(Reader):
    """Gives a record a read, from the position on, up to five; ``read_from`` are the positions that were asked for."""

    def __init__(self, reads_ahead: bool = True, fails_at: str = "none") -> None:
        self.reads_ahead = reads_ahead  # type: ignore[misc]
        self.fails_at = fails_at
        self.read_from: list[str] = []

    async def read(self, position: str, count: int) -> SourceBatch:
        self.read_from.append(position)
        await asyncio.sleep(0)
        if position == self.fails_at:
            raise Unavailable("the stream cannot be read")
        number = int(position or 0) + 1
        return SourceBatch([SourceRecord(str(number), b"", "json")], str(number), is_last=number == 5)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("reads_ahead", [True, False])
async def test_one_batch_is_read_ahead_where_that_is_allowed_and_all_come_in_order(reads_ahead: bool) -> None:
    reader, found = Numbers(reads_ahead), list[str]()
    async for batch in batches(reader, "", 500):
        found.append(batch.position)
        await turns()
        assert reader.read_from == ["", *"1234"][: min(5, len(found) + reads_ahead)]
    assert found == [*"12345"]


async def test_a_read_that_fails_is_told_after_what_was_read_before_it_is_taken() -> None:
    found = list[str]()
    with pytest.raises(Unavailable):
        async for batch in batches(Numbers(fails_at="3"), "", 500):
            await turns()
            found.append(batch.position)
    assert found == [*"123"]


async def test_who_takes_no_more_leaves_no_read_behind() -> None:
    reader, others = Numbers(), asyncio.all_tasks()
    async with aclosing(batches(reader, "", 500)) as found:
        await anext(found)
    assert asyncio.all_tasks() == others
    assert reader.read_from[:1] == [""]
