"""History that is learned as it was lived: each row is answered when it comes, and its label waits until it was known."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from driftline.learning.stateful import State, Stateful
from driftline.networks.model import Model
from driftline.networks.served_model import evaluating
from driftline.records import Answer, Item

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[int, int, Item]])


class LateLabels(Stateful):
    """Items whose labels are not known yet, each with the log number at which it will be, and its own; the next one first."""

    STATE = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Item]] = []

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, n: int, item: Item) -> None:
        """Keeps an item until ``delay`` more records have come."""
        heapq.heappush(self.waiting, (n + item.delay, n, item))

    def revise(self, n: int, item: Item) -> bool:
        """Gives the item with log number ``n`` another label, if it waits; what was answered to it stays."""
        for place, (due, number, waiting) in enumerate(self.waiting):
            if number == n:
                label = {"label": item.label, "weight": item.weight}
                self.waiting[place] = (due, n, msgspec.structs.replace(waiting, **label))
                return True
        return False

    def take(self, n: int) -> list[tuple[int, Item]]:
        """The items whose labels are known when record ``n`` has come, with their log numbers."""
        found = []
        while self.waiting and self.waiting[0][0] <= n:
            _, number, item = heapq.heappop(self.waiting)
            found.append((number, item))
        return found

    def follow(
        self, come: Sequence[tuple[int, Item]], answered: Mapping[int, Item]
    ) -> tuple[list[tuple[int, Item]], list[tuple[int, Item]]]:
        """Takes in records that have come, those of history ``answered``; gives those whose labels are known by them, in the
        order in which they became it, and which of these had waited. One of weight 0 lets time pass, and no more.
        """
        known: list[tuple[int, Item]] = []
        late: list[tuple[int, Item]] = []
        for n, item in come:
            if n in answered and item.delay:
                self.add(n, answered[n])
            elif item.weight > 0:
                known.append((n, answered.get(n, item)))
            due = self.take(n)
            known += due
            late += due
        return known, late

    def packed(self, name: str) -> Tensor:
        data = _encoder.encode(self.waiting)
        return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))

    def restored(self, name: str, state: State) -> Any:
        return _decoder.decode(state.tensors[name].numpy().tobytes())


def is_history(item: Item) -> bool:
    """Whether an item is of a past that this model did not serve."""
    return item.route == "import" and item.answer is None


def lived(items: Sequence[Item], inputs: dict[str, Tensor], model: Model, version: int) -> list[Item]:
    """Items of the past as if ``model``, which is served as ``version``, had answered them: from then on they are live ones.

    ``inputs`` ``[rows, *shape]`` by name are their rows.
    """
    if not items:
        return []
    with torch.no_grad():
        outputs, trace = evaluating(model.module).answer(inputs)
    traces = [b""] * len(items) if trace is None else [row.tobytes() for row in trace.numpy()]
    labels: list[int | str | None] = [None] * len(items)
    if model.classes and model.spec.kind.has_one_class:
        labels = [model.classes[index] for index in model.module.decided(outputs).tolist()]
    return [
        msgspec.structs.replace(item, route="live", answer=Answer(version, label, row.tobytes(), data))
        for item, label, row, data in zip(items, labels, outputs.numpy(), traces, strict=True)
    ]
