"""Predictions, whoever asked for them, written to topics of the operator's, after the answers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Mapping

import msgspec

from driftline.errors import Unavailable
from driftline.sinks.base import SinkMessage, SinkWriter

from ..answer_json import encoded_rows, message_head
from ..answers import Batch, BatchAnswer
from .sink_feeder import FIRST_PAUSE, LAST_PAUSE, NOTHING, SinkTarget

logger = logging.getLogger("driftline.sinks")

MAX_AT_ONCE = 1000


class PredictionFeeder:
    """Writes what this process answers to one sink, each prediction with its id, until it is taken.

    It delays no answer. What a process has answered last may be lost with it; what the sink does not take for long is dropped,
    the oldest first, and counted.

    Args:
        max_bytes: most bytes that wait to be written.
    """

    def __init__(self, target: SinkTarget, *, max_bytes: int = 32 * 2**20, first_pause: float = FIRST_PAUSE) -> None:
        self.target = target
        self.max_bytes = max_bytes
        self.first_pause = first_pause
        self.dropped = 0
        self._unwritten: deque[SinkMessage] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()

    def add(self, batch: Batch, tokens: Mapping[int, bytes], keys: Mapping[int, str]) -> None:
        """Queues the predictions of a batch that is recorded; ``tokens`` by the first row of each request, ``keys`` by row."""
        snapshot = batch.snapshot
        if self.target.models and snapshot.spec.name not in self.target.models:
            return
        head, ends = message_head(snapshot), [*list(tokens)[1:], len(batch.outputs)]
        for (first, token), end in zip(tokens.items(), ends, strict=True):
            answer = BatchAnswer(batch, first, end - first, token.hex())
            for row, identifier, text in zip(answer.places, answer.ids, encoded_rows(answer), strict=True):
                key = keys.get(row)
                value = b'%b"key":%b,%b' % (head, msgspec.json.encode(key), text[1:])
                self._unwritten.append(SinkMessage(str(identifier), value, key))
                self._bytes += len(value)
        while self._bytes > self.max_bytes and self._unwritten:
            self._bytes -= len(self._unwritten.popleft().value)
            self.dropped += 1
        self._wake.set()

    async def run(self) -> None:
        """Writes until cancelled; a sink that fails is tried again, after longer and longer."""
        pause = self.first_pause
        while True:
            try:
                writer = await self.target.sink.open()
                try:
                    while True:
                        await self._wake.wait()
                        await self._write(writer)
                        pause = self.first_pause
                finally:
                    await writer.close()
            except Unavailable as error:
                logger.warning("the sink of predictions %s does not take what is written: %s", self.target.id, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(LAST_PAUSE, 2 * pause)

    async def _write(self, writer: SinkWriter) -> None:
        """Writes what is queued; what is not taken is queued again, in its place."""
        self._wake.clear()
        while self._unwritten:
            messages = [self._unwritten.popleft() for _ in range(min(MAX_AT_ONCE, len(self._unwritten)))]
            try:
                await writer.write(messages, NOTHING)
            except BaseException:
                self._unwritten.extendleft(reversed(messages))
                self._wake.set()
                raise
            self._bytes -= sum(len(message.value) for message in messages)
