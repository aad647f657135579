"""How long the labels of a small model take until they are served, while a large model learns in the same worker.

python -m benchmarks.neighbours [--size 22M] [--rank 8] [--labels 40]

One worker process, a small model that gets eight labels each half second, and an encoder of the size of MiniLM-L6 or BERT-base
that always has labels to learn. Measured is the time from the labels' acknowledgement until a version is live that has learned
them: while the encoder has nothing to do, while it learns, and that *without slices*, as it was when no call gave way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.common.encoder import FACTORY, SIZES, spec
from benchmarks.common.results import table
from benchmarks.networks import labelled
from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.records import Item
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.redis_keys import new_uid
from driftline.versions import VersionFiles
from worker.main import Worker
from worker.model_store import ModelStore

SMALL = {"name": "small", "task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]}
LABELS, PAUSE_SECONDS = 8, 0.5
WARM_UP = 10


def small_labels(first: int) -> list[Item]:
    rows = np.random.default_rng(first).normal(size=(LABELS, 8)).astype(np.float32)
    return [Item(f"i{first + n}", {"inputs": row.tobytes()}, int(row[0] > 0)) for n, row in enumerate(rows)]


async def made(described: dict[str, Any], connection: RedisConnection, folder: Path) -> ModelStore:
    """A new model."""
    uid, artifacts = new_uid(), Artifacts(folder / "artifacts")
    learner = Learner.create(parse(ModelSpec, described), seed=1, factories=[FACTORY])
    model = Model(learner.spec, learner.classes, learner.module)
    first = await asyncio.to_thread(VersionFiles(artifacts, uid).write_first, model)
    await Catalog(connection).create(uid, learner.spec.model_dump(mode="json"), first)
    return ModelStore(connection, artifacts, uid, Settings())


async def learn(store: ModelStore, items: list[Item], is_served: bool) -> float:
    """Seconds until labels are learned, and served where that is asked for."""
    begin = time.monotonic()
    newest = (await store.log.append(items))[-1].n
    while True:
        head = await store.commit_log.head()
        offset = (await store.commit_log.version(head.version)).offset if is_served else head.offset
        if offset >= newest:
            return time.monotonic() - begin
        await asyncio.sleep(0.002)


async def latencies(store: ModelStore, first: int, count: int) -> list[float]:
    """The seconds of so many lots of labels."""
    found = []
    for number in range(count):
        found.append(await learn(store, small_labels(first + LABELS * number), is_served=True))
        await asyncio.sleep(PAUSE_SECONDS)
    return found


@contextlib.asynccontextmanager
async def learning(store: ModelStore) -> AsyncIterator[list[float]]:
    """While the body runs, a model always has labels to learn; gives the seconds of each lot."""
    steps: list[float] = []

    async def forever() -> None:
        while True:
            first = 10**6 + LABELS * len(steps)
            steps.append(await learn(store, labelled(LABELS, first), is_served=False))

    task = asyncio.create_task(forever())
    try:
        yield steps
    finally:
        task.cancel()


async def measured(size: str, rank: int | None, count: int, slice_seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, Guard() as guard, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = EmbeddedServer(folder / "valkey", guard)
        server.start()
        stack.callback(server.stop)
        connection = RedisConnection(server.url, "driftline:")
        small = await made({**SMALL, "recipe": {"gate": {"mode": "off"}}}, connection, folder)
        large = await made(spec(size, rank), connection, folder)
        environment = {"DRIFTLINE_REDIS_URL": server.url, "DRIFTLINE_DATA_DIR": name, "DRIFTLINE_FACTORIES": FACTORY}
        command = [sys.executable, "-m", "benchmarks.neighbours", "--worker", str(slice_seconds)]
        worker = subprocess.Popen(command, env={**os.environ, **environment})
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        await latencies(small, 0, WARM_UP)
        await learn(large, labelled(LABELS, 10**8), is_served=False)
        quiet = await latencies(small, 1000, count)
        async with learning(large) as steps:
            beside = await latencies(small, 10**5, count)
        await connection.close()
    quantiles = {"median": 50, "p90": 90}
    return {
        **{f"quiet {name} ms": 1e3 * float(np.percentile(quiet, at)) for name, at in quantiles.items()},
        **{f"beside {name} ms": 1e3 * float(np.percentile(beside, at)) for name, at in quantiles.items()},
        "a step of the large one s": float(np.median(steps[:-1] or steps)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="22M")
    parser.add_argument("--rank", type=int, default=8, help="of the adapters; 0: it is trained as a whole")
    parser.add_argument("--labels", type=int, default=40, help="lots of labels")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        torch.set_num_threads(1)
        worker = Worker(Settings())
        worker.slices.least_seconds = given.worker
        asyncio.run(worker.run())
        return
    rows: list[list[Any]] = []
    found: dict[str, float] = {}
    for name, seconds in (("with slices", 0.0), ("without slices", 1e9)):
        found = asyncio.run(measured(given.size, given.rank or None, given.labels, seconds))
        rows.append([name, *(round(value, 2) for value in found.values())])
    print(table([given.size, *found], rows))


if __name__ == "__main__":
    main()
