"""A connection to an MQTT 5 broker, whose packets are read and written on this event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from driftline.errors import Unavailable, told_by
from driftline.spec.registry import Part
from driftline.support.tasks import end

SECONDS, TEND_SECONDS, KEEP_ALIVE_SECONDS = 10.0, 20.0, 60
"""How long the broker may take; how often it is asked whether it is still there; and after how long a silence it ends us."""
READ_BYTES = 2**18
REFUSED = 128
"""A reason that is as large is why something was refused."""


class MqttBroker(Part):
    """Which broker, of a sink or of a source, and who connects to it."""

    host: str = Field(min_length=1, description="the broker")
    port: int = Field(1883, ge=1, le=65535, description="its port")
    username: str | None = Field(None, description="who connects")
    password: str | None = Field(None, description="of whom connects; never shown")
    tls: bool = Field(False, description="whether the connection is encrypted")

    async def connect(
        self, name: str, on_message: Callable[[Any], None] = lambda message: None, **options: Any
    ) -> MqttConnection:
        """Connects under a name, with further ``options`` of the packet that does so.

        Raises:
            ImportError: the package that reads and writes packets is not installed.
            Unavailable: the broker does not answer, or refuses.
        """
        import mqtt5

        password = None if self.password is None else self.password.encode()
        asked = mqtt5.ConnectPacket(
            name, username=self.username, password=password, keep_alive=KEEP_ALIVE_SECONDS, **options
        )
        where = f"the broker {self.host}:{self.port}"
        try:
            async with asyncio.timeout(SECONDS):
                encryption = ssl.create_default_context() if self.tls else None
                reader, writer = await asyncio.open_connection(self.host, self.port, ssl=encryption)
        except TimeoutError:
            raise Unavailable(f"{where} has not answered within {SECONDS:g} s") from None
        except OSError as error:
            raise Unavailable(f"{where} does not answer: {error}") from error
        connection = MqttConnection(reader, writer, on_message)
        try:
            greeting = await connection.ask(asked, "greeting")
            if greeting.reason_code.value >= REFUSED:
                raise Unavailable(f"the broker refuses: {_named(greeting)}")
            connection.greeted(greeting)
        except BaseException:
            await connection.close()
            raise
        return connection


class MqttConnection:
    """Reads packets, and shows that it is there, until it is closed or lost.

    Args:
        on_message: told of each message that comes.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_message: Callable[[Any], None]
    ) -> None:
        import mqtt5

        self.mqtt5 = mqtt5
        self.writer = writer
        self.on_message = on_message
        self.on_failure: Callable[[], None] = lambda: None
        """Told when the connection is lost."""
        self.failure: str | None = None
        """Why it is lost, where it is."""
        self._reader = reader
        self._asked: dict[int | str, asyncio.Future[Any]] = {}
        self._room = asyncio.Semaphore(1)
        self._number = 0
        self._is_heard = True
        self._tasks = [asyncio.create_task(self._read())]

    def greeted(self, greeting: Any) -> None:
        """Heeds what the broker has said of itself: how much it takes at a time, and how long a silence it bears."""
        self._room = asyncio.Semaphore(greeting.receive_max)
        seconds = min(TEND_SECONDS, (greeting.server_keep_alive or KEEP_ALIVE_SECONDS) / 3)
        self._tasks.append(asyncio.create_task(self._tend(seconds)))

    async def subscribe(self, topic: str) -> None:
        """Asks for the messages of a topic, once each; :class:`Unavailable` where the broker refuses."""
        filter = self.mqtt5.TopicFilter(
            topic,
            max_qos=self.mqtt5.QoS.AT_LEAST_ONCE,
            # What is retained came when the session began: it is not another message now.
            retain_handling=self.mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
        )
        number = self._next()
        (reason,) = (await self.ask(self.mqtt5.SubscribePacket(number, [filter]), number)).reason_codes
        if reason.value >= REFUSED:
            raise Unavailable(f"the broker refuses {topic!r}: {reason.name}")

    async def publish(self, topic: str, payload: bytes, properties: list[tuple[str, str]]) -> None:
        """Publishes a message; returns once the broker has taken it. :class:`Unavailable` where it does not."""
        async with self._room:
            number = self._next()
            packet = self.mqtt5.PublishPacket(
                topic,
                payload,
                qos=self.mqtt5.QoS.AT_LEAST_ONCE,
                packet_id=number,
                user_properties=properties,
            )
            answer = await self.ask(packet, number)
        if answer.reason_code.value >= REFUSED:
            raise Unavailable(f"the broker refuses a message: {_named(answer)}")

    def acknowledge(self, messages: Sequence[Any]) -> None:
        """Tells the broker that it need not send these again."""
        packets = (self.mqtt5.PubAckPacket(each.packet_id).write() for each in messages if each.packet_id is not None)
        if told := b"".join(packets):
            self.writer.write(told)

    async def ask(self, packet: Any, answer: int | str) -> Any:
        """Sends a packet, and returns the one that answers it; :class:`Unavailable` where none does in time."""
        self.check()
        self._asked[answer] = asyncio.get_running_loop().create_future()
        try:
            self.writer.write(packet.write())
            async with asyncio.timeout(SECONDS):
                return await self._asked[answer]
        except TimeoutError:
            raise Unavailable(f"the broker has not answered within {SECONDS:g} s") from None
        finally:
            del self._asked[answer]

    def check(self) -> None:
        """:class:`Unavailable`: the connection is lost."""
        if self.failure is not None:
            raise Unavailable(self.failure)

    def _next(self) -> int:
        self._number = self._number % 65535 + 1
        return self._number

    async def _read(self) -> None:
        rest = b""
        try:
            while data := await self._reader.read(READ_BYTES):
                self._is_heard = True
                rest += data
                rest = rest[self._packets(memoryview(rest)) :]
            self._fail("the connection to the broker is lost")
        except (OSError, ValueError) as error:
            self._fail(f"the connection to the broker is lost: {told_by(error)}")

    def _packets(self, data: memoryview) -> int:
        """Takes the packets that are there as a whole; how many bytes they have."""
        taken = 0
        while taken < len(data):
            try:
                packet, size = self.mqtt5.read(data[taken:])
            except IndexError:  # The rest of it is still to come.
                break
            taken += size
            self._take(packet)
        return taken

    def _take(self, packet: Any) -> None:
        if isinstance(packet, self.mqtt5.PublishPacket):
            self.on_message(packet)
        elif isinstance(packet, self.mqtt5.DisconnectPacket):
            self._fail(f"the broker has ended the connection: {_named(packet)}")
        else:
            answered: Any = "greeting" if isinstance(packet, self.mqtt5.ConnAckPacket) else None
            asked = self._asked.get(answered or getattr(packet, "packet_id", ""))
            if asked is not None and not asked.done():
                asked.set_result(packet)

    async def _tend(self, seconds: float) -> None:
        """Tells the broker now and then that somebody is still there, and finds out whether it is."""
        while True:
            await asyncio.sleep(seconds)
            if not self._is_heard:
                self._fail("the broker has gone silent")
            self._is_heard = False
            self.writer.write(self.mqtt5.PingReqPacket().write())

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Unavailable(self.failure))
        self.on_failure()

    async def close(self) -> None:
        """Ends the connection; of a session that outlives it the broker keeps what is not acknowledged."""
        await end(*self._tasks)
        if self.failure is None:
            self.writer.write(self.mqtt5.DisconnectPacket().write())
        self.writer.close()


def _named(packet: Any) -> str:
    return str(packet.reason_str or packet.reason_code.name.lower().replace("_", " "))
