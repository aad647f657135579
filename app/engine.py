"""Computes predictions: whatever is queued when a model becomes free is one batch, on one snapshot."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from driftline import inputs
from driftline.errors import Busy, Late
from driftline.inputs import Rows
from driftline.networks.build import Served
from driftline.records import Route
from driftline.spec import ModelSpec
from driftline.store.predictions import EntryId, PredictionBatch, Recorder


@dataclass(frozen=True)
class Snapshot:
    """One version, ready to answer. Immutable: a swap replaces it."""

    uid: str
    version: int
    offset: int
    spec: ModelSpec
    classes: Sequence[int | str]
    module: Served
    device: torch.device

    @cached_property
    def classes_json(self) -> bytes:
        """The classes as they stand in every answer."""
        return msgspec.json.encode(list(self.classes))

    @cached_property
    def predict_decoder(self) -> msgspec.json.Decoder[Any]:
        """Parses the body of a predict call."""
        fields: list[Any] = [("inputs", inputs.json_type(self.spec, batched=True))]
        return msgspec.json.Decoder(msgspec.defstruct("PredictBody", fields, forbid_unknown_fields=True))

    def compute(self, rows: Rows) -> NDArray[np.float32]:
        """Probabilities ``[rows, classes]``, or values ``[rows, 1]`` of a regression."""
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self.device) for name, array in rows.items()}
            outputs: NDArray[np.float32] = self.module.predict(tensors).cpu().numpy()
        return outputs

    def labels(self, outputs: NDArray[np.float32]) -> list[int | str | None]:
        """The class of each row; None for a regression, and while there is no class."""
        if self.spec.task == "regression" or not self.classes:
            return [None] * len(outputs)
        return [self.classes[index] for index in outputs.argmax(axis=1).tolist()]


@dataclass(frozen=True)
class Answer:
    """One request's rows of a computed batch. Their ids are ``id_prefix`` and the row, from ``first_row`` on."""

    snapshot: Snapshot
    outputs: NDArray[np.float32]
    labels: list[int | str | None]
    id_prefix: str | None
    first_row: int


@dataclass(eq=False)
class _Request:
    rows: Rows
    count: int
    deadline: float
    answer: asyncio.Future[Answer]


@dataclass
class Counters:
    """What one model has answered in this process."""

    rows: int = 0
    batches: int = 0
    refused: int = 0
    late: int = 0
    seconds: float = 0.0
    swaps: int = 0


@dataclass
class Model:
    """A model in this process: its live snapshot, and what waits for it."""

    snapshot: Snapshot
    counters: Counters = field(default_factory=Counters)
    queue: deque[_Request] = field(default_factory=deque)
    queued_rows: int = 0
    batcher: asyncio.Task[None] | None = None


class Engine:
    """Answers for all models of this process, with one torch thread that they use in turn."""

    def __init__(self, recorder: Recorder, *, max_batch: int, max_queue: int, timeout: float, record: bool) -> None:
        self.recorder = recorder
        self.max_batch = max_batch
        self.max_queue = max_queue
        self.timeout = timeout
        self.is_recording = record
        self.models: dict[str, Model] = {}
        self.thread = ThreadPoolExecutor(1, "torch")

    def swap(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the live one. Batches that have begun end on the one that they took."""
        model = self.models.get(snapshot.uid)
        if model is None:
            self.models[snapshot.uid] = Model(snapshot)
        elif snapshot.version > model.snapshot.version:
            model.snapshot = snapshot
            model.counters.swaps += 1

    def drop(self, uid: str) -> None:
        """Forgets a model that is gone."""
        self.models.pop(uid, None)

    async def predict(self, model: Model, rows: Rows) -> Answer:
        """Answers the rows of one request, all from one version.

        Raises:
            Busy: too many rows wait for this model.
            Late: the answer was not there in time.
        """
        count = len(next(iter(rows.values())))
        if model.queued_rows + count > self.max_queue:
            model.counters.refused += 1
            raise Busy(f"{model.queued_rows} rows wait for this model already", code="queue_full", retry_after=1)
        loop = asyncio.get_running_loop()
        request = _Request(rows, count, loop.time() + self.timeout, loop.create_future())
        model.queue.append(request)
        model.queued_rows += count
        if model.batcher is None:
            model.batcher = asyncio.create_task(self._batches(model))
        return await request.answer

    async def _batches(self, model: Model) -> None:
        try:
            while model.queue:
                requests = self._take(model)
                if requests:
                    await self._answer(model, requests)
        finally:
            model.batcher = None

    def _take(self, model: Model) -> list[_Request]:
        """What is queued, up to the largest batch; without those whose client went away or whose time is over."""
        taken: list[_Request] = []
        rows, now = 0, asyncio.get_running_loop().time()
        while model.queue and (not taken or rows + model.queue[0].count <= self.max_batch):
            request = model.queue.popleft()
            model.queued_rows -= request.count
            if request.answer.cancelled():
                continue
            if now > request.deadline:
                model.counters.late += 1
                request.answer.set_exception(Late(f"not answered within {self.timeout:g} s", code="late"))
                continue
            taken.append(request)
            rows += request.count
        return taken

    async def _answer(self, model: Model, requests: list[_Request]) -> None:
        snapshot = model.snapshot
        rows = requests[0].rows if len(requests) == 1 else _joined([request.rows for request in requests])
        begin = time.perf_counter()
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self.thread, snapshot.compute, rows)
        except Exception as error:  # A user's own network may raise anything; its requests get the reason.
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        model.counters.seconds += time.perf_counter() - begin
        model.counters.batches += 1
        model.counters.rows += len(outputs)
        labels = snapshot.labels(outputs)
        entry = self.recorder.next_entry() if self.is_recording else None
        prefix = self.recorder.prefix(snapshot.uid, entry) if entry else None
        first = 0
        for request in requests:
            part = slice(first, first + request.count)
            if not request.answer.done():
                request.answer.set_result(Answer(snapshot, outputs[part], labels[part], prefix, first))
            first += request.count
        if entry is not None:
            self._record(snapshot, entry, rows, outputs, labels)

    def _record(
        self,
        snapshot: Snapshot,
        entry: EntryId,
        rows: Rows,
        outputs: NDArray[np.float32],
        labels: list[int | str | None],
        route: Route = "live",
    ) -> None:
        data = {name: array.tobytes() for name, array in rows.items()}
        batch = PredictionBatch(snapshot.version, route, len(outputs), data, outputs.tobytes(), labels)
        self.recorder.record(snapshot.uid, entry, batch)

    def close(self) -> None:
        self.thread.shutdown()


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
