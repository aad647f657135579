"""What events and the scores of each minute cost a step: with and without them, in alternating runs.

It is processor time, of the worker and of the store, which others on the machine hardly change. Predictions commit nothing.

python -m benchmarks.events
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec
import torch

from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.store.commits import Commit, CommitLog
from driftline.store.connection import RedisConnection
from tests.worker.conftest import Bench, labelled
from worker.score_buckets import OpenBuckets

LABELS, WARM_UP, ROUNDS = 3200, 320, 10


async def seconds_a_step(url: str, folder: Path, thread: ThreadPoolExecutor, prefix: str) -> float:
    """The processor time of a step of 32 answered labels, from its records to its commit."""
    connection = RedisConnection(url, prefix)
    bench = Bench(connection, url, thread, folder)
    store = await bench.model()
    trainer = await bench.trainer(store)
    await trainer.committer.recover()

    async def used() -> float:
        store_time = await connection.redis.info("cpu")
        return time.process_time() + float(store_time["used_cpu_user"]) + float(store_time["used_cpu_sys"])

    for first in range(0, LABELS + WARM_UP, 32):
        if first == WARM_UP:
            begin = await used()
        await store.log.append(labelled(32, first=first, answered=1))
        await trainer._turn()
    taken = await used() - begin
    await connection.close()
    return taken / (LABELS / 32)


def without() -> Callable[[], None]:
    """Leaves events and buckets out of every commit until the result is called."""
    commit, add = CommitLog.commit, OpenBuckets.add

    async def bare(self: CommitLog, found: Commit) -> None:
        await commit(self, msgspec.structs.replace(found, events=[], alarms={}, over=[], buckets={}))

    CommitLog.commit = bare  # type: ignore[method-assign]
    OpenBuckets.add = lambda *arguments: {}  # type: ignore[method-assign]

    def restore() -> None:
        CommitLog.commit, OpenBuckets.add = commit, add  # type: ignore[method-assign]

    return restore


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)  # What is logged goes to nobody here, with and without.
    with tempfile.TemporaryDirectory() as name, Guard() as guard, ThreadPoolExecutor(1) as thread:
        server = EmbeddedServer(Path(name), guard)
        server.start()
        found: dict[bool, list[float]] = {True: [], False: []}
        for number in range(ROUNDS):
            for has_events in (True, False) if number % 2 else (False, True):
                restore = (lambda: None) if has_events else without()
                folder = Path(name) / f"{number}{has_events}"
                folder.mkdir()
                found[has_events].append(
                    asyncio.run(seconds_a_step(server.url, folder, thread, f"{number}{has_events}:"))
                )
                restore()
        server.stop()
    with_events, bare = (statistics.median(found[has_events]) for has_events in (True, False))
    print(f"a step of 32 labels: {1000 * with_events:.2f} ms with events and scores, {1000 * bare:.2f} ms without")
    ratios = [one / other for one, other in zip(found[True], found[False], strict=True)]
    print(
        f"with them it takes {statistics.median(ratios) - 1:+.1%} (by round: {', '.join(f'{r - 1:+.1%}' for r in ratios)})"
    )


if __name__ == "__main__":
    main()
