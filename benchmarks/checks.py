"""What the checks of a call cost: processor time of the serving process for a predict of one row, with all of them and without.

python -m benchmarks.checks [--rounds 60] [--requests 960]

Two whole instances are asked in turns over 127.0.0.1, a call at a time on each of 32 connections that stay open: one has
keys, and limits of requests, bytes, labels and rows that nobody reaches; the other has neither. Sizes and deadlines are
counted in both: they cannot be turned off. What else the machine does only adds to a round, so that the lower quartile tells
most.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.services import Instance, spec, up

CONNECTIONS = 32
BODY = b'{"inputs": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]]}'
LIMITS = {f"DRIFTLINE_KEY_{what}": "1000000000" for what in ("REQUESTS", "BYTES", "ITEMS", "ROWS")}


class Asked:
    """An instance, its connections, and the clock of its serving process."""

    def __init__(self, instance: Instance, key: str | None, stack: contextlib.ExitStack) -> None:
        port = urlsplit(instance.url).port or 0
        connect = (socket.create_connection(("127.0.0.1", port), 60) for _ in range(CONNECTIONS))
        self.connections = [stack.enter_context(connection) for connection in connect]
        authorization = b"" if key is None else b"Authorization: Bearer %b\r\n" % key.encode()
        head = b"POST /v1/models/weather/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self.request = head + authorization + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        self.clock = (~instance.pid("app") << 3) | 2  # clock_getcpuclockid(3)

    def seconds(self, requests: int) -> float:
        """The processor time that the serving process took for each of so many requests."""
        begin = time.clock_gettime(self.clock)
        for _ in range(requests // CONNECTIONS):
            for connection in self.connections:
                connection.sendall(self.request)
            for connection in self.connections:
                answer = connection.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200"), answer
        return (time.clock_gettime(self.clock) - begin) / requests


@contextlib.contextmanager
def asked(has_checks: bool) -> Iterator[Asked]:
    limits = LIMITS if has_checks else {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-"))
        instance = stack.enter_context(up(Path(folder), **limits))
        instance.client.create_model(spec())
        key = instance.client.make_key(["admin"], "one") if has_checks else None
        yield Asked(instance, key, stack)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=960)
    given = parser.parse_args()
    with asked(False) as plain, asked(True) as checked:
        for each in (plain, checked):
            each.seconds(given.requests)
        took: dict[Asked, list[float]] = {plain: [], checked: []}
        for number in range(given.rounds):
            for each in (plain, checked) if number % 2 else (checked, plain):
                took[each].append(1e6 * each.seconds(given.requests))
    print(f"{'µs a request':14} {'without':>9} {'with':>9} {'ratio':>7}")
    for name, place in (("lower quartile", 0), ("median", 1)):
        without, with_checks = (statistics.quantiles(took[each])[place] for each in (plain, checked))
        print(f"{name:14} {without:9.1f} {with_checks:9.1f} {with_checks / without:7.3f}")


if __name__ == "__main__":
    main()
