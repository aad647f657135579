"""Says whether what a soak has seen, and what it has left in the store, is what was promised.

python -m tests.faults.soak.check DIR
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

from driftline.networks.kernels.all_kernels import warm
from driftline.processes.plan import store_url
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.checkpoints import FormerCheckpoints
from driftline.store.commits import Head, Step
from driftline.store.connection import RedisConnection
from tests.faults.soak import events as seen
from tests.faults.soak.events import Event
from tests.faults.soak.load import TAKEN
from tests.faults.soak.processes import APPS
from tests.waiting import SECONDS
from worker import recovery
from worker.model_store import ModelStore

T = TypeVar("T")
FINAL = {"served", "rejected", "quarantined"}
ALARMS = {"recovery_failed", "command_failed"}
"""What a damaged checkpoint and a rollback to a version that has just gone may raise."""
NOT_STORED = {"prediction_not_stored", "prediction_unknown"}
"""What a label may meet whose prediction was answered, and not yet recorded, when its app or Valkey failed."""
LABEL_SECONDS = 15.0
"""A prediction is labelled sooner than that, or not at all."""
REFUSALS = ("Unavailable", "Late")
"""How a request may fail where it may: all else is an error of the app's own."""
DEADLY = {"kill", "terminate", "die_at_a_point"}
AWAY = {"kill", "terminate", "stop", "cut", "hang", "meddle"}
LONGEST_SECONDS = SECONDS


class Seen:
    """The events of one run, by their kinds."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._by_kind: dict[type, list[Event]] = defaultdict(list)
        for event in events:
            self._by_kind[type(event)].append(event)

    def all(self, kind: type[T]) -> list[T]:
        return self._by_kind[kind]  # type: ignore[return-value]

    @cached_property
    def began(self) -> seen.Began:
        return self.all(seen.Began)[0]

    @cached_property
    def calls(self) -> dict[int, seen.Sent]:
        return {sent.call: sent for sent in self.all(seen.Sent)}

    @cached_property
    def answers(self) -> list[tuple[seen.Sent, str, str]]:
        """Each item that was answered: its call, its id, and its status."""
        return [
            (self.calls[answer.call], identifier, status)
            for answer in self.all(seen.Answered)
            for identifier, status in zip(self.calls[answer.call].ids, answer.statuses, strict=True)
        ]

    @cached_property
    def acknowledged(self) -> set[tuple[str, str]]:
        """Model and id of each item that was promised to be kept."""
        return {(sent.model, identifier) for sent, identifier, status in self.answers if status in TAKEN}

    @cached_property
    def spans(self) -> list[tuple[seen.Fault, float]]:
        """Each fault, and when it was over."""
        over = {event.number: event.at for event in self.all(seen.Over)}
        return [(fault, over.get(fault.number, fault.at)) for fault in self.all(seen.Fault)]

    def is_excused(self, kind: str, app: str, begin: float, end: float) -> bool:
        """Whether a request may fail: the app was dead, or, for feedback, it could not reach Valkey."""
        return any(fault.at <= end and over >= begin and harms(fault, kind, app) for fault, over in self.spans)


def harms(fault: seen.Fault, kind: str, app: str) -> bool:
    """Whether a fault may make a request of this kind to this app fail."""
    if fault.of == app and fault.what in DEADLY:
        return True
    return kind == "feedback" and fault.of in (app, "valkey") and fault.what in AWAY


def is_whole(run: Seen) -> Iterator[str]:
    if len(run.all(seen.Ended)) != 1:
        yield "the soak did not end by itself"
    for stuck in run.all(seen.Stuck):
        yield f"fault {stuck.number} did not heal: {stuck.error}"
    for fault, over in run.spans:
        if over - fault.at > LONGEST_SECONDS:
            yield f"fault {fault.number} ({fault.what} of {fault.of}) took {over - fault.at:.0f} s to heal"


def every_acknowledged_item_is_final(run: Seen) -> Iterator[str]:
    states = {(receipt.model, receipt.id): receipt.state for receipt in run.all(seen.Received)}
    for model, identifier in sorted(run.acknowledged):
        state = states.get((model, identifier))
        if state not in FINAL:
            yield f"{model}: the acknowledged item {identifier} is {state or 'not there'}"


def every_item_is_in_the_log_once(run: Seen) -> Iterator[str]:
    logged = Counter((event.model, event.id) for event in run.all(seen.Logged) if event.id is not None)
    for (model, identifier), count in logged.items():
        if count > 1:
            yield f"{model}: the item {identifier} stands in the log {count} times"
    for model, identifier in sorted(run.acknowledged - set(logged)):
        yield f"{model}: the acknowledged item {identifier} is not in the log"
    known = {(call.model, identifier) for call in run.calls.values() for identifier in call.ids}
    for model, identifier in sorted(set(logged) - known):
        yield f"{model}: nobody has sent the item {identifier}"
    queued = Counter((sent.model, identifier) for sent, identifier, status in run.answers if status == "queued")
    for (model, identifier), count in queued.items():
        if count > 1:
            yield f"{model}: {count} calls were told that the item {identifier} is new"
    for sent, identifier, status in run.answers:
        if sent.is_known and status != "duplicate":
            yield f"{sent.model}: a resend of {identifier} was answered {status}"


def each_record_enters_one_step(run: Seen) -> Iterator[str]:
    for model in run.began.models:
        numbers = [event.n for event in run.all(seen.Logged) if event.model == model]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{model}: the log was not read as 1 to {len(numbers)}, in order"
        steps = [event for event in run.all(seen.Stepped) if event.model == model]
        if [step.k for step in steps] != list(range(1, len(steps) + 1)):
            yield f"{model}: the steps were not read as 1 to {len(steps)}, in order"
        ends = [0, *(step.end for step in steps)]
        for step, end in zip(steps, ends, strict=False):
            if step.start != end:
                yield f"{model}: step {step.k} begins at {step.start}, and the one before ended at {end}"
        if ends[-1] != len(numbers):
            yield f"{model}: the log has {len(numbers)} records, and the steps end at {ends[-1]}"


def versions_never_go_back(run: Seen) -> Iterator[str]:
    """An answer that a request gets is not of an older version than any that its app gave before the request was made."""
    answers: dict[tuple[str, str], list[seen.Predicted]] = defaultdict(list)
    for answer in run.all(seen.Predicted):
        answers[answer.app, answer.model].append(answer)
    for (app, model), given in answers.items():
        newest, under_way = 0, list[tuple[float, int]]()
        for answer in sorted(given, key=lambda answer: answer.begin):
            while under_way and under_way[0][0] < answer.begin:
                newest = max(newest, heapq.heappop(under_way)[1])
            if answer.version < newest:
                yield f"{app} answered version {answer.version} of {model} after version {newest}"
            heapq.heappush(under_way, (answer.end, answer.version))


def no_request_fails_without_cause(run: Seen) -> Iterator[str]:
    for failed in run.all(seen.Failed):
        is_excused = run.is_excused(failed.kind, failed.app, failed.begin, failed.end)
        if not (is_excused and failed.error.startswith(REFUSALS)):
            yield f"{failed.kind} failed at {failed.app}, which nothing kept from it, at {failed.end:.2f}: {failed.error}"
    for sent, identifier, status in run.answers:
        is_late = status in NOT_STORED and any(
            run.is_excused("feedback", app, sent.at - LABEL_SECONDS, sent.at) for app in APPS
        )
        if status not in TAKEN and not is_late:
            yield f"{sent.model}: the item {identifier} was refused: {status}"


RULES: list[Callable[[Seen], Iterator[str]]] = [
    is_whole,
    every_acknowledged_item_is_final,
    every_item_is_in_the_log_once,
    each_record_enters_one_step,
    versions_never_go_back,
    no_request_fails_without_cause,
]


def check_events(events: Iterable[Event]) -> list[str]:
    """What the events show that was not promised so."""
    run = Seen(events)
    return list(itertools.chain.from_iterable(rule(run) for rule in RULES))


async def check_store(events: Iterable[Event], connection: RedisConnection, artifacts: Artifacts) -> list[str]:
    """What the store shows that is not what was seen, or not what was promised."""
    run, settings = Seen(events), Settings()
    wrong: list[str] = []
    for model, uid in run.began.models.items():
        store = ModelStore(connection, artifacts, uid, settings)
        wrong += [f"{model}: {text}" for text in await _check_model(run, model, store)]
    strangers = {model.name for model in artifacts.models()} - {*run.began.models.values()}
    return wrong + [f"the folder {name} belongs to no model" for name in sorted(strangers)]


async def _check_model(run: Seen, model: str, store: ModelStore) -> list[str]:
    head = await store.commit_log.head()
    wrong = await _check_head(run, model, store, head)
    wrong += [f"a file that nothing refers to is there: {name}" for name in await _left_over(store, head)]
    for place in (head.checkpoint, head.older_checkpoint):
        wrong += await _check_recovery(store, head, place)
    alarms = {kind.decode() for kind in await store.connection.redis.hkeys(store.keys.alarms)}
    return wrong + [f"an alarm {kind} was raised" for kind in sorted(alarms - ALARMS)]


async def _check_head(run: Seen, model: str, store: ModelStore, head: Head) -> list[str]:
    wrong = []
    items = sum(event.model == model and event.id is not None for event in run.all(seen.Logged))
    if head.learned != items:
        wrong.append(f"{head.learned} items were learned of {items} that were in the log")
    if head.offset != await store.log.newest():
        wrong.append(f"the head stands at {head.offset} of {await store.log.newest()} records")
    digests = {event.k: event.digest for event in run.all(seen.Stepped) if event.model == model}
    for step in await _kept_steps(store, head):
        if digests.get(step.k) != step.digest:
            wrong.append(f"step {step.k} is not the one that was seen when it was committed")
    return wrong


async def _kept_steps(store: ModelStore, head: Head) -> list[Step]:
    steps: list[Step] = []
    number = head.older_checkpoint.step if head.older_checkpoint else 0
    while found := await store.commit_log.steps(steps[-1].k if steps else number):
        steps += found
    return steps


async def _left_over(store: ModelStore, head: Head) -> set[str]:
    places = [place.manifest for place in (head.checkpoint, head.older_checkpoint) if place is not None]
    places += [place.manifest for place in await FormerCheckpoints(store.connection, store.uid).all()]
    manifests = {head.manifest, *places, *(version.manifest for version in await store.commit_log.versions())}
    wanted = set().union(*(store.version_files.blobs(manifest) for manifest in manifests))
    there = {path.name for path in (store.artifacts.root / store.uid).iterdir()}
    return there - wanted


async def _check_recovery(store: ModelStore, head: Head, place: object) -> list[str]:
    """Repeats the steps after a checkpoint; each comes out as it was committed, or this says which does not."""
    try:
        await recovery.repeat(store, asyncio.to_thread, head, place)  # type: ignore[arg-type]
    except Exception as error:
        return [f"recovery from {place} fails: {error!r}"]
    return []


def check(folder: Path) -> list[str]:
    """What is wrong with the run in ``folder``, in sentences; the store is started for it and stopped again.

    It has a process of its own, which computes as a worker does: with its threads, and with kernels that are loaded for the
    types they name before any is called. One that was first called without that, as by another test, is compiled for the types
    of that call, and its sums differ in the last bits.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), as_a_worker_does) as pool:
        return pool.submit(_check, folder).result()


def as_a_worker_does() -> None:
    """Makes this process give the bits that a worker gives."""
    torch.set_num_threads(Settings().threads)
    warm()


def _check(folder: Path) -> list[str]:
    events = seen.read(folder / "events.jsonl")
    wrong = check_events(events)
    settings = Settings(data_dir=folder / "data")

    async def look(url: str) -> list[str]:
        connection = RedisConnection(url, settings.prefix)
        try:
            return await check_store(events, connection, Artifacts(settings.data_dir / "artifacts"))
        finally:
            await connection.close()

    with store_url(settings) as url:
        return wrong + asyncio.run(look(url))


def summary(events: Iterable[Event]) -> str:
    """What a run was made of, and how long its faults took to heal."""
    run = Seen(events)
    faults = Counter(f"{fault.what} {fault.of.partition('-')[0]}" for fault in run.all(seen.Fault))
    failed = Counter(failed.kind for failed in run.all(seen.Failed))
    statuses = Counter(status for _, _, status in run.answers)
    slowest = max((over - fault.at for fault, over in run.spans), default=0.0)
    return "\n".join(
        [
            f"{faults.total()} faults: {', '.join(f'{count} {name}' for name, count in sorted(faults.items()))}",
            f"{len(run.all(seen.Predicted)):,} predictions, {failed['predict']} failed",
            f"{len(run.calls):,} feedback calls, {failed['feedback']} failed; items: {dict(statuses)}",
            f"{len(run.acknowledged):,} items acknowledged, {len(run.all(seen.Stepped)):,} steps; "
            f"the slowest fault answered again after {slowest:.0f} s",
        ]
    )


def report(folder: Path) -> int:
    """Prints what was seen and what is wrong; the exit code."""
    print(summary(seen.read(folder / "events.jsonl")))
    wrong = check(folder)
    for text in wrong[:50]:
        print(f"WRONG: {text}")
    print(f"{len(wrong)} things are wrong" if wrong else "all is as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(report(Path(sys.argv[1])))
