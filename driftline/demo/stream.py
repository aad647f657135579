"""The traffic of the demo: clients that predict, and labels that arrive late."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from driftline.api.feedback import FeedbackItem, ItemStatus
from driftline.client.clients import AsyncClient
from driftline.demo.digits import PHASES, Digits
from driftline.demo.display import Display
from driftline.demo.outcome import DemoOutcome
from driftline.errors import Busy, DriftlineError, Late, Unavailable

MODEL = "digits"
SPEC = {"name": MODEL, "task": "classification", "inputs": {"shape": [8, 8]}, "classes": list(range(10))}


@dataclass(frozen=True)
class Owed:
    """A label that is due at a time of the monotonic clock."""

    due: float
    prediction_id: str
    label: int
    tries: int = 0


class DemoStream:
    """One run of the demo against the server at ``url``.

    Args:
        seconds: how long the stream lasts.
        clients: how many clients predict at the same time.
        requests_per_second: how often all of them together predict.
        feedback_seconds: how often labels that are due are handed in.
        recovery_seconds: how much longer a phase may take than its share, until the model is good again.
        settle_seconds: how long the last labels may take until they are served.
        max_tries: how often labels are handed in before they count as lost.
        receipts_at_once: how many receipts a call asks for.
    """

    def __init__(
        self,
        url: str,
        digits: Digits,
        seconds: float,
        display: Display,
        *,
        clients: int = 6,
        requests_per_second: float = 150.0,
        feedback_seconds: float = 0.2,
        recovery_seconds: float = 60.0,
        settle_seconds: float = 90.0,
        max_tries: int = 20,
        receipts_at_once: int = 5000,
    ) -> None:
        self.client = AsyncClient(url, retries=0)
        self.digits = digits
        self.display = display
        self.outcome = DemoOutcome(seconds)
        self.clients = clients
        self.interval = clients / requests_per_second
        self.feedback_seconds = feedback_seconds
        self.recovery_seconds = recovery_seconds
        self.settle_seconds = settle_seconds
        self.max_tries = max_tries
        self.receipts_at_once = receipts_at_once
        self.delay = seconds / 50
        self.random = random.Random(0)
        self.phase = PHASES[0]
        self.is_asking = True
        self.owed: deque[Owed] = deque()
        self.acknowledged: dict[str, float] = {}

    async def run(self) -> DemoOutcome:
        """Stream through all phases, wait until every label is served, and check."""
        async with self.client:
            await self.client.create_model(SPEC)
            self.outcome.began = time.monotonic()
            with self.display.live(self.outcome):
                async with background(self._feed_back, self._watch, self._time_a_label, self._draw):
                    await self._stream()
                    await self._settle()
            return self.outcome

    async def _stream(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for _ in range(self.clients):
                clients.create_task(self._ask())
            for index, phase in enumerate(PHASES):
                self.phase = phase
                self.outcome.activity = phase.name
                self.outcome.enter(index)
                await asyncio.sleep(phase.share * self.outcome.seconds)
                await self._recover()
            self.is_asking = False

    async def _recover(self) -> None:
        """Lets a phase last longer where a busy machine has not learned it in its time."""
        deadline = time.monotonic() + self.recovery_seconds
        while not self.outcome.phases[-1].is_good and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        self.outcome.leave()

    async def _ask(self) -> None:
        """One client, which predicts at its rate."""
        due = time.monotonic() + self.random.random() * self.interval
        while self.is_asking:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self.interval, time.monotonic() - 1.0)
            await self._ask_once()

    async def _ask_once(self) -> None:
        index = self.random.randrange(len(self.digits.labels))
        image, label = self.phase.scan(self.digits.images[index]), int(self.digits.labels[index])
        began = time.monotonic()
        try:
            answer = await self.client.predict(MODEL, image[None])
        except DriftlineError as error:
            self.outcome.fail(error.message)
            return
        row = answer["predictions"][0]
        self.outcome.answer(row.get("label") == label, time.monotonic() - began)
        assert row["id"] is not None, "the demo's model records every prediction"
        self.owed.append(Owed(time.monotonic() + self.delay, row["id"], label))

    async def _feed_back(self) -> None:
        while True:
            now = time.monotonic()
            due = [self.owed.popleft() for _ in range(len(self.owed)) if self.owed[0].due <= now]
            if due:
                await self._hand_in(due)
            await asyncio.sleep(self.feedback_seconds)

    async def _hand_in(self, labels: list[Owed]) -> None:
        """Send labels until they are acknowledged: an item's id is that of its prediction, so it is safe to send it again."""
        items: list[FeedbackItem] = [{"prediction_id": owed.prediction_id, "label": owed.label} for owed in labels]
        for attempt in itertools.count(1):
            try:
                statuses = (await self.client.feedback(MODEL, items, raise_errors=False))["items"]
                break
            except (Busy, Late, Unavailable) as error:
                if attempt == self.max_tries:
                    for _ in labels:
                        self.outcome.lose(error.message)
                    return
                await asyncio.sleep(error.retry_after or 0.5)
        if len(statuses) != len(labels):
            for _ in labels:
                self.outcome.lose(f"the server answered {len(statuses)} items of {len(labels)}")
            return
        for owed, status in zip(labels, statuses, strict=True):
            self._note_status(owed, status)

    def _note_status(self, owed: Owed, status: ItemStatus) -> None:
        if status["status"] != "error":
            self.acknowledged[f"p:{owed.prediction_id}"] = time.monotonic()
            self.outcome.acknowledged = len(self.acknowledged)
            return
        error = status.get("error", {})
        if error.get("code") == "prediction_not_stored" and owed.tries < self.max_tries:
            self.owed.append(Owed(time.monotonic(), owed.prediction_id, owed.label, owed.tries + 1))
        else:
            self.outcome.lose(str(error.get("message", status)))

    async def _watch(self) -> None:
        """Poll the metrics of the model."""
        while True:
            with contextlib.suppress(Busy, Late, Unavailable):
                metrics = await self.client.metrics(MODEL)
                self.outcome.version = metrics["version"]
                self.outcome.learned = metrics["learned"]
                self.outcome.alarms.update(json.dumps(alarm, sort_keys=True) for alarm in metrics["alarms"])
            await asyncio.sleep(0.5)

    async def _time_a_label(self) -> None:
        """Measure, again and again, how long it takes until the newest acknowledged label is served."""
        newest = None
        while True:
            await asyncio.sleep(0.1)
            last, newest = newest, next(reversed(self.acknowledged), None)
            if newest is None or newest == last:
                continue
            with contextlib.suppress(Busy, Late, Unavailable):
                while (await self.client.receipt(MODEL, newest))["state"] in ("queued", "learned"):
                    await asyncio.sleep(0.1)
                self.outcome.label_to_served.append(time.monotonic() - self.acknowledged[newest])

    async def _draw(self) -> None:
        while True:
            if self.outcome.activity in {phase.name for phase in PHASES}:
                self.outcome.sample()
            self.display.draw(self.outcome)
            await asyncio.sleep(0.25)

    async def _settle(self) -> None:
        """Wait until the last label is served; then check every receipt."""
        self.outcome.activity = "waiting for the last labels"
        deadline = time.monotonic() + self.settle_seconds
        while self.outcome.labels_owed and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        while self.outcome.learned < self.outcome.acknowledged and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        self.outcome.activity = "checking the receipt of every label"
        identifiers = list(self.acknowledged)
        for first in range(0, len(identifiers), self.receipts_at_once):
            await self._check_receipts(identifiers[first : first + self.receipts_at_once], deadline)

    async def _check_receipts(self, identifiers: list[str], deadline: float) -> None:
        """Waits until all of these labels are served, and counts those that are."""
        while True:
            receipts = await self.client.receipts(MODEL, identifiers)
            open_ones = [each["id"] for each in receipts if each["state"] in ("queued", "learned")]
            if not open_ones or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        for receipt in receipts:
            if receipt["state"] == "served":
                self.outcome.served += 1
            else:
                self.outcome.lose(f"{receipt['id']} is {receipt['state']}: {receipt.get('reason', '')}")


@contextlib.asynccontextmanager
async def background(*tasks: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run ``tasks`` beside the block; one that fails ends the block with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task()) for task in tasks]
            yield
            for task in running:
                task.cancel()
    except* Exception as errors:
        raise errors.exceptions[0] from None
