"""How many streams a caller may have open, that another has its own, and that replicas count together."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from app.open_streams import OpenStreams
from driftline.errors import Busy, Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.stream_leases import StreamLeases
from tests.app.conftest import Start, create

pytestmark = pytest.mark.anyio


async def test_a_caller_has_so_many_streams_open_in_all_replicas_and_others_have_theirs(
    connection: RedisConnection,
) -> None:
    one, other = (OpenStreams(2, StreamLeases(connection)) for _ in range(2))
    first, second = await one.open("a"), await other.open("a")
    for replica in (one, other):
        with pytest.raises(Busy) as refused:
            await replica.open("a")
        assert refused.value.code == "too_many_streams"
    await other.open("b")
    await first()
    first = await other.open("a")
    await first()
    await second()
    unlimited = OpenStreams(0, StreamLeases(connection))
    assert len([await unlimited.open("a") for _ in range(100)]) == 100


async def test_a_killed_replica_gives_its_streams_back_and_one_that_lives_keeps_them(
    connection: RedisConnection,
) -> None:
    killed, replica = OpenStreams(1, StreamLeases(connection, seconds=0.0)), OpenStreams(1, StreamLeases(connection))
    await killed.open("a")
    await replica.open("a")
    await connection.redis.delete(connection.keys.open_streams("a"))
    await replica.renew()
    with pytest.raises(Busy):
        await OpenStreams(1, StreamLeases(connection)).open("a")


async def test_without_the_store_each_process_counts_by_itself(connection: RedisConnection) -> None:
    class Away(StreamLeases):
        async def _lease(self, *arguments: object) -> int:
            raise Unavailable("away", code="store_unavailable")

    streams = OpenStreams(1, Away(connection))
    close = await streams.open("a")
    await streams.renew()
    with pytest.raises(Busy):
        await streams.open("a")
    await close()
    await streams.open("a")


async def test_a_stream_that_ends_while_the_store_is_away_is_given_back_later(connection: RedisConnection) -> None:
    class Away(StreamLeases):
        is_away = True

        async def end(self, caller: str, stream: str) -> None:
            if self.is_away:
                raise Unavailable("away", code="store_unavailable")
            await super().end(caller, stream)

    leases = Away(connection)
    streams = OpenStreams(1, leases)
    close = await streams.open("a")
    await close()
    leases.is_away = False
    await streams.open("a")


async def test_a_stream_that_ends_while_leases_are_renewed_is_not_leased_on(connection: RedisConnection) -> None:
    class Slow(StreamLeases):
        async def renew(self, caller: str, streams: Iterable[str]) -> None:
            await close()
            await super().renew(caller, streams)

    streams = OpenStreams(1, Slow(connection))
    close = await streams.open("a")
    await streams.renew()
    await OpenStreams(1, StreamLeases(connection)).open("a")


async def test_a_stream_of_events_or_labels_counts_until_it_ends(start: Start) -> None:
    client = await start(key_streams=1)
    await create(client)
    events = {"accept": "text/event-stream"}
    close = await client.services.open_streams.open("")
    path, lines = "/v1/models/weather/feedback/stream", {"content-type": "application/x-ndjson"}
    line = b'{"inputs": [1, 1, 1, 1, 1, 1, 1, 1], "label": 1}\n'
    for refused in (
        await client.get("/v1/events", headers=events),
        await client.get("/v1/models/weather/events", headers=events),
        await client.post(path, content=line, headers=lines),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
    await close()
    for _ in range(2):
        taken = await client.post(path, content=line, headers=lines)
        assert taken.status_code == 200 and taken.json()["status"] == "queued"
