"""How long one key's calls take beside another key's flood.

python -m benchmarks.tenants

One key predicts a row at a time, alone and beside eight threads of another key that send 256 rows a call, in turns, on a whole
instance over 127.0.0.1. Times are in milliseconds.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from driftline.client.clients import Client
from driftline.errors import DriftlineError
from tests.services import spec, up

THREADS, ROWS, ROUNDS, SECONDS = 8, 256, 4, 8.0
ROW = [0.0] * 8


def measured(client: Client, seconds: float) -> list[float]:
    """How long calls took, one after the other for so long."""
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        client.predict("weather", [ROW])
        found.append(1000 * (time.perf_counter() - begin))
    return found


@contextlib.contextmanager
def flood(url: str, key: str) -> Iterator[None]:
    """Calls of another key, as many as it can make."""
    is_over = threading.Event()

    def ask() -> None:
        with Client(url, key=key) as client:
            while not is_over.is_set():
                with contextlib.suppress(DriftlineError):
                    client.predict("weather", [ROW] * ROWS)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="driftline-") as folder, up(Path(folder)) as instance:
        instance.client.create_model(spec())
        admin = instance.client.make_key(["admin"], "admin")
        with Client(instance.url, key=admin) as client:
            own, other = (client.make_key(["predict"], name) for name in ("own", "other"))
        print(f"{'':8} {'calls':>6} {'p50':>8} {'p99':>8}")
        with Client(instance.url, key=own) as client:
            measured(client, 2.0)
            for _ in range(ROUNDS):
                for name, beside in (("alone", contextlib.nullcontext()), ("flooded", flood(instance.url, other))):
                    with beside:
                        found = measured(client, SECONDS)
                    print(
                        f"{name:8} {len(found):6} {np.percentile(found, 50):8.1f} {np.percentile(found, 99):8.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
