"""The worker process: acquires and renews the leases of models, and runs a trainer for each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from driftline.errors import ConfigurationError, CorruptData, DriftlineError, Fenced, NotFound, Unavailable
from driftline.networks.kernels.all_kernels import warm
from driftline.processes.plan import require_redis
from driftline.settings import Settings
from driftline.sources.registry import parse_sources
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.format import check_files, check_store, mark
from driftline.store.lease import Lease
from driftline.store.watermarks import RESTORE
from driftline.support.tasks import Troubles, end, supervised
from driftline.support.tracing import Tracing

from .compute import ComputeMeter, ModelCompute
from .durations import Durations
from .heartbeat import MAX_BEAT_SECONDS, Heart
from .model_store import ModelStore
from .sources.keeper import SourceKeeper
from .sweeper import Sweeper
from .trainer import Trainer
from .turns import TurnFile

logger = logging.getLogger("driftline.worker")


@dataclass(frozen=True)
class _Owned:
    lease: Lease
    trainer: Trainer
    task: asyncio.Task[None]


class Worker:
    """One worker process: an IO loop, and one compute thread that its models use in turn.

    Args:
        retry_seconds: how long until a model whose trainer has failed is tried again.
        store_seconds: how long the store may take to answer at the start.
        tracing: makes the spans of steps; None: there are no traces.
    """

    turns: TurnFile

    def __init__(
        self,
        settings: Settings,
        *,
        retry_seconds: float = 10.0,
        store_seconds: float = 60.0,
        tracing: Tracing | None = None,
    ) -> None:
        self.tracing = tracing
        self.settings = settings
        self.retry_seconds = retry_seconds
        self.store_seconds = store_seconds
        sources = parse_sources(settings.sources)
        self.connection = RedisConnection(
            require_redis(settings), settings.prefix, connections=settings.redis_connections
        )
        self.catalog = Catalog(self.connection)
        self.artifacts = Artifacts(settings.data_dir / "artifacts")
        self.thread = ThreadPoolExecutor(1, "torch")
        self.owner = settings.worker_id or secrets.token_hex(6)
        self.meter = ComputeMeter()
        self.durations = Durations()
        self.troubles = Troubles()
        self.sources = SourceKeeper(self.connection, *sources, self.troubles, settings.poll_seconds)
        beat_seconds = min(MAX_BEAT_SECONDS, settings.hung_seconds / 5)
        self.heart = Heart(
            self.connection, self.owner, self.meter, self.durations, self.sources.lags, beat_seconds=beat_seconds
        )
        self.owned: dict[str, _Owned] = {}
        self._not_before: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._look = asyncio.Event()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Asks :meth:`run` to end: every trainer finishes its step, writes a checkpoint, and releases its lease."""
        self._stop.set()

    async def run(self) -> None:
        """Owns and learns models until it is stopped.

        Its background tasks are supervised: one that fails is restarted, and each model gets an alarm. Two errors end the
        process, because only a new start can help: a :class:`ConfigurationError`, and a store that does not answer at the
        start.

        Raises:
            ConfigurationError: a setting is wrong, or the data is of a newer format.
            Unavailable: the store does not answer at the start.
        """
        await self._begin()
        helpers = [asyncio.create_task(task) for task in self._helpers()]
        owning, stopped = helpers[0], asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([*helpers, stopped], return_when=asyncio.FIRST_COMPLETED)
            for helper in helpers:
                if helper.done():
                    helper.result()
        finally:
            await end(owning)
            for owned in self.owned.values():
                owned.trainer.stop()
            await asyncio.gather(*(owned.task for owned in self.owned.values()), return_exceptions=True)
            await end(*helpers, stopped)
            self.thread.shutdown()
            self.turns.close()
            if self._stop.is_set():
                await self.heart.leave()
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.close)
            await self.connection.close()

    async def _begin(self) -> None:
        check_files(self.settings.data_dir)
        await self.connection.until_available(self.store_seconds)
        await check_store(self.connection, self.settings.data_dir)
        await mark(self.connection, self.settings.data_dir)
        self.turns = TurnFile(self.settings.data_dir / "turns", self.owner)
        # Not in the midst of a step, and not before the store is there.
        await asyncio.get_running_loop().run_in_executor(self.thread, warm)
        # Before any model's code runs: a worker that this ends is to be counted as well.
        await self.heart.beat()
        logger.info("worker %s learns", self.owner)

    def _helpers(self) -> Iterator[Coroutine[None, None, None]]:
        """The background tasks; the first one acquires models."""
        tasks = {
            "taking models": self._own_models,
            "listening for hints": self._listen,
            "polling the logs": self._poll,
            "renewing leases": self._renew,
            "sweeping": Sweeper(self.connection, self.artifacts, self.turns, self.settings).run,
            "watching the store": self.connection.watch,
            "heartbeat": self.heart.run,
            "sources": self.sources.run,
        }
        # Renewing must be restarted before a lease runs out.
        last_delay = self.settings.lease_seconds / 3
        for name, task in tasks.items():
            yield supervised(
                name,
                task,
                self.troubles,
                fatal=(ConfigurationError,),
                on_failure=partial(self._tell_models, name),
                last_delay=last_delay,
            )

    async def _tell_models(self, task: str, error: Exception) -> None:
        message = f"the worker's task {task!r} failed and was restarted: {type(error).__name__}: {error}"
        for owned in list(self.owned.values()):
            await owned.trainer.store.alarm("worker_task_failed", message)

    async def _listen(self) -> None:
        async for uid in self.connection.hints():
            if uid is not None and uid not in self.owned:
                self._look.set()
            for owned in self.owned.values() if uid is None else filter(None, [self.owned.get(uid)]):
                owned.trainer.wake.set()

    async def _poll(self) -> None:
        """Makes up for lost hints by polling the logs of all models that it owns."""
        while True:
            await asyncio.sleep(self._poll_seconds())
            with contextlib.suppress(Unavailable):
                for uid, (newest, pending) in (await self.catalog.log_ends(list(self.owned))).items():
                    owned = self.owned.get(uid)
                    if owned is not None and owned.trainer.has_missed(newest, pending):
                        owned.trainer.wake.set()

    def _poll_seconds(self) -> float:
        return self.settings.poll_seconds * random.uniform(0.8, 1.2)

    async def _own_models(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                names = await self.catalog.names()
                await self.sources.check(names)
                for name, uid in names.items():
                    if uid not in self.owned and time.monotonic() >= self._not_before.get(uid, 0.0):
                        await self._try_to_own(name, uid)
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds()):
                    await self._look.wait()

    async def _try_to_own(self, name: str, uid: str) -> None:
        lease = Lease(self.connection, uid, self.owner, self.settings.lease_seconds)
        if not await lease.acquire():
            return
        store = ModelStore(self.connection, self.artifacts, uid, self.settings)
        if await self._has_set_aside(name, store, lease):
            await lease.release()
            return
        compute = ModelCompute(self.thread, uid, self.turns, self.meter)
        trainer = Trainer(store, lease, compute, durations=self.durations, tracing=self.tracing)
        self.owned[uid] = _Owned(lease, trainer, asyncio.create_task(self._train(name, uid, trainer)))

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

    async def _train(self, name: str, uid: str, trainer: Trainer) -> None:
        self.sources.add(name, trainer.store)
        try:
            await trainer.run()
        except Fenced:
            logger.info("model %s has another owner now", uid)
        except (CorruptData, NotFound) as error:
            if await self._is_deleted(uid):
                logger.info("model %s has been deleted", uid)
            else:
                await self._give_up(uid, trainer, error)
        except Exception as error:  # Whatever it is: the other models must go on learning.
            await self._give_up(uid, trainer, error)
        finally:
            try:
                await self.sources.remove(uid)
                with contextlib.suppress(Unavailable):
                    await trainer.committer.lease.release()
            finally:
                self.owned.pop(uid, None)

    async def _is_deleted(self, uid: str) -> bool:
        """Whether a model was deleted; one that the store has lost was not."""
        try:
            return not await self.catalog.is_named(uid)
        except Unavailable:
            return False

    async def _give_up(self, uid: str, trainer: Trainer, error: Exception) -> None:
        self._not_before[uid] = time.monotonic() + self.retry_seconds
        kind, why = "trainer_failed", f"{type(error).__name__}: {error}"
        if isinstance(error, NotFound):
            kind, why = "store_lost", f"the store has lost the head of the model; {RESTORE}"
        if self._reasons.get(uid) != why:
            self._reasons[uid] = why
            is_ours = isinstance(error, DriftlineError)
            logger.error("model %s cannot be learned: %s", uid, why, exc_info=None if is_ours else error)
        with contextlib.suppress(Unavailable):
            await trainer.store.alarm(kind, why)

    async def _renew(self) -> None:
        """Renews the leases on the IO loop, however long the compute thread takes."""
        while True:
            await asyncio.sleep(self.settings.lease_seconds / 3)
            await asyncio.gather(*(self._renew_one(uid, owned) for uid, owned in self.owned.items()))

    async def _renew_one(self, uid: str, owned: _Owned) -> None:
        with contextlib.suppress(Unavailable):
            if not await owned.lease.renew():
                logger.info("the lease of model %s is lost", uid)
                owned.task.cancel()
