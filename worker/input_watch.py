"""Whether what is predicted has other inputs than before: of labelled rows and of those that never get a label.

It is no part of a step, which depends on the log alone: what it knows is in memory, and begins again, from what is recorded of
predictions, with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftline.errors import Unavailable
from driftline.learning.monitoring.predicted_inputs import KIND, PredictedInputs
from driftline.learning.monitoring.two_window_test import DriftReport
from driftline.spec import ModelSpec, parse
from driftline.store.connection import RedisConnection
from driftline.store.predicted_rows import PredictedRow, PredictedRows
from driftline.store.prediction_ids import EntryId
from driftline.support.formatting import moment_text

from .model_store import ModelStore

MIN_REST = 10.0
"""It rests for so many times as long as a look has taken, at least."""


@dataclass
class _Watched:
    """What is known of a model: its rows, up to which entry each replica's predictions were read, and whether an alarm, also of
    a former owner, may stand."""

    spec: dict[str, Any]
    inputs: PredictedInputs
    places: dict[str, EntryId] = field(default_factory=dict)
    may_stand: bool = True


class InputWatch:
    """Watches the inputs of what is predicted of the models that a worker owns.

    One command a look finds the models that are asked; of these alone it reads, and of each at most some rows.

    Args:
        owned: the models that are owned, by uid.
        look_seconds: how often it looks.
    """

    def __init__(
        self, connection: RedisConnection, owned: Callable[[], Mapping[str, ModelStore]], look_seconds: float
    ) -> None:
        self.connection = connection
        self.owned = owned
        self.look_seconds = look_seconds
        self.rows = PredictedRows(connection)
        self._watched: dict[str, _Watched] = {}
        self._looked = 0.0

    async def run(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            begin = time.monotonic()
            with contextlib.suppress(Unavailable):
                await self.look()
            await asyncio.sleep(max(self.look_seconds, MIN_REST * (time.monotonic() - begin)))

    async def look(self) -> None:
        """Reads what was predicted since the last look, of the models that are owned."""
        owned, begin = self.owned(), self.connection.now()
        self._watched = {uid: each for uid, each in self._watched.items() if uid in owned}
        for uid, nonces in (await self.rows.streams(self._looked)).items():
            if uid in owned:
                await self._see(owned[uid], nonces)
        self._looked = begin

    async def _see(self, store: ModelStore, nonces: list[str]) -> None:
        spec = await store.spec()
        if not spec:  # The model was deleted.
            return
        watched = self._watch_of(store.uid, spec)
        if not watched.inputs.is_watching:
            return
        rows = list[PredictedRow]()
        for nonce in nonces:
            found, watched.places[nonce] = await self.rows.read(store.uid, nonce, watched.places.get(nonce))
            rows += found
        if not rows:
            return
        rows.sort(key=lambda row: row.ms)
        reports = await asyncio.to_thread(
            watched.inputs.see_items, [row.inputs for row in rows], [row.ms for row in rows]
        )
        await store.count_watched(len(rows))
        await self._tell(store, watched, reports)

    def _watch_of(self, uid: str, spec: dict[str, Any]) -> _Watched:
        known = self._watched.get(uid)
        if known is None:
            known = self._watched[uid] = _Watched(spec, PredictedInputs(parse(ModelSpec, spec)))
        elif known.spec != spec:
            known.spec = spec
            known.inputs.follow(parse(ModelSpec, spec))
        return known

    async def _tell(self, store: ModelStore, watched: _Watched, reports: list[DriftReport]) -> None:
        for report in reports[-1:]:
            newest = await store.alarms.newest(KIND)
            # What is read again from its beginning, after a start, has been told of by a former owner.
            if newest is None or report.since > 1000 * newest["time"]:
                since = f"since {moment_text(report.since / 1000)}; most in {report.furthest}"
                message = f"the inputs of what is predicted are distributed otherwise {since}"
                await store.alarms.raise_alarm(KIND, message, features=report.features)
            watched.may_stand = True
        if watched.may_stand and not reports and watched.inputs.is_settled:
            await store.alarms.end(KIND)
            watched.may_stand = False
