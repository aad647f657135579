"""Labels that wait to be sent: what is sent next, and what follows from the answer. Sends nothing itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from driftline.api import endpoints
from driftline.client.feedback import (
    NOT_READ,
    NOT_STORED,
    EncodedItem,
    FeedbackCall,
    FeedbackRefused,
    RefusedItem,
    encode_item,
    items_body,
    refused_items,
)
from driftline.client.retries import TRANSIENT, pause_before
from driftline.errors import ConfigurationError, DriftlineError, Late, TooLarge

if TYPE_CHECKING:
    from driftline.api.feedback import Accepted, ItemStatus

MAX_BYTES: Final = 4_000_000
MAX_NOT_STORED: Final = 10
"""How often a label is sent again whose prediction is not recorded yet."""

Delivery: TypeAlias = Generator["FeedbackCall | float", "Accepted | None", None]
"""What is to be done one after the other: a call to make, whose answer or error comes back; or seconds to wait."""


class Outbox:
    """The labels of one model that wait, in order, and those that were refused.

    Args:
        max_batch: labels that are sent at once, at most.
        max_waiting: labels that wait, at most.
        on_error: is told of each label that was refused; None: they are raised.
    """

    def __init__(
        self, model: str, max_batch: int, max_waiting: int, on_error: Callable[[RefusedItem], object] | None
    ) -> None:
        for name, value in (("max_batch", max_batch), ("max_waiting", max_waiting)):
            if value < 1:
                raise ConfigurationError(f"{name}: {value} is less than 1", field=name, value=value)
        self.model = model
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self.on_error = on_error
        self.waiting: deque[EncodedItem] = deque()
        self.sent = 0
        self.settled = 0
        self.duplicates = 0
        self.refused: list[RefusedItem] = []
        self.trouble: DriftlineError | None = None
        self.failure: Exception | None = None
        self.is_closed = False

    @property
    def is_full(self) -> bool:
        return self.sent - self.settled >= self.max_waiting

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to do, and never will be."""
        return self.is_closed and not self.waiting

    def encode(self, item: Any, fields: dict[str, Any]) -> EncodedItem:
        """The item as it will be sent, whatever becomes of the object; it has an id from now on."""
        if isinstance(item, EncodedItem):
            return item
        return encode_item(fields if item is None else {**item, **fields}, "item")

    def add(self, item: EncodedItem) -> None:
        self.check()
        if self.is_closed:
            raise ConfigurationError(f"the sender of {self.model} is closed", code="sender_closed")
        self.waiting.append(item)
        self.sent += 1

    def check(self) -> None:
        """Raise what has ended the sender, where it was no wish of the caller's."""
        if self.failure is not None:
            raise self.failure

    def raise_refused(self) -> None:
        """Raise what was refused since it was raised last."""
        self.check()
        if self.refused:
            refused, self.refused = self.refused, []
            raise FeedbackRefused(refused, [_status(item) for item in refused])

    def late(self, seconds: float | None) -> Late:
        """The error where labels still wait when there is no more time."""
        why = f"; {self.trouble.message}" if self.trouble is not None else ""
        count = self.sent - self.settled
        return Late(f"{count} labels of {self.model} are not acknowledged after {seconds:g} s{why}", waiting=count)

    def next_batch(self) -> list[EncodedItem]:
        """The labels to send next. They wait until they are settled: nothing is lost where sending ends between."""
        batch: list[EncodedItem] = []
        size = 0
        for item in islice(self.waiting, self.max_batch):
            size += len(item.json)
            if batch and size > MAX_BYTES:
                break
            batch.append(item)
        return batch

    def settle(self, batch: list[EncodedItem]) -> None:
        """A batch has its answer."""
        for _ in batch:
            self.waiting.popleft()
        self.settled += len(batch)
        self.trouble = None

    def delivery(self, batch: list[EncodedItem]) -> Delivery:
        """Sends a batch until the server has answered each label. The same label is sent with the same id, and learned once."""
        yield from self._deliver([*enumerate(batch, self.settled)])

    def _deliver(self, numbered: list[tuple[int, EncodedItem]]) -> Delivery:
        """Sends labels, each with its place among all that were ever sent: it stays true when only some are sent again."""
        tries = not_stored = 0
        while numbered:
            batch = [item for _, item in numbered]
            call = FeedbackCall(
                endpoints.GIVE_FEEDBACK,
                {"model": self.model},
                content=items_body(batch),
                is_safe=True,
                items=batch,
                raise_errors=False,
            )
            try:
                answer = yield call
            except TooLarge as error:
                if len(numbered) == 1:
                    self._refuse([_refused(*numbered[0], error)])
                    return
                half = len(numbered) // 2
                yield from self._deliver(numbered[:half])
                numbered = numbered[half:]
                continue
            except DriftlineError as error:
                if not _may_be_over_later(error):
                    self._refuse(_refused(index, item, error) for index, item in numbered)
                    return
                tries += 1
                self.trouble = error
                yield pause_before(tries, error.retry_after)
                continue
            assert answer is not None
            self.duplicates += sum(status["status"] == "duplicate" for status in answer["items"])
            found = refused_items(answer["items"])
            unwritten = [item for item in found if item.code == NOT_STORED and not_stored < MAX_NOT_STORED]
            again = [item for item in found if item in unwritten or item.code == NOT_READ]
            self._refuse(replace(item, index=numbered[item.index][0]) for item in found if item not in again)
            numbered = [numbered[item.index] for item in again]
            if unwritten:
                not_stored += 1
                yield pause_before(not_stored, None)

    def _refuse(self, items: Iterable[RefusedItem]) -> None:
        for item in items:
            if self.on_error is None:
                self.refused.append(item)
            else:
                self.on_error(item)


def _may_be_over_later(error: DriftlineError) -> bool:
    """Whether the server may take the same labels later: a fault of its own, or an answer of something before it."""
    return isinstance(error, TRANSIENT) or error.status in (408, *range(500, 600)) or error.code == "unexpected_answer"


def _refused(index: int, item: EncodedItem, error: DriftlineError) -> RefusedItem:
    return RefusedItem(
        index, item.id, error.code, error.message, error.details.get("field"), error.details.get("value")
    )


def _status(item: RefusedItem) -> ItemStatus:
    return {"id": item.id, "status": "error", "error": {"code": item.code, "message": item.message}}
