"""An exchange or a queue of RabbitMQ that messages are published to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from driftline.errors import Unavailable, told_by
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter, client_is_missing, hang_up


class RabbitMqSink(Sink):
    """Publishes persistent messages with their ids, and their keys as headers; without an exchange, to a queue."""

    type: Literal["rabbitmq"] = "rabbitmq"
    url: str = Field(pattern=r"^amqps?://", description="`amqp://user:password@host:5672/vhost`")
    routing_key: str = Field(min_length=1, description="the routing key; without an exchange, the queue")
    exchange: str = Field("", description="the exchange, which is there")

    async def open(self) -> SinkWriter:
        return RabbitMqWriter(self, await _connected(self.url))


async def _connected(url: str) -> Any:
    try:
        import aio_pika
    except ImportError:
        raise client_is_missing("aio-pika", "rabbitmq") from None
    try:
        return await asyncio.wait_for(aio_pika.connect(url), 10)
    except (TimeoutError, OSError, aio_pika.exceptions.AMQPError) as error:
        raise Unavailable(f"RabbitMQ does not answer: {told_by(error)}") from error


class RabbitMqWriter(SinkWriter):
    """Publishes the messages of a call at once, and waits until the broker has confirmed each."""

    def __init__(self, sink: RabbitMqSink, connection: Any) -> None:
        self.sink = sink
        self.connection = connection
        self._exchange: Any = None

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        import aio_pika

        try:
            if self._exchange is None:
                channel = await self.connection.channel(on_return_raises=True)
                name = self.sink.exchange
                self._exchange = await channel.get_exchange(name, ensure=True) if name else channel.default_exchange
            await asyncio.gather(*(self._publish(aio_pika, message) for message in messages))
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            raise Unavailable(f"{self.sink.routing_key!r} cannot be written: {told_by(error)}") from error

    async def _publish(self, aio_pika: Any, message: SinkMessage) -> None:
        headers = {} if message.key is None else {"key": message.key}
        persistent = aio_pika.DeliveryMode.PERSISTENT
        body = aio_pika.Message(message.value, headers=headers, message_id=message.id, delivery_mode=persistent)
        await self._exchange.publish(body, self.sink.routing_key, mandatory=True, timeout=30)

    async def close(self) -> None:
        await hang_up(self.connection)
