"""What a connection to an MQTT broker does, whatever the broker does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import mqtt5
import pytest

from driftline.errors import Unavailable
from driftline.sinks.mqtt_connection import MqttBroker, MqttConnection
from tests.waiting import until_async

pytestmark = pytest.mark.anyio
GREETING = mqtt5.ConnAckPacket().write()


@asynccontextmanager
async def connected(*parts: bytes | None, on_message: Callable[[Any], None] = print) -> AsyncIterator[MqttConnection]:
    """A connection to a broker that says this, part by part; where one is None it is told something first."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (None, *parts):
            if part is None:
                await reader.read(1000)
                continue
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await MqttBroker(host="127.0.0.1", port=port).connect("me", on_message)
        try:
            yield connection
        finally:
            await connection.close()


async def test_messages_come_whole_and_in_order_however_they_are_cut() -> None:
    rng, came = random.Random(3), list[bytes]()
    payloads = [rng.randbytes(rng.choice([0, 1, 127, 128, 20_000])) for _ in range(60)]
    data = b"".join(
        mqtt5.PublishPacket("t", each, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=n).write()
        for n, each in enumerate(payloads, start=1)
    )
    cuts = sorted(rng.sample(range(len(data)), 80))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    async with connected(GREETING, *parts, on_message=lambda message: came.append(message.payload)):
        await until_async(lambda: _is(len(came) == len(payloads)))
    assert came == payloads


async def _is(condition: bool) -> bool:
    return condition


async def test_a_broker_that_refuses_is_named_with_its_reason() -> None:
    refused = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED)
    with pytest.raises(Unavailable, match="refuses: not authorized"):
        async with connected(refused.write()):
            pass
    topic = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED])
    async with connected(GREETING, None, topic.write()) as connection:
        with pytest.raises(Unavailable, match="secret/#"):
            await connection.subscribe("secret/#")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\xf0\x80\x80\x80\x80\x80\x01", "lost"),
        (
            mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write(),
            "session taken over",
        ),
    ],
)
async def test_a_connection_that_the_broker_ends_or_breaks_says_why(said: bytes, why: str) -> None:
    async with connected(GREETING, said) as connection:
        await until_async(lambda: _is(connection.failure is not None))
        with pytest.raises(Unavailable, match=why):
            connection.check()
        with pytest.raises(Unavailable, match=why):
            await connection.publish("t", b"1", [])


async def test_a_broker_that_has_gone_silent_is_noticed() -> None:
    async with connected(mqtt5.ConnAckPacket(server_keep_alive=1).write()) as connection:
        await until_async(lambda: _is(connection.failure is not None))
        assert connection.failure == "the broker has gone silent"
