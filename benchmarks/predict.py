"""Predictions a second: an MLP 784-128-10, one row a request, beside a bare uvicorn that answers the same body.

python -m benchmarks.predict [--connections 32] [--seconds 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import uvicorn

from benchmarks.load import Result, closed_loop, request
from tests.conftest import free_port, wait_for_port
from tests.services import up

SPEC = {
    "name": "digits",
    "task": "classification",
    "inputs": {"shape": [784]},
    "classes": list(range(10)),
    "network": {"layers": [{"type": "linear", "features": 128}, {"type": "relu"}]},
}


async def bare(scope: dict, receive, send) -> None:  # type: ignore[no-untyped-def,type-arg]
    """The limit of one uvicorn process: reads the body, answers a constant."""
    while (await receive()).get("more_body"):
        pass
    answer = b"x" * 400
    headers = [(b"content-type", b"application/json"), (b"content-length", b"400")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@contextmanager
def bare_uvicorn() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.predict", "--bare", str(port)])
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def measure(port: int, path: str, body: bytes, connections: int, seconds: float) -> Result:
    message = request(f"127.0.0.1:{port}", path, body)
    return asyncio.run(closed_loop("127.0.0.1", port, message, connections, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        uvicorn.run(bare, port=arguments.bare, log_level="error", access_log=False)
        return
    row = np.random.default_rng(1).normal(size=784).astype(np.float32).tolist()
    body = json.dumps({"inputs": [row]}).encode()
    with tempfile.TemporaryDirectory() as folder, up(Path(folder)) as instance, bare_uvicorn() as bare_port:
        instance.client.create_model(SPEC)
        port = urlsplit(instance.url).port or 0
        rows: dict[str, list[Result]] = {"driftline": [], "bare uvicorn": []}
        for _ in range(arguments.rounds):
            for name, at in (("driftline", port), ("bare uvicorn", bare_port)):
                path = "/v1/models/digits/predict"
                rows[name].append(measure(at, path, body, arguments.connections, arguments.seconds))
    print(f"{len(body)} bytes a body, {arguments.connections} connections, median of {arguments.rounds} rounds")
    rates = {name: statistics.median(result.rate for result in results) for name, results in rows.items()}
    for name, results in rows.items():
        p50, p99 = (statistics.median(result.quantile(share) for result in results) for share in (0.5, 0.99))
        failures = sum(result.failures for result in results)
        share = rates[name] / rates["bare uvicorn"]
        print(
            f"{name:14} {rates[name]:8.0f} /s  ratio {share:.2f}  p50 {1e3 * p50:.1f} ms  p99 {1e3 * p99:.1f} ms"
            f"  failures {failures}"
        )


if __name__ == "__main__":
    main()
