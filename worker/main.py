"""The worker process: its parts, how they begin and end, and the background tasks that run them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from driftline.errors import ConfigurationError, Unavailable
from driftline.networks.kernels.all_kernels import warm
from driftline.processes.plan import require_redis
from driftline.settings import Settings
from driftline.sources.registry import parse_sources
from driftline.store.artifact_place import open_artifacts
from driftline.store.connection import RedisConnection
from driftline.store.format import check_files, check_store, mark
from driftline.store.lease import Lease
from driftline.support.tasks import Troubles, end, supervised
from driftline.support.tracing import Tracing

from .compute import ComputeMeter, ModelCompute
from .durations import Durations
from .heartbeat import MAX_BEAT_SECONDS, Heart
from .input_watch import InputWatch
from .log_watch import LogWatch
from .model_store import ModelStore
from .note import Note
from .ownership import Owned, Ownership
from .probes import Probes
from .ray_engine import RayEngine
from .sources.keeper import SourceKeeper
from .sweeper import Sweeper
from .time_slices import TimeSlices
from .trainer import Trainer
from .training import Training
from .training_run import TrainingPlaces
from .turns import TurnFile

logger = logging.getLogger("driftline.worker")

MAX_THREADS = 16
"""How many models may be in the midst of a call; one of them computes."""
INPUT_LOOKS = 10
"""So many times more seldom than at the logs does a worker look at what is predicted."""


class Worker:
    """One worker process: an IO loop, and threads in which its models compute in turn.

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
        self.store_seconds = store_seconds
        sources = parse_sources(settings.sources)
        self.connection = RedisConnection(
            require_redis(settings), settings.prefix, connections=settings.redis_connections
        )
        self.artifacts = open_artifacts(settings)
        self.threads = ThreadPoolExecutor(MAX_THREADS, "torch")
        self.slices = TimeSlices()
        self.owner = settings.worker_id or secrets.token_hex(6)
        self.meter = ComputeMeter()
        self.durations = Durations()
        beat_seconds = min(MAX_BEAT_SECONDS, settings.hung_seconds / 5, settings.lease_seconds / 4)
        self.troubles = Troubles()
        self.sources = SourceKeeper(self.connection, *sources, self.troubles, settings.poll_seconds)
        self.ownership = Ownership(
            *(self.connection, self.artifacts, settings, self.owner, self._trainer, self.sources, self.meter),
            retry_seconds=retry_seconds,
        )
        self.log_watch = LogWatch(self.ownership)
        self.input_watch = InputWatch(self.connection, self._stores, INPUT_LOOKS * settings.poll_seconds)
        self.heart = Heart(
            *(self.connection, self.owner, self.meter, self.durations, self.sources.lags),
            costs=self.ownership.costs,
            refused=self.ownership.refused,
            lease_seconds=settings.lease_seconds,
            on_late=self.log_watch.check_leases,
            beat_seconds=beat_seconds,
        )
        self.ownership.excuse = self.heart.silence
        self.note = Note(self.artifacts, self.heart)
        self.ray = RayEngine(settings) if settings.engine == "ray" else None
        self.training_places = TrainingPlaces(settings.job_processes, ray=self.ray) if settings.job_processes else None
        self.probes = Probes(settings.host, settings.worker_port, self._why_unready)
        self._stop = asyncio.Event()

    @property
    def owned(self) -> dict[str, Owned]:
        """The models that it owns, by uid."""
        return self.ownership.owned

    def _stores(self) -> dict[str, ModelStore]:
        return {uid: owned.model.store for uid, owned in self.owned.items()}

    def _trainer(self, store: ModelStore, lease: Lease) -> Trainer:
        return Trainer(
            *(store, lease, ModelCompute(self.threads, store.uid, self.turns, self.meter, self.slices)),
            training=Training(self.training_places),
            durations=self.durations,
            tracing=self.tracing,
        )

    def stop(self) -> None:
        """Asks :meth:`run` to end: every trainer finishes its step, writes a checkpoint, and releases its lease."""
        self._stop.set()

    def _why_unready(self) -> str | None:
        """Why it does not learn; whoever replaces workers one after another waits until it does."""
        if self._stop.is_set():
            return "the worker ends"
        if not self.heart.has_begun:
            return "the worker starts: kernels are compiled at a first start, and the store is waited for"
        failing = self.troubles.current()
        return "; ".join(f"{name}: {why}" for name, why in failing.items()) or None

    async def run(self) -> None:
        """Owns and learns models until it is stopped.

        Its background tasks are supervised: one that fails is restarted, and each model gets an alarm. Two errors end the
        process, because only a new start can help: a :class:`ConfigurationError`, and a store that does not answer at the
        start.

        Raises:
            ConfigurationError: a setting is wrong, or the data is of a newer format.
            Unavailable: the store does not answer at the start.
        """
        async with self.probes.answering():
            await self._begin()
            await self._work()

    async def _work(self) -> None:
        helpers = [asyncio.create_task(task) for task in self._helpers()]
        owning, stopped = helpers[0], asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([*helpers, stopped], return_when=asyncio.FIRST_COMPLETED)
            for helper in helpers:
                if helper.done():
                    helper.result()
        finally:
            await end(owning)
            with contextlib.suppress(Unavailable):
                await self.heart.announce_leaving()
            await self.ownership.release_all()
            await end(*helpers, stopped)
            self.threads.shutdown()
            self.turns.close()
            if self._stop.is_set():
                await self.heart.leave()
                await self.note.remove()
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.close)
            await self.connection.close()

    async def _begin(self) -> None:
        check_files(self.settings.data_dir)
        if self.ray is not None:
            await self.ray.begin()
        await self.connection.until_available(self.store_seconds)
        await check_store(self.connection, self.settings.data_dir, self.artifacts)
        await mark(self.connection, self.settings.data_dir)
        self.turns = self.ownership.turns = TurnFile(self.settings.data_dir / "turns", self.owner)
        # Not in the midst of a step, and not before the store is there.
        await asyncio.get_running_loop().run_in_executor(self.threads, warm)
        # Before any model's code runs: a worker that this ends is to be counted as well.
        await self.heart.beat()
        logger.info("worker %s learns", self.owner)

    def _helpers(self) -> Iterator[Coroutine[None, None, None]]:
        """The background tasks; the first one acquires models."""
        tasks = {
            "taking models": self.ownership.run,
            "listening for hints": self.log_watch.listen,
            "polling the logs": self.log_watch.poll,
            "watching inputs": self.input_watch.run,
            "sweeping": Sweeper(self.connection, self.artifacts, self.turns, self.settings).run,
            "watching the store": self.connection.watch,
            "heartbeat": self.heart.run,
            "artifacts": self.note.run,
            "sources": self.sources.run,
        }
        if self.ray is not None:
            tasks["Ray"] = self.ray.run
        # The heart must beat again before the leases run out.
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
        await self.ownership.tell("worker_task_failed", message)
