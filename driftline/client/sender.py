"""Senders: labels are handed over at once, and sent beside the program, again and again until the server has them."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from driftline.client.feedback import EncodedItem, FeedbackCall, RefusedItem
from driftline.client.outbox import Delivery, Outbox
from driftline.errors import Busy, DriftlineError

if TYPE_CHECKING:
    import asyncio

    from driftline.api.feedback import Accepted, FeedbackItem

OnError = Callable[[RefusedItem], object]


class FeedbackSender:
    """Sends the labels of one model from a thread of its own; use it as a context manager, which waits at its end.

    While the process lives, each label is acknowledged exactly once: over broken connections, full logs and restarts of the
    server. What the server refuses is raised by :meth:`flush` and at the end, or given to ``on_error``.

    Args:
        attempt: makes a call once.
        max_batch: labels that are sent at once, at most.
        max_waiting: labels that wait, at most; then :meth:`send` waits.
        timeout: seconds that :meth:`flush` and the end wait; None: for ever.
        on_error: is told of each label that was refused, in the sender's thread.
    """

    def __init__(
        self,
        attempt: Callable[[FeedbackCall], Accepted],
        model: str,
        *,
        max_batch: int = 500,
        max_waiting: int = 10_000,
        timeout: float | None = 300.0,
        on_error: OnError | None = None,
    ) -> None:
        self._attempt = attempt
        self._outbox = Outbox(model, max_batch, max_waiting, on_error)
        self.timeout = timeout
        self._changed = threading.Condition()
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"driftline sender of {model}", daemon=True)
        self._thread.start()
        # A program that ends without closing the sender has its labels sent all the same.
        atexit.register(self.close)

    def __enter__(self) -> FeedbackSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DriftlineError as own:
            if error is None:
                raise
            error.add_note(f"besides, of the sender: {own.message}")

    @property
    def waiting(self) -> int:
        """Labels that are not acknowledged yet."""
        with self._changed:
            return self._outbox.sent - self._outbox.settled

    @property
    def duplicates(self) -> int:
        """Labels that the server had already."""
        return self._outbox.duplicates

    @property
    def trouble(self) -> DriftlineError | None:
        """Why the labels that are being sent do not go through yet; None where they do."""
        return self._outbox.trouble

    def send(
        self,
        item: FeedbackItem | Mapping[str, Any] | EncodedItem | None = None,
        /,
        *,
        timeout: float | None = None,
        **fields: Any,
    ) -> str:
        """Hand over a label: an item, or its fields by name. Gives the id that it goes by.

        Where ``max_waiting`` labels wait it waits for room, ``timeout`` seconds at most.

        Raises:
            Busy: there was no room in time.
            InvalidInput: it cannot be sent; the message names the field.
        """
        encoded = self._outbox.encode(item, fields)
        with self._changed:
            if not self._changed.wait_for(lambda: not self._outbox.is_full or self._is_done, timeout):
                raise Busy(f"{self._outbox.max_waiting} labels wait to be sent already", code="sender_full")
            self._outbox.add(encoded)
            self._changed.notify_all()
        return encoded.id

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every label that was handed over so far is acknowledged.

        Raises:
            FeedbackRefused: some were refused, and there is no ``on_error``.
            Late: some still wait after ``timeout`` seconds, or else after the sender's; they go on to be sent.
        """
        seconds = self.timeout if timeout is None else timeout
        with self._changed:
            count = self._outbox.sent
            if not self._changed.wait_for(lambda: self._outbox.settled >= count or self._is_done, seconds):
                raise self._outbox.late(seconds)
            self._outbox.raise_refused()

    def close(self, timeout: float | None = None) -> None:
        """:meth:`flush`, and take no more labels. What still waits then is given up. The second time it does nothing."""
        atexit.unregister(self.close)
        with self._changed:
            if self._outbox.is_closed:
                return
            self._outbox.is_closed = True
            self._changed.notify_all()
        try:
            self.flush(timeout)
        finally:
            self._is_ended.set()
            self._thread.join()

    @property
    def _is_done(self) -> bool:
        return self._outbox.failure is not None or self._is_ended.is_set()

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) and self._carry_out(self._outbox.delivery(batch)):
                with self._changed:
                    self._outbox.settle(batch)
                    self._changed.notify_all()
        except Exception as error:  # Of ``on_error``, or a defect: whoever hands over labels must hear of it.
            with self._changed:
                self._outbox.failure = error
                self._changed.notify_all()

    def _next_batch(self) -> list[Any]:
        with self._changed:
            self._changed.wait_for(lambda: self._outbox.waiting or self._outbox.is_closed)
            return self._outbox.next_batch()

    def _carry_out(self, delivery: Delivery) -> bool:
        """Whether it came to its end before the sender was ended."""
        try:
            step = next(delivery)
            while not self._is_ended.is_set():
                if isinstance(step, float):
                    self._is_ended.wait(step)
                    step = next(delivery)
                    continue
                try:
                    answer = self._attempt(step)
                except DriftlineError as error:
                    step = delivery.throw(error)
                else:
                    step = delivery.send(answer)
        except StopIteration:
            return True
        return False


class AsyncFeedbackSender:
    """:class:`FeedbackSender` for asyncio: a task instead of a thread; ``send``, ``flush`` and ``close`` are awaited."""

    def __init__(
        self,
        attempt: Callable[[FeedbackCall], Coroutine[Any, Any, Accepted]],
        model: str,
        *,
        max_batch: int = 500,
        max_waiting: int = 10_000,
        timeout: float | None = 300.0,
        on_error: OnError | None = None,
    ) -> None:
        import asyncio

        self._attempt = attempt
        self._outbox = Outbox(model, max_batch, max_waiting, on_error)
        self.timeout = timeout
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncFeedbackSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except DriftlineError as own:
            if error is None:
                raise
            error.add_note(f"besides, of the sender: {own.message}")

    @property
    def waiting(self) -> int:
        """Labels that are not acknowledged yet."""
        return self._outbox.sent - self._outbox.settled

    async def send(
        self, item: FeedbackItem | Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **fields: Any
    ) -> str:
        """Hand over a label, as :meth:`FeedbackSender.send` does."""
        import asyncio

        encoded = self._outbox.encode(item, fields)
        async with self._changed:
            if self._task is None:
                self._task = asyncio.create_task(self._run())
            room = self._changed.wait_for(lambda: not self._outbox.is_full or self._outbox.failure is not None)
            try:
                await asyncio.wait_for(room, timeout)
            except TimeoutError:
                message = f"{self._outbox.max_waiting} labels wait to be sent already"
                raise Busy(message, code="sender_full") from None
            self._outbox.add(encoded)
            self._changed.notify_all()
        return encoded.id

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until every label that was handed over so far is acknowledged, as :meth:`FeedbackSender.flush` does."""
        import asyncio

        seconds, count = self.timeout if timeout is None else timeout, self._outbox.sent
        async with self._changed:
            settled = self._changed.wait_for(lambda: self._outbox.settled >= count or self._outbox.failure is not None)
            try:
                await asyncio.wait_for(settled, seconds)
            except TimeoutError:
                raise self._outbox.late(seconds) from None
            self._outbox.raise_refused()

    async def close(self, timeout: float | None = None) -> None:
        """:meth:`flush`, and take no more labels. What still waits then is given up. The second time it does nothing."""
        if self._outbox.is_closed:
            return
        self._outbox.is_closed = True
        try:
            await self.flush(timeout)
        finally:
            if self._task is not None:
                self._task.cancel()
                import asyncio

                await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._outbox.waiting)
                    batch = self._outbox.next_batch()
                await self._carry_out(self._outbox.delivery(batch))
                async with self._changed:
                    self._outbox.settle(batch)
                    self._changed.notify_all()
        except Exception as error:
            async with self._changed:
                self._outbox.failure = error
                self._changed.notify_all()

    async def _carry_out(self, delivery: Delivery) -> None:
        import asyncio

        try:
            step = next(delivery)
            while True:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                    step = next(delivery)
                    continue
                try:
                    answer = await self._attempt(step)
                except DriftlineError as error:
                    step = delivery.throw(error)
                else:
                    step = delivery.send(answer)
        except StopIteration:
            return
