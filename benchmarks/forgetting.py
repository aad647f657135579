"""How long it takes to forget 1 % of the labels of a model, and how good it is then, beside one that has never learned them.

The labels to be forgotten are wrong, and come from one source between the others. The model that has never learned them began
with the same weights, since two that did not differ by more than what is measured here. Accuracy is that of what is served on
rows of the same stream that nobody has learned. The worker's trainer runs in this process, on an embedded store.

python -m benchmarks.forgetting [--labels 20000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.records import Command, Item
from driftline.store.connection import RedisConnection
from tests.worker.conftest import Bench
from worker.model_store import ModelStore

FEATURES, TEST_ROWS = 8, 5000
SOURCE = "wrong"


def stream(seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of four classes that a line alone does not part, a tenth of them at random."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, FEATURES)).astype(np.float32)
    classes = 2 * (rows[:, 0] * rows[:, 1] > 0) + (rows[:, 2] + 0.5 * rows[:, 3] > 0)
    noise = rng.random(count) < 0.1
    return rows, np.where(noise, rng.integers(0, 4, count), classes)


async def learn(bench: Bench, uid: str, items: list[Item]) -> ModelStore:
    """A model that has learned all of the items, and serves that: it has no gate, which might keep it at what was before, and
    compares no labellers, which would set aside whom is to be forgotten.
    """
    recipe = {"gate": {"mode": "off"}, "trust": {"mode": "off"}}
    store = await bench.model(f"model-{uid}", uid, classes=[0, 1, 2, 3], recipe=recipe)
    await store.log.append(items)
    await bench.train(store)
    return store


async def accuracy(store: ModelStore, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    head = await store.commit_log.head()
    module = store.version_files.restored(head.manifest, ()).module
    with torch.no_grad():
        answers = module.eval().predict({"inputs": torch.from_numpy(rows)}).argmax(1).numpy()
    return 100 * float(np.mean(answers == labels))


async def measure(own: Bench, other: Bench, seed: int, count: int) -> str:
    """A line of the table."""
    rows, labels = stream(seed, count + TEST_ROWS)
    is_wrong = np.zeros(count, bool)
    is_wrong[np.random.default_rng(seed + 1000).choice(count, count // 100, replace=False)] = True
    items = [
        Item(f"i{n}", {"inputs": row.tobytes()}, int((label + wrong) % 4), source=SOURCE if wrong else None)
        for n, (row, label, wrong) in enumerate(zip(rows[:count], labels[:count], is_wrong, strict=True))
    ]
    test, uid = (rows[count:], labels[count:]), f"{seed + 1:012x}"
    never = await accuracy(await learn(other, uid, [item for item in items if item.source is None]), *test)
    store = await learn(own, uid, items)
    before = await accuracy(store, *test)
    begin, spent = time.monotonic(), time.process_time()
    await store.log.append([Command("job", "forget", {"source": SOURCE})])
    await own.train(store)
    seconds, spent = time.monotonic() - begin, time.process_time() - spent
    job = await store.commit_log.job("job")
    assert job is not None and job.report is not None and job.report["unlearned"], job
    after, again = await accuracy(store, *test), job.report["relearned"]
    shown = [f"{seconds:.1f}", f"{spent:.1f}", f"{again:,}", *(f"{each:.2f}" for each in (before, after, never))]
    return f"| {seed} | {' | '.join(shown)} | {after - never:+.2f} |"


async def main(count: int, seeds: int) -> None:
    print(
        "| seed | seconds | of a processor | labels learned again | with them | forgotten | never learned | difference |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Guard() as guard, ThreadPoolExecutor(1) as thread:
        server = EmbeddedServer(Path(folder), guard)
        server.start()
        connections = [RedisConnection(server.url, f"{name}:") for name in ("own", "other")]
        benches = [Bench(each, server.url, thread, Path(folder) / each.keys.prefix[:-1]) for each in connections]
        for seed in range(seeds):
            print(await measure(*benches, seed, count), flush=True)
        for connection in connections:
            await connection.close()
        server.stop()


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(main(given.labels, given.seeds))
