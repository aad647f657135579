"""Between Driftline and its Redis the network fails in every way: nothing is lost or learned twice, and all heals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from driftline.client.clients import Client
from driftline.errors import Unavailable
from tests.conftest import OwnRedis
from tests.faults.parts import ACQUIRE, Meddling, Proxy, asking, stopped
from tests.feeding import check_all_served_once, feeding
from tests.ports import free_port
from tests.services import Instance, spec, up
from tests.waiting import until

pytestmark = pytest.mark.slow


@dataclass
class Wired:
    """A Driftline whose every word to its Redis goes through a proxy."""

    instance: Instance
    proxy: Proxy
    folder: Path
    port: int


@pytest.fixture(scope="module")
def wired(own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    folder, port = tmp_path_factory.mktemp("wired"), free_port()
    environment = {"DRIFTLINE_LEASE_SECONDS": "3", "DRIFTLINE_CHECKPOINT_SECONDS": "2"}
    with (
        own_redis(folder / "redis", port),
        Proxy(port) as proxy,
        up(folder / "up", DRIFTLINE_REDIS_URL=proxy.url, **environment) as instance,
    ):
        yield Wired(instance, proxy, folder, port)


def model_of(wired: Wired, name: str) -> Client:
    """A new model, loaded and learning."""
    client = wired.instance.client
    client.create_model(spec(name))
    client.predict(name, [[0.5] * 8])
    return client


def test_a_cut_of_some_seconds_under_load_is_made_up_for(wired: Wired) -> None:
    model_of(wired, "cut")
    with asking(wired.instance.url, "cut") as asker, feeding(wired.instance, "cut") as feeder:
        until(lambda: len(feeder.acknowledged) > 100)
        wired.proxy.cut()
        answered = len(asker.versions)
        time.sleep(4)
        until(lambda: len(asker.versions) > answered + 5)  # predictions go on
        wired.proxy.heal()
        feeder.go_on()
    check_all_served_once(wired.instance, feeder)
    assert asker.broken == 0


@pytest.mark.long
def test_a_connection_that_hangs_half_open_is_given_up_and_made_up_for(wired: Wired) -> None:
    model_of(wired, "hangs")
    with asking(wired.instance.url, "hangs") as asker, feeding(wired.instance, "hangs") as feeder:
        until(lambda: len(feeder.acknowledged) > 100)
        wired.proxy.is_half_open = True
        answered = len(asker.versions)
        time.sleep(4)
        until(lambda: len(asker.versions) > answered + 5)  # predictions go on
        wired.proxy.is_half_open = False
        feeder.go_on(50)
    check_all_served_once(wired.instance, feeder)
    assert asker.broken == 0


@pytest.mark.long
def test_a_redis_that_stalls_for_longer_than_a_lease_costs_no_label_and_no_lease(wired: Wired) -> None:
    client = model_of(wired, "stalls")
    redis = Redis(port=wired.port, decode_responses=True)
    with feeding(wired.instance, "stalls") as feeder:
        until(lambda: client.model("stalls")["version"] > 1)
        uid = str(redis.hget("driftline:names", "stalls"))
        epoch = f"driftline:{{{uid}}}:epoch"
        before = redis.get(epoch)
        with stopped(redis.info("server")["process_id"]):
            time.sleep(4.5)
        feeder.go_on(50)
    check_all_served_once(wired.instance, feeder)
    assert redis.get(epoch) == before, "its owner has kept it"


@pytest.mark.long
def test_two_hundred_milliseconds_to_redis_slow_it_down_and_break_nothing(wired: Wired) -> None:
    model_of(wired, "far")
    wired.proxy.delay = 0.2
    try:
        with asking(wired.instance.url, "far") as asker, feeding(wired.instance, "far") as feeder:
            until(lambda: len(feeder.acknowledged) >= 50)
            until(lambda: asker.versions and asker.versions[-1] > 1)
    finally:
        wired.proxy.delay = 0.0
    check_all_served_once(wired.instance, feeder)
    assert asker.broken == 0


def test_a_cut_amid_an_append_leaves_its_labels_out_or_in_and_a_resend_learns_them_once(wired: Wired) -> None:
    client = model_of(wired, "amid")
    fates = Meddling("half", "deaf", "half", "deaf", "deaf", "deaf", "deaf", "half")
    with feeding(wired.instance, "amid") as feeder:
        until(lambda: len(feeder.acknowledged) >= 20)
        wired.proxy.on_request = fates
        until(lambda: fates.is_done)
    check_all_served_once(wired.instance, feeder)
    wired.proxy.on_request = fates = Meddling("deaf")
    answer = client.feedback("amid", [{"id": "once", "inputs": [0.5] * 8, "label": 1}])
    assert fates.is_done
    assert [item["status"] for item in answer["items"]] == ["duplicate"], "it was in, and its own resend found it"


class CutBehindLease:
    """Breaks so many requests, from the one on that follows a worker's taking a lease."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.has_begun = False

    def __call__(self, data: bytes) -> str:
        if not self.has_begun:
            self.has_begun = ACQUIRE in data
            return "pass"
        self.left -= 1
        return "half" if self.left >= 0 else "pass"


@pytest.mark.long
def test_a_cut_while_a_worker_recovers_raises_no_alarm(wired: Wired) -> None:
    model_of(wired, "recovers")
    with feeding(wired.instance, "recovers") as feeder:
        until(lambda: len(feeder.acknowledged) >= 100)
    wired.proxy.on_request = cut = CutBehindLease(40)
    wired.instance.kill("worker")
    until(lambda: cut.left < 0)
    wired.instance.client.feedback("recovers", [{"id": "later", "inputs": [0.5] * 8, "label": 1}])
    feeder.acknowledged.append("later")
    check_all_served_once(wired.instance, feeder)


def test_without_its_hints_it_learns_and_swaps_by_looking(wired: Wired) -> None:
    wired.proxy.on_request = lambda data: "mute" if b"SUBSCRIBE" in data else "pass"
    wired.proxy.heal()
    try:
        until(lambda: wired.instance.is_ready)
        until(lambda: created(wired, "quiet"))
        with asking(wired.instance.url, "quiet") as asker, feeding(wired.instance, "quiet") as feeder:
            until(lambda: asker.versions and asker.versions[-1] > 2)
        assert Redis(port=wired.port).pubsub_numsub("driftline:hints")[0][1] == 0, "nobody has heard a hint"
        check_all_served_once(wired.instance, feeder)
    finally:
        wired.proxy.on_request = lambda data: "pass"
        wired.proxy.heal()


def created(wired: Wired, name: str) -> bool:
    try:
        model_of(wired, name)
    except Unavailable:
        return False
    return True


@pytest.mark.long
def test_a_redis_that_is_killed_and_comes_back_under_load_has_lost_nothing(wired: Wired, own_redis: OwnRedis) -> None:
    until(lambda: created(wired, "killed"))
    with asking(wired.instance.url, "killed") as asker, feeding(wired.instance, "killed") as feeder:
        until(lambda: len(feeder.acknowledged) > 100)
        os.kill(Redis(port=wired.port).info("server")["process_id"], signal.SIGKILL)
        answered = len(asker.versions)
        until(lambda: len(asker.versions) > answered + 50)
        with own_redis(wired.folder / "redis", wired.port):
            feeder.go_on()
            feeder.is_over.set()
            check_all_served_once(wired.instance, feeder)
    assert asker.broken == 0
