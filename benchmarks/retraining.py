"""What a retrain costs the other models of its worker: from a label to its being served, while a neighbour retrains or not.

Three instances take turns, so that whatever else the machine does meets all of them: one whose worker retrains in a process of
its own, one that retrains on the thread that learns (``DRIFTLINE_JOB_PROCESSES=0``), and one that retrains nothing.

python -m benchmarks.retraining [--rows 50000] [--rate 20] [--rounds 4] [--seconds 10]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import freshness
from driftline.client.clients import AsyncClient
from tests.services import spec, up

PLACES = {"none": "1", "in a process": "1", "on the thread": "0"}
BATCH = 1000


async def fill(client: AsyncClient, rows: int) -> None:
    """A model that has learned so many rows, and one beside it."""
    await client.create_model(spec("heavy"))
    await client.create_model(spec("weather"))
    random = np.random.default_rng(0)
    for first in range(0, rows, BATCH):
        inputs = random.normal(size=(min(BATCH, rows - first), 8))
        labels = (inputs[:, :3].sum(axis=1) > 0).astype(int)
        pairs = enumerate(zip(inputs.tolist(), labels.tolist(), strict=True), first)
        await client.feedback("heavy", [{"id": f"h{n}", "inputs": row, "label": label} for n, (row, label) in pairs])
    await client.wait_served("heavy", f"h{rows - 1}", timeout=900.0)


async def compare(urls: dict[str, str], rows: int, rate: float, rounds: int, seconds: float) -> dict[str, list[float]]:
    """The seconds from labels to their being served, by where the neighbour retrains."""
    found: dict[str, list[float]] = {name: [] for name in urls}
    async with contextlib.AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(AsyncClient(url)) for name, url in urls.items()}
        await asyncio.gather(*(fill(client, rows) for client in clients.values()))
        for _ in range(rounds):
            for name, client in clients.items():
                job = await client.retrain("heavy", epochs=1000) if name != "none" else None
                await asyncio.sleep(2.0)  # A job goes to a process of its own once it has computed for a second.
                found[name] += await freshness.measure(urls[name], rate, seconds)
                if job is not None:
                    state = await client.job(job)
                    assert state["state"] == "running", f"the job is over before its time: {state}"
                    await client.cancel_job(job)
                    await client.wait_for_job(job)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        log_keep = str(2 * options.rows)
        urls = {
            name: stack.enter_context(
                up(Path(folder, str(number)), DRIFTLINE_JOB_PROCESSES=processes, DRIFTLINE_LOG_KEEP=log_keep)
            ).url
            for number, (name, processes) in enumerate(PLACES.items())
        }
        found = asyncio.run(compare(urls, options.rows, options.rate, options.rounds, options.seconds))
    base = np.median(found["none"])
    for name, delays in found.items():
        p50, p95 = np.quantile(delays, 0.5), np.quantile(delays, 0.95)
        print(
            f"retrain {name}: p50 {p50 * 1e3:.0f} ms ({p50 / base:.2f} ×), p95 {p95 * 1e3:.0f} ms, {len(delays)} labels"
        )


if __name__ == "__main__":
    main()
