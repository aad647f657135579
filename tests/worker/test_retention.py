"""Which versions stay: the newest, and fewer the older they are, so that a rollback reaches back for weeks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.store.checkpoints import MAX_FORMER, FormerCheckpoints, spread
from driftline.store.commits import Checkpoint, Version
from tests.worker.conftest import Bench, labelled
from worker.retention import Retention, by_age, named

pytestmark = pytest.mark.anyio

MINUTE, HOUR, DAY = 60, 3600, 86400
NOW = 20_000 * DAY + 12 * HOUR + 30.0


def version(number: int, age: float) -> Version:
    return Version(number, f"{number:064}", number - 1, number, number, NOW - age, "better")


def ages(found: list[Version]) -> list[float]:
    return [NOW - each.created for each in found]


def test_one_a_minute_then_one_an_hour_then_one_a_day() -> None:
    """A version every ten seconds for forty days."""
    every = [version(number, 40 * DAY - 10.0 * number) for number in range(4 * DAY)]
    found = ages(by_age(every, NOW, 31 * DAY))
    assert len(found) == len(set(found))
    assert found[:31] == sorted(found[:31]) and max(found) < 31 * DAY, "those of days come first"
    by_step = {step: sorted(age for age in found if age < span) for step, span in ((MINUTE, HOUR), (HOUR, DAY))}
    assert 60 <= len(by_step[MINUTE]) <= 61 and len([age for age in by_step[HOUR] if age >= HOUR]) >= 23
    assert 31 + 22 + 59 <= len(found) <= 31 + 24 + 61


@given(st.lists(st.floats(0, 60 * DAY), max_size=80), st.floats(0, 60 * DAY), st.floats(0, DAY))
def test_what_was_let_go_is_not_wanted_later(drawn: list[float], longest: float, later: float) -> None:
    """As time passes, what is kept of what was kept is what would be kept of all."""
    every = [version(number, age) for number, age in enumerate(sorted(drawn, reverse=True))]
    kept = sorted(by_age(every, NOW, longest), key=lambda each: each.version)
    assert {each.version for each in by_age(kept, NOW, longest)} == {each.version for each in kept}
    again = by_age(kept, NOW + later, longest)
    assert {each.version for each in again} == {each.version for each in by_age(every, NOW + later, longest)}


async def test_versions_by_age_are_kept_within_their_bytes(bench: Bench) -> None:
    store = await bench.model(recipe={"gate": {"mode": "off"}, "trigger": {"labels": 8, "seconds": 3600}})
    for first in range(0, 96, 8):
        await store.log.append(labelled(8, first=first))
        await bench.train(store)
    commit_log = store.commit_log
    versions = await commit_log.versions()
    assert len(versions) >= 12
    now = time.time()
    for each in versions:
        aged = f'"created":{now - DAY * (versions[-1].version - each.version)}'
        text = (await store.connection.redis.hget(store.keys.versions, str(each.version))).decode()
        await store.connection.redis.hset(
            store.keys.versions, str(each.version), text.replace(f'"created":{each.created}', aged)
        )
    settings = store.settings
    store.settings = settings.model_copy(update={"keep_versions": 2})
    await Retention(store).apply(await commit_log.head())
    assert await commit_log.versions() == await commit_log.versions() and len(await commit_log.versions()) == len(
        versions
    )
    size = sum(store.version_files.blobs(versions[-1].manifest).values())
    store.settings = settings.model_copy(update={"keep_versions": 2, "version_bytes": int(4.5 * size)})
    await Retention(store).apply(await commit_log.head())
    kept = [each.version for each in await commit_log.versions()]
    assert kept[-4:] == [each.version for each in versions[-4:]] and len(kept) <= 3 + 4, "four beside"
    store.settings = settings.model_copy(update={"keep_versions": 2, "version_seconds": 0})
    await Retention(store).apply(await commit_log.head())
    assert [each.version for each in await commit_log.versions()][-3:] == [each.version for each in versions[-3:]]
    for each in await commit_log.versions():
        assert store.version_files.read(each.manifest)


async def test_what_versions_share_stays_until_the_last_of_them_goes(bench: Bench) -> None:
    frozen = {"type": "linear", "features": 1024, "frozen": True}
    store = await bench.model(
        network={"layers": [frozen, {"type": "relu"}, {"type": "linear", "features": 4}]},
        recipe={"gate": {"mode": "off"}, "trigger": {"labels": 8, "seconds": 3600}, "strategy": {"name": "replay"}},
    )
    first = store.version_files.blobs((await store.commit_log.version(1)).manifest)
    store.settings = store.settings.model_copy(update={"keep_versions": 2, "version_seconds": 0})
    for start in range(0, 48, 8):
        await store.log.append(labelled(8, first=start))
        await bench.train(store)
    kept, head = await store.commit_log.versions(), await store.commit_log.head()
    assert kept[0].version > 1 and len(kept) == 3
    former = await FormerCheckpoints(store.connection, store.uid).all()
    manifests = {*named(head), *(each.manifest for each in kept), *(each.manifest for each in former)}
    needed = [store.version_files.blobs(manifest).keys() for manifest in manifests]
    assert first.keys() & set.intersection(*(set(blobs) for blobs in needed)), "the frozen layer"
    on_disk = {path.name for path in (store.artifacts.root / store.uid).iterdir()}
    assert on_disk == set().union(*needed), "all that is named is there, and nothing else"
    for manifest in named(head):
        assert store.version_files.read(manifest)


@given(st.lists(st.integers(0, 50_000), max_size=200), st.integers(1, 50_000), st.integers(0, 30_000))
def test_former_checkpoints_are_few_and_stay_where_they_are_once_they_are_kept(
    offsets: list[int], first: int, records: int
) -> None:
    every = [Checkpoint(f"{n}", n, offset) for n, offset in enumerate(sorted(offsets))]
    kept = spread(every, first, records)
    assert all(each.offset + 1 >= first for each in kept), "what came before the log cannot be learned again"
    reach = max(0, max(offsets, default=0) - first + 1)
    assert len(kept) <= (reach * MAX_FORMER // records + 2 if records else 0)
    newer = [*kept, Checkpoint("new", 1000, max(offsets, default=0))]
    assert spread(newer, first, records)[: len(kept)] == kept, "a newer one takes the place of none"


async def test_former_checkpoints_are_kept_within_their_bytes_and_go_with_the_log(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"log_keep": 64})
    store = await bench.model(recipe={"trigger": {"labels": 8, "seconds": 0}})
    former = FormerCheckpoints(store.connection, store.uid)
    for start in range(0, 96, 8):
        await store.log.append(labelled(8, first=start))
        await bench.train(store)
    offsets = [each.offset for each in await former.all()]
    oldest = (await store.log.since(1, 1))[0].n
    assert {*range(oldest - 1, 80, 8)} <= {*offsets}, "one of each part of what the log holds"
    assert min(offsets) == oldest - 1 and len(offsets) <= MAX_FORMER + 1
    for each in await former.all():
        assert store.version_files.read(each.manifest)
    store.settings = store.settings.model_copy(update={"checkpoint_bytes": 0})
    await Retention(store).apply(await store.commit_log.head())
    assert await former.all() == []
