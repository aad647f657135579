"""A model whose turns end the worker process is known by the turn file that the process leaves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from driftline.records import Command
from driftline.store.lease import MAX_CRASHES, Lease
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import is_learned, working
from worker.model_store import ModelStore
from worker.turns import TurnFile

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio


DYING = """
import os, sys
from pathlib import Path
from worker.turns import TurnFile
folder, owner, uid = sys.argv[1:]
with TurnFile(Path(folder), owner).of(uid):
    os._exit(13)
"""


def killed(folder: Path, owner: str, uid: str) -> None:
    """A process that dies in a turn."""
    ended = subprocess.run([sys.executable, "-c", DYING, str(folder), owner, uid], cwd=ROOT, check=False)
    assert ended.returncode == 13


async def meta(store: ModelStore, field: str) -> Any:
    return await store.connection.redis.hget(store.keys.meta, field)


def test_a_turn_is_told_of_a_dead_owner_and_of_no_other(tmp_path: Path) -> None:
    killed(tmp_path, "dead/../one", "abc")
    (ours, idle), other = (TurnFile(tmp_path, name) for name in ("ours", "idle")), TurnFile(tmp_path, "other")
    assert ours.died_in("abc", "dead/../one") and not ours.died_in("def", "dead/../one")
    assert not ours.died_in("abc", "idle") and not ours.died_in("abc", "never there")
    with other.of("abc"):
        assert not ours.died_in("abc", "other"), "it lives, however long its turn takes"
    for file in (ours, idle, other):
        file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["dead%2F..%2Fone"], "who ends in order leaves nothing"


def test_who_starts_again_under_its_name_tells_of_its_own_death_once(tmp_path: Path) -> None:
    killed(tmp_path, "worker", "abc")
    file = TurnFile(tmp_path, "worker")
    assert [file.died_in("def", "worker"), file.died_in("abc", "worker"), file.died_in("abc", "worker")] == [
        False,
        True,
        False,
    ]
    file.close()


def test_a_turn_that_ends_leaves_no_name_also_where_it_raises(tmp_path: Path) -> None:
    file = TurnFile(tmp_path, "worker")
    with pytest.raises(ValueError, match="no"), file.of("abc"):
        assert (tmp_path / "worker").read_bytes().rstrip(b"\0") == b"abc"
        raise ValueError("no")
    assert (tmp_path / "worker").read_bytes().rstrip(b"\0") == b""
    file.close()


def test_a_disk_that_refuses_the_file_costs_nothing_but_the_note(tmp_path: Path) -> None:
    (tmp_path / "turns").write_text("not a folder")
    file = TurnFile(tmp_path / "turns", "worker")
    with file.of("abc"):
        pass
    assert not file.died_in("abc", "worker") and not file.died_in("abc", "other")
    file.close()


def test_files_of_dead_workers_go_when_they_are_old(tmp_path: Path) -> None:
    killed(tmp_path, "dead", "abc")
    living = TurnFile(tmp_path, "living")
    now = (tmp_path / "dead").stat().st_mtime
    living.remove_abandoned(60, now)
    assert (tmp_path / "dead").exists()
    living.remove_abandoned(60, now + 100)
    assert [path.name for path in tmp_path.iterdir()] == ["living"]
    living.close()


async def own_and_die(bench: Bench, store: ModelStore, owner: str) -> None:
    """A worker that takes the model and dies in its turn; its lease has then run out."""
    assert await Lease(bench.connection, store.uid, owner).acquire()
    await asyncio.to_thread(killed, bench.folder / "turns", owner, store.uid)
    await bench.connection.redis.delete(store.keys.lease)


async def test_a_committed_step_begins_the_count_anew(bench: Bench) -> None:
    store = await bench.model()
    await store.count_crashes(MAX_CRASHES - 2)
    await own_and_die(bench, store, "dead")
    async with working(bench):
        await until_async(lambda: has_crashed(store, MAX_CRASHES - 1))
        await store.log.append(labelled(64))
        await until_async(lambda: is_learned(store))
        assert await meta(store, "crashes") is None
    assert await meta(store, "owner") is None, "it was given back"


async def test_an_owner_that_died_elsewhere_or_gave_back_its_lease_counts_nothing(bench: Bench) -> None:
    store, other = await bench.model(), await bench.model("other")
    assert await Lease(bench.connection, store.uid, "dead").acquire()
    await own_and_die(bench, other, "dead")
    await bench.connection.redis.delete(store.keys.lease)
    async with working(bench) as worker:
        await until_async(lambda: len(worker.owned) == 2)
        assert await meta(store, "crashes") is None
        assert await meta(other, "crashes") == b"1"


@pytest.mark.parametrize("kind", ["resume", "rollback", "recipe", "retrain"])
async def test_at_the_third_death_a_model_is_set_aside_until_a_command_may_have_mended_it(
    bench: Bench, kind: Any
) -> None:
    store, other = await bench.model(), await bench.model("other")
    await store.count_crashes(MAX_CRASHES - 1)
    await own_and_die(bench, store, "dead")
    for one in (store, other):
        await one.log.append(labelled(64))
    async with working(bench) as worker:
        await until_async(lambda: is_learned(other))
        found = await until_async(lambda: store.connection.redis.hget(store.keys.alarms, "trainer_failed"))
        message = json.loads(found)["message"]
        assert "3 worker processes in a row" in message and "driftline resume weather" in message
        assert store.uid not in worker.owned and not await is_learned(store)
        epoch = await store.connection.redis.get(store.keys.epoch)
        await asyncio.sleep(0.3)
        assert await store.connection.redis.get(store.keys.epoch) == epoch, "nobody tries it meanwhile"
        job = {"recipe": {}, "edits": [], "epochs": 1, "reason": ""}
        arguments: dict[str, dict[str, Any]] = {
            "rollback": {"version": 1},
            "recipe": {"recipe": {"updates": 1}},
            "retrain": job,
        }
        await store.log.append([Command(f"{store.uid}-c", kind, arguments.get(kind, {}))])
        await until_async(lambda: is_learned(store))
        await until_async(lambda: has_no_alarm(store))


async def has_crashed(store: ModelStore, count: int) -> bool:
    return bool(await meta(store, "crashes") == str(count).encode())


async def has_no_alarm(store: ModelStore) -> bool:
    return not await store.connection.redis.hexists(store.keys.alarms, "trainer_failed")
