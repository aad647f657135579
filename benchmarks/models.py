"""A hundred models in one instance: their idle cost, their start, and a load over all of them.

python -m benchmarks.models [--models 100] [--seconds 5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.common.contenders import SPEC
from benchmarks.common.formats import json_rows
from benchmarks.common.load import closed_loop, request
from benchmarks.common.processes import cpu_seconds, open_files, resident_bytes
from tests.services import Instance, up

CONNECTIONS = 32
IDLE_SECONDS = 10.0
SETTLE_SECONDS = 5.0
PROCESSES = ("app", "worker", "valkey")


def messages(port: int, count: int) -> list[bytes]:
    """One request of one row to each model."""
    body = json_rows("", "").encode(np.random.default_rng(1).normal(size=(1, 784)).astype(np.float32))
    return [request(port, f"/v1/models/m{number}/predict", body.content, body.headers) for number in range(count)]


def usage(instance: Instance, title: str) -> None:
    """Prints memory, open files, and the share of a core that each process takes while idle."""
    before = {name: cpu_seconds(instance.pid(name)) for name in PROCESSES}
    time.sleep(IDLE_SECONDS)
    for name in PROCESSES:
        process = instance.pid(name)
        share = (cpu_seconds(process) - before[name]) / IDLE_SECONDS
        print(
            f"{title:26} {name:7} {resident_bytes(process) / 2**20:6.0f} MiB  {open_files(process):4} open files"
            f"  {100 * share:5.2f} % of a core"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5, help="length of one load")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        with up(Path(name)) as instance:
            usage(instance, "no model")
            begin = time.perf_counter()
            for number in range(arguments.models):
                instance.client.create_model(SPEC | {"name": f"m{number}"})
            each = (time.perf_counter() - begin) / arguments.models
            print(f"{arguments.models} models created, {1e3 * each:.0f} ms each")
            time.sleep(SETTLE_SECONDS)
            usage(instance, "created, never asked")
        begin = time.perf_counter()
        with up(Path(name)) as instance:
            print(f"started again in {time.perf_counter() - begin:.1f} s")
            port = urlsplit(instance.url).port or 0
            asked = messages(port, arguments.models)
            begin = time.perf_counter()
            for number in range(arguments.models):
                instance.client.predict(f"m{number}", [[0.0] * 784])
            first = (time.perf_counter() - begin) / arguments.models
            print(f"first answer of a model: {1e3 * first:.1f} ms")
            time.sleep(SETTLE_SECONDS)
            usage(instance, "all in use, nobody asks")
            loads = {"one model": asked[:1], "any model": asked}
            for title, chosen in loads.items():
                result = closed_loop(port, chosen, CONNECTIONS, arguments.seconds)
                p50, p99 = (1e3 * result.quantile(share) for share in (0.5, 0.99))
                print(f"{title}: {result.rate:,.0f} /s  p50 {p50:.1f} ms  p99 {p99:.1f} ms  failures {result.failures}")


if __name__ == "__main__":
    main()
