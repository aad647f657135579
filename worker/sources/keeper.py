"""Runs the sources of the models that a worker owns, as they are configured: by the API, and in ``DRIFTLINE_SOURCES``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from driftline.errors import DriftlineError, Unavailable
from driftline.sources.base import Source
from driftline.sources.registry import check_paths, parse_source
from driftline.store.connection import RedisConnection
from driftline.store.events import EventRecord, happen
from driftline.store.sources import SourceBook, SourceState, StoredSource, all_stored, parse_stored
from driftline.store.workers import SourceLag
from driftline.support.formatting import count_text
from driftline.support.tasks import Troubles, end

from ..model_store import ModelStore
from .runner import SourceRunner

logger = logging.getLogger("driftline.sources")

FAILING, GAP, REFUSED = "source", "source_gap", "source_refused"
"""The alarms about sources. The first ends when none fails, the last when nothing is left that was refused."""


@dataclass
class _Running:
    config: str
    runner: SourceRunner
    task: asyncio.Task[None]


@dataclass
class ModelSources:
    """The sources of one model that is owned: those of the setting, and those that are stored.

    Args:
        fixed: those of the setting, by name.
        troubles: lists each while it fails.
    """

    store: ModelStore
    fixed: Mapping[str, Source]
    troubles: Troubles
    retry_seconds: float = 1.0
    running: dict[str, _Running] = field(default_factory=dict)
    _seen: dict[bytes, bytes] | None = None
    _failing: str | None = None
    _refused: int = 0

    async def apply(self, found: dict[bytes, bytes]) -> None:
        """Starts, ends and restarts sources so that those run which are configured now."""
        if found == self._seen:
            return
        stored = parse_stored(found)
        wanted = {f"fixed:{name}": (name, source.identity, source) for name, source in self.fixed.items()}
        keys = {source.identity for source in self.fixed.values()}
        silent: list[SourceState] = []
        for name, each in stored.items():
            made = self._made(each, keys)
            if isinstance(made, SourceState):
                silent.append(made)
            else:
                wanted[each.text] = (name, each.key, made)
        for name, running in [*self.running.items()]:
            if running.config not in wanted:
                await end(running.task)
                self.troubles.over(running.runner.label)
                del self.running[name]
        for config, (name, key, source) in wanted.items():
            if name not in self.running:
                self._start(config, name, key, source)
        book = SourceBook(self.store.connection, self.store.uid)
        told = await book.states()
        await book.forget([name for name in told if name not in stored and name not in self.fixed])
        for state in silent:
            former = told.get(state.name)
            await book.tell(state if former is None else _as(former, state))
        self._seen = found
        await self.review()

    def _made(self, stored: StoredSource, keys: set[str]) -> Source | SourceState:
        """The source that is to run, or how one does that is not."""
        now = self.store.now()
        state = SourceState(stored.name, str(stored.spec.get("type")), "paused", now, now)
        if stored.paused:
            return state
        try:
            if stored.key in keys or stored.name in self.fixed:
                return _as(
                    state, SourceState(stored.name, state.type, "failing", now, now, "DRIFTLINE_SOURCES has it too")
                )
            source = parse_source(stored.spec)
            check_paths(source, self.store.settings.source_folders)
            return source
        except DriftlineError as error:  # A package that brought its kind is gone.
            return _as(state, SourceState(stored.name, state.type, "failing", now, now, error.message))

    def _start(self, config: str, name: str, key: str, source: Source) -> None:
        runner = SourceRunner(
            self.store,
            source,
            name,
            key,
            is_stored=name not in self.fixed,
            troubles=self.troubles,
            on_change=self.review,
            retry_seconds=self.retry_seconds,
        )
        self.running[name] = _Running(config, runner, asyncio.create_task(runner.run()))

    async def review(self) -> None:
        """Raises and ends the alarms about the sources; while the store does not answer, the next change does."""
        runners = [running.runner for running in self.running.values()]
        failing = "; ".join(
            f"{each.state.name}: {each.state.reason}" for each in runners if each.state.state == "failing"
        )
        refused = sum(each.intake.refused for each in runners)
        with contextlib.suppress(Unavailable):
            for runner in runners:
                gap, runner.gap = runner.gap, None
                if gap is not None:
                    await self.store.alarm(GAP, f"{runner.state.name}: {gap}")
            if failing != self._failing:
                # The first time it ends what a former owner has left raised.
                await (self.store.alarm(FAILING, failing) if failing else self.store.withdraw(FAILING))
                self._failing = failing
            if refused > self._refused:
                self._refused = refused
                await self._tell_refused()

    async def _tell_refused(self) -> None:
        letters = await SourceBook(self.store.connection, self.store.uid).dead()
        if letters:
            last = letters[0]
            counted = count_text(len(letters), "record")
            what = (
                f"{counted} of sources could not be taken; the last one, {last.place} of {last.source}: {last.reason}"
            )
            await self.store.alarm(REFUSED, what)

    async def close(self) -> None:
        """Ends all of them."""
        await end(*(running.task for running in self.running.values()))
        for running in self.running.values():
            self.troubles.over(running.runner.label)


def _as(former: SourceState, state: SourceState) -> SourceState:
    """What was told of a source, with how it does now."""
    return msgspec.structs.replace(former, state=state.state, since=state.since, time=state.time, reason=state.reason)


class SourceKeeper:
    """The sources of all models that one worker owns.

    Args:
        fixed: those of the setting ``DRIFTLINE_SOURCES``, with their models.
        unread: what is wrong with others of the setting.
        poll_seconds: how often it looks for what was configured.
    """

    def __init__(
        self,
        connection: RedisConnection,
        fixed: Sequence[Source],
        unread: Sequence[str],
        troubles: Troubles,
        poll_seconds: float,
    ) -> None:
        self.connection = connection
        self.fixed = fixed
        self.unread = unread
        self.troubles = troubles
        self.poll_seconds = poll_seconds
        self._models: dict[str, ModelSources] = {}
        self._look = asyncio.Event()
        self._told: set[str] = set()

    def add(self, name: str, store: ModelStore) -> None:
        """Begins to read the sources of a model that is owned now."""
        own = {source.name: source for source in self.fixed if source.model == name}
        self._models[store.uid] = ModelSources(store, own, self.troubles)
        self._look.set()

    async def remove(self, uid: str) -> None:
        """Ends the sources of a model that is owned no longer."""
        found = self._models.pop(uid, None)
        if found is not None:
            await found.close()

    async def run(self) -> None:
        """Follows what is configured, until cancelled."""
        while True:
            self._look.clear()
            with contextlib.suppress(Unavailable):
                await self._follow()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_seconds * random.uniform(0.8, 1.2)):
                    await self._look.wait()

    async def _follow(self) -> None:
        for uid, found in (await all_stored(self.connection, [*self._models])).items():
            model = self._models.get(uid)
            if model is not None:
                await model.apply(found)

    async def check(self, names: Collection[str]) -> None:
        """Logs, and puts among the events of the instance, which sources of the setting are not read, and why: each once."""
        lost = [
            f"DRIFTLINE_SOURCES: the source {source.name} is for the model {source.model!r}, which there is not"
            for source in self.fixed
            if source.model not in names
        ]
        for message in [*self.unread, *lost]:
            if message not in self._told:
                self._told.add(message)
                logger.error("%s", message)
                token = f"source:{hashlib.sha256(message.encode()).hexdigest()[:16]}"
                await happen(self.connection, token, EventRecord("source", message, "worker"))

    def lags(self) -> Iterator[SourceLag]:
        """What each has left to read."""
        for uid, model in self._models.items():
            for running in model.running.values():
                runner = running.runner
                if runner.lag is not None:
                    yield SourceLag(uid, runner.state.name, round(runner.lag, 3), runner.state.lag_records)
