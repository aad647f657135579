"""Messages of RabbitMQ, taken out of what comes from it, however that is cut and whatever stands between them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from driftline.sources.deliveries import HEARTBEAT, Delivery, DeliveryStream

SHORT = st.text(max_size=20)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("content_type", "content_encoding", "correlation_id", "reply_to", "expiration"), SHORT),
        **dict.fromkeys(("message_id", "message_type", "app_id"), SHORT),
        "headers": st.fixed_dictionaries({"x-stream-offset": st.integers(0, 2**62), "other": SHORT}),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 9),
        "timestamp": st.just(datetime(2026, 11, 30, tzinfo=UTC)),
    },
)
MESSAGES = st.tuples(st.integers(1, 2**60), st.booleans(), PROPERTIES, st.lists(st.binary(min_size=1), max_size=3))
OTHERS = st.sampled_from(
    [
        marshal(commands.Queue.DeclareOk("labels", 7, 1), 1),
        marshal(commands.Basic.CancelOk("tag"), 1),
        marshal(commands.Channel.Close(404, "NOT_FOUND", 50, 10), 1),
        HEARTBEAT,
    ]
)


def frames(message: Any) -> bytes:
    tag, is_redelivered, properties, parts = message
    method = commands.Basic.Deliver("a consumer", tag, is_redelivered, "an exchange", "labels")
    header = ContentHeader(0, sum(map(len, parts)), commands.Basic.Properties(**properties))
    return marshal(method, 1) + marshal(header, 1) + b"".join(marshal(ContentBody(part), 1) for part in parts)


async def read(data: bytes, ends: list[int]) -> tuple[list[Delivery], bytes]:
    """The messages of what comes in parts, and what the client is given."""
    stream, begun = DeliveryStream(), 0
    for end in [*sorted(end % (len(data) + 1) for end in ends), len(data)]:
        stream.feed_data(data[begun:end])
        begun = end
    stream.feed_eof()
    return [*stream.waiting], await stream.read()


@given(st.lists(MESSAGES | OTHERS, max_size=8), st.lists(st.integers(0), max_size=12))
def test_each_message_is_found_and_all_else_is_the_clients(pieces: list[Any], ends: list[int]) -> None:
    data = b"".join(piece if isinstance(piece, bytes) else frames(piece) for piece in pieces)
    found, others = asyncio.run(read(data, ends))
    messages = [piece for piece in pieces if not isinstance(piece, bytes)]
    assert [(each.tag, each.is_redelivered, each.body) for each in found] == [
        (tag, is_redelivered, b"".join(parts)) for tag, is_redelivered, _, parts in messages
    ]
    for each, (_, _, properties, _) in zip(found, messages, strict=True):
        assert each.message_id.decode() == properties.get("message_id", "")
        assert each.headers == properties.get("headers", {})
    rest = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    assert others.replace(HEARTBEAT, b"") == rest.replace(HEARTBEAT, b"")


def test_the_client_hears_of_each_arrival_that_the_broker_lives() -> None:
    async def heard() -> bytes:
        stream = DeliveryStream()
        stream.feed_data(frames((1, False, {}, [b"1"])) + frames((2, False, {}, [b"2"])))
        stream.feed_data(frames((3, False, {}, [])))
        return await stream.read(100)

    assert asyncio.run(heard()) == 2 * HEARTBEAT


@pytest.mark.parametrize("data", [b"", b"AMQP\0\0\x09\x01", b"HTTP/1.1 400 Bad Request\r\n", b"\1\0"])
def test_what_is_no_frame_is_the_clients_to_refuse(data: bytes) -> None:
    assert asyncio.run(read(data, [3])) == ([], data)
