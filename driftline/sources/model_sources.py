"""The sources of one model, as they are configured: by the API, and in ``DRIFTLINE_SOURCES``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from driftline.errors import DriftlineError, Unavailable
from driftline.sources.base import Source, SourceMode
from driftline.sources.intake import Intake
from driftline.sources.registry import check_paths, parse_source
from driftline.sources.runner import SourceRunner
from driftline.store.alarms import Alarms
from driftline.store.log import Log
from driftline.store.source_lags import SourceLag
from driftline.store.sources import SourceBook, SourceState, StoredSource, parse_stored
from driftline.support.formatting import count_text
from driftline.support.tasks import Troubles, end

FAILING: Mapping[SourceMode, str] = {"labels": "source", "infer": "source_infer"}
GAP, REFUSED = "source_gap", "source_refused"
"""The alarms about sources. The first ends when none of the mode fails, the last when nothing is left that was refused."""


@dataclass
class _Running:
    config: str
    runner: SourceRunner
    task: asyncio.Task[None]


@dataclass
class ModelSources:
    """The sources of one model, those of the setting and those that are stored, of the modes that a process runs.

    Args:
        log: that of the model.
        fixed: those of the setting, by name.
        troubles: lists each while it fails.
        intake: makes what takes the records of a source, given its name, what its position is stored under, and how it stands
            in the store.
        mode: of the sources that are run here. Another process runs the others.
        folders: where files are that may be read.
    """

    log: Log
    fixed: Mapping[str, Source]
    troubles: Troubles
    intake: Callable[[Source, str, str, bytes], Intake]
    mode: SourceMode
    folders: Sequence[str]
    retry_seconds: float = 1.0
    running: dict[str, _Running] = field(default_factory=dict)
    _seen: dict[bytes, bytes] | None = None
    _failing: str | None = None
    _refused: int = 0

    def __post_init__(self) -> None:
        self.book = SourceBook(self.log.connection, self.log.uid)
        self.alarms = Alarms(self.log.connection, self.log.uid)
        self.failing_alarm = FAILING[self.mode]

    async def apply(self, found: dict[bytes, bytes]) -> None:
        """Starts, ends and restarts sources so that those run which are configured now."""
        if found == self._seen:
            return
        stored = parse_stored(found)
        wanted = {
            f"fixed:{name}": (name, source.identity, b"", source)
            for name, source in self.fixed.items()
            if source.mode == self.mode
        }
        keys = {source.identity for source in self.fixed.values()}
        silent: list[SourceState] = []
        for name, each in stored.items():
            if each.spec.get("mode", "labels") != self.mode:
                continue
            made = self._made(each, keys)
            if isinstance(made, SourceState):
                silent.append(made)
            else:
                wanted[each.text] = (name, each.key, found[name.encode()], made)
        for name, running in [*self.running.items()]:
            if running.config not in wanted:
                await end(running.task)
                self.troubles.over(running.runner.label)
                del self.running[name]
        for config, (name, key, configured, source) in wanted.items():
            if name not in self.running:
                self._start(config, self.intake(source, name, key, configured), name not in self.fixed)
        told = await self.book.states()
        await self.book.forget([name for name in told if name not in stored and name not in self.fixed])
        for state in silent:
            former = told.get(state.name)
            await self.book.tell(state if former is None else _as(former, state))
        self._seen = found
        await self.review()

    def _made(self, stored: StoredSource, keys: set[str]) -> Source | SourceState:
        """The source that is to run, or how one does that is not."""
        now = self.log.connection.now()
        state = SourceState(stored.name, str(stored.spec.get("type")), "paused", now, now)
        if stored.paused:
            return state
        try:
            if stored.key in keys or stored.name in self.fixed:
                return _as(
                    state, SourceState(stored.name, state.type, "failing", now, now, "DRIFTLINE_SOURCES has it too")
                )
            source = parse_source(stored.spec)
            check_paths(source, self.folders)
            return source
        except DriftlineError as error:  # A package that brought its kind is gone.
            return _as(state, SourceState(stored.name, state.type, "failing", now, now, error.message))

    def _start(self, config: str, intake: Intake, is_stored: bool) -> None:
        runner = SourceRunner(
            intake,
            is_stored=is_stored,
            troubles=self.troubles,
            on_change=self.review,
            retry_seconds=self.retry_seconds,
        )
        self.running[intake.name] = _Running(config, runner, asyncio.create_task(runner.run()))

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
                    await self.alarms.raise_alarm(GAP, f"{runner.state.name}: {gap}")
            if failing != self._failing:
                # The first time it ends what a former owner has left raised.
                await (
                    self.alarms.raise_alarm(self.failing_alarm, failing)
                    if failing
                    else self.alarms.end(self.failing_alarm)
                )
                self._failing = failing
            if refused > self._refused:
                self._refused = refused
                await self._tell_refused()

    def lags(self) -> Iterator[SourceLag]:
        """What each that runs here has left to read."""
        for runner in (running.runner for running in self.running.values()):
            if runner.lag is not None:
                yield SourceLag(self.log.uid, runner.state.name, round(runner.lag, 3), runner.state.lag_records)

    async def _tell_refused(self) -> None:
        letters = await self.book.dead()
        if letters:
            last = letters[0]
            counted = count_text(len(letters), "record")
            what = (
                f"{counted} of sources could not be taken; the last one, {last.place} of {last.source}: {last.reason}"
            )
            await self.alarms.raise_alarm(REFUSED, what)

    async def close(self) -> None:
        """Ends all of them."""
        await end(*(running.task for running in self.running.values()))
        for running in self.running.values():
            self.troubles.over(running.runner.label)


def _as(former: SourceState, state: SourceState) -> SourceState:
    """What was told of a source, with how it does now."""
    return msgspec.structs.replace(former, state=state.state, since=state.since, time=state.time, reason=state.reason)
