"""Computes predictions: the requests that are queued when a model becomes free are one batch, on one snapshot."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.api_keys import Key
from driftline.errors import Busy, Late, TooLarge
from driftline.records import Route
from driftline.rows.rows import Rows, joined_for
from driftline.store.owners import stored_name
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.prediction_ids import TOKEN_BYTES
from driftline.store.predictions import PredictionWriter
from driftline.support.failpoints import reach

from .answer_json import message_head, message_texts
from .answers import Batch, BatchAnswer
from .compute import ComputeThread
from .compute_cost import ComputeCost
from .fair_queue import FairQueue
from .metrics import Metrics, ModelMetrics
from .network_code import network_code
from .snapshot import Snapshot


class Caller(Protocol):
    """The connection that an answer goes to."""

    @property
    def disconnected(self) -> bool: ...


@dataclass(eq=False)
class _Request:
    rows: Rows
    count: int
    begin: float
    deadline: float
    caller: Caller | None
    answer: asyncio.Future[BatchAnswer]
    context: str
    owner: str
    asker: str


@dataclass
class ModelQueue:
    """The snapshot that answers for one model, and the requests that wait for it.

    ``spare`` was served before, and may be overwritten; ``largest`` is the most rows that a batch had. ``canary`` answers
    ``canary_share`` of the requests. ``cost`` tells what its batches take. ``asked_at`` is when rows came last, or it was
    loaded, by the monotonic clock.
    """

    snapshot: Snapshot
    metrics: ModelMetrics
    route: Route = "live"
    queue: FairQueue[_Request] = field(default_factory=lambda: FairQueue[_Request]())
    batcher: asyncio.Task[None] | None = None
    is_filled: asyncio.Event = field(default_factory=asyncio.Event)
    largest: int = 1
    running: Snapshot | None = None
    batch: list[_Request] | None = None
    spare: Snapshot | None = None
    canary: ModelQueue | None = None
    canary_share: float = 0.0
    cost: ComputeCost = field(default_factory=ComputeCost)
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def is_busy(self) -> bool:
        """Whether it, or its canary, is computing for requests."""
        return self.batcher is not None or (self.canary is not None and self.canary.is_busy)

    @property
    def queued_rows(self) -> int:
        """The rows that wait."""
        return self.queue.rows

    @property
    def versions(self) -> tuple[int, int | None]:
        """The live version, and the canary."""
        return self.snapshot.version, self.canary.snapshot.version if self.canary else None

    def chosen(self) -> ModelQueue:
        """The queue that takes the next request: the canary's for its share of the traffic."""
        self.asked_at = time.monotonic()
        return self.canary if self.canary is not None and random.random() < self.canary_share else self

    def swap(self, snapshot: Snapshot) -> None:
        """Answers from another snapshot from now on. A running batch keeps the snapshot that it began with."""
        if snapshot.spec is not self.snapshot.spec:
            # What another network takes is measured in the thread first.
            self.cost = ComputeCost()
        self.spare, self.snapshot = self.snapshot, snapshot
        self.metrics.swapped(snapshot.version)

    def take_spare(self) -> Snapshot | None:
        """The snapshot that is no longer used, so that the next one can be built in its memory."""
        spare, self.spare = self.spare, None
        return spare if spare is not self.running else None


class Engine:
    """Answers for all models of this process, a batch at a time: on one torch thread, or, where that takes next to no time, on
    the event loop itself. A network of a user's own is never computed on the loop: nobody knows what it waits for.
    """

    def __init__(self, prediction_writer: PredictionWriter, metrics: Metrics) -> None:
        self.prediction_writer = prediction_writer
        self.metrics = metrics
        self.models: dict[str, ModelQueue] = {}
        self.is_told: Callable[[str], bool] = lambda model: False
        """Whether sinks are told of what a model answers."""
        self.thread = ComputeThread("torch")

    def model(self, snapshot: Snapshot, route: Route = "live") -> ModelQueue:
        """A new queue on a snapshot."""
        return ModelQueue(snapshot, self.metrics.of(snapshot.spec.name, snapshot.version), route)

    def swap(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the live one of its model. Versions never go back."""
        model = self.models.get(snapshot.uid)
        if model is None:
            self.models[snapshot.uid] = self.model(snapshot)
        elif snapshot.version > model.snapshot.version:
            model.swap(snapshot)

    def drop(self, uid: str) -> None:
        """Drops a model that was deleted, with its counters, unless a new model already has its name."""
        gone = self.models.pop(uid, None)
        names = {model.snapshot.spec.name for model in self.models.values()}
        if gone is not None and gone.snapshot.spec.name not in names:
            self.metrics.forget(gone.snapshot.spec.name)

    def submit(
        self,
        model: ModelQueue,
        rows: Rows,
        caller: Caller | None = None,
        context: str = "",
        key: Key | None = None,
    ) -> asyncio.Future[BatchAnswer]:
        """Queues the rows of one request; one version answers them all. The future raises :class:`Late` after the deadline.

        Args:
            context: that of the request's trace, which is recorded with the answer.
            key: of whoever asks: the answers are its owner's, and requests have their turns by key.

        Raises:
            Busy: too many rows are queued for this model, and no other caller has more of them; from a future: another caller
                has taken its place, that had fewer.
            TooLarge: there are more rows than may ever be queued.
        """
        count, limits = len(rows), model.snapshot.limits
        if count > limits.max_queue:
            raise too_many_rows(count, limits.max_queue)
        asker = key.id if key else ""
        while model.queued_rows + count > limits.max_queue:
            model.metrics.refused.inc()
            full = Busy(f"{model.queued_rows} rows wait for this model already", code="queue_full", retry_after=1)
            last = model.queue.give_way(asker, count)
            if last is None:
                raise full
            if not last.answer.done():
                last.answer.set_exception(full)
        if rows.unknown:
            model.metrics.unknown(rows.unknown)
        loop = asyncio.get_running_loop()
        now = loop.time()
        owner = key.owner if key else ""
        answer: asyncio.Future[BatchAnswer] = loop.create_future()
        request = _Request(rows, count, now, now + limits.deadline, caller, answer, context, owner, asker)
        model.queue.append(request)
        if model.batcher is None:
            model.batcher = loop.create_task(self._batches(model))
        elif model.queued_rows >= limits.max_batch:
            model.is_filled.set()
        return request.answer

    async def _batches(self, model: ModelQueue) -> None:
        try:
            while model.queue:
                await self._wait_for_more(model)
                requests = self._take(model)
                if requests:
                    await self._answer(model, requests)
                if model.queue:
                    # The answers are sent, and others join the next batch, also where the loop computes.
                    await asyncio.sleep(0)
        finally:
            model.batcher = None

    async def _wait_for_more(self, model: ModelQueue) -> None:
        """Waits until the batch is full or its first row has waited for ``max_wait``, where the model sets one."""
        limits = model.snapshot.limits
        if limits.max_wait and model.queued_rows < limits.max_batch:
            model.is_filled.clear()
            try:
                async with asyncio.timeout_at(model.queue.next.begin + limits.max_wait):
                    await model.is_filled.wait()
            except TimeoutError:
                return

    def _take(self, model: ModelQueue) -> list[_Request]:
        """Takes queued requests up to ``max_batch`` rows, but for those whose client has gone or whose deadline has passed."""
        taken: list[_Request] = []
        rows, now = 0, asyncio.get_running_loop().time()
        while model.queue and (not taken or rows + model.queue.next.count <= model.snapshot.limits.max_batch):
            request = model.queue.take()
            if request.answer.done() or (request.caller is not None and request.caller.disconnected):
                request.answer.cancel()
            elif now > request.deadline:
                self._miss(model, request)
            else:
                taken.append(request)
                rows += request.count
        return taken

    async def _answer(self, model: ModelQueue, requests: list[_Request]) -> None:
        loop = asyncio.get_running_loop()
        snapshot = model.running = model.snapshot
        model.batch = requests
        is_recorded = snapshot.limits.record_share > random.random()
        overdue = loop.call_at(requests[0].deadline, self._miss_overdue, model, requests)
        begin, cost = time.perf_counter(), model.cost
        count = sum(request.count for request in requests)
        is_on_loop = snapshot.may_hold_loop and cost.is_small(count)
        try:
            if is_on_loop:
                computed = _compute(snapshot, requests)
            else:
                computed = await self.thread.run(_compute, snapshot, requests)
        except Exception as error:  # Whatever it is: each request must get an answer, and the next batch its turn.
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        finally:
            overdue.cancel()
            model.running = model.batch = None
        rows, outputs, traces, seconds = computed
        cost.add(count, seconds, is_on_loop)
        reach("app.computed")
        model.metrics.computed(len(outputs), time.perf_counter() - begin)
        model.largest = max(model.largest, len(outputs))
        entry = self.prediction_writer.next_entry() if is_recorded else None
        prefix = self.prediction_writer.prefix(snapshot.uid, entry) if entry else None
        batch = Batch(snapshot, rows, outputs, traces, prefix)
        first, contexts, tokens, keys = 0, dict[int, str](), dict[int, bytes](), dict[int, str]()
        stored, owners, owner = dict[int, str](), dict[int, str](), ""
        random_bytes = os.urandom(TOKEN_BYTES * len(requests))
        for index, request in enumerate(requests):
            token = tokens[first] = random_bytes[index * TOKEN_BYTES : (index + 1) * TOKEN_BYTES]
            if not request.answer.done():
                request.answer.set_result(BatchAnswer(batch, first, request.count, token.hex()))
            if request.context:
                contexts |= dict.fromkeys(range(first, first + request.count), request.context)
            if request.rows.keys is not None:
                own = {row: key for row, key in enumerate(request.rows.keys, first) if key is not None}
                keys |= own
                stored |= {row: stored_name(key, request.owner) for row, key in own.items()}
            if request.owner != owner:
                owner = owners[first] = request.owner
            first += request.count
        if entry is not None:
            recorded = _recorded(batch, model.route, contexts, tokens, stored, owners)
            if self.is_told(snapshot.spec.name):
                head, texts = message_head(snapshot), message_texts(batch, tokens, keys)
                recorded = msgspec.structs.replace(recorded, head=head, texts=texts)
            self.prediction_writer.record(snapshot.uid, entry, recorded)

    def _miss_overdue(self, model: ModelQueue, running: list[_Request]) -> None:
        """Fails the requests that are late while a batch runs, and runs again at the next deadline."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = [request for request in (*running, *model.queue) if not request.answer.done()]
        for request in waiting:
            if now >= request.deadline:
                self._miss(model, request)
        if model.batch is running:
            later = [request.deadline for request in waiting if now < request.deadline]
            loop.call_at(min(later, default=now + model.snapshot.limits.deadline), self._miss_overdue, model, running)

    def _miss(self, model: ModelQueue, request: _Request) -> None:
        model.metrics.late.inc()
        seconds = request.deadline - request.begin
        request.answer.set_exception(Late(f"not answered within {seconds:g} s", code="late"))

    def close(self) -> None:
        self.thread.close()


def too_many_rows(count: int, most: int) -> TooLarge:
    """The refusal of a request with more rows than may ever be queued."""
    return TooLarge(f"inputs: {count} rows where {most} is the most", field="inputs", value=count)


def _compute(snapshot: Snapshot, requests: list[_Request]) -> tuple[Rows, NDArray[np.float32], bytes, float]:
    """The rows of all requests, their answers with the traces, and how many seconds it took."""
    begin = time.perf_counter()
    rows = joined_for(snapshot.spec, [request.rows for request in requests])
    with network_code(f"the network of version {snapshot.version}"):
        outputs, traces = snapshot.compute(rows)
    return rows, outputs, traces, time.perf_counter() - begin


def _recorded(
    batch: Batch,
    route: Route,
    contexts: dict[int, str],
    tokens: dict[int, bytes],
    keys: dict[int, str],
    owners: dict[int, str],
) -> PredictionBatch:
    labels = [batch.label(row) for row in range(len(batch.outputs))]
    outputs = batch.outputs.tobytes()
    answered = (len(labels), batch.rows.recorded(), outputs, labels, batch.traces, contexts, tokens, keys)
    return PredictionBatch(batch.snapshot.version, route, *answered, owners=owners)
