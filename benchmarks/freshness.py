"""From label to served version: how long until a label that was acknowledged is in the answers.

python -m benchmarks.freshness [--rate 100] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from driftline.client.clients import AsyncClient
from tests.services import spec, up

PROBE_SECONDS = 0.005


async def stream(client: AsyncClient, rate: float, seconds: float) -> list[tuple[str, float]]:
    """Sends labels evenly; gives id and time of each acknowledgement."""
    random = np.random.default_rng(1)
    acknowledged: list[tuple[str, float]] = []
    begin = time.perf_counter()
    for index in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begin + index / rate - time.perf_counter()))
        inputs = random.normal(size=(1, 8))
        answer = await client.predict("weather", inputs.tolist())
        label = int(inputs[0, :3].sum() > 0)
        item = {"prediction_id": answer["predictions"][0]["id"], "label": label}
        accepted = await client.feedback("weather", [item])
        acknowledged.append((accepted["items"][0]["id"], time.perf_counter()))
    return acknowledged


async def watch(client: AsyncClient, is_over: asyncio.Event) -> list[tuple[int, float]]:
    """When the server first answered from each version."""
    seen: list[tuple[int, float]] = []
    while not is_over.is_set():
        version = (await client.predict("weather", [[0.0] * 8]))["version"]
        if not seen or version > seen[-1][0]:
            seen.append((version, time.perf_counter()))
        await asyncio.sleep(PROBE_SECONDS)
    return seen


async def measure(url: str, rate: float, seconds: float) -> list[float]:
    """The seconds from each label of the model ``weather`` to its being served."""
    async with AsyncClient(url) as client, AsyncClient(url) as prober:
        is_over = asyncio.Event()
        watching = asyncio.create_task(watch(prober, is_over))
        acknowledged = await stream(client, rate, seconds)
        while (await client.receipt("weather", acknowledged[-1][0]))["state"] != "served":
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        is_over.set()
        seen = await watching
        numbers, times = [version for version, _ in seen], [when for _, when in seen]
        delays = []
        for identifier, when in acknowledged:
            version = (await client.receipt("weather", identifier))["version"]
            delays.append(times[bisect.bisect_left(numbers, version)] - when)
        return delays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, up(Path(folder)) as instance:
        instance.client.create_model(spec())
        delays = asyncio.run(measure(instance.url, arguments.rate, arguments.seconds))
    p50, p95, worst = (float(np.quantile(delays, share)) for share in (0.5, 0.95, 1.0))
    print(
        f"{len(delays)} labels at {arguments.rate:g}/s: p50 {p50 * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms,"
        f" worst {worst * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
