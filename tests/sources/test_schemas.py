"""Records of Avro and Protobuf, by schemas of a registry or a file, whatever the records hold."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from driftline.errors import ConfigurationError, InvalidInput, Unavailable
from driftline.sources.base import SourceRecord
from driftline.sources.formats import shown
from driftline.sources.items import ItemReader
from driftline.sources.registry import check_paths, parse_source, shown_spec
from driftline.spec import ModelSpec, parse
from driftline.store.sources import RecordFormat

pytestmark = pytest.mark.anyio

SPEC = parse(
    ModelSpec,
    {"name": "m", "task": "classification", "inputs": {"fields": {"age": "number", "at": "time"}}, "classes": [0, 1]},
)
MAPPING = {"inputs": {"age": "age", "at": "at"}, "label": "label", "id": "id"}
PLACES = bytes([4, 2, 0])
"""The second message of the file, and the first in it: a count and two places, as zigzag writes them."""


class Registry(ThreadingHTTPServer):
    """A schema registry: it answers what it was given under a path, and 404 to all else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    def avro(self, number: int, schema: Any, **rest: Any) -> None:
        self.answers[f"/schemas/ids/{number}"] = {"schema": json.dumps(schema), **rest}

    def protobuf(self, path: str, file: descriptor_pb2.FileDescriptorProto, **rest: Any) -> None:
        text = base64.b64encode(file.SerializeToString()).decode()
        self.answers[f"{path}?format=serialized"] = {"schemaType": "PROTOBUF", "schema": text, **rest}


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found = self.server.answers.get(self.path)
        body = json.dumps({"error_code": 40403} if found is None else found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *rest: Any) -> None:
        return None


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def record_of(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": each, "type": kind} for each, kind in fields.items()]}


def avro(schema: Any, value: Any, number: int | None = None, named: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    fastavro.schemaless_writer(file, fastavro.parse_schema(schema, {} if named is None else named), value)
    return (b"" if number is None else b"\0" + number.to_bytes(4, "big")) + file.getvalue()


async def items(format: RecordFormat, raws: list[bytes], **described: Any) -> list[Any]:
    """The items of some records, or the reasons where they are refused."""
    source = parse_source(
        {"type": "mqtt", "host": "h", "topic": "t", "format": format, "mapping": MAPPING, **described}
    )
    reader = ItemReader(source, SPEC, "key")
    records = [SourceRecord(str(n), raw, format) for n, raw in enumerate(raws)]
    await reader.learn(records)
    found = [item for record in records for item in reader.items(record)]
    return [item.error.message if item.error else json.loads(item.json) for item in found]


OLD = record_of("Order", id="long", age="double", label="int")
NEW = record_of(
    "Order",
    id="string",
    label={"type": "int"},
    age=["null", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}],
    at={"type": "long", "logicalType": "timestamp-millis"},
)


async def test_each_record_of_avro_is_read_by_the_schema_that_it_names(registry: Registry) -> None:
    registry.avro(1, OLD)
    registry.avro(2, NEW)
    registry.avro(3, {"type": "no type"})
    moment = datetime(2026, 11, 30, tzinfo=UTC)
    old = avro(OLD, {"id": 7, "age": 2.5, "label": 1}, 1)
    new = avro(NEW, {"id": "b", "age": Decimal("3.25"), "label": 0, "at": moment}, 2)
    none = avro(NEW, {"id": "c", "age": None, "label": 0, "at": moment}, 2)
    other = avro(OLD, {"id": 7, "age": 2.5, "label": 1}, 9)
    raws = [old, new, none, old[:-1], old + b"x", other, b"{}", b"", b"\0\0\0\0\3x", old]
    found = await items("avro", raws, schema_registry=registry.url)
    assert found[0] == found[-1] == {"id": "7", "label": 1, "inputs": {"age": 2.5}}
    assert found[1] == {"id": "b", "label": 0, "inputs": {"age": 3.25, "at": "2026-11-30T00:00:00Z"}}
    assert found[2] == {"id": "c", "label": 0, "inputs": {"at": "2026-11-30T00:00:00Z"}}
    reasons = [
        "does not fit",
        "1 bytes are left",
        "schema 9 is not in",
        "does not begin",
        "is empty",
        "schema 3 cannot be used",
    ]
    for reason, told_of in zip(reasons, found[3:-1], strict=True):
        assert reason in told_of


async def test_a_schema_is_asked_for_once_and_what_it_refers_to_with_it(registry: Registry) -> None:
    place = record_of("Place", city="string")
    reference = {"name": "Place", "subject": "a place/x", "version": 4}
    registry.answers["/subjects/a%20place%2Fx/versions/4"] = {"schema": json.dumps(place)}
    order = record_of("Order", age="double", label="int", to="Place")
    registry.avro(11, order, references=[reference])
    named: dict[str, Any] = {}
    fastavro.parse_schema(place, named)
    raw = avro(order, {"age": 1.0, "label": 1, "to": {"city": "Ulm"}}, 11, named)
    registry.asked.clear()
    found = await items("avro", [raw, raw], schema_registry=registry.url, mapping=MAPPING | {"id": "to.city"})
    assert [each["id"] for each in found] == ["Ulm", "Ulm"]
    assert registry.asked == ["/schemas/ids/11", "/subjects/a%20place%2Fx/versions/4"]


@pytest.fixture(scope="module")
def readers(registry: Registry) -> list[ItemReader]:
    """One of each format, which knows the schema 51."""
    registry.avro(51, NEW)
    registry.protobuf("/schemas/ids/51", orders())
    described = {"type": "mqtt", "host": "h", "topic": "t", "mapping": MAPPING, "schema_registry": registry.url}
    found = [ItemReader(parse_source({**described, "format": each}), SPEC, "key") for each in ("avro", "protobuf")]
    for reader in found:
        asyncio.run(reader.learn([SourceRecord("1", b"\0\0\0\0\x33", reader.source.format)]))
    return found


@given(raw=st.binary(max_size=40), head=st.sampled_from([b"", b"\0\0\0\0\x33", b"\0\0\0\0\x33" + PLACES]))
def test_whatever_bytes_come_they_are_items_or_refused(readers: list[ItemReader], raw: bytes, head: bytes) -> None:
    for reader in readers:
        (item,) = reader.items(SourceRecord("1", head + raw, reader.source.format))
        assert item.error is not None or json.loads(item.json)
        assert shown(head + raw, reader.source.format).startswith("base64:")


def orders(*without: str) -> descriptor_pb2.FileDescriptorProto:
    """``message Outer { message Order { … } }`` of the package ``shop``, whose fields have types of every kind."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="orders.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    kind = file.enum_type.add(name="Kind")
    kind.value.add(name="UNKNOWN", number=0)
    kind.value.add(name="GIFT", number=1)
    file.message_type.add(name="First")
    order = file.message_type.add(name="Outer").nested_type.add(name="Order")
    entry = order.nested_type.add(name="MoreEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=field.TYPE_INT64, label=1)
    kinds: list[tuple[str, Any, int, str]] = [
        ("id", field.TYPE_UINT64, 1, ""),
        ("age", field.TYPE_FLOAT, 1, ""),
        ("label", field.TYPE_INT64, 1, ""),
        ("at", field.TYPE_MESSAGE, 1, ".google.protobuf.Timestamp"),
        ("kind", field.TYPE_ENUM, 1, ".shop.Kind"),
        ("more", field.TYPE_MESSAGE, 3, ".shop.Outer.Order.MoreEntry"),
        ("tags", field.TYPE_STRING, 3, ""),
    ]
    for number, (name, type, label, type_name) in enumerate(kinds, start=1):
        if name not in without:
            order.field.add(name=name, number=number, type=type, label=label, type_name=type_name or None)
    return file


def message(file: descriptor_pb2.FileDescriptorProto, name: str, **values: Any) -> bytes:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    made_of = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))(**values)
    return bytes(made_of.SerializeToString())


async def test_each_message_of_protobuf_is_read_by_the_schema_and_the_place_that_it_names(registry: Registry) -> None:
    file, other = orders(), orders("age")
    registry.protobuf("/schemas/ids/21", file)
    registry.protobuf("/schemas/ids/22", other)
    values = {
        "id": 2**63,
        "label": 1,
        "kind": 1,
        "more": {"a": 2**40},
        "tags": ["x", "y"],
        "at": {"seconds": 1795996800},
    }
    body = message(file, "shop.Outer.Order", age=0.5, **values)
    head = b"\0\0\0\0\x15" + PLACES
    raws = [head + body, b"\0\0\0\0\x16" + PLACES + message(other, "shop.Outer.Order", **values)]
    raws += [b"\0\0\0\0\x15\0", b"\0\0\0\0\x15" + bytes([2, 20]), head + b"\xff", b"\0\0\0\0\x15\x80"]
    mapping = MAPPING | {"inputs": {"age": "age || more.a", "at": "at"}, "source": "join('-', [kind, tags[1]])"}
    found = await items("protobuf", raws, schema_registry=registry.url, mapping=mapping)
    known = {"id": str(2**63), "label": 1, "source": "GIFT-y"}
    assert found[0] == known | {"inputs": {"age": 0.5, "at": "2026-11-30T00:00:00Z"}}
    assert found[1] == known | {"inputs": {"age": 2**40, "at": "2026-11-30T00:00:00Z"}}
    assert "cannot be looked up" in found[2] and all("does not fit" in each for each in found[3:]), found[2:]


async def test_what_a_schema_of_protobuf_imports_is_asked_for_by_its_name(registry: Registry) -> None:
    file = orders()
    top = descriptor_pb2.FileDescriptorProto(name="default", syntax="proto3", dependency=["shop/orders.proto"])
    kind = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    top.message_type.add(name="Sent").field.add(
        name="order", number=1, type=kind, label=1, type_name=".shop.Outer.Order"
    )
    reference = {"name": "shop/orders.proto", "subject": "orders", "version": 1}
    registry.protobuf("/schemas/ids/31", top, references=[reference])
    registry.protobuf("/subjects/orders/versions/1", file)
    inner = message(file, "shop.Outer.Order", id=5, age=1.5, label=1)
    raw = b"\0\0\0\0\x1f\0" + bytes([10, len(inner)]) + inner
    mapping = {"inputs": {"age": "order.age"}, "label": "order.label", "id": "order.id"}
    found = await items("protobuf", [raw], schema_registry=registry.url, mapping=mapping)
    assert found == [{"id": "5", "label": 1, "inputs": {"age": 1.5}}]


async def test_a_schema_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(OLD))
    raw = avro(OLD, {"id": 7, "age": 2.5, "label": 1})
    wanted = {"id": "7", "label": 1, "inputs": {"age": 2.5}}
    assert await items("avro", [raw], schema_file=str(path)) == [wanted]
    file = orders()
    files = descriptor_pb2.FileDescriptorSet(file=[file])
    path.write_bytes(files.SerializeToString())
    raw = message(file, "shop.Outer.Order", id=7, age=2.5, label=1)
    assert await items("protobuf", [raw], schema_file=str(path), message="shop.Outer.Order") == [wanted]
    with pytest.raises(InvalidInput, match="holds no schema of protobuf"):
        await items("protobuf", [raw], schema_file=str(path), message="shop.Other")
    with pytest.raises(InvalidInput, match="holds no schema of avro"):
        await items("avro", [raw], schema_file=str(path))
    with pytest.raises(Unavailable, match="cannot be read: No such file"):
        await items("avro", [raw], schema_file=str(tmp_path / "none"))
    source = parse_source({"type": "mqtt", "host": "h", "topic": "t", "format": "avro", "schema_file": str(path)})
    with pytest.raises(InvalidInput, match="DRIFTLINE_SOURCE_FOLDERS"):
        check_paths(source, [])
    check_paths(source, [str(tmp_path)])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, 'need "schema_registry" or "schema_file"'),
        ({"schema_registry": "http://r", "schema_file": "f"}, 'need "schema_registry" or "schema_file"'),
        ({"format": "json", "schema_file": "f"}, '"schema_file" is of the formats avro and protobuf'),
        ({"schema_registry": "r:8081"}, "schema_registry"),
        ({"type": "files", "path": "x", "schema_file": "f"}, "is not written as avro"),
        ({"type": "redis_stream", "url": "redis://h", "stream": "s", "schema_file": "f"}, "is not written as avro"),
    ],
)
def test_a_source_says_where_its_schemas_are(changes: dict[str, Any], reason: str) -> None:
    kind = {} if "type" in changes else {"type": "mqtt", "host": "h", "topic": "t"}
    with pytest.raises(InvalidInput, match=reason):
        parse_source(kind | {"format": "avro"} | changes)


def test_the_password_of_a_registry_is_hidden() -> None:
    assert shown_spec({"schema_registry": "https://me:secret@r:8081"}) == {"schema_registry": "https://me:***@r:8081"}


@pytest.mark.parametrize(("format", "package"), [("avro", "fastavro"), ("protobuf", "google.protobuf")])
def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, format: str, package: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    described = {"type": "mqtt", "host": "h", "topic": "t", "format": format, "schema_file": "f"}
    with pytest.raises(ConfigurationError, match=rf"driftline\[{format}\]"):
        ItemReader(parse_source(described), SPEC, "key")
