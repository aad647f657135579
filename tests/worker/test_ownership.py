"""Which worker owns which model: fair shares, given up at a checkpoint, taken from the dead; many models that do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from driftline.errors import Unavailable
from driftline.spec import ModelSpec, parse
from driftline.store.catalog import Catalog
from driftline.store.commits import Version
from driftline.store.lease import Lease
from driftline.store.redis_keys import new_uid
from driftline.store.workers import Heartbeat
from tests.heartbeats import alive
from tests.services import spec
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import alarms, is_learned, working
from worker.main import Worker
from worker.model_store import ModelStore
from worker.peers import Peers
from worker.placement import place

pytestmark = pytest.mark.anyio

MANY = 300


async def make_idle(bench: Bench, count: int) -> list[str]:
    """Models that nothing has come for: nobody needs their files."""
    uids = [new_uid() for _ in range(count)]
    catalog = Catalog(bench.connection)
    found = parse(ModelSpec, spec("idle")).model_dump(mode="json")
    first = Version(1, "0" * 64, None, 0, 0, 0.0, "created")
    await asyncio.gather(
        *(catalog.create(uid, found | {"name": f"idle{number}"}, first) for number, uid in enumerate(uids))
    )
    return uids


async def epochs(bench: Bench, uids: Sequence[str]) -> list[int]:
    ends = await Catalog(bench.connection).log_ends(uids)
    return [ends[uid].epoch for uid in uids]


def is_shared(workers: Sequence[Worker], count: int) -> bool:
    sizes = [len(worker.owned) for worker in workers]
    return sum(sizes) == count and max(sizes) <= 1.2 * min(sizes)


async def test_one_worker_keeps_many_idle_models_and_looks_at_a_few_of_them(bench: Bench) -> None:
    uids = await make_idle(bench, MANY)
    async with working(bench, lease_seconds=60) as worker:
        await until_async(lambda: len(worker.owned) == MANY and worker.connection.hears)
        await asyncio.sleep(1.5)
        assert len(worker.owned) == MANY and await epochs(bench, uids) == [1] * MANY
        assert not any(owned.model.is_loaded for owned in worker.owned.values())
        looked: list[int] = []
        look = worker.ownership.catalog.log_ends
        worker.ownership.catalog.log_ends = lambda uids: looked.append(len(uids)) or look(uids)  # type: ignore
        # One that was held up looks at all of them when it hears again.
        await until_async(lambda: any(0 < each <= MANY // 30 for each in looked))
    assert await Catalog(bench.connection).holders(uids) == dict.fromkeys(uids)


async def test_workers_that_share_many_models_take_none_from_each_other(bench: Bench) -> None:
    uids = await make_idle(bench, MANY)
    async with working(bench, lease_seconds=60) as first, working(bench, lease_seconds=60) as second:

        async def stays() -> bool:
            before = await epochs(bench, uids)
            await asyncio.sleep(2.5)
            return await epochs(bench, uids) == before and is_shared([first, second], MANY)

        # While they share them out, some change hands; who took them from each other would for ever.
        await until_async(stays)
        async with working(bench, lease_seconds=60) as third:
            await until_async(lambda: is_shared([first, second, third], MANY))
        await until_async(lambda: is_shared([first, second], MANY))


async def test_what_comes_for_a_model_of_another_worker_makes_none_look_for_models(bench: Bench) -> None:
    uids = await make_idle(bench, 20)
    async with working(bench) as first, working(bench) as second:
        await until_async(lambda: is_shared([first, second], len(uids)))
        look = first.ownership._look
        look.clear()
        for uid in uids:
            first.ownership.heard_of(uid)
        assert not look.is_set()
        first.ownership.heard_of(new_uid())
        assert look.is_set(), "it may be its own"


async def test_a_taking_that_fails_has_no_other_model_taken_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, slow = await make_idle(bench, 2)
    acquire, failures = Lease.acquire, iter([Unavailable("no route to the store")])

    async def acquire_late(lease: Lease, dead: str | None = None) -> bool:
        for failure in failures if lease.uid == failing else ():
            raise failure
        await asyncio.sleep(0.2)
        return await acquire(lease, dead)

    monkeypatch.setattr(Lease, "acquire", acquire_late)
    async with working(bench) as worker:
        await until_async(lambda: len(worker.owned) == 2)
        assert await epochs(bench, [failing, slow]) == [1, 1]


async def test_a_worker_that_begins_during_a_look_is_not_taken_for_dead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (uid,) = await make_idle(bench, 1)
    holders, look, other, looks = Catalog.holders, Peers.alive, Lease(bench.connection, uid, "newcomer"), list[int]()

    async def holders_late(catalog: Catalog, uids: Sequence[str]) -> dict[str, str | None]:
        if other.epoch == 0:
            await alive(bench.connection, other.owner)
            assert await other.acquire()
        return await holders(catalog, uids)

    async def counted(peers: Peers) -> dict[str, Heartbeat]:
        if other.epoch:
            looks.append(other.epoch)
        return await look(peers)

    monkeypatch.setattr(Catalog, "holders", holders_late)
    monkeypatch.setattr(Peers, "alive", counted)
    async with working(bench, lease_seconds=600):
        # What the look with the newcomer has taken is taken by the look after it.
        await until_async(lambda: len(looks) >= 2)
        assert await other.is_held()


async def test_a_dead_worker_is_replaced_once_its_heartbeats_have_ended(bench: Bench) -> None:
    uids = await make_idle(bench, 60)
    for uid in uids:
        assert await Lease(bench.connection, uid, "dead").acquire()
    await alive(bench.connection, "dead")
    async with working(bench) as worker:
        await until_async(lambda: worker.connection.hears)
        assert not worker.owned, "it still counts as alive"
        await alive(bench.connection, "dead", seconds=0.1)
        await until_async(lambda: len(worker.owned) == len(uids))
        assert await epochs(bench, uids) == [2] * len(uids)


async def test_a_worker_that_joins_takes_its_share_at_a_checkpoint_and_learns_each_label_once(bench: Bench) -> None:
    stores = [await bench.model(f"model{number}", recipe={"strategy": "replay"}) for number in range(4)]
    async with working(bench) as first:
        for store in stores:
            await store.log.append(labelled(64))
        for store in stores:
            await until_async(lambda store=store: is_learned(store))  # type: ignore[misc]
        async with working(bench) as second:
            await until_async(lambda: len(first.owned) == len(second.owned) == 2)
            for store in stores:
                head = await store.commit_log.head()
                assert store.uid in first.owned or (head.checkpoint and head.checkpoint.step == head.step)
                await store.log.append(labelled(32, first=64))

            async def all_learned() -> bool:
                return all([(await store.commit_log.head()).learned == 96 for store in stores])

            await until_async(all_learned)
        for store in stores:
            assert await alarms(store) == {}


async def test_an_idle_learner_is_unloaded_and_comes_back_with_the_next_label(bench: Bench) -> None:
    store = await bench.model()
    async with working(bench, idle_seconds=0.1, checkpoint_seconds=0.1) as worker:
        await store.log.append(labelled(64))
        await until_async(lambda: is_learned(store))
        model = worker.owned[store.uid].model
        await until_async(lambda: not model.is_loaded)
        head = await store.commit_log.head()
        assert head.checkpoint is not None and head.checkpoint.step == head.step
        await store.log.append(labelled(64, first=64))

        async def has_learned_all() -> bool:
            return (await store.commit_log.head()).learned == 128

        await until_async(has_learned_all)
        assert worker.owned[store.uid].model is model and await epochs(bench, [store.uid]) == [1]
    assert await alarms(store) == {}


async def test_a_worker_that_cannot_renew_loses_its_models_with_an_alarm_that_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await bench.model()
    async with working(bench, lease_seconds=2) as first:
        await until_async(lambda: store.uid in first.owned)
        # One that has the model for no other reason than that the first is silent.
        other = next(name for name in map(str, count()) if place([store.uid], [first.owner, name])[store.uid] != name)

        async def fail() -> None:
            raise Unavailable("no route to the store")

        with monkeypatch.context() as patched:
            patched.setattr(first.heart, "_tell", fail)
            async with working(bench, lease_seconds=2, worker_id=other) as second:
                await until_async(lambda: store.uid in second.owned)
                patched.undo()
                message = await until_async(lambda: lost(store))
                await until_async(lambda: store.uid in first.owned and store.uid not in second.owned)
    assert "the leases of this worker cannot be renewed: no route to the store" in caplog.text
    assert (
        f"from worker {first.owner}, which could not renew its leases" in message and "no route to the store" in message
    )


async def lost(store: ModelStore) -> str:
    return (await alarms(store)).get("lease_lost", "")
