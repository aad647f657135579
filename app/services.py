"""What the routes use: one object that the app's lifespan opens and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from driftline.api.metrics import AlarmState, ModelMetricsAnswer
from driftline.api.scopes import Scope
from driftline.api_keys import Key, KeyStore
from driftline.errors import Unavailable
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.networks.price import ModelBudget, NewClasses
from driftline.processes.plan import require_redis
from driftline.settings import Settings
from driftline.store.alarms import Alarms
from driftline.store.artifact_place import open_artifacts
from driftline.store.catalog import CatalogEntry
from driftline.store.commits import CommitLog
from driftline.store.connection import RedisConnection
from driftline.store.log import Log
from driftline.store.owners import Access
from driftline.store.predictions import PredictionReader, PredictionWriter
from driftline.store.shared_charges import SharedCharges
from driftline.store.stream_leases import StreamLeases
from driftline.store.watermarks import Cap
from driftline.store.workers import Workers
from driftline.support.tasks import Troubles, supervised
from driftline.support.tracing import Tracing

from .artifact_check import ArtifactCheck
from .body_limits import HeldBytes
from .charges import BURST_SECONDS, Charges
from .engine import Engine
from .event_feed import EventFeed
from .fair_thread import FairThread
from .gatekeeper import access_of, key_of
from .http_meter import HttpMeter
from .identity_tokens import IdentityTokens
from .learned_metrics import Learned, learned
from .metrics import Counted, Metrics
from .model_metrics import model_metrics
from .open_streams import OpenStreams
from .refused_calls import RefusedCalls
from .sampling import Sampler
from .snapshot import Snapshot
from .store_health import StoreHealth, look
from .streams.keeper import RowSources
from .streams.prediction_feeder import PredictionFeeder
from .streams.sink_feeder import EventFeeder, LetterFeeder, SinkFeeder, SinkTarget, parse_sinks
from .version_loader import VersionLoader
from .version_watcher import VersionWatcher
from .webhooks import WebhookSender, parse_webhooks

SAMPLE = "metrics sample"
MODELS_AT_ONCE = 100
"""How many models are read from the store in one go."""


class Services:
    """The store, the engine and the version watcher of one serving process.

    Args:
        healthy_seconds: how long a background task that has failed must run well before the app counts as ready again.
        watch_seconds: how often the store is looked at.
        tracing: makes spans; None: there are no traces.
        patience: how long who asks waits for a new look at the store before the last one has to do.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        healthy_seconds: float = 10.0,
        watch_seconds: float = 2.0,
        patience: float = 0.15,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.tracing = tracing
        self.connection = RedisConnection(
            require_redis(settings),
            settings.prefix,
            watch_seconds=watch_seconds,
            connections=settings.redis_connections,
        )
        self.keys = KeyStore.of(settings)
        self.tokens = IdentityTokens.of(settings)
        self.workers = Workers(self.connection)
        self.artifacts = open_artifacts(settings)
        self._artifact_check = ArtifactCheck(self.artifacts)
        self.metrics = Metrics()
        self.prediction_writer = PredictionWriter(
            self.connection, horizon=settings.join_horizon, budget=settings.prediction_bytes
        )
        self.bodies = FairThread("bodies")
        self.engine = Engine(self.prediction_writer, self.metrics)
        loader = VersionLoader(self.artifacts, settings)
        self.version_watcher = VersionWatcher(
            *(self.connection, self.engine, loader, settings.poll_seconds),
            max_bytes=settings.model_bytes,
            tracing=tracing,
        )
        self.events = EventFeed(self.connection, settings.poll_seconds)
        self.catalog = self.version_watcher.catalog
        self.http_meter = HttpMeter()
        self.charges = Charges.of(settings)
        self.open_streams = OpenStreams(settings.key_streams, StreamLeases(self.connection))
        self.held_bytes = HeldBytes(max(settings.max_held_bytes, 2 * settings.max_body_bytes))
        self.store_health = Sampler(self._look, every=watch_seconds, patience=patience)
        self.artifact_looks = Sampler(self._look_for_notes, every=watch_seconds, patience=patience)
        self.counted = Sampler(self._count, every=5.0, patience=patience, idle_seconds=60.0)
        self.learned = Sampler(self._read_learned, every=5.0, patience=patience, idle_seconds=60.0)
        self.webhooks = [
            WebhookSender(target, self.connection, self.events, is_private_allowed=settings.webhook_private)
            for target in parse_webhooks(settings.webhooks)
        ]
        self.sinks = [self._feeder(target) for target in parse_sinks(settings.sinks)]
        self.prediction_sinks = [sink for sink in self.sinks if isinstance(sink, PredictionFeeder)]
        self.engine.is_told = lambda model: any(sink.wants(model) for sink in self.prediction_sinks)
        self.prediction_writer.on_told += [sink.wake for sink in self.prediction_sinks]
        self.budget = budget_of(settings)
        self.refusals = RefusedCalls()
        self.troubles = Troubles()
        self.row_sources = RowSources(self.connection, self.version_watcher, self.engine, settings, Troubles())
        self.version_watcher.on_hint = self._hear
        self.healthy_seconds = healthy_seconds
        self._decoders: dict[str, FeedbackDecoder] = {}
        self._brought: dict[str, NewClasses] = {}

    def _feeder(self, target: SinkTarget) -> SinkFeeder:
        poll = self.settings.poll_seconds
        match target.carries:
            case "predictions":
                return PredictionFeeder(target, self.connection, poll, self.settings.join_horizon)
            case "dead_letters":
                return LetterFeeder(target, self.connection, poll)
            case "events":
                return EventFeeder(target, self.connection, poll, self.events)

    def _hear(self, uid: str | None) -> None:
        self.events.hint(uid)
        self.row_sources.hint(uid)

    def log(self, uid: str) -> Log:
        return Log(self.connection, uid, cap=Cap.of(self.settings), receipt_seconds=self.settings.receipt_seconds)

    def commit_log(self, uid: str) -> CommitLog:
        return CommitLog(self.connection, uid)

    def alarms(self, uid: str) -> Alarms:
        return Alarms(self.connection, uid)

    def predictions(self, uid: str) -> PredictionReader:
        return PredictionReader(self.connection, uid, self.settings.join_horizon)

    async def feedback_decoder(self, name: str) -> tuple[str, FeedbackDecoder]:
        """The uid of a model, and the decoder of its feedback, cached until its spec changes."""
        snapshot = (await self.version_watcher.model(name)).snapshot
        new_classes = self._new_classes(snapshot)
        decoder = self._decoders.get(snapshot.uid)
        if decoder is None or decoder.spec != snapshot.spec:
            decoder = self._decoders[snapshot.uid] = FeedbackDecoder(
                snapshot.spec,
                partial(self.metrics.count_unknown, name),
                self.metrics.delays.observe,
                new_classes,
            )
        return snapshot.uid, decoder

    def _new_classes(self, snapshot: Snapshot) -> NewClasses | None:
        """What decides about new classes of a model, where labels may bring some."""
        if snapshot.spec.classes != "open":
            return None
        found = self._brought.setdefault(snapshot.uid, NewClasses(self.budget))
        found.follow(snapshot.classes)
        return found

    def sample(self) -> None:
        """Updates the metrics that are sampled, not counted as they happen."""
        for model in self.engine.models.values():
            model.metrics.queued.set(model.queued_rows)
        self.metrics.count(self.http_meter)
        self.metrics.set_unrecorded(self.prediction_writer.dropped)
        self.metrics.set_unsent(sum(sink.dropped for sink in self.prediction_sinks))
        self.metrics.join_horizon.set(self.prediction_writer.join_horizon)

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """The background tasks of the app; one that fails is restarted, and listed in ``troubles``."""
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "version hints": self.version_watcher.listen,
            "version poll": self.version_watcher.poll,
            "prediction writer": self.prediction_writer.run,
            "streams of predictions": self.prediction_writer.keep_streams,
            SAMPLE: self._sample,
            "store health": self.store_health.run,
            "artifacts": self.artifact_looks.run,
            "counts of all replicas": self.counted.run,
            "metrics of learning": self.learned.run,
            "store watch": self.connection.watch,
            "refusals": partial(self.refusals.run, self.connection),
            "sources of rows": self.row_sources.run,
            **({"charges": self._settle} if self.charges.limits else {}),
            **({"open streams": self.open_streams.run} if self.settings.key_streams else {}),
            **({} if self.tokens is None else {"keys of the identity provider": self.tokens.run}),
            **{f"webhook {number}": sender.run for number, sender in enumerate(self.webhooks, 1)},
            **{f"sink {number}": sink.run for number, sink in enumerate(self.sinks, 1)},
        }
        return [
            supervised(name, function, self.troubles, healthy_seconds=self.healthy_seconds)
            for name, function in tasks.items()
        ]

    def check_background(self) -> None:
        """:class:`Unavailable` names the background tasks that fail at the moment, and why."""
        found = self.troubles.current()
        if found:
            message = "; ".join(f"the background task {name!r} fails: {why}" for name, why in found.items())
            raise Unavailable(message, code="background_task_failed", retry_after=1, tasks=found)

    async def measured(self, models: Sequence[CatalogEntry]) -> list[ModelMetricsAnswer]:
        """What is measured of each model, read some at a time: requests must not wait for many."""
        counted, cap = await self.counted.newest(), Cap.of(self.settings)
        unknown = counted.value.unknown if counted is not None else {}
        found = []
        for first in range(0, len(models), MODELS_AT_ONCE):
            part = models[first : first + MODELS_AT_ONCE]
            for model, measured in zip(part, await self.catalog.measured(part), strict=True):
                failure = self.version_watcher.swap_failure(model.uid)
                found.append(model_metrics(model, measured, cap, failure, unknown.get(model.name, {})))
        return found

    async def _look(self) -> StoreHealth:
        return await look(self.connection, self.catalog, self.settings)

    async def _look_for_notes(self) -> list[AlarmState]:
        health = self.store_health.last
        return await self._artifact_check.look(() if health is None else health.value.heartbeats)

    async def artifact_alarms(self) -> list[AlarmState]:
        """What is wrong with the artifacts: kept apart from those of a worker, or unavailable."""
        return self._artifact_check.newest(await self.artifact_looks.newest())

    async def _count(self) -> Counted:
        health = await self.store_health.newest()
        names = None if health is None or health.value.access == "unavailable" else health.value.names
        return await asyncio.to_thread(self.metrics.counted, names)

    async def _read_learned(self) -> Learned:
        """The series of all models, written in another thread."""
        models = await self.catalog.models()
        owners = await self.catalog.owners([model.uid for model in models])
        measured = await self.measured(models)
        return await asyncio.to_thread(learned, list(zip(models, measured, strict=True)), owners)

    async def _settle(self) -> None:
        await self.charges.run(SharedCharges(self.connection, BURST_SECONDS))

    async def _sample(self) -> None:
        """Updates the sampled metrics that other replicas read of this one."""
        while True:
            self.sample()
            self.troubles.over(SAMPLE)
            await asyncio.sleep(self.settings.poll_seconds)

    async def close(self) -> None:
        await self.row_sources.close()
        self.engine.close()
        self.bodies.close()
        self.version_watcher.close()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        await self.connection.close()


def services(request: Request) -> Services:
    """The services of the app that answers ``request``."""
    found: Services = request.app.state.services
    return found


def actor(request: Request) -> str:
    """Who makes a call: the name of the API key, or ``local`` where there are no keys."""
    return str(request.scope.get("actor", "local"))


def budget_of(settings: Settings) -> ModelBudget:
    """What a model may take here."""
    return ModelBudget(**{each.name: getattr(settings, f"max_{each.name}") for each in fields(ModelBudget)})


def sight(request: Request) -> Sight:
    """What whoever makes a call may see."""
    return Sight(key_of(request.scope))


def access(request: Request) -> Access:
    """What whoever makes a call may ask about of a model's predictions and labels."""
    return access_of(request.scope)


class Sight(NamedTuple):
    """What the holder of a key may see; without keys everything."""

    key: Key | None

    @property
    def is_of_all(self) -> bool:
        """Whether it sees all models, those that are gone, and what is about none."""
        return self.key is None or not self.key.models

    def allows(self, model: str | None) -> bool:
        """Whether it sees this model; None: one that is gone, or none in particular."""
        return self.is_of_all or (model is not None and self.key is not None and self.key.allows(model))

    def may(self, scope: Scope) -> bool:
        """Whether it may do this, for all models."""
        return self.key is None or (self.key.may(scope) and self.is_of_all)


Has = Annotated[Services, Depends(services)]
Sees = Annotated[Sight, Depends(sight)]
Actor = Annotated[str, Depends(actor)]
Reads = Annotated[Access, Depends(access)]
