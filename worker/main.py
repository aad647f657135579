"""Which models are mine: takes leases, renews them, and runs a trainer for each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from driftline.errors import CorruptData, Fenced, NotFound, Unavailable
from driftline.processes.plan import require_redis
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.lease import Lease
from driftline.store.watermarks import RESTORE
from driftline.support.tasks import end
from worker.model_store import ModelStore
from worker.sources import Source, parse_sources
from worker.sources.intake import Intake
from worker.trainer import Trainer

logger = logging.getLogger("driftline.worker")

RETRY_SECONDS = 10.0
STORE_SECONDS = 60.0


class Worker:
    """One worker process: an IO loop, and one compute thread that its models use in turn."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sources = parse_sources(settings.sources)
        self.connection = RedisConnection(require_redis(settings), settings.prefix)
        self.catalog = Catalog(self.connection)
        self.artifacts = Artifacts(settings.data_dir / "artifacts")
        self.thread = ThreadPoolExecutor(1, "torch")
        self.owner = settings.worker_id or secrets.token_hex(6)
        self.owned: dict[str, _Owned] = {}
        self._not_before: dict[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._look = asyncio.Event()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Asks :meth:`run` to end: every trainer finishes its step, leaves a checkpoint, and gives its lease back."""
        self._stop.set()

    async def run(self) -> None:
        """Owns and learns models until it is stopped."""
        await self.connection.until_available(STORE_SECONDS)
        logger.info("worker %s learns", self.owner)
        tasks = (
            self._own_models(),
            self._listen(),
            self._poll(),
            self._renew(),
            self._sweep(),
            self.connection.watch(),
        )
        helpers = [asyncio.create_task(task) for task in tasks]
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
            await self.connection.close()

    async def _listen(self) -> None:
        async for uid in self.connection.hints():
            if uid is not None and uid not in self.owned:
                self._look.set()
            for owned in self.owned.values() if uid is None else filter(None, [self.owned.get(uid)]):
                owned.trainer.wake.set()

    async def _poll(self) -> None:
        """Makes up for lost hints: one look at the logs of all models that it owns."""
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
                for name, uid in (await self.catalog.names()).items():
                    if uid not in self.owned and time.monotonic() >= self._not_before.get(uid, 0.0):
                        await self._try_to_own(name, uid)
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds()):
                    await self._look.wait()

    async def _try_to_own(self, name: str, uid: str) -> None:
        lease = Lease(self.connection, uid, self.owner, self.settings.lease_seconds)
        if await lease.acquire():
            store = ModelStore(self.connection, self.artifacts, uid, self.settings)
            trainer = Trainer(store, lease, self.thread)
            sources = [source for source in self.sources if source.model == name]
            self.owned[uid] = _Owned(lease, trainer, asyncio.create_task(self._train(uid, trainer, sources)))

    async def _train(self, uid: str, trainer: Trainer, sources: list[Source]) -> None:
        intakes = [asyncio.create_task(Intake(trainer.store, source.key).run(source)) for source in sources]
        try:
            await trainer.run()
        except Fenced:
            logger.info("model %s has another owner now", uid)
        except (CorruptData, NotFound) as error:
            if await self._is_deleted(uid):
                logger.info("model %s has been deleted", uid)
            else:
                await self._give_up(uid, trainer, error)
        except Exception as error:  # One model's trouble must not end the others' learning.
            logger.exception("the trainer of model %s ended", uid)
            await self._give_up(uid, trainer, error)
        finally:
            await end(*intakes)
            with contextlib.suppress(Unavailable):
                await trainer.committer.lease.release()
            self.owned.pop(uid, None)

    async def _is_deleted(self, uid: str) -> bool:
        """Whether a model has no name any more; what the store has lost was not deleted."""
        try:
            return not await self.catalog.is_named(uid)
        except Unavailable:
            return False

    async def _give_up(self, uid: str, trainer: Trainer, error: Exception) -> None:
        self._not_before[uid] = time.monotonic() + RETRY_SECONDS
        kind, why = "trainer_failed", f"{type(error).__name__}: {error}"
        if isinstance(error, NotFound):
            kind, why = "store_lost", f"the store has lost the head of the model; {RESTORE}"
        if self._troubles.get(uid) != why:
            self._troubles[uid] = why
            logger.error("model %s cannot be learned: %s", uid, why)
        with contextlib.suppress(Unavailable):
            await trainer.store.alarm(kind, why)

    async def _renew(self) -> None:
        """Keeps the leases; the time that compute takes does not matter to it."""
        while True:
            await asyncio.sleep(self.settings.lease_seconds / 3)
            await asyncio.gather(*(self._renew_one(uid, owned) for uid, owned in self.owned.items()))

    async def _renew_one(self, uid: str, owned: _Owned) -> None:
        with contextlib.suppress(Unavailable):
            if not await owned.lease.renew():
                logger.info("the lease of model %s is lost", uid)
                owned.task.cancel()

    async def _sweep(self) -> None:
        """Takes away what is left of models that are gone, or whose creation was cut off: their keys and their files."""
        while True:
            are_ours = await self._are_files_ours()
            await asyncio.sleep(self.settings.sweep_seconds)
            with contextlib.suppress(Unavailable):
                for uid in await self.catalog.remove_unnamed(self.settings.orphan_seconds):
                    logger.info("the keys of model %s go: it has no name", uid)
            if are_ours:
                with contextlib.suppress(Unavailable):
                    await self._remove_abandoned()

    async def _are_files_ours(self) -> bool:
        with contextlib.suppress(Unavailable):
            await self.catalog.names()
            store_id = self.connection.store_id
            if store_id is not None and await asyncio.to_thread(self.artifacts.are_of, store_id):
                return True
            logger.warning(
                "%s holds the files of another store: none of them is removed; restore that store's backup, or use "
                "another data directory",
                self.artifacts.root,
            )
        return False

    async def _remove_abandoned(self) -> None:
        known = set((await self.catalog.names()).values())
        for uid in await asyncio.to_thread(self.artifacts.abandoned, known, self.settings.orphan_seconds):
            logger.info("the files of model %s go: it has no name", uid)
            await asyncio.to_thread(self.artifacts.remove, uid)


class _Owned:
    def __init__(self, lease: Lease, trainer: Trainer, task: asyncio.Task[None]) -> None:
        self.lease = lease
        self.trainer = trainer
        self.task = task
