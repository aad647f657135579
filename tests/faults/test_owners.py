"""Workers that stop, contend and go: a model has one owner at a time, and the next one takes over where the last one was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from driftline.client.clients import Client
from tests.conftest import OwnRedis
from tests.faults.parts import WorkerProcess, asking, owner_in, stopped
from tests.feeding import check_all_served_once, feeding
from tests.ports import free_port
from tests.services import Instance, is_there, spec, standing_alarms, up
from tests.waiting import SECONDS, until
from worker.placement import place

pytestmark = pytest.mark.slow


@dataclass
class Pair:
    """A running ``driftline up``, and a second worker beside the one of its own."""

    instance: Instance
    redis: Any
    second: WorkerProcess
    folder: Path
    environment: dict[str, str]

    @property
    def first_owner(self) -> str:
        return owner_in("\n".join(self.instance.lines))

    def uid(self, model: str) -> str:
        return str(self.redis.hget("driftline:names", model))

    def owner(self, model: str) -> str | None:
        found: str | None = self.redis.get(f"driftline:{{{self.uid(model)}}}:lease")
        return found

    def committed_by(self, model: str) -> str:
        """Who has committed the newest step."""
        token: str = self.redis.hget(f"driftline:{{{self.uid(model)}}}:head", "token") or ""
        return token.partition(":")[0]

    def create(self, model: str, owner: str) -> None:
        """A new model that is the share of ``owner``: as many are made as it takes."""
        while True:
            self.instance.client.create_model(spec(model))
            uids = list(self.redis.hgetall("driftline:names").values())
            if place(uids, [self.first_owner, self.second.owner])[self.uid(model)] == owner:
                break
            self.instance.client.delete_model(model)
        until(lambda: self.owner(model) == owner)


@pytest.fixture(scope="module")
def pair(own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder, port = tmp_path_factory.mktemp("pair"), free_port()
    environment = {
        "DRIFTLINE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "DRIFTLINE_DATA_DIR": str(folder / "data"),
        "DRIFTLINE_LEASE_SECONDS": "5",
        "DRIFTLINE_CHECKPOINT_SECONDS": "2",
    }
    with (
        own_redis(folder / "redis", port),
        up(folder / "up", **environment) as instance,
        WorkerProcess(folder, environment) as second,
    ):
        until(lambda: owner_in("\n".join(instance.lines)))
        yield Pair(instance, Redis(port=port, decode_responses=True), second, folder, environment)


def told(client: Client, model: str, kind: str) -> str:
    """What an alarm of a kind says or has said."""
    return " ".join(alarm["message"] for alarm in client.metrics(model)["alarms"] if alarm["kind"] == kind)


def test_an_owner_that_was_silent_for_too_long_is_fenced_and_serves_other_models_again(pair: Pair) -> None:
    pair.create("weather", owner=pair.first_owner)
    first, second = pair.first_owner, pair.second.owner
    with asking(pair.instance.url), feeding(pair.instance) as feeder:
        until(lambda: pair.committed_by("weather") == first)
        with stopped(pair.instance.pid("worker")):
            until(lambda: pair.committed_by("weather") == second)
        seen = until(lambda: [line for line in pair.instance.lines if "another owner" in line or "is lost" in line])
        assert any(pair.uid("weather") in line for line in seen)
        until(lambda: "was held up" in told(pair.instance.client, "weather", "lease_lost"))
        until(lambda: pair.committed_by("weather") == first)
    until(lambda: not standing_alarms(pair.instance.client, "weather"))
    check_all_served_once(pair.instance, feeder)
    with stopped(pair.second.pid):
        pair.instance.client.feedback("weather", [{"id": "later", "inputs": [0.5] * 8, "label": 1}])
        feeder.acknowledged.append("later")
        until(lambda: pair.committed_by("weather") == first)
    check_all_served_once(pair.instance, feeder)


def test_two_workers_share_many_models_and_no_model_has_two_owners(pair: Pair) -> None:
    names = [f"shared-{number}" for number in range(8)]
    for name in names:
        pair.instance.client.create_model(spec(name))
    items = [{"id": f"i{n}", "inputs": [n / 100] * 8, "label": n % 2} for n in range(100)]
    for name in names:
        pair.instance.client.feedback(name, items)
    for name in names:
        assert pair.instance.client.wait_served(name, "i99", SECONDS)["state"] == "served"
        assert pair.instance.client.model(name)["learned"] == 100
        until(lambda name=name: standing_alarms(pair.instance.client, name) == {})  # type: ignore[misc]
    # One that has just been given up is nobody's for a moment.
    until(lambda: {pair.owner(name) for name in names} <= {pair.first_owner, pair.second.owner})


@pytest.mark.long
def test_a_worker_that_is_asked_to_end_under_load_gives_its_model_to_another(pair: Pair) -> None:
    lasting = {"DRIFTLINE_LEASE_SECONDS": "600"}
    with WorkerProcess(pair.folder, pair.environment | lasting) as third:
        with stopped(pair.second.pid), stopped(pair.instance.pid("worker")):
            pair.instance.client.create_model(spec("given"))
            until(lambda: pair.owner("given") == third.owner)
        with asking(pair.instance.url, "given"), feeding(pair.instance, "given") as feeder:
            until(lambda: pair.committed_by("given") == third.owner)
            assert third.end() == 0
            until(lambda: pair.committed_by("given") in (pair.first_owner, pair.second.owner))
        check_all_served_once(pair.instance, feeder)
        assert not is_there(third.pid)
