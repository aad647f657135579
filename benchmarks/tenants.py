"""How long one key's calls take beside another key's flood.

python -m benchmarks.tenants

One key predicts a row at a time, alone and beside eight connections of another key that send many rows a call, in turns, on a
whole instance over 127.0.0.1. Each flood has a process of its own, at a lower priority: what makes the calls takes no processor
from what answers them. Times are in milliseconds; a multiple is of the p99 just before, alone. *Work* is the processor time
that the serving process took between call and answer, for whomever: what a call waits for, whatever else the machine does.
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import orjson

from driftline.client.clients import Client
from tests.services import spec, up

CONNECTIONS, ROUNDS, SECONDS, NICENESS = 8, 2, 5.0, 10
FIELDS = {"age": "number", "city": "category", "note": "text", "day": "time"}
RECORD = {"age": 31, "city": "Rome", "note": "some words of a note", "day": "2024-02-03"}


@dataclass(frozen=True)
class Caller:
    """Sends one body again and again with a key."""

    port: int
    model: str
    key: str
    body: bytes
    clock: int = time.CLOCK_MONOTONIC

    def times(self, seconds: float) -> list[tuple[float, float]]:
        """How long calls took, one after the other for so long, in milliseconds; and how much ``clock`` went on."""
        found: list[tuple[float, float]] = []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin, work = time.perf_counter(), time.clock_gettime(self.clock)
            connection.request("POST", f"/v1/models/{self.model}/predict", self.body, headers)
            connection.getresponse().read()
            found.append((1000 * (time.perf_counter() - begin), 1000 * (time.clock_gettime(self.clock) - work)))
        connection.close()
        return found


def _flood(caller: Caller) -> None:
    os.nice(NICENESS)
    threads = [threading.Thread(target=caller.times, args=(3600.0,), daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    threads[0].join()


@contextlib.contextmanager
def flood(caller: Caller) -> Iterator[None]:
    """Calls of another key, as many as it can make."""
    process = multiprocessing.get_context("spawn").Process(target=_flood, args=(caller,))
    process.start()
    time.sleep(3.0)
    try:
        yield
    finally:
        process.kill()
        process.join()


def _prefer(process: int) -> None:
    """Lets a process and its threads have the processor before what else this machine does, where that is allowed."""
    for thread in (int(each.name) for each in Path(f"/proc/{process}/task").iterdir()):
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, thread, -NICENESS)


def body_of(rows: list[object]) -> bytes:
    return orjson.dumps({"inputs": rows})


def main() -> None:
    numbers = np.random.default_rng(0).random(8).round(6).tolist()
    floods = {
        "256 rows of 8 numbers": ("numbers", body_of([numbers] * 256)),
        "8,000 rows of 8 numbers": ("numbers", body_of([numbers] * 8000)),
        "256 rows of 4 fields": ("fields", body_of([RECORD] * 256)),
        "8,000 rows of 4 fields": ("fields", body_of([RECORD] * 8000)),
    }
    with tempfile.TemporaryDirectory(prefix="driftline-") as folder, up(Path(folder)) as instance:
        instance.client.create_model(spec("numbers"))
        instance.client.create_model(spec("fields", inputs={"fields": FIELDS}))
        port = urlsplit(instance.url).port or 0
        for process in (instance.pid("app"), os.getpid()):
            _prefer(process)
        admin = instance.client.make_key(["admin"], "admin")
        with Client(instance.url, key=admin) as client:
            own, other = (client.make_key(["predict"], name) for name in ("own", "other"))
        clock = (~instance.pid("app") << 3) | 2  # clock_getcpuclockid(3)
        one = Caller(port, "numbers", own, body_of([numbers]), clock)
        one.times(2.0)
        print(f"{'':28} {'calls':>6} {'p50':>8} {'p99':>8} {'multiple':>8} {'work p99':>8} {'multiple':>8}")
        for name, (model, body) in floods.items():
            for _ in range(ROUNDS):
                alone = _told("alone", one.times(SECONDS))
                with flood(Caller(port, model, other, body)):
                    _told(name, one.times(SECONDS), alone)


def _told(
    name: str, times: list[tuple[float, float]], alone: tuple[float, float] = (np.nan, np.nan)
) -> tuple[float, float]:
    (p50, p99), work = (
        np.percentile([took for took, _ in times], [50, 99]),
        np.percentile([work for _, work in times], 99),
    )
    numbers = p50, p99, p99 / alone[0], work, work / alone[1]
    print(f"{name:28} {len(times):6}" + "".join(f" {number:8.2f}" for number in numbers), flush=True)
    return float(p99), float(work)


if __name__ == "__main__":
    main()
