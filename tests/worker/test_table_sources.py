"""Files, tables and services as sources: each record once, in order, over rotation and restarts."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pyarrow
import pyarrow.parquet
import pytest

from driftline.errors import InvalidInput
from driftline.sources import files
from driftline.sources.registry import check_paths, parse_source
from driftline.store.sources import SourceBook
from tests.worker.conftest import Bench
from tests.worker.source_reading import alarm_of, labels, made, newest_is, reading, row, told
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio

FIELDS = {"fields": {"age": "number", "city": "category"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)


async def of_fields(bench: Bench) -> ModelStore:
    return await bench.model(inputs=FIELDS, classes=["no", "yes"])


def item(n: int, label: int = 1) -> str:
    return json.dumps({"inputs": row(n), "label": label}) + "\n"


async def test_lines_are_read_as_they_are_added_and_half_a_line_waits(bench: Bench, tmp_path: Path) -> None:
    store, path = await bench.model(), tmp_path / "labels.ndjson"
    whole = item(2)
    path.write_text(item(0) + item(1) + whole[:20])
    async with reading(store, made(type="files", path=str(path))):
        await newest_is(store, 2)
        await told(store, state="running")
        assert await store.log.newest() == 2
        with path.open("a") as file:
            file.write(whole[20:] + item(3, label=0))
        await newest_is(store, 4)
    assert await labels(store) == [1, 1, 1, 0]


async def test_a_file_that_is_rotated_is_read_to_its_end_and_then_the_new_one(bench: Bench, tmp_path: Path) -> None:
    store, path = await bench.model(), tmp_path / "labels.ndjson"
    path.write_text(item(0))
    source = made(type="files", path=str(path))
    async with reading(store, source):
        await newest_is(store, 1)
    with path.open("a") as file:
        file.write(item(1) + item(2))
    path.rename(tmp_path / "labels.ndjson.1")
    path.write_text(item(3, label=0))
    async with reading(store, source):
        await newest_is(store, 4)
        await told(store, state="running")
    assert await labels(store) == [1, 1, 1, 0]
    assert not await store.connection.redis.hget(store.keys.alarms, "source_gap")


async def test_a_file_that_is_cut_off_or_removed_before_it_was_read_is_a_gap(bench: Bench, tmp_path: Path) -> None:
    store, path = await bench.model(), tmp_path / "labels.ndjson"
    path.write_text(item(0) + item(1))
    async with reading(store, made(type="files", path=str(path))):
        await newest_is(store, 2)
        path.write_text(item(5, label=0))
        await newest_is(store, 3)
        assert "written anew" in await alarm_of(store, "source_gap")
    assert await labels(store) == [1, 1, 0]


async def test_csv_of_a_watched_folder_is_read_by_the_header_of_each_file(bench: Bench, tmp_path: Path) -> None:
    store = await of_fields(bench)
    (tmp_path / "a.csv").write_text('age,city,bought\n3,"Ulm, ""old""",yes\n4,Bonn,no\nnot a number,Bonn,no\n1,2\n')
    source = made(type="files", path=str(tmp_path / "*.csv"), mapping={"label": "bought"})
    async with reading(store, source):
        await newest_is(store, 2)
        (tmp_path / "b.csv").write_text("bought,age\nyes,5\n")
        (tmp_path / "ignored.txt").write_text("nothing")
        await newest_is(store, 3)
        await told(store, state="running")
    assert await labels(store) == ["yes", "no", "yes"]
    reasons = {letter.reason for letter in await SourceBook(store.connection, store.uid).dead()}
    assert len(reasons) == 2 and any("is not a number" in reason for reason in reasons)


async def test_rows_of_parquet_are_read_with_their_types(bench: Bench, tmp_path: Path) -> None:
    store = await of_fields(bench)
    table = pyarrow.table({"age": [1.5, 2.5, None], "city": ["Ulm", "Bonn", "Ulm"], "bought": ["yes", "no", "yes"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    async with reading(store, made(type="files", path=str(tmp_path), mapping={"label": "bought"}, follow=False)):
        await newest_is(store, 3)
        await told(store, state="over")
    assert await labels(store) == ["yes", "no", "yes"]


async def test_a_reader_of_a_folder_that_dies_anywhere_reads_nothing_twice(bench: Bench, tmp_path: Path) -> None:
    store = await bench.model()
    for name in "abc":
        (tmp_path / f"{name}.ndjson").write_text("".join(item(n) for n in range(600)))
    source = made(type="files", path=str(tmp_path))
    for _ in range(4):
        async with reading(store, source):
            await asyncio.sleep(0.05)
    async with reading(store, source):
        await newest_is(store, 1800)
        await told(store, state="running")
    assert await store.log.newest() == 1800


def test_only_what_the_operator_has_opened_is_read(tmp_path: Path) -> None:
    opened = tmp_path / "labels"
    (opened / "deep").mkdir(parents=True)
    os.symlink("/etc", opened / "out")
    check_paths(parse_source({"type": "files", "path": f"{opened}/deep/*.csv"}), [str(opened)])
    check_paths(
        parse_source({"type": "sql", "url": f"sqlite:///{opened}/a.db", "table": "t", "cursor": "n"}), [str(opened)]
    )
    for described in (
        {"type": "files", "path": "/etc/passwd"},
        {"type": "files", "path": f"{opened}/out/passwd"},
        {"type": "files", "path": f"{opened}/../secret"},
        {"type": "sql", "url": "sqlite:////etc/other.db", "table": "t", "cursor": "n"},
    ):
        with pytest.raises(InvalidInput, match="DRIFTLINE_SOURCE_FOLDERS"):
            check_paths(parse_source(described), [str(opened)])
    with pytest.raises(InvalidInput):
        check_paths(parse_source({"type": "files", "path": f"{opened}"}), [])


def database(path: Path, *statements: tuple[str, Any]) -> None:
    with sqlite3.connect(path) as connection:
        for statement, rows in statements:
            connection.executemany(statement, rows)
    connection.close()


async def test_rows_of_a_table_are_read_by_a_column_that_rises(bench: Bench, tmp_path: Path) -> None:
    store, path = await of_fields(bench), tmp_path / "labels.db"
    database(path, ("CREATE TABLE orders (n INTEGER PRIMARY KEY, age REAL, city TEXT, bought TEXT)", [()]))
    insert = "INSERT INTO orders VALUES (?, ?, ?, ?)"
    database(path, (insert, [(n, n / 2, "Ulm", "yes" if n % 2 else "no") for n in range(1, 701)]))
    url, mapping = f"sqlite:///{path}", {"label": "bought", "id": "n"}
    source = made(type="sql", url=url, table="orders", cursor="n", poll_seconds=0.01, mapping=mapping)
    async with reading(store, source):
        await newest_is(store, 700)
        database(path, (insert, [(900, 1.0, None, "maybe"), (901, 1.0, None, "yes")]))
        await newest_is(store, 701)
        database(path, ("DELETE FROM orders WHERE n > ?", [(10,)]))
        assert "end at 10" in await alarm_of(store, "source_gap")
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert letter.place == "900" and "maybe" in letter.reason
    assert (await store.log.read(0, 1))[0].record.id == "1"


async def test_rows_with_the_same_cursor_are_read_together(bench: Bench, tmp_path: Path) -> None:
    store, path = await bench.model(), tmp_path / "labels.db"
    database(path, ("CREATE TABLE orders (day TEXT, inputs TEXT, label INTEGER)", [()]))
    rows = [(f"2026-11-{day:02}", json.dumps(row(day)), 1) for day in range(1, 4) for _ in range(300)]
    database(path, ("INSERT INTO orders VALUES (?, ?, ?)", rows))
    query = "SELECT day, label, inputs FROM orders"
    source = made(type="sql", url=f"sqlite:///{path}", query=query, cursor="day", poll_seconds=0.01)
    async with reading(store, source):
        book = SourceBook(store.connection, store.uid)
        await told(store, state="running", refused=900)
        assert len({letter.place for letter in await book.dead()}) == 900


class Pages(BaseHTTPRequestHandler):
    """Answers three records from the given one on, that one among them."""

    records: ClassVar[list[dict[str, Any]]] = []
    status = 200

    def do_GET(self) -> None:
        after = int(parse_qs(urlsplit(self.path).query).get("after", ["0"])[0])
        page = [each for each in self.records if each["n"] >= after][:3]
        body = json.dumps({"data": {"labels": page}}).encode()
        self.send_response(self.status if self.headers["x-token"] == "secret" else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/labels?of=weather"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_service_is_asked_page_by_page(bench: Bench, service: str) -> None:
    store = await bench.model()
    Pages.records = [{"n": n, "x": row(n), "y": n % 2} for n in range(1, 11)]
    described = {"url": service, "headers": {"x-token": "secret"}, "cursor": "n", "records": "data.labels"}
    source = made(type="http", poll_seconds=0.01, mapping={"inputs": "x", "label": "y"}, **described)
    async with reading(store, source):
        await newest_is(store, 10)
        Pages.status = 500
        assert "answers 500" in await alarm_of(store, "source")
        Pages.status = 200
        Pages.records = [*Pages.records, {"n": 11, "x": row(11), "y": 0}]
        await newest_is(store, 11)
    assert await labels(store) == [n % 2 for n in range(1, 11)] + [0]
