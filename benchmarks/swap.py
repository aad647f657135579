"""Swaps under load: whether a request fails, mixes versions or gets an older one, and what a swap costs other requests.

python -m benchmarks.swap [--swaps 10000] [--swap-rate 50] [--rate 500] [--block 5]

An MLP 784-128-10 whose versions answer one of two constants, far apart, by the parity of their number: a row of one version
in the answer of another is seen. Blocks with and without swaps alternate under the same open loop, whose latencies count
from the time at which a request was due. The load runs in a process of its own; versions are published by this one: in
the blocks without swaps those of another model, which nobody has asked for, so that both sides share the cores with the
same work and differ by the swap alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import numpy as np
import orjson

from benchmarks.common.contenders import SPEC
from benchmarks.common.formats import json_rows
from benchmarks.common.load import HOST, Result, open_loop, request
from benchmarks.common.processes import free_port, resident_bytes
from driftline.learning.learner import Learner
from driftline.processes import plan
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection
from tests.versions import Versions

MODEL, OTHER = "digits", "other"
CONNECTIONS = 32
ROWS = 4
MAX_VERSIONS = 20
PROBABILITIES = (0.9, 0.1)
"""Of the last class: that of even versions, that of odd ones."""


@dataclass
class Seen:
    """The wrong answers that a load has seen."""

    newest: dict[int, int] = field(default_factory=dict)
    mixed: int = 0
    backwards: int = 0

    def check(self, connection: int, body: bytes) -> bool:
        """Whether all rows of an answer are of its version, and that is not older than the last one of the connection."""
        answer = orjson.loads(body)
        version = answer["version"]
        rows = [row["probabilities"][-1] for row in answer["predictions"]]
        is_whole = version == 1 or all(abs(row - PROBABILITIES[version % 2]) < 0.01 for row in rows)
        is_newer = version >= self.newest.get(connection, 0)
        self.newest[connection] = version
        self.mixed += not is_whole
        self.backwards += not is_newer
        return is_whole and is_newer


@dataclass
class Side:
    """The results of all blocks with swaps, or of all without."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    mixed: int = 0
    backwards: int = 0

    def add(self, result: Result, seen: Seen) -> None:
        self.latencies += result.latencies
        self.failures += result.failures
        self.mixed += seen.mixed
        self.backwards += seen.backwards

    def quantile_ms(self, share: float) -> float:
        return 1e3 * float(np.quantile(self.latencies, share))


def block(port: int, rate: float, seconds: float) -> tuple[Result, Seen]:
    """One block of load, in the process of the load."""
    body = json_rows("", "").encode(np.random.default_rng(1).normal(size=(ROWS, 784)).astype(np.float32))
    message = request(port, f"/v1/models/{MODEL}/predict", body.content, body.headers)
    seen = Seen()
    return open_loop(port, message, CONNECTIONS, seconds, rate, seen.check), seen


@dataclass
class AlternatingVersions:
    """Publishes versions of alternating constants, so many a second."""

    versions: Versions
    learners: list[Learner]
    made: int = 0

    async def run(self, rate: float, seconds: float) -> None:
        end, due = time.perf_counter() + seconds, time.perf_counter()
        while (due := due + 1 / rate) < end:
            await asyncio.sleep(due - time.perf_counter())
            await self.versions.publish(self.learners[(self.versions.number + 1) % 2])
            self.made += 1
        await self.versions.retire(
            [version.version for version in (await self.versions.commit_log.versions())[:-MAX_VERSIONS]]
        )


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[int, int, str]]:
    """One serving process with a store of its own, and no worker: its port, its process id, the URL of the store."""
    with Guard() as guard:
        store = EmbeddedServer(folder, guard)
        store.start()
        try:
            port = free_port()
            known = {"DRIFTLINE_REDIS_URL": store.url, "DRIFTLINE_DATA_DIR": str(folder)}
            app = guard.spawn(plan.program("app", "--port", str(port)), env=os.environ | known)
            while not plan.is_ready(f"http://{HOST}:{port}"):
                time.sleep(0.1)
            yield port, app.pid, store.url
            app.terminate()
            app.wait()
        finally:
            store.stop()


@contextlib.asynccontextmanager
async def alternating_versions(url: str, folder: Path, model: str) -> AsyncIterator[AlternatingVersions]:
    """The publisher of a model's alternating versions."""
    connection = RedisConnection(url, "driftline:")
    try:
        versions = Versions(connection, Artifacts(folder / "artifacts"))
        await versions.take(model)
        yield AlternatingVersions(versions, [versions.constant(probability) for probability in PROBABILITIES])
    finally:
        await connection.close()


async def measure(port: int, process: int, url: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Alternates blocks until all swaps are made, and prints the results."""
    sides = {"with swaps": Side(), "without": Side()}
    loop = asyncio.get_running_loop()
    async with alternating_versions(url, folder, MODEL) as served, alternating_versions(url, folder, OTHER) as other:
        with ProcessPoolExecutor(1) as pool:
            await loop.run_in_executor(pool, block, port, arguments.rate, arguments.block)
            before = resident_bytes(process)
            while served.made < arguments.swaps:
                for (name, side), publishing in zip(sides.items(), (served, other), strict=True):
                    running = loop.run_in_executor(pool, block, port, arguments.rate, arguments.block)
                    await publishing.run(arguments.swap_rate, arguments.block)
                    side.add(*await running)
                    print(f"{served.made} swaps, block {name}", file=sys.stderr, flush=True)
        answer = httpx.post(f"http://{HOST}:{port}/v1/models/{MODEL}/predict", json={"inputs": [[0.0] * 784]})
        report(sides, served.made, answer.json()["version"], arguments, before, resident_bytes(process))


def report(
    sides: dict[str, Side], swaps: int, served: int, arguments: argparse.Namespace, before: int, after: int
) -> None:
    print(
        f"{swaps} swaps at {arguments.swap_rate:g}/s, {arguments.rate:g} requests/s of {ROWS} rows,"
        f" served in the end: version {served}"
    )
    for name, side in sides.items():
        quantiles = "  ".join(f"p{100 * share:g} {side.quantile_ms(share):7.2f} ms" for share in (0.5, 0.99, 0.999))
        print(
            f"{name:11} {len(side.latencies):8,} answers  {quantiles}  failures {side.failures}"
            f"  mixed {side.mixed}  backwards {side.backwards}"
        )
    with_swaps, without = sides.values()
    for share in (0.5, 0.99, 0.999):
        ratio = with_swaps.quantile_ms(share) / without.quantile_ms(share)
        print(f"p{100 * share:g} with swaps / without: {ratio:.2f}")
    print(f"resident memory {before / 2**20:.0f} MiB at the start, {after / 2**20:.0f} MiB at the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=10_000)
    parser.add_argument("--swap-rate", type=float, default=50, help="swaps a second")
    parser.add_argument("--rate", type=float, default=500, help="requests a second")
    parser.add_argument("--block", type=float, default=5, help="seconds of a block")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as (port, process, url):
        for model in (MODEL, OTHER):
            httpx.post(f"http://{HOST}:{port}/v1/models", json=SPEC | {"name": model}).raise_for_status()
        asyncio.run(measure(port, process, url, Path(name), arguments))


if __name__ == "__main__":
    main()
