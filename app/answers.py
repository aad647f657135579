"""The answers of one computed batch, and each request's rows of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson
from numpy.typing import NDArray

from driftline.networks.running_prior import decisions
from driftline.rows.rows import Rows
from driftline.spec.label_set import THRESHOLD

from .snapshot import Snapshot


@dataclass(frozen=True)
class Batch:
    """Rows that were computed together. Their ids begin with ``prefix``; None: they are not recorded."""

    snapshot: Snapshot
    rows: Rows
    outputs: NDArray[np.float32]
    traces: bytes
    prefix: str | None

    @cached_property
    def indices(self) -> list[int]:
        """The index of each row's class; -1 where it is not of one class, and while no class is known."""
        if not self.snapshot.spec.kind.has_one_class or not self.snapshot.classes:
            return [-1] * len(self.outputs)
        found: list[int] = decisions(self.outputs, self.snapshot.decision_factors).tolist()
        return found

    @cached_property
    def is_of_class(self) -> NDArray[np.bool_]:
        """Of a multi-label model, the classes that each row was given ``[rows, classes]``."""
        return self.outputs >= THRESHOLD

    @cached_property
    def texts(self) -> list[bytes]:
        """Each row's outputs as JSON numbers with commas between them."""
        outputs = np.ascontiguousarray(self.outputs)
        return orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")

    def label(self, row: int) -> int | str | None:
        """The class that a row was given."""
        index = self.indices[row]
        return self.snapshot.classes[index] if index >= 0 else None


@dataclass(frozen=True)
class BatchAnswer:
    """One request's rows of a batch: ``count`` of them from ``first`` on. ``token`` is a part of their ids."""

    batch: Batch
    first: int
    count: int
    token: str

    @property
    def places(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def outputs(self) -> NDArray[np.float32]:
        """The outputs of its rows."""
        return self.batch.outputs[self.first : self.first + self.count]

    @property
    def ids(self) -> list[str | None]:
        """The prediction id of each row."""
        if self.batch.prefix is None:
            return [None] * self.count
        prefix = f"{self.batch.prefix}{self.token}-"
        return [f"{prefix}{row:x}" for row in self.places]
