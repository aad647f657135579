"""What attacks on a connection cost a serving process: its memory, and how long they were let go on.

python -m benchmarks.attacks

Each attack is made on a whole instance of its own, over 127.0.0.1, by a caller without a key and, where it says so, with one.
The memory is the resident size of the serving process, before, at its highest while the attack goes on, and after it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from benchmarks.common.processes import resident_bytes
from driftline.client.clients import Client
from tests.services import Instance, spec, up

MiB = 2**20
HOST = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Target:
    """A serving process, and a key for it."""

    port: int
    process: int
    key: str

    def connect(self) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port), 60)
        found.settimeout(60)
        return found

    def head(self, path: str, kind: bytes = b"application/json", has_key: bool = True) -> bytes:
        own = b"Authorization: Bearer %b\r\n" % self.key.encode() if has_key else b""
        return b"POST %b HTTP/1.1\r\n" % path.encode() + HOST.replace(b"application/json", kind) + own


def endless_headers(target: Target) -> str:
    """Headers without an end on one connection, for as long as it lasts, ten seconds at most."""
    sent, end = 0, time.monotonic() + 10
    with target.connect() as client, contextlib.suppress(OSError):
        client.sendall(b"GET /livez HTTP/1.1\r\n")
        while time.monotonic() < end:
            client.sendall(b"x: %b\r\n" % (b"y" * 1000) * 64)
            sent += 64 * 1005
    return f"{sent / MiB:.1f} MiB were sent"


def long_urls(target: Target) -> str:
    """4,200 URLs of 60 kB, each another one."""
    refused = 0
    for number in range(4200):
        with target.connect() as client, contextlib.suppress(OSError):
            client.sendall(b"GET /v1/models/%d%b HTTP/1.1\r\n" % (number, b"y" * 60_000) + HOST + b"\r\n")
            refused += client.recv(4096).startswith(b"HTTP/1.1 414")
    return f"{refused} were told 414"


def held_bodies(target: Target, has_key: bool = False) -> str:
    """300 bodies of 1 MB of which the last byte does not come."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(target.connect()) for _ in range(300)]
        for client in clients:
            client.settimeout(5)
            with contextlib.suppress(OSError):
                client.sendall(
                    target.head("/v1/models/weather/predict", has_key=has_key)
                    + b"Content-Length: 1000000\r\n\r\n"
                    + b" " * 999_999
                )
        time.sleep(3)
    return "with a key" if has_key else "without a key"


def held_bodies_with_a_key(target: Target) -> str:
    """The same of a caller with a key."""
    return held_bodies(target, has_key=True)


def endless_body(target: Target) -> str:
    """A chunked body of 1,500 MB as application/x-ndjson on a call that takes no lines, with a key."""
    sent, part = 0, b"100000\r\n" + b" " * MiB + b"\r\n"
    with target.connect() as client:
        client.sendall(target.head("/v2/models/weather/infer", b"application/x-ndjson"))
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while sent < 1500 * MiB:
                client.sendall(part)
                sent += MiB
        with contextlib.suppress(OSError):
            answer = client.recv(4096).partition(b"\r\n")[0].decode()
            return f"{sent / MiB:.0f} MiB were sent; {answer or 'the connection was closed'}"
    return f"{sent / MiB:.0f} MiB were sent; the connection was closed"


def broken_labels(target: Target) -> str:
    """100,000 labels that are none in one body, with a key."""
    body = b'{"items":[' + b",".join([b'{"x":1}'] * 100_000) + b"]}"
    headers = {"authorization": f"Bearer {target.key}", "content-type": "application/json"}
    begin = time.monotonic()
    answer = httpx.post(
        f"http://127.0.0.1:{target.port}/v1/models/weather/feedback", content=body, headers=headers, timeout=60
    )
    return f"{answer.status_code} with {len(answer.content):,} bytes after {time.monotonic() - begin:.2f} s"


def empty_tensors(target: Target) -> str:
    """Weights whose header names 300,000 empty tensors, with a key."""
    names = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(300_000)}
    head = json.dumps(names).encode()
    files = {
        "spec": (None, json.dumps(spec("other")).encode(), "application/json"),
        "weights": ("w.safetensors", len(head).to_bytes(8, "little") + head, "application/octet-stream"),
    }
    begin = time.monotonic()
    answer = httpx.post(
        f"http://127.0.0.1:{target.port}/v1/models",
        files=files,
        headers={"authorization": f"Bearer {target.key}"},
        timeout=120,
    )
    return f"{answer.status_code} after {time.monotonic() - begin:.2f} s"


ATTACKS: list[Callable[[Target], str]] = [
    endless_headers,
    long_urls,
    held_bodies,
    held_bodies_with_a_key,
    endless_body,
    broken_labels,
    empty_tensors,
]


@contextlib.contextmanager
def watched(process: int) -> Iterator[list[int]]:
    """The resident sizes of a process, looked at again and again."""
    sizes, is_over = [resident_bytes(process)], threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            sizes.append(resident_bytes(process))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sizes
    finally:
        is_over.set()
        thread.join()
        sizes.append(resident_bytes(process))


@contextlib.contextmanager
def attacked() -> Iterator[tuple[Target, Instance]]:
    """An instance that asks for keys, with a model."""
    with tempfile.TemporaryDirectory(prefix="driftline-") as folder, up(Path(folder)) as instance:
        instance.client.create_model(spec())
        key = instance.client.make_key(["admin"], "attacker")
        with Client(instance.url, key=key) as client:
            client.predict("weather", [[0.0] * 8])
        yield Target(urlsplit(instance.url).port or 0, instance.pid("app"), key), instance


def main() -> None:
    print(f"{'':60} {'before':>8} {'highest':>8} {'after':>8}  MiB")
    for attack in ATTACKS:
        with attacked() as (target, _), watched(target.process) as sizes:
            what = attack(target)
            time.sleep(2)
        before, highest, after = (size / MiB for size in (sizes[0], max(sizes), sizes[-1]))
        print(
            f"{(attack.__doc__ or '').splitlines()[0]:60} {before:8.0f} {highest:8.0f} {after:8.0f}  {what}", flush=True
        )


if __name__ == "__main__":
    main()
