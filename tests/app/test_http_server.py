"""Slow and half-open clients, and several serving processes on one port."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from driftline.client.clients import Client
from tests.app.conftest import connected
from tests.services import Instance, is_there, spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow

BODY = b'{"inputs": [[0, 0, 0, 0, 0, 0, 0, 0]]}'
HEAD = b"POST /v1/models/weather/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def answer_to(instance: Instance, sent: bytes) -> bytes:
    """All that the server says until it ends the connection."""
    with connected(instance) as client:
        client.sendall(sent)
        received = b""
        while part := client.recv(4096):
            received += part
        return received


def test_clients_that_do_not_finish_are_given_up_and_others_are_not(tmp_path: Path) -> None:
    with up(tmp_path, DRIFTLINE_READ_TIMEOUT="3") as instance:
        instance.client.create_model(spec())
        assert answer_to(instance, b"") == b""
        assert answer_to(instance, b"POST /v1/mod").startswith(b"HTTP/1.1 408")
        assert answer_to(instance, HEAD).startswith(b"HTTP/1.1 408")
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        assert answer_to(instance, HEAD + length + BODY[:-5]).startswith(b"HTTP/1.1 408")

        with connected(instance) as trickling:
            trickling.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
            with pytest.raises(OSError):
                until(lambda: trickling.sendall(b" "))

        with connected(instance) as patient:
            for pause in (5, 0):
                patient.sendall(HEAD + length + BODY)
                assert patient.recv(65536).startswith(b"HTTP/1.1 200")
                time.sleep(pause)

        with connected(instance) as labels:
            head = b"POST /v1/models/weather/feedback/stream HTTP/1.1\r\nHost: localhost\r\n"
            labels.sendall(head + b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number, pause in enumerate((5, 0)):
                line = b'{"inputs": [0,0,0,0,0,0,0,0], "label": 1, "id": "%d"}\n' % number
                labels.sendall(b"%x\r\n%b\r\n" % (len(line), line))
                until(lambda: b'"status":"queued"' in labels.recv(65536))
                time.sleep(pause)


def test_an_answer_is_one_packet(empty_instance: Instance) -> None:
    empty_instance.client.create_model(spec())
    with connected(empty_instance) as client:
        for _ in range(20):
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            received = client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200") and received.endswith(b"]}"), received


def test_replicas_share_a_port_follow_the_head_and_are_replaced(tmp_path: Path) -> None:
    with up(tmp_path, "--replicas", "3") as instance:
        client = instance.client
        client.create_model(spec())
        asked = 60
        for _ in range(asked):
            Client(instance.url).predict("weather", [[0.0] * 8])
        until(lambda: total(instance, 'driftline_predictions_total{model="weather"}') == asked)
        until(lambda: total(instance, "driftline_replicas") == 3)

        failures: list[Exception] = []
        over = threading.Event()
        versions: Counter[int] = Counter()

        def ask() -> None:
            with Client(instance.url, retries=0) as own:
                newest = 0
                while not over.is_set():
                    try:
                        version = own.predict("weather", [[0.0] * 8])["version"]
                    except Exception as error:
                        failures.append(error)
                        return
                    versions[version] += 1
                    if version < newest:
                        failures.append(AssertionError(f"{version} after {newest} on one connection"))
                    newest = version
                    # The worker needs a share of the machine, too.
                    time.sleep(0.005)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        rows = [[float(n % 2)] * 8 for n in range(320)]
        labels = [{"inputs": row, "label": int(row[0]), "id": str(n)} for n, row in enumerate(rows)]
        try:
            client.feedback("weather", labels)
            live = client.wait_served("weather", "319", SECONDS)["version"]
            until(lambda: all(Client(instance.url).predict("weather", rows[:1])["version"] >= live for _ in range(12)))
            until(lambda: failures or max(versions, default=0) > 1)
        finally:
            over.set()
            for thread in asking:
                thread.join()
        assert not failures

        before = total(instance, 'driftline_predictions_total{model="weather"}')
        killed = instance.pid("app-2")
        os.kill(killed, signal.SIGKILL)
        until(lambda: not is_there(killed))
        for _ in range(40):
            with httpx.Client(transport=httpx.HTTPTransport(retries=2), timeout=SECONDS) as other:
                answer = other.post(f"{instance.url}/v1/models/weather/predict", json={"inputs": [[0.0] * 8]})
                assert answer.status_code == 200, "a new connection meets a replica that lives"
        until(lambda: total(instance, "driftline_replicas") == 3)
        until(lambda: total(instance, 'driftline_predictions_total{model="weather"}') >= before + 40)


def total(instance: Instance, name: str) -> float:
    with httpx.Client(timeout=SECONDS) as client:
        text = client.get(f"{instance.url}/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
