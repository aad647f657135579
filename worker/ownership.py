"""Which models this worker owns: it takes its share of them, learns them, and gives up what is another's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from driftline.errors import CorruptData, DriftlineError, Fenced, NotFound, Unavailable
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.lease import Lease
from driftline.store.watermarks import RESTORE
from driftline.store.workers import Heartbeat, Workers

from .compute import ComputeMeter
from .model_store import ModelStore
from .owned_model import OwnedModel
from .peers import Peers
from .placement import Costs, Placement
from .sources.keeper import SourceKeeper
from .trainer import Trainer
from .turns import TurnFile

logger = logging.getLogger("driftline.worker")

MAX_TAKINGS = 16
"""So many models are taken at a time: what else asks the store, the heartbeat above all, finds a connection meanwhile."""

MakeTrainer = Callable[[ModelStore, Lease], Trainer]


@dataclass(frozen=True)
class Owned:
    """A model that is owned, and the task that learns it."""

    model: OwnedModel
    task: asyncio.Task[None]


class Ownership:
    """The models of the worker ``owner``.

    Args:
        make_trainer: makes the trainer of a model that has work.
        sources: reads the streams of the models.
        turns: where it stands for which model a dead worker computed.
        meter: how long was computed for each model.
        retry_seconds: until a model whose trainer has failed is tried again.
        refusal_seconds: for how long another worker is to have such a model, if there is one.
    """

    turns: TurnFile

    def __init__(
        self,
        connection: RedisConnection,
        artifacts: Artifacts,
        settings: Settings,
        owner: str,
        make_trainer: MakeTrainer,
        sources: SourceKeeper,
        meter: ComputeMeter,
        *,
        retry_seconds: float = 10.0,
        refusal_seconds: float = 600.0,
    ) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.artifacts = artifacts
        self.settings = settings
        self.owner = owner
        self.make_trainer = make_trainer
        self.sources = sources
        self.meter = meter
        self.retry_seconds = retry_seconds
        self.refusal_seconds = refusal_seconds
        self.costs = Costs()
        self.owned: dict[str, Owned] = {}
        self.excuse: Callable[[], str] = lambda: "was silent"
        """Says what has kept it from renewing its leases."""
        self._peers = Peers(Workers(connection), owner, longest_look=3 * settings.poll_seconds + 1)
        self._placement = Placement()
        self._not_before: dict[str, float] = {}
        self._refused: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._lost: list[tuple[float, ModelStore]] = []
        self._look = asyncio.Event()
        self._takings = asyncio.Semaphore(MAX_TAKINGS)

    async def run(self) -> None:
        """Takes models and gives up models until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):
                await self._take_share()
                await self._withdraw_alarms()
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_seconds()):
                    await self._look.wait()

    async def _take_share(self) -> None:
        peers = await self._peers.alive()
        names = await self.catalog.newest_names()
        await self.sources.check(names)
        staying = {identifier: each for identifier, each in peers.items() if not each.is_leaving}
        # What models cost is still told by a worker that leaves, so that its leaving moves none but its own.
        asked = list(names.values()), [self.owner, *staying], self._costs(peers), self._refusals(staying)
        placed = await asyncio.to_thread(self._placement.of, *asked)
        for uid, owned in self.owned.items():
            if placed.get(uid, self.owner) != self.owner and not owned.model.is_stopping:
                logger.info("model %s is given to worker %s", uid, placed[uid])
                owned.model.stop()
        free = {name: uid for name, uid in names.items() if placed[uid] == self.owner and self._may_take(uid)}
        holders = await self.catalog.holders(list(free.values())) if free else {}
        if not {None, self.owner, *peers}.issuperset(holders.values()):
            # Each tells of itself before it takes its first: whoever has begun since the look above is seen by now.
            peers = await self._peers.alive()
        takings = (
            self._try_to_own(name, uid, holders[uid], peers)
            for name, uid in free.items()
            if holders[uid] is None or holders[uid] == self.owner or holders[uid] not in peers
        )
        # All of them end before the next look: two takings of one model would both succeed.
        for failure in await asyncio.gather(*takings, return_exceptions=True):
            if failure is not None:
                raise failure

    def _may_take(self, uid: str) -> bool:
        return uid not in self.owned and time.monotonic() >= self._not_before.get(uid, 0.0)

    def _costs(self, peers: Mapping[str, Heartbeat]) -> dict[str, float]:
        """What each busy model costs, as its owner tells."""
        told = {uid: cost for peer in peers.values() for uid, cost in peer.costs.items()}
        return told | self.costs.current

    def _refusals(self, peers: Mapping[str, Heartbeat]) -> dict[str, list[str]]:
        return {identifier: peer.refused for identifier, peer in peers.items()} | {self.owner: self.refused()}

    def refused(self) -> list[str]:
        """The models that could not be learned here of late."""
        now = time.monotonic()
        self._refused = {uid: until for uid, until in self._refused.items() if now < until}
        return sorted(self._refused)

    async def _try_to_own(self, name: str, uid: str, holder: str | None, peers: Mapping[str, Heartbeat]) -> None:
        async with self._takings:
            lease = Lease(self.connection, uid, self.owner)
            if not await lease.acquire(dead=holder):
                return
            store = ModelStore(self.connection, self.artifacts, uid, self.settings)
            if await self._has_set_aside(name, store, lease):
                await lease.release()
                return
        model = OwnedModel(name, store, lease, self.make_trainer, self.settings.idle_seconds)
        self.costs.begin(uid, self._costs(peers).get(uid, 0.0), self.meter.seconds.get(uid, 0.0))
        self.owned[uid] = Owned(model, asyncio.create_task(self._learn(uid, model)))

    async def _has_set_aside(self, name: str, store: ModelStore, lease: Lease) -> bool:
        """Counts the crash of the former owner, if it died in this model's turn; true if the model is set aside for it.

        The alarm is raised before the count is written: after a crash in between the model is tried once more, and not set
        aside without an alarm. A committed step resets the count, and so does a command that may repair the model.
        """
        if lease.former is None or not self.turns.died_in(store.uid, lease.former):
            return False
        crashes = lease.crashes + 1
        is_last = crashes >= lease.max_crashes
        what = f"{crashes} worker processes in a row have ended while they computed for it"
        logger.error("model %s: %s", name, what)
        if is_last:
            await store.alarm(
                "trainer_failed",
                f"{what} (its code ended the process, memory ran out, or somebody killed it): the model is set aside, and "
                f"other models are learned; fix its factory or its settings, then `driftline resume {name}`",
            )
        await store.count_crashes(crashes)
        return is_last

    async def _learn(self, uid: str, model: OwnedModel) -> None:
        self.sources.add(model.name, model.store)
        try:
            await model.run()
        except Fenced:
            logger.info("model %s has another owner now", uid)
            await self._tell_lost(model)
        except (CorruptData, NotFound) as error:
            if await self._is_deleted(uid):
                logger.info("model %s has been deleted", uid)
            else:
                await self._give_up(model, error)
        except Exception as error:  # Whatever it is: the other models must go on learning.
            await self._give_up(model, error)
        finally:
            self.catalog.heard_of(None)
            try:
                await self.sources.remove(uid)
                with contextlib.suppress(Unavailable):
                    await model.lease.release()
                    await self.catalog.hint(uid)
            finally:
                self.owned.pop(uid, None)
                self.costs.end(uid)

    async def _is_deleted(self, uid: str) -> bool:
        """Whether a model was deleted; one that the store has lost was not."""
        try:
            return not await self.catalog.is_named(uid)
        except Unavailable:
            return False

    async def _give_up(self, model: OwnedModel, error: Exception) -> None:
        uid, now = model.store.uid, time.monotonic()
        self._not_before[uid], self._refused[uid] = now + self.retry_seconds, now + self.refusal_seconds
        kind, why = "trainer_failed", f"{type(error).__name__}: {error}"
        if isinstance(error, NotFound):
            kind, why = "store_lost", f"the store has lost the head of the model; {RESTORE}"
        if self._reasons.get(uid) != why:
            self._reasons[uid] = why
            is_ours = isinstance(error, DriftlineError)
            logger.error("model %s cannot be learned: %s", uid, why, exc_info=None if is_ours else error)
        with contextlib.suppress(Unavailable):
            await model.store.alarm(kind, why)

    def heard_of(self, uid: str | None) -> None:
        """A model has changed; None: any may have."""
        self.catalog.heard_of(uid)
        self.sources.heard_of(uid)
        if uid is None or (self._placement.last(uid) in (self.owner, None) and self._may_take(uid)):
            self._look.set()
        for owned in self.owned.values() if uid is None else filter(None, [self.owned.get(uid)]):
            owned.model.wake()

    async def lose(self, uid: str) -> None:
        """Ends a model that another worker has taken over."""
        owned = self.owned[uid]
        if not owned.task.cancelling():
            logger.info("the lease of model %s is lost", uid)
            owned.task.cancel()
            await self._tell_lost(owned.model)

    async def _tell_lost(self, model: OwnedModel) -> None:
        message = f"another worker has taken the model from worker {self.owner}, which {self.excuse()}"
        with contextlib.suppress(Unavailable):
            await model.store.alarm("lease_lost", message)
            self._lost.append((time.monotonic() + self.settings.lease_seconds, model.store))

    async def _withdraw_alarms(self) -> None:
        """Ends the alarms about leases that were lost: this worker has been there again for as long as a lease lasts."""
        while self._lost and self._lost[0][0] <= time.monotonic():
            await self._lost[0][1].withdraw("lease_lost")
            del self._lost[0]

    async def release_all(self) -> None:
        """Ends all models in order: each finishes its step, writes a checkpoint, and releases its lease."""
        for owned in self.owned.values():
            owned.model.stop()
        await asyncio.gather(*(owned.task for owned in list(self.owned.values())), return_exceptions=True)
        with contextlib.suppress(Unavailable):
            for _, store in self._lost:
                await store.withdraw("lease_lost")

    async def tell(self, kind: str, message: str) -> None:
        """Raises an alarm at each model."""
        for owned in list(self.owned.values()):
            await owned.model.store.alarm(kind, message)

    def poll_seconds(self) -> float:
        """Until the next look, in seconds."""
        return self.settings.poll_seconds * random.uniform(0.8, 1.2)
