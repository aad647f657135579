"""What it costs to be measured: a scrape with many models, probes while the store hangs, and the counting of each predict.

python -m benchmarks.metrics scrape [--models 1000]
python -m benchmarks.metrics hang
python -m benchmarks.metrics overhead [--rounds 7] [--seconds 4]

``scrape`` makes the models and asks each for a row; then nothing but ``/metrics`` is asked, once every second. ``hang`` stops
the process of the store. ``overhead`` lets two serving processes take turns, of which one counts no requests and samples
nothing, and compares the processor time that each request of one row has cost the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from benchmarks.common.load import closed_loop, request
from benchmarks.common.processes import cpu_seconds, free_port, running
from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.plan import program
from driftline.processes.supervisor import Guard
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.redis_keys import new_uid
from driftline.versions import VersionFiles
from tests.services import up

SPEC = {"name": "m0", "task": "classification", "inputs": {"shape": [20]}, "classes": list(range(10))}
ROW = b'{"inputs":[[' + b",".join([b"0.5"] * 20) + b"]]}"
SCRAPES, CONNECTIONS = 20, 32
UNMEASURED = """
import runpy, sys
sys.path.insert(0, {root!r})
from app import http_meter, services
http_meter.HttpMeter.observe = lambda *_: None
services.Services.sample = lambda self: None
sys.argv = [{file!r}, *sys.argv[1:]]
runpy.run_path({file!r}, run_name="__main__")
"""
"""A serving process that counts no request."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scrape", "hang", "overhead"])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4, help="length of one load")
    arguments = parser.parse_args()
    if arguments.what == "hang":
        hang()
    elif arguments.what == "scrape":
        scrape(arguments.models)
    else:
        overhead(arguments.rounds, arguments.seconds)


@contextlib.contextmanager
def store(folder: Path) -> Iterator[str]:
    """The embedded server alone."""
    with Guard() as guard:
        server = EmbeddedServer(folder, guard)
        server.start()
        yield server.url
        server.stop()


@contextlib.contextmanager
def serving(
    folder: Path, name: str, url: str, data: Path, command: list[str] | None = None
) -> Iterator[tuple[int, int]]:
    """A serving process: its port and its process id."""
    port = free_port()
    environment = os.environ | {"DRIFTLINE_REDIS_URL": url, "DRIFTLINE_DATA_DIR": str(data)}
    counts = folder / f"{name}-counts"
    counts.mkdir()
    words = [*(command or program("app")), "--port", str(port)]
    with running(words, folder / name, environment | {"PROMETHEUS_MULTIPROC_DIR": str(counts)}) as process:
        while not is_ready(port):
            time.sleep(0.1)
        yield port, process.pid


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


async def fill(url: str, data: Path, count: int) -> None:
    """Models with all that is measured of a model of ten classes."""
    spec = parse(ModelSpec, SPEC)
    learner = Learner.create(spec, seed=1)
    model = Model(learner.spec, learner.classes, learner.module)
    classes = [{"class": number, "support": 100, "recall": 0.9, "precision": 0.9} for number in range(10)]
    scores = {"accuracy": 0.9, "balanced_accuracy": 0.9, "kappa": 0.9, "log_loss": 0.3, "calibration_error": 0.02}
    window = scores | {"count": 1000, "size": 1000, "classes": classes}
    metrics = {"prequential": scores | {"count": 1000, "window": window}, "held_out": 100, "memory": 1000}
    text = json.dumps(metrics | {"counts": {"promoted": 100, "refused": 3}})
    connection = RedisConnection(url, "driftline:")
    catalog, artifacts = Catalog(connection), Artifacts(data / "artifacts")
    for number in range(count):
        uid, named = new_uid(), spec.changed(name=f"m{number}")
        first = VersionFiles(artifacts, uid).write_first(dataclasses.replace(model, spec=named))
        await catalog.create(uid, named.model_dump(mode="json"), first)
        await connection.redis.set(connection.keys.of(uid).metrics, text)
    await connection.close()


def timed(client: httpx.Client, path: str) -> tuple[float, httpx.Response]:
    begin = time.perf_counter()
    answer = client.get(path)
    return time.perf_counter() - begin, answer


def scrape(count: int) -> None:
    with tempfile.TemporaryDirectory() as name, store(Path(name, "data")) as url:
        folder, data = Path(name), Path(name, "data")
        asyncio.run(fill(url, data, count))
        with (
            serving(folder, "app", url, data) as (port, process),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            report(client, process, f"{count} models, none asked yet")
            for number in range(count):
                client.post(f"/v1/models/m{number}/predict", content=ROW, headers={"content-type": "application/json"})
            report(client, process, f"{count} models, each asked")


def report(client: httpx.Client, process: int, title: str) -> None:
    """Prints how long a scrape takes, what it costs, and how much it is."""
    client.get("/metrics")
    time.sleep(5)
    seconds, before = [], cpu_seconds(process)
    for _ in range(SCRAPES):
        took, answer = timed(client, "/metrics")
        seconds.append(took)
        time.sleep(1)
    cost = (cpu_seconds(process) - before) / SCRAPES
    lines = sum(not line.startswith("#") for line in answer.text.splitlines())
    age = next(
        line.split()[1] for line in answer.text.splitlines() if line.startswith("driftline_learning_age_seconds")
    )
    print(
        f"{title}: median {1e3 * statistics.median(seconds):.0f} ms, worst {1e3 * max(seconds):.0f} ms, "
        f"{lines:,} series, {len(answer.content) / 2**20:.1f} MiB, {1e3 * cost:.0f} ms of processor time a second, "
        f"what is told of learning is {float(age):.1f} s old at the end"
    )


def hang() -> None:
    with tempfile.TemporaryDirectory() as name, up(Path(name)) as instance:
        instance.client.create_model(SPEC)
        instance.client.predict("m0", [[0.5] * 20])
        with httpx.Client(base_url=instance.url, timeout=60) as client:
            client.get("/metrics")
            os.kill(instance.pid("valkey"), signal.SIGSTOP)
            try:
                worst = {"/readyz": 0.0, "/metrics": 0.0}
                for _ in range(40):
                    for path, before in worst.items():
                        worst[path] = max(before, timed(client, path)[0])
                    time.sleep(0.5)
                state: Any = client.get("/readyz").json()
            finally:
                os.kill(instance.pid("valkey"), signal.SIGCONT)
    for path, seconds in worst.items():
        print(f"{path} while the store hangs, the worst of 40: {1e3 * seconds:.0f} ms")
    print(f"at the end /readyz says: store {state['store']}, looked at {state['age']:.1f} s ago")


def overhead(rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, store(Path(name, "data")) as url, contextlib.ExitStack() as stack:
        folder, data = Path(name), Path(name, "data")
        asyncio.run(fill(url, data, 1))
        file = program("app")[-1]
        launcher = UNMEASURED.format(root=str(Path(file).parents[1]), file=file)
        commands = {"measured": None, "not measured": [sys.executable, "-c", launcher]}
        servers = {
            title: stack.enter_context(serving(folder, title.replace(" ", "-"), url, data, command))
            for title, command in commands.items()
        }
        costs: dict[str, list[float]] = {title: [] for title in servers}
        for number in range(rounds + 1):
            for title in sorted(servers, reverse=bool(number % 2)):
                cost = load(*servers[title], seconds)
                if number:  # The first round warms up.
                    costs[title].append(cost)
        ratios = [measured / bare for measured, bare in zip(*costs.values(), strict=True)]
        for title, found in costs.items():
            print(f"{title}: {1e6 * statistics.median(found):.1f} µs of processor time a request (median of {rounds})")
        print(f"ratio: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


def load(port: int, process: int, seconds: float) -> float:
    """The processor time of one predict, in seconds."""
    message = request(port, "/v1/models/m0/predict", ROW, {"content-type": "application/json"})
    before = cpu_seconds(process)
    result = closed_loop(port, message, CONNECTIONS, seconds)
    assert not result.failures
    return (cpu_seconds(process) - before) / len(result.latencies)


if __name__ == "__main__":
    main()
