"""Many models that do nothing, on several workers: shares, what they cost the store and the workers, and a worker that dies.

Real processes; the models have their keys in the store and no files, which nobody needs before the first label. With ``--ask``
there is a server too, which is asked for so many of them, that have files: what all processes take of a core while nothing
happens, and what memory the server takes, by its setting.

python -m benchmarks.fleet [--models 300] [--workers 3] [--seconds 20] [--ask 1000 [--model-bytes 100000000]]
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

import httpx

from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.plan import program
from driftline.processes.supervisor import Guard
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.commits import Version
from driftline.store.connection import RedisConnection
from driftline.store.redis_keys import new_uid
from driftline.versions import VersionFiles
from tests.ports import free_port

SPEC = {"task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]}


async def make(connection: RedisConnection, count: int, artifacts: Artifacts, with_files: int) -> list[str]:
    """The uids of so many new models, the first of which have files."""
    catalog = Catalog(connection)
    uids = [new_uid() for _ in range(count)]
    learner = Learner.create(parse(ModelSpec, {"name": "idle", **SPEC}), seed=0)

    async def create(n: int, uid: str) -> None:
        spec = parse(ModelSpec, {"name": f"idle{n}", **SPEC})
        first = Version(1, "0" * 64, None, 0, 0, 0.0, "created")
        if n < with_files:
            first = VersionFiles(artifacts, uid).write_first(Model(spec, learner.classes, learner.module))
        await catalog.create(uid, spec.model_dump(mode="json"), first)

    for at in range(0, count, 50):
        await asyncio.gather(*(create(n, uid) for n, uid in enumerate(uids[at : at + 50], at)))
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

    async def calls() -> Counter[str]:
        told = await connection.redis.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in told.items()})

    async def now() -> tuple[int, int, float]:
        stats, used = await connection.redis.info("stats"), sum(cpu_seconds(process.pid) for process in processes)
        return stats["total_commands_processed"], stats["total_net_input_bytes"], used

    await asyncio.sleep(5)  # What was taken last has been looked at by then.
    asked = await calls()
    before = await now()
    await asyncio.sleep(seconds)
    most = (await calls() - asked).most_common(4)
    commands, received, used = ((after - then) / seconds for after, then in zip(await now(), before, strict=True))
    each = len(processes)
    named = ", ".join(f"{name} {count / seconds / each:.0f}" for name, count in most)
    return (
        f"{commands / each:.0f} commands/s ({named}), {received / each / 1000:.1f} kB/s, "
        f"{100 * used / each:.1f} % of a core"
    )


async def total_cpu(processes: list[subprocess.Popen[bytes]], seconds: float) -> float:
    """What processes take of a core together, in percent, while nothing happens."""
    await asyncio.sleep(15)  # What was asked last is in use no more.
    before = sum(cpu_seconds(process.pid) for process in processes)
    await asyncio.sleep(seconds)
    return 100 * (sum(cpu_seconds(process.pid) for process in processes) - before) / seconds


def resident_bytes(pid: int) -> int:
    """The memory that a process has for itself."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


async def ask(guard: Guard, environment: dict[str, str], count: int, log: Path) -> subprocess.Popen[bytes]:
    """A server that has answered once for each of so many models; prints what memory that took."""
    port = free_port()
    with log.open("wb") as output:
        own = {**environment, "DRIFTLINE_PORT": str(port)}
        process = guard.spawn(program("app", "--port", str(port)), env=own, stdout=output, stderr=output)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/livez")).status_code == 200:
                    break
            await asyncio.sleep(0.2)
        before = 0
        for n in range(count):
            answer = await client.post(f"/v1/models/idle{n}/predict", json={"inputs": [[0.5] * 8]})
            answer.raise_for_status()
            if n == 0:
                before = resident_bytes(process.pid)
            if (n + 1) % max(1, count // 5) == 0:
                grown = resident_bytes(process.pid) - before
                print(f"the server asked for {n + 1} models takes {grown / 1e6:.0f} MB more than for one", flush=True)
    return process


async def run(models: int, workers: int, seconds: float, asked: int, model_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name, Guard() as guard, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = EmbeddedServer(folder / "valkey", guard)
        server.start()
        stack.callback(server.stop)
        connection = RedisConnection(server.url, "driftline:")
        environment = {**os.environ, "DRIFTLINE_REDIS_URL": server.url, "DRIFTLINE_DATA_DIR": str(folder / "data")}
        environment["DRIFTLINE_MODEL_BYTES"] = str(model_bytes)
        uids = await make(connection, models, Artifacts(folder / "data" / "artifacts"), asked)
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
        if asked:
            served = await ask(guard, environment, asked, folder / "app.log")
            assert server.process is not None
            everyone = [*processes, served, server.process]
            print(f"all {len(everyone)} processes: {await total_cpu(everyone, seconds):.1f} % of a core", flush=True)
        if workers > 1:
            os.kill(processes.pop().pid, signal.SIGKILL)
            print(f"all owned again {await until_shared(connection, uids, workers - 1):.1f} s after one was killed")
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ask", type=int, default=0)
    parser.add_argument("--model-bytes", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(run(options.models, options.workers, options.seconds, options.ask, options.model_bytes))


if __name__ == "__main__":
    main()
