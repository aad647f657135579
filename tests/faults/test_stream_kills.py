"""Sources whose worker, app, store and broker are killed while they are read: each good record is learned once, in its order.

Between good records stand bad ones, and from the half on the records are written otherwise, as after a release of who writes
them. The mock cluster of Kafka lives in this process, and is not killed; files are rotated.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from driftline.errors import DriftlineError
from driftline.processes.supervisor import Guard
from tests.conftest import OwnRedis
from tests.faults.fed_brokers import (
    Broker,
    HttpService,
    KafkaBroker,
    MqttBroker,
    NatsBroker,
    PostgresBroker,
    RabbitBroker,
    RedisBroker,
    RotatedFiles,
)
from tests.ports import free_port
from tests.services import Instance, spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow

MAX_AHEAD = 15_000
COUNTS = [400, pytest.param(100_000, marks=pytest.mark.long)]
MAPPING = {"inputs": "row", "label": "label || outcome", "id": "n"}


def records(count: int, first: int, is_new: bool) -> list[bytes]:
    """Records that each say their number; every twentieth is one of several kinds that cannot be taken."""
    bad: Sequence[bytes] = [b"", b"nothing", b'{"row": [1], "label": 1}', b'{"row": [1,2', b"\xff\xfe", b'{"label": 2}']
    named = "outcome" if is_new else "label"
    return [
        bad[n // 20 % len(bad)]
        if n % 20 == 7
        else json.dumps(
            {"n": n, "row": [n / 2**20, *[0.0] * 7], named: n % 2} | ({"colour": "red"} if is_new else {})
        ).encode()
        for n in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def sink() -> dict[str, Any]:
    """Where the predictions of one model go, by whatever call; nobody listens there yet."""
    return {"type": "redis_stream", "url": f"redis://127.0.0.1:{free_port()}", "stream": "told"}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, sink: dict[str, Any]) -> Iterator[Instance]:
    settings = {
        "DRIFTLINE_LEASE_SECONDS": "2",
        "DRIFTLINE_SINKS": json.dumps([{**sink, "carries": "predictions", "models": ["told"]}]),
        "DRIFTLINE_SOURCE_FOLDERS": str(tmp_path_factory.getbasetemp()),
    }
    with up(tmp_path_factory.mktemp("kills"), **settings) as found:
        yield found


def drill(instance: Instance, broker: Broker, count: int, **changes: Any) -> None:
    """Feeds, kills in an order by chance, and checks what was learned by the log and the receipts."""
    name, client = f"m{random.randrange(10**9)}", instance.client
    client.create_model(spec(name))
    source = {**broker.source, "name": "s", "mapping": MAPPING, "max_rate": max(100, count / 5), **changes}
    broker.produce([b"nothing"])
    client.make_source(name, source)
    asked = ["state", "refused"]
    until(lambda: [told(instance, name, field) for field in asked] in (["running", 1], ["running", 0]))
    kills: list[Callable[[], None]] = [broker.kill, *(lambda child=child: instance.kill(child) for child in CHILDREN)]
    random.shuffle(kills)
    feed(instance, broker, name, range(count // 2), is_new=False)
    for kill in kills[:2]:
        kill()
    feed(instance, broker, name, range(count // 2, count), is_new=True)
    for kill in kills[2:]:
        kill()
    good = [n for n in range(count) if n % 20 != 7]
    until(lambda: learned(instance, name) >= len(good), SECONDS + count / 50)
    until(lambda: told(instance, name, "state") == "running")
    assert learned(instance, name) == len(good)
    # Of a long log the beginning has been trimmed.
    entries = list(client.log(name))
    assert entries and [entry["id"] for entry in entries] == [str(n) for n in good[-len(entries) :]]
    assert [entry["label"] for entry in entries] == [n % 2 for n in good[-len(entries) :]]
    some = [str(n) for n in good[:: len(good) // 20]]
    until(lambda: all(client.receipt(name, each)["state"] == "served" for each in some))
    assert not client.source(name, "s")["gaps"]
    client.delete_model(name)


CHILDREN = ("worker", "app", "valkey")


def feed(instance: Instance, broker: Broker, name: str, numbers: range, is_new: bool) -> None:
    """Produces records, never many more than have been learned: a mock cluster keeps the newest 5 MiB of a partition."""
    for first in range(numbers.start, numbers.stop, MAX_AHEAD):
        until(partial(has_learned, instance, name, 0.9 * (first - MAX_AHEAD)), SECONDS + len(numbers) / 50)
        broker.produce(records(min(MAX_AHEAD, numbers.stop - first), first, is_new))


def told(instance: Instance, name: str, field: str) -> Any:
    try:
        return {**instance.client.source(name, "s")}[field]
    except DriftlineError:
        return None


def has_learned(instance: Instance, name: str, least: float) -> bool:
    return learned(instance, name) >= least


def learned(instance: Instance, name: str) -> int:
    try:
        return int(instance.client.model(name)["learned"])
    except DriftlineError:
        return 0


@pytest.mark.parametrize("count", COUNTS)
def test_a_redis_stream(instance: Instance, own_redis: OwnRedis, tmp_path: Path, count: int) -> None:
    _run(instance, RedisBroker(own_redis, tmp_path / "redis"), count)


@pytest.mark.parametrize("count", COUNTS)
def test_a_topic_of_kafka(instance: Instance, kafka: tuple[Producer, str], count: int) -> None:
    _run(instance, KafkaBroker(kafka), count)


@pytest.mark.tools
@pytest.mark.parametrize("count", COUNTS)
def test_a_stream_of_nats(instance: Instance, guard: Guard, tmp_path: Path, count: int) -> None:
    _run(instance, NatsBroker(guard, tmp_path), count)


@pytest.mark.tools
@pytest.mark.parametrize("count", COUNTS)
def test_a_queue_of_rabbitmq(instance: Instance, guard: Guard, tmp_path: Path, count: int) -> None:
    _run(instance, RabbitBroker(guard, tmp_path), count)


@pytest.mark.tools
@pytest.mark.parametrize("count", COUNTS)
def test_a_topic_of_mqtt(instance: Instance, guard: Guard, tmp_path: Path, count: int) -> None:
    _run(instance, MqttBroker(guard, tmp_path), count)


@pytest.mark.tools
@pytest.mark.parametrize("count", COUNTS)
def test_a_table_of_postgresql(instance: Instance, guard: Guard, count: int) -> None:
    _run(instance, PostgresBroker(guard), count)


@pytest.mark.parametrize("count", COUNTS)
def test_files_that_are_rotated(instance: Instance, tmp_path: Path, count: int) -> None:
    _run(instance, RotatedFiles(tmp_path / "files"), count)


@pytest.mark.parametrize("count", COUNTS)
def test_a_service_that_is_asked(instance: Instance, count: int) -> None:
    _run(instance, HttpService(), count)


def test_rows_are_answered_and_written_with_one_id_each_whatever_is_killed(
    instance: Instance, own_redis: OwnRedis, tmp_path: Path
) -> None:
    from redis import Redis

    broker, count, client = RedisBroker(own_redis, tmp_path / "redis"), 300, instance.client
    client.create_model(spec("rows"))
    sink = {"type": "redis_stream", "url": broker.source["url"], "stream": "predictions"}
    source = {**broker.source, "name": "s", "mode": "infer", "max_rate": 100, "sink": sink}
    rows = [json.dumps({"inputs": [n / 2**20, *[0.0] * 7], "key": f"row {n}"}).encode() for n in range(count)]
    try:
        broker.produce(rows[: count // 2])
        client.make_source("rows", source)
        until(lambda: told(instance, "rows", "taken"))
        kills: list[Callable[[], None]] = [broker.kill, lambda: instance.kill("app"), lambda: instance.kill("valkey")]
        random.shuffle(kills)
        for kill in kills:
            kill()
        broker.produce(rows[count // 2 :])

        def written() -> dict[str, str]:
            with Redis(port=broker.port) as redis:
                found = [json.loads(fields[b"data"]) for _, fields in redis.xrange("predictions")]
            return {each["record"]: each["key"] for each in found}

        until(lambda: len(written()) >= count)
        assert [*written().values()] == [f"row {n}" for n in range(count)]
        until(lambda: instance.is_ready)
        outcome = client.feedback("rows", [{"key": f"row {n}", "label": n % 2} for n in (0, count // 2, count - 1)])
        assert outcome["accepted"] == 3
    finally:
        broker.close()
        client.delete_model("rows")


def test_each_prediction_that_a_label_can_join_is_written_whatever_is_killed(
    instance: Instance, sink: dict[str, Any], own_redis: OwnRedis, tmp_path: Path
) -> None:
    from redis import Redis

    client, port = instance.client, int(sink["url"].rpartition(":")[2])
    client.create_model(spec("told"))
    first = [*predicted(instance, range(40))]
    # They are recorded, and the sink has taken none, when the app that has answered dies.
    until(lambda: joined(instance, first) == {*first})
    instance.kill("app")
    with own_redis(tmp_path / "sink", port):
        answered = [*predicted(instance, range(40, 80))]
        for child in ("app", "valkey"):
            killer = threading.Thread(target=instance.kill, args=(child,))
            killer.start()
            answered += predicted(instance, range(80, 300))
            killer.join()
        until(lambda: instance.is_ready)
        answered += predicted(instance, range(300, 320))

        def written() -> dict[str, str]:
            with Redis(port=port) as redis:
                found = [json.loads(fields[b"data"]) for _, fields in redis.xrange(sink["stream"])]
            return {each["id"]: each["key"] for each in found}

        until(lambda: joined(instance, answered[-1:]))
        kept = joined(instance, answered) | {*first}
        assert len(kept) > 60
        until(lambda: kept <= written().keys())
        found = written()
        assert [found[each] for each in first] == [str(n) for n in range(40)]
    client.delete_model("told")


def predicted(instance: Instance, rows: range) -> Iterator[str]:
    """The ids of the predictions of rows that are answered, each asked for once."""
    for n in rows:
        try:
            answer = instance.client.predict("told", [[n / 2**20, *[0.0] * 7]], keys=[str(n)])
        except DriftlineError:
            continue
        yield str(answer["predictions"][0]["id"])


def joined(instance: Instance, ids: Sequence[str]) -> set[str]:
    """The predictions whose label is taken."""
    found = set[str]()
    for each in ids:
        with suppress(DriftlineError):
            outcome = instance.client.feedback("told", [{"prediction_id": each, "label": 1}])
            found |= {each} if outcome["accepted"] else set()
    return found


def _run(instance: Instance, broker: Broker, count: int) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    random.seed(seed)
    try:
        drill(instance, broker, count)
    finally:
        broker.close()
