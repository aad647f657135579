"""Sources whose records are written by schemas of a registry, which may be away, and change in mid-stream."""

from __future__ import annotations

from typing import Any

import pytest

from driftline.store.sources import SourceBook
from tests.ports import free_port
from tests.sources.test_schemas import Registry, avro, record_of, registry
from tests.worker.conftest import Bench
from tests.worker.source_reading import labels, made, newest_is, reading, row, told

__all__ = ["registry"]
pytestmark = pytest.mark.anyio


async def test_a_source_waits_for_its_registry_and_takes_each_record_by_its_own_schema(
    bench: Bench, registry: Registry
) -> None:
    store = await bench.model()
    old = record_of("Sent", inputs={"type": "array", "items": "double"}, label="int")
    new = record_of("Sent", colour="string", label="long", values={"type": "array", "items": "float"})
    registry.avro(41, old)
    registry.avro(42, new)
    raws = [
        avro(old, {"inputs": row(1), "label": 0}, 41),
        avro(new, {"colour": "red", "label": 1, "values": row(2)}, 42),
        b"\0\0\0\0\x29nothing",
        avro(old, {"inputs": row(3), "label": 1}, 41),
    ]
    for raw in raws:
        await bench.connection.redis.xadd("avro", {"d": raw})
    described: dict[str, Any] = {
        "type": "redis_stream",
        "url": bench.url,
        "stream": "avro",
        "data": "d",
        "format": "avro",
    }
    described["mapping"] = {"inputs": "inputs || values", "label": "label"}
    async with reading(store, made(**described, schema_registry=f"http://127.0.0.1:{free_port()}")):
        state = await told(store, state="failing")
        assert "does not answer" in state.reason
    async with reading(store, made(**described, schema_registry=registry.url)):
        await newest_is(store, 3)
        await told(store, state="running", refused=1)
    assert await labels(store) == [0, 1, 1]
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert letter.raw == raws[2] and "does not fit" in letter.reason
