"""Who learns: every worker with its models, and an alarm about one that hangs."""

from __future__ import annotations

import msgspec
import pytest

from app.worker_states import worker_alarms, worker_list
from driftline.client.clients import Client
from driftline.store.lease import Lease
from driftline.store.workers import Heartbeat, Workers
from tests.app.conftest import AppClient, create
from tests.services import Instance
from tests.waiting import until

pytestmark = pytest.mark.anyio

BEAT = Heartbeat("w1", "host", 12, "1.0", started=900.0, time=999.5, load=0.25, restarts=2)


def test_a_worker_is_shown_with_what_it_owns() -> None:
    listed = worker_list([BEAT], {"b": "2", "a": "1", "c": "3"}, {"1": "w1", "2": "w1", "3": None}, 1000.0, 10.0)
    assert listed["unowned"] == ["c"]
    (worker,) = listed["workers"]
    assert worker["models"] == ["a", "b"] and worker["state"] == "working" and worker["silent_seconds"] == 0.5
    assert (worker["load"], worker["restarts"], worker["started"]) == (0.25, 2, 900.0)
    assert "computing" not in worker
    assert worker_alarms(listed, has_models=True) == []


def test_one_whose_compute_thread_does_not_come_back_is_stuck() -> None:
    beat = msgspec.structs.replace(BEAT, computes_for="1", computing_seconds=3.0)
    names, owners = {"a": "1"}, {"1": "w1"}
    (slow,) = worker_list([beat], names, owners, 1000.0, 10.0)["workers"]
    assert slow["state"] == "working" and slow["computing"] == {"model": "a", "seconds": 3.0}
    listed = worker_list([beat], names, owners, 1000.0, 2.0)
    assert listed["workers"][0]["state"] == "stuck"
    (alarm,) = worker_alarms(listed, has_models=True)
    assert alarm["kind"] == "worker_hung" and alarm["worker"] == "w1"
    assert "w1" in alarm["message"] and "'a'" in alarm["message"] and "3 seconds" in alarm["message"]


def test_one_that_tells_nothing_of_itself_is_silent() -> None:
    listed = worker_list([BEAT], {}, {}, 1011.0, 10.0)
    assert listed["workers"][0]["state"] == "silent"
    assert [alarm["kind"] for alarm in worker_alarms(listed, has_models=True)] == ["worker_hung", "no_worker"]
    assert [alarm["kind"] for alarm in worker_alarms(listed, has_models=False)] == ["worker_hung"]


def test_no_worker_is_an_alarm_where_there_are_models() -> None:
    nobody = worker_list([], {"a": "1"}, {"1": None}, 1000.0, 10.0)
    assert [alarm["kind"] for alarm in worker_alarms(nobody, has_models=True)] == ["no_worker"]
    assert worker_alarms(worker_list([], {}, {}, 1000.0, 10.0), has_models=False) == []


async def test_the_call_lists_them(client: AppClient) -> None:
    await create(client)
    connection = client.services.connection
    assert (await client.get("/v1/workers")).json() == {"workers": [], "unowned": ["weather"]}
    uid = (await client.services.catalog.names())["weather"]
    assert await Lease(connection, uid, "w1").acquire()
    now = await connection.time()
    await Workers(connection).beat(msgspec.structs.replace(BEAT, time=now, started=now - 5))
    answer = (await client.get("/v1/workers")).json()
    assert answer["unowned"] == []
    (worker,) = answer["workers"]
    assert (worker["id"], worker["state"], worker["models"]) == ("w1", "working", ["weather"])


@pytest.mark.slow
def test_a_worker_of_a_running_instance_is_listed(empty_instance: Instance) -> None:
    client: Client = empty_instance.client
    client.create_model({"name": "weather", "task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]})
    (worker,) = until(lambda: [found for found in client.workers() if found["models"] == ["weather"]])
    assert worker["pid"] == empty_instance.pid("worker")
    assert worker["state"] == "working" and 0 <= worker["load"] <= 1
