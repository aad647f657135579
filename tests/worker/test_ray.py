"""Jobs that train on the nodes of a Ray cluster: the same weights as here, whatever becomes of the nodes."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from driftline.backtest.play_pool import PROGRAM, PlayPool
from driftline.backtest.replay import backtest
from driftline.errors import ConfigurationError
from driftline.processes.plan import program
from driftline.records import Command
from driftline.settings import Settings
from driftline.store.workers import Workers
from tests.backtest.test_play_pool import repeatable
from tests.backtest.test_replay import world
from tests.ports import free_port, free_ports, missing
from tests.waiting import SECONDS, until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import add, alarms, state_is, training, until_alarm, working
from tests.worker.test_training import UID, begun, is_training, job_of, retrain
from worker.model_store import ModelStore
from worker.ray_engine import RayEngine
from worker.training import Training
from worker.training_run import RAY_LOST, TrainingPlaces

pytestmark = [pytest.mark.anyio, pytest.mark.tools, pytest.mark.slow]

# A raylet whose agents take longer than 15 seconds to start dies, as they do where twenty others want the same core.
long = pytest.mark.long

WORKER_FILE = program("worker")[-1]
"""What stands in the command of every worker."""

AGENT_PORTS = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")


def node(**more: Any) -> dict[str, Any]:
    """What a node starts with. A raylet waits 15 seconds for agents to tell the ports that they were not given, and dies."""
    ports = dict(zip(AGENT_PORTS, free_ports(len(AGENT_PORTS)), strict=True))
    return {"num_cpus": 1, "object_store_memory": 80_000_000, "wait": False, **ports, **more}


class SlowClock:
    """Ray gives a node 30 seconds to start, which a busy machine needs many times over."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() / 16


@pytest.fixture(scope="module", autouse=True)
def with_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        missing("ray")


@pytest.fixture(scope="module")
def cluster(with_ray: None) -> Iterator[Any]:
    """A head that computes nothing, and two nodes."""
    from ray._private import node as starting
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Its sockets need a short path.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting, "time", SlowClock())
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()  # There it notes the address of the newest cluster.
        cluster = Cluster()
        try:
            cluster.add_node(
                **node(num_cpus=0, include_dashboard=False, temp_dir=folder, ray_client_server_port=free_port())
            )
            for _ in range(2):
                cluster.add_node(**node())
            cluster.wait_for_nodes(SECONDS)
            yield cluster
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def on_ray(cluster: Any, count: int = 1) -> Training:
    """Every job trains on a node after its first slice, the trials of a race on ``count`` of them."""
    engine = RayEngine(Settings(engine="ray", ray_address=cluster.address))
    return Training(TrainingPlaces(count, light_seconds=0.0, end_seconds=60.0, ray=engine), slice_seconds=0.0)


def with_two_nodes(cluster: Any) -> None:
    """Lets two nodes compute, also where a test has ended one."""
    while len(cluster.list_all_nodes()) < 3:
        cluster.add_node(**node())
    cluster.wait_for_nodes(SECONDS)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def nodes_at_work(cluster: Any, word: str = "--train") -> list[Any]:
    """The nodes under whose raylets a process trains a job, or one with such a word in its command runs."""
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in cluster.list_all_nodes()}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            pid, words = int(path.name), (path / "cmdline").read_bytes().split(b"\0")
            if word.encode() in words:
                while pid > 1 and pid not in raylets:
                    pid = parent_of(pid)
                found += [raylets[pid]] if pid in raylets else []
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@long
async def test_a_job_trains_on_a_node_and_comes_back_and_a_cancelled_one_ends(bench: Bench, cluster: Any) -> None:
    store = await begun(bench, epochs=6)
    async with training(bench, store, training=on_ray(cluster)) as trainer:
        await until_async(lambda: nodes_at_work(cluster))
        await state_is(store, f"{UID}-job", "succeeded")
        await add(store, trainer, [Command(f"{UID}-more", "retrain", retrain(4000))])
        await until_async(lambda: nodes_at_work(cluster))
        await add(store, trainer, [Command("c", "cancel", {"job": f"{UID}-more"})])
        await state_is(store, f"{UID}-more", "cancelled")
        await until_async(lambda: not nodes_at_work(cluster))
    assert RAY_LOST not in await alarms(store)


@long
@pytest.mark.parametrize("count", [1, 2])
async def test_a_job_whose_node_is_killed_is_trained_by_another_one_to_the_same_weights(
    bench: Bench, cluster: Any, count: int
) -> None:
    with_two_nodes(cluster)
    store = await begun(bench, epochs=600)
    async with training(bench, store, training=on_ray(cluster, count)):
        await until_async(lambda: is_training(store))
        await until_async(lambda: len(nodes_at_work(cluster)) == count)
        lost = nodes_at_work(cluster)[0]
        cluster.remove_node(lost, allow_graceful=False)
        await until_async(lambda: any(node is not lost for node in nodes_at_work(cluster)))
        # What the lost one told last has come by now.
        await store.commit_log.report_progress(f"{UID}-job", 0.0)
        await until_async(lambda: is_training(store))
    head = await store.commit_log.head()
    untrained, partly_trained = job_of(store, head.older_checkpoint), job_of(store, head.checkpoint)
    assert untrained.halving.done < partly_trained.halving.done
    for trial, trained in zip(untrained.halving.trials, partly_trained.halving.trials, strict=True):
        while trial.done < trained.done:
            trial.advance(untrained.examples, untrained.halving.split.trained)
    expected, found = (job.halving.state_dict() for job in (untrained, partly_trained))
    assert found.data == expected.data and found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())
    assert RAY_LOST not in await alarms(store)


@long
async def test_a_backtest_whose_node_is_killed_comes_to_what_it_comes_to_here(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_two_nodes(cluster)
    port = cluster.head_node._ray_params.ray_client_server_port
    monkeypatch.setenv("DRIFTLINE_RAY_ADDRESS", f"ray://127.0.0.1:{port}")
    recipes: dict[str, dict[str, Any]] = {"plain": {}, "focal": {"loss": "focal"}}
    lost: list[str] = []
    here = backtest(world(2000), recipes)
    pool = PlayPool(2, is_on_ray=True, on_lost=lost.append)
    there = asyncio.create_task(asyncio.to_thread(backtest, world(2000), recipes, play_all=pool))
    await until_async(lambda: len(nodes_at_work(cluster, PROGRAM)) == 2)
    cluster.remove_node(nodes_at_work(cluster, PROGRAM)[0], allow_graceful=False)
    assert repeatable(await there) == repeatable(here) and not lost


@long
async def test_workers_on_nodes_learn_on_when_one_node_is_killed(cluster: Any, bench: Bench) -> None:
    with_two_nodes(cluster)
    store = await bench.model(uid=UID)
    environment = {
        **os.environ,
        "DRIFTLINE_REDIS_URL": bench.url,
        "DRIFTLINE_PREFIX": store.connection.keys.prefix,
        "DRIFTLINE_DATA_DIR": str(bench.folder),
        "DRIFTLINE_RAY_ADDRESS": cluster.address,
        "DRIFTLINE_LEASE_SECONDS": "5",
    }
    command = [sys.executable, "-m", "driftline.cli", "worker", "--ray", "2"]
    process = subprocess.Popen(command, env=environment)
    try:
        workers = Workers(store.connection)
        await until_async(lambda: len_of(workers), 2 * SECONDS)
        at_work = nodes_at_work(cluster, WORKER_FILE)
        assert len({*at_work}) == 2, "they are spread"
        await store.log.append(labelled(320))
        await until_async(lambda: has_learned(store, 100), 2 * SECONDS)
        for lost in at_work[:1]:
            cluster.remove_node(lost, allow_graceful=False)
        await store.log.append(labelled(320, first=320))
        await until_async(lambda: has_learned(store, 640), 2 * SECONDS)
        assert not {"recovery_diverged", "gap"} & (await alarms(store)).keys()
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0
        await until_async(lambda: not nodes_at_work(cluster, WORKER_FILE))
    finally:
        process.kill()
        process.wait()


async def len_of(workers: Workers) -> bool:
    return len(await workers.alive()) == 2


async def has_learned(store: ModelStore, count: int) -> bool:
    return (await store.commit_log.head()).learned >= count


@long
async def test_a_node_of_another_build_says_so_and_the_job_trains_here(bench: Bench, cluster: Any) -> None:
    for former in {*cluster.list_all_nodes()} - {cluster.head_node}:
        cluster.remove_node(former)
    cluster.add_node(**node(env_vars={"ATEN_CPU_CAPABILITY": "default"}))
    store = await begun(bench, epochs=6)
    async with training(bench, store, training=on_ray(cluster)) as trainer:
        told = await until_alarm(store, trainer, RAY_LOST)
        await state_is(store, f"{UID}-job", "succeeded")
    assert "another build" in told and "DEFAULT" in told


@long
async def test_without_its_cluster_a_worker_trains_here_and_says_so(bench: Bench, cluster: Any) -> None:
    store = await begun(bench, epochs=6)
    async with working(bench, engine="ray", ray_address=cluster.address) as worker:
        assert worker.ray is not None and worker.training_places is not None
        worker.ray.check_seconds, worker.training_places.light_seconds = 0.1, 0.0
        await until_async(lambda: worker.heart.has_begun)
        cluster.shutdown()
        await until_async(lambda: "Ray" in worker.troubles.current())
        await state_is(store, f"{UID}-job", "succeeded")
        assert "jobs train on this machine" in (worker._why_unready() or "")
    assert "refused" in (await alarms(store))[RAY_LOST]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ray_address": "nowhere"}, "no Ray cluster answers at nowhere: ValueError: an address is HOST:PORT"),
        ({"ray_address": "127.0.0.1:{port}"}, "no Ray cluster answers at 127.0.0.1:{port}: ConnectionRefusedError"),
        ({"job_processes": 0}, "DRIFTLINE_JOB_PROCESSES=0"),
    ],
)
async def test_a_worker_without_a_cluster_does_not_start(settings: dict[str, Any], message: str) -> None:
    port = str(free_port())
    told: dict[str, Any] = {
        name: value.format(port=port) if isinstance(value, str) else value for name, value in settings.items()
    }
    with pytest.raises(ConfigurationError) as refused:
        await RayEngine(Settings(engine="ray", **told)).begin()
    assert message.format(port=port) in refused.value.message


async def test_a_worker_without_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'driftline\[ray\]'"):
        await RayEngine(Settings(engine="ray")).begin()
