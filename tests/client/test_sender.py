"""Senders: what is handed over is acknowledged once, whatever the server does meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline import FeedbackRefused, errors
from driftline.client import retries
from driftline.client.clients import AsyncClient, Client
from driftline.client.feedback import RefusedItem
from tests.ports import free_port
from tests.scripted_server import ScriptedServer, scripted_server
from tests.services import is_there, spec, up
from tests.waiting import SECONDS, until

AWAY = (503, {"error": {"code": "store_unavailable", "message": "away"}})
WRONG: dict[str, Any] = {
    "code": "unknown_class",
    "message": "label: 7 is not a class",
    "details": {"field": "label", "value": 7},
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.005)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.answer = taken
        yield server


def taken(body: Any) -> Any:
    """Every item is queued, but those of class 7."""
    items = [
        {"id": item.get("id")} | ({"status": "error", "error": WRONG} if item["label"] == 7 else {"status": "queued"})
        for item in body["items"]
    ]
    if all(item["status"] == "error" for item in items):
        return 422, {"error": WRONG | {"details": {"items": items}}}
    return 202, {"accepted": len(items), "items": items, "durability": "everysec"}


def labels(server: ScriptedServer) -> list[list[int]]:
    """The labels of each request."""
    return [[item["label"] for item in json.loads(request.body)["items"]] for request in server.requests]


def test_labels_are_sent_in_order_in_batches_and_the_end_waits_for_them(server: ScriptedServer) -> None:
    all_wait = threading.Event()

    def taken_later(body: Any) -> Any:
        assert all_wait.wait(SECONDS)
        return taken(body)

    server.answer = taken_later
    with Client(server.url) as client, client.sender("m", max_batch=100) as sender:
        ids = [sender.send({"inputs": [0.5], "label": label + 10}) for label in range(1000)]
        assert sender.send(id="own", inputs=[0.5], label=1) == "own"
        assert sender.send(prediction_id="p", label=1) == "p:p"
        all_wait.set()
    sent = labels(server)
    assert [label for batch in sent for label in batch] == [*range(10, 1010), 1, 1]
    assert len(set(ids)) == 1000
    assert max(map(len, sent)) <= 100 and len(sent) <= 12, "what waits is the next batch"
    assert sender.waiting == 0


def test_an_item_is_sent_as_it_was_when_it_was_handed_over(server: ScriptedServer) -> None:
    server.answers = [AWAY]
    item = {"inputs": [0.5], "label": 1}
    with Client(server.url) as client, client.sender("m") as sender:
        sender.send(item)
        item["label"] = 2
        with pytest.raises(errors.InvalidInput, match=r"item\.inputs\[0\]: nan"):
            sender.send({"inputs": [float("nan")], "label": 1})
    assert labels(server)[-1] == [1]


@pytest.mark.parametrize(
    "answer",
    [
        AWAY,
        (429, {"error": {"code": "log_full", "message": "full"}}),
        (504, {"error": {"code": "late", "message": "late"}}),
        (500, {"error": {"code": "internal", "message": "a defect"}}),
        (408, b""),
        (502, b"<html>Bad Gateway</html>"),
        (404, b"<html>no such page</html>"),
    ],
)
def test_what_may_be_over_later_is_sent_again_with_the_same_ids(server: ScriptedServer, answer: Any) -> None:
    server.answers = [answer] * 3
    with Client(server.url, retries=0) as client, client.sender("m") as sender:
        sender.send(inputs=[0.5], label=1)
    assert len(server.requests) == 4 and len({request.body for request in server.requests}) == 1


def test_a_label_is_sent_again_until_its_prediction_is_recorded(server: ScriptedServer) -> None:
    missing = {"code": "prediction_not_stored", "message": "not recorded (yet)"}
    refused = {"id": "p:b", "status": "error", "error": missing}
    nothing = (422, {"error": missing | {"details": {"items": [refused]}}})
    server.answers = [nothing, nothing]
    with Client(server.url) as client, client.sender("m") as sender:
        sender.send(prediction_id="b", label=1)
    assert labels(server) == [[1]] * 3
    server.answers = [nothing] * 100
    with Client(server.url) as client, pytest.raises(FeedbackRefused, match="not recorded"):  # noqa: SIM117
        with client.sender("m") as sender:
            sender.send(prediction_id="b", label=1)


def test_a_label_that_is_refused_after_a_retry_is_named_by_its_own_place(server: ScriptedServer) -> None:
    missing = {"code": "prediction_not_stored", "message": "not recorded (yet)"}

    def answer(body: Any) -> Any:
        """Knows the predictions of even labels alone, and takes no 5."""
        items = []
        for item in body["items"]:
            error = WRONG if item["label"] == 5 else missing if item["label"] % 2 else None
            state = {"status": "error", "error": error} if error else {"status": "accepted"}
            items.append({"id": f"p:{item['prediction_id']}", **state})
        return 202, {"accepted": sum("error" not in item for item in items), "items": items}

    server.answer = answer
    with Client(server.url) as client, pytest.raises(FeedbackRefused) as caught, client.sender("m") as sender:
        for label in range(8):
            sender.send(prediction_id=str(label), label=label)
    assert {item.id: item.index for item in caught.value.refused} == {f"p:{n}": n for n in (1, 3, 5, 7)}


def test_what_is_too_large_is_sent_in_halves(server: ScriptedServer) -> None:
    def narrow(body: Any) -> Any:
        """Takes two labels at once, and never that of 0."""
        is_large = len(body["items"]) > 2 or any(item["label"] == 0 for item in body["items"])
        return (413, {"error": {"code": "too_large", "message": "too large"}}) if is_large else taken(body)

    server.answer = narrow
    server.answers = [AWAY]
    with Client(server.url) as client, pytest.raises(FeedbackRefused) as caught, client.sender("m") as sender:
        for label in range(6):
            sender.send(id=str(label), inputs=[1], label=label)
    assert [item.id for item in caught.value.refused] == ["0"]
    accepted = [label for batch in labels(server) if len(batch) <= 2 and 0 not in batch for label in batch]
    assert accepted == [1, 2, 3, 4, 5]


def test_refused_labels_are_raised_by_flush_and_at_the_end(server: ScriptedServer) -> None:
    with Client(server.url) as client, pytest.raises(FeedbackRefused) as at_end, client.sender("m") as sender:
        sender.send(id="a", inputs=[1], label=1)
        sender.send(id="b", inputs=[1], label=7)
        with pytest.raises(FeedbackRefused) as at_flush:
            sender.flush()
        assert at_flush.value.refused == [RefusedItem(1, "b", "unknown_class", WRONG["message"], "label", 7)]
        sender.flush()
        sender.send(id="c", inputs=[1], label=7)
    assert [(item.index, item.id) for item in at_end.value.refused] == [(2, "c")]


def test_an_error_of_the_whole_request_is_one_of_each_label(server: ScriptedServer) -> None:
    server.answers = [(404, {"error": {"code": "unknown_model", "message": "there is no model 'm'"}})]
    told: list[RefusedItem] = []
    with Client(server.url) as client, client.sender("m", on_error=told.append) as sender:
        sender.send(id="a", inputs=[1], label=1)
    assert [(item.id, item.code) for item in told] == [("a", "unknown_model")]


def test_a_callback_that_raises_is_heard_of(server: ScriptedServer) -> None:
    def fail(item: RefusedItem) -> None:
        raise LookupError(item.id)

    with (
        Client(server.url) as client,
        pytest.raises(LookupError, match="a"),
        client.sender("m", on_error=fail) as sender,
    ):
        sender.send(id="a", inputs=[1], label=7)
        sender.flush()


def test_the_buffer_is_bounded(server: ScriptedServer) -> None:
    server.answers = [AWAY] * 100_000
    with Client(server.url) as client, client.sender("m", max_waiting=3, max_batch=2) as sender:
        for label in range(3):
            sender.send(inputs=[1], label=label)
        with pytest.raises(errors.Busy, match="3 labels wait to be sent already"):
            sender.send(inputs=[1], label=3, timeout=0.05)
        until(lambda: len(server.requests) > 1)  # The first one was answered.
        with pytest.raises(errors.Late, match=r"3 labels of m are not acknowledged after 0\.05 s; away"):
            sender.flush(timeout=0.05)
        waiter = threading.Thread(target=lambda: sender.send(inputs=[1], label=4))
        waiter.start()
        server.answers.clear()
        waiter.join()
    assert labels(server)[-1][-1] == 4


def test_what_cannot_be_sent_in_time_is_an_error_at_the_end(server: ScriptedServer) -> None:
    server.answers = [AWAY] * 100_000
    before = threading.active_count()
    with Client(server.url) as client, pytest.raises(errors.Late) as caught, client.sender("m", timeout=0.1) as sender:
        sender.send(inputs=[1], label=1)
    assert caught.value.details == {"waiting": 1}
    until(lambda: threading.active_count() <= before + 1)
    with pytest.raises(errors.ConfigurationError, match="closed"):
        sender.send(inputs=[1], label=1)


def test_an_error_of_the_block_comes_before_the_senders_own(server: ScriptedServer) -> None:
    with Client(server.url) as client, pytest.raises(KeyError) as caught, client.sender("m") as sender:
        sender.send(inputs=[1], label=7)
        raise KeyError("mine")
    assert "not a class" in caught.value.__notes__[0]
    with Client(server.url) as client, pytest.raises(errors.ConfigurationError, match="max_batch: 0"):
        client.sender("m", max_batch=0)


def test_a_program_that_forgets_its_sender_loses_nothing(server: ScriptedServer) -> None:
    program = (
        f"from driftline import Client; sender = Client({server.url!r}).sender('m');"
        "[sender.send(inputs=[1], label=label) for label in range(300)]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert sum(map(len, labels(server))) == 300


def test_the_async_sender_does_the_same(server: ScriptedServer) -> None:
    async def run() -> list[RefusedItem]:
        async with AsyncClient(server.url, retries=0) as client:
            server.answers = [AWAY, AWAY]
            async with client.sender("m", max_batch=100, max_waiting=200) as sender:
                for label in range(1000):
                    await sender.send(inputs=[1], label=label + 10)
            assert sender.waiting == 0
            with pytest.raises(errors.ConfigurationError, match="closed"):
                await sender.send(inputs=[1], label=1)
            server.answers = [AWAY] * 100_000
            with pytest.raises(errors.Late):
                async with client.sender("m", max_waiting=1, timeout=0.1) as sender:
                    await sender.send(inputs=[1], label=1)
                    with pytest.raises(errors.Busy):
                        await sender.send(inputs=[1], label=1, timeout=0.05)
            server.answers.clear()
            with pytest.raises(FeedbackRefused) as caught:
                async with client.sender("m") as sender:
                    await sender.send(id="a", inputs=[1], label=7)
            with pytest.raises(KeyError) as own:
                async with client.sender("m") as sender:
                    await sender.send(id="a", inputs=[1], label=7)
                    raise KeyError("mine")
            assert own.value.__notes__
            async with client.sender("m"):
                pass
            return caught.value.refused

    assert [item.id for item in asyncio.run(run())] == ["a"]
    accepted = [label for batch in labels(server)[2:] for label in batch][:1000]
    assert accepted == list(range(10, 1010))


@pytest.mark.slow
def test_kills_and_restarts_of_the_server_lose_nothing_and_duplicate_nothing(tmp_path: Path) -> None:
    port = str(free_port())
    count, sent = 3000, threading.Event()
    gone_on = threading.Event()

    def send() -> None:
        with Client(f"http://127.0.0.1:{port}") as client, client.sender("weather", max_batch=50) as sender:
            for number in range(count):
                sender.send(id=f"i{number}", inputs=[number / count] * 8, label=number % 2)
                if number == count // 3:
                    gone_on.set()
                if number % 100 == 0:
                    sender.flush()
        sent.set()

    with up(tmp_path, "--port", port) as instance:
        instance.client.create_model(spec())
        thread = threading.Thread(target=send)
        thread.start()
        gone_on.wait()
        instance.kill("app")
        pids = [instance.pid(child) for child in ("valkey", "app", "worker")]
        instance.process.send_signal(signal.SIGKILL)
        instance.process.wait()
        # Until then the port is taken.
        until(lambda: not any(map(is_there, pids)))
    with up(tmp_path, "--port", port) as instance:
        until(sent.is_set)
        thread.join()
        until(lambda: instance.client.model("weather")["learned"] == count)
        states = {instance.client.receipt("weather", f"i{number}")["state"] for number in range(0, count, 97)}
        assert states <= {"learned", "served"}
        assert instance.client.model("weather")["waiting"] == 0
