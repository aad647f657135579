"""Many models that do nothing, on several workers: shares, what they cost the store and the workers, and a worker that dies.

Real processes; the models have their keys in the store and no files, which nobody needs before the first label.

python -m benchmarks.fleet [--models 300] [--workers 3] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from driftline.processes.embedded import EmbeddedServer
from driftline.processes.plan import program
from driftline.processes.supervisor import Guard
from driftline.store.catalog import Catalog
from driftline.store.commits import Version
from driftline.store.connection import RedisConnection
from driftline.store.redis_keys import new_uid

SPEC = {"task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]}


async def make(connection: RedisConnection, count: int) -> list[str]:
    """The uids of so many new models."""
    catalog, first = Catalog(connection), Version(1, "0" * 64, None, 0, 0, 0.0, "created")
    uids = [new_uid() for _ in range(count)]
    for at in range(0, count, 50):
        part = enumerate(uids[at : at + 50], at)
        await asyncio.gather(*(catalog.create(uid, {"name": f"idle{n}", **SPEC}, first) for n, uid in part))
    return uids


async def shares(connection: RedisConnection, uids: list[str]) -> Counter[str | None]:
    """How many models each worker owns; None: that nobody does."""
    return Counter((await Catalog(connection).owners(uids)).values())


async def until_shared(connection: RedisConnection, uids: list[str], workers: int) -> float:
    """Seconds until every model has an owner that lives, and no worker a fifth more than another."""
    begin = time.monotonic()
    while True:
        found = await shares(connection, uids)
        counts = [count for owner, count in found.items() if owner is not None]
        if sum(counts) == len(uids) and len(counts) == workers and max(counts) <= 1.2 * min(counts):
            return time.monotonic() - begin
        await asyncio.sleep(0.2)


@contextlib.contextmanager
def worker(guard: Guard, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One worker process."""
    with log.open("wb") as output:
        process = guard.spawn(program("worker"), env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def idle(connection: RedisConnection, processes: list[subprocess.Popen[bytes]], seconds: float) -> str:
    """What the workers ask of the store while nothing happens, and what it costs them, a worker."""

    async def now() -> tuple[int, int, float]:
        stats, used = await connection.redis.info("stats"), sum(cpu_seconds(process.pid) for process in processes)
        return stats["total_commands_processed"], stats["total_net_input_bytes"], used

    await asyncio.sleep(5)  # What was taken last has been looked at by then.
    before = await now()
    await asyncio.sleep(seconds)
    commands, received, used = ((after - then) / seconds for after, then in zip(await now(), before, strict=True))
    each = len(processes)
    return f"{commands / each:.0f} commands/s, {received / each / 1000:.1f} kB/s, {100 * used / each:.1f} % of a core"


async def run(models: int, workers: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, Guard() as guard, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = EmbeddedServer(folder / "valkey", guard)
        server.start()
        stack.callback(server.stop)
        connection = RedisConnection(server.url, "driftline:")
        environment = {**os.environ, "DRIFTLINE_REDIS_URL": server.url, "DRIFTLINE_DATA_DIR": str(folder / "data")}
        uids = await make(connection, models)
        print(f"{models} idle models")
        processes: list[subprocess.Popen[bytes]] = []
        for number in range(1, workers + 1):
            begin = time.monotonic()
            processes.append(stack.enter_context(worker(guard, environment, folder / f"worker{number}.log")))
            await until_shared(connection, uids, number)
            counts = sorted((await shares(connection, uids)).values())
            print(
                f"{number} workers own {counts}, {time.monotonic() - begin:.1f} s after the start of the last one;",
                end=" ",
            )
            print(f"a worker: {await idle(connection, processes, seconds)}", flush=True)
        if workers > 1:
            os.kill(processes.pop().pid, signal.SIGKILL)
            print(f"all owned again {await until_shared(connection, uids, workers - 1):.1f} s after one was killed")
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    asyncio.run(run(options.models, options.workers, options.seconds))


if __name__ == "__main__":
    main()
