"""The cost of durability: feedback a second, recovery after a crash, checkpoints and versions, and growth.

python -m benchmarks.durability [--seconds 5] [--labels 1000000]

Every acknowledgement is one of an embedded Valkey that syncs each write (``fsync_always``); the worker learns meanwhile.
While growth is watched, a resent id is recognised for ten seconds instead of a day, so that this window, which is meant to
grow, has its full size from the first sample on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from redis import Redis

from benchmarks.common.contenders import SPEC
from benchmarks.common.load import closed_loop, request
from benchmarks.common.processes import resident_bytes
from benchmarks.freshness import measure
from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.processes.embedded import running_url
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.versions import START, VersionFiles
from tests.services import Instance, spec, up
from tests.waiting import until

BATCH = 100
WARM_UP_SECONDS = 1.0
SMALL = spec("small", inputs={"shape": [20]})
LARGE = SPEC | {"name": "large"}
PROCESSES = ("app", "worker", "valkey")
REPEATS = 10
FRESH_RATE, FRESH_SECONDS = 100.0, 30.0
LENGTHS = (0, 5_000, 50_000)
SAMPLES = 10


def items(features: int, classes: int, count: int) -> list[dict[str, Any]]:
    """Labelled rows with their inputs; sent again they are new items."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(count, features)).astype(np.float32).tolist()
    return [{"inputs": row, "label": number % classes} for number, row in enumerate(rows)]


def message(port: int, model: str, batch: list[dict[str, Any]], *, is_stream: bool = False) -> bytes:
    """One request that sends a batch, as JSON or as lines."""
    if is_stream:
        lines = b"".join(json.dumps(item).encode() + b"\n" for item in batch)
        kind = {"content-type": "application/x-ndjson"}
        return request(port, f"/v1/models/{model}/feedback/stream", lines, kind)
    kind = {"content-type": "application/json"}
    return request(port, f"/v1/models/{model}/feedback", json.dumps({"items": batch}).encode(), kind)


def acknowledged(instance: Instance, seconds: float) -> None:
    """How many records are acknowledged a second, and how long one waits for it."""
    port = urlsplit(instance.url).port or 0
    small, large = items(20, 2, BATCH), items(784, 10, BATCH)
    cases = {
        "20 features, JSON, batches of 100": (message(port, "small", small), BATCH, 4),
        "784 features, JSON, batches of 100": (message(port, "large", large), BATCH, 4),
        "784 features, lines, streams of 100": (message(port, "large", large, is_stream=True), BATCH, 4),
        "20 features, one item a call, one connection": (message(port, "small", small[:1]), 1, 1),
    }
    for title, (sent, records, connections) in cases.items():
        closed_loop(port, sent, connections, WARM_UP_SECONDS)
        result = closed_loop(port, sent, connections, seconds)
        p50, p99 = (1e3 * result.quantile(share) for share in (0.5, 0.99))
        print(
            f"{title:46} {records * result.rate:9,.0f} records/s  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"
            f"  failures {result.failures}"
        )


def recovery(folder: Path, labels: int) -> None:
    """How long a killed worker takes until it serves the next label, with so many labels after its checkpoint."""
    with up(folder, DRIFTLINE_CHECKPOINT_SECONDS="86400") as instance:
        client = instance.client
        client.create_model(SMALL)
        for batch in np.array_split(np.array(items(20, 2, labels), object), max(1, labels // 500)) if labels else ():
            client.feedback("small", list(batch))
        until(lambda: client.model("small")["waiting"] == 0, 600)
        begin = time.perf_counter()
        instance.kill("worker")
        started = time.perf_counter()
        (accepted,) = client.feedback("small", items(20, 2, 1))["items"]
        client.wait_served("small", accepted["id"], 600)
        print(
            f"{labels:6,} labels after the checkpoint: served again {time.perf_counter() - begin:.1f} s after the kill,"
            f" {time.perf_counter() - started:.1f} s after the new worker's start"
        )


def costs() -> None:
    """The time and size of a checkpoint and of a version, with a full replay buffer."""
    for body in (SMALL, LARGE):
        with tempfile.TemporaryDirectory() as name:
            cost(parse(ModelSpec, body), VersionFiles(Artifacts(Path(name)), "0"))


def cost(found: ModelSpec, version_files: VersionFiles) -> None:
    learner = Learner.create(found, seed=1)
    rows, features = found.recipe.memory.size, found.tensors["inputs"].size
    full = Examples({"inputs": torch.randn(rows, features)}, torch.arange(rows) % 2, torch.ones(rows))
    learner.replay_buffer.add(full, learner.course.state.generator)

    def version(number: int) -> None:
        version_files.write_version(model(changed(learner)), number + 2, number + 1, START, "", {})

    def checkpoint(number: int) -> None:
        version_files.write_checkpoint(model(changed(learner)), learner.state_dict(), START)

    print(f"{features} features: a version {timed(version):.1f} ms, a checkpoint {timed(checkpoint):.1f} ms")


def changed(learner: Learner) -> Learner:
    """Changes the learner's weights, so that none of its files exists yet."""
    learner.promotion.champion.output.bias.data += 1
    return learner


def model(learner: Learner) -> Model:
    """The model that a learner serves."""
    return Model(learner.spec, learner.classes, learner.served)


def timed(action: Callable[[int], None]) -> float:
    """The mean time of an action, in milliseconds."""
    begin = time.perf_counter()
    for number in range(REPEATS):
        action(number)
    return 1e3 * (time.perf_counter() - begin) / REPEATS


def freshness(folder: Path, seconds: float) -> None:
    """How long until a label that was acknowledged is in the answers."""
    with up(folder) as instance:
        instance.client.create_model(spec())
        delays = asyncio.run(measure(instance.url, FRESH_RATE, seconds))
    p50, p95 = (1e3 * float(np.quantile(delays, share)) for share in (0.5, 0.95))
    print(f"label to served at {FRESH_RATE:g} labels/s: p50 {p50:.0f} ms  p95 {p95:.0f} ms")


def growth(folder: Path, labels: int) -> None:
    """Prints the use of disk and memory while so many labels are learned."""
    with up(folder, DRIFTLINE_RECEIPT_SECONDS="10") as instance:
        client, data = instance.client, folder / "driftline-data"
        client.create_model(SMALL)
        batch = items(20, 2, 500)
        with Redis.from_url(running_url(data) or "") as redis:
            begin, samples = time.perf_counter(), []
            for share in range(SAMPLES + 1):
                until(lambda: client.model("small")["waiting"] == 0, 3600)
                samples.append(sample(instance, data, redis))
                learned = client.model("small")["learned"]
                print(
                    f"{learned:11,} labels: " + "  ".join(f"{name} {value:.0f}" for name, value in samples[-1].items())
                )
                for _ in range(labels // SAMPLES // len(batch) if share < SAMPLES else 0):
                    client.feedback("small", batch)
            rate = learned / (time.perf_counter() - begin)
    half, last = samples[SAMPLES // 2], samples[-1]
    grown = "  ".join(f"{name} {last[name] - half[name]:+.0f}" for name in last)
    print(f"the second half, in MiB: {grown}; {rate:,.0f} labels/s were acknowledged and learned")


def sample(instance: Instance, data: Path, redis: Redis) -> dict[str, float]:
    """The current use of disk and memory, in MiB."""
    memory: dict[str, int] = redis.info("memory")  # type: ignore[assignment]
    found = {"Redis memory": memory["used_memory"]}
    found |= {f"disk {name}": size(data / name) for name in ("artifacts", "valkey")}
    found |= {f"resident {name}": resident_bytes(instance.pid(name)) for name in PROCESSES}
    return {name: value / 2**20 for name, value in found.items()}


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="length of one load")
    parser.add_argument("--labels", type=int, default=1_000_000, help="how many labels the growth is watched over")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with up(folder / "acknowledged") as instance:
            for model in (SMALL, LARGE):
                instance.client.create_model(model)
            acknowledged(instance, arguments.seconds)
        freshness(folder / "freshness", FRESH_SECONDS)
        for labels in LENGTHS:
            recovery(folder / f"recovery-{labels}", labels)
        costs()
        growth(folder / "growth", arguments.labels)


if __name__ == "__main__":
    main()
