"""Handwritten digits from a stream of the user's own: a source reads them, and the model gets better by the second.

python -m examples.streams.digits redis | nats | files
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from driftline.client.clients import Client
from driftline.processes import instance
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard

Feed = Callable[[list[str]], None]
SPEC = {"name": "digits", "task": "classification", "inputs": {"shape": [64]}, "classes": list(range(10))}
ROUND = 200


@contextlib.contextmanager
def redis_stream(folder: Path) -> Iterator[tuple[dict[str, Any], Feed]]:
    """A Valkey of its own, and a stream in it."""
    with Guard() as guard:
        server = EmbeddedServer(folder, guard)
        server.start()
        redis = Redis.from_url(server.url)

        def feed(items: list[str]) -> None:
            for each in items:
                redis.xadd("digits", {"item": each})

        yield {"type": "redis_stream", "url": server.url, "stream": "digits", "data": "item"}, feed
        redis.close()
        server.stop()


@contextlib.contextmanager
def nats_stream(folder: Path) -> Iterator[tuple[dict[str, Any], Feed]]:
    """A NATS server of the machine's, with a stream."""
    import nats

    binary = shutil.which("nats-server")
    if binary is None:
        sys.exit("nats-server is not installed: apt-get install nats-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"nats://127.0.0.1:{port}"

    async def publish(items: list[str]) -> None:
        connection = await nats.connect(url, connect_timeout=10)
        stream = connection.jetstream()
        await stream.add_stream(name="digits", subjects=["digits"])
        for each in items:
            await stream.publish("digits", each.encode())
        await connection.close()

    with Guard() as guard:
        options = ["-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)]
        process = guard.spawn([binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield {"type": "nats", "url": url, "stream": "digits"}, lambda items: asyncio.run(publish(items))
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def growing_file(folder: Path) -> Iterator[tuple[dict[str, Any], Feed]]:
    """A file that a line is added to for each label."""
    path = folder / "digits.ndjson"
    path.touch()

    def feed(items: list[str]) -> None:
        with path.open("a") as file:
            file.writelines(f"{each}\n" for each in items)

    yield {"type": "files", "path": str(path)}, feed


KINDS = {"redis": redis_stream, "nats": nats_stream, "files": growing_file}


def run(kind: str, images: np.ndarray, labels: np.ndarray, rounds: int = 6) -> list[float]:
    """Feeds the digits; the accuracy before the first, and after each round, on those that are not fed."""
    held = slice(ROUND * rounds, ROUND * rounds + 300)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (
            KINDS[kind](folder) as (source, feed),
            instance.up(DRIFTLINE_SOURCE_FOLDERS=str(folder)) as url,
            Client(url) as client,
        ):
            client.create_model(SPEC)
            client.make_source("digits", {"name": "stream", **source})
            scores = [accuracy(client, images[held], labels[held])]
            for number in range(rounds):
                chosen = slice(ROUND * number, ROUND * (number + 1))
                rows = zip(images[chosen].tolist(), labels[chosen].tolist(), strict=True)
                items = [json.dumps({"inputs": row, "label": label}) for row, label in rows]
                feed([*items, '{"label": "no digit"}'])
                while client.model("digits")["learned"] < ROUND * (number + 1):
                    time.sleep(0.2)
                scores.append(accuracy(client, images[held], labels[held]))
                found = client.source("digits", "stream")
                told = f"{found['taken']} taken, {found['refused']} refused"
                print(f"{found['state']}: {told}; {scores[-1]:.0%} of {held.stop - held.start} others are right")
    return scores


def accuracy(client: Client, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of digits that the live version knows."""
    answers = client.predict("digits", images.tolist())["predictions"]
    return float(np.mean([answer["label"] == label for answer, label in zip(answers, labels, strict=True)]))


def main() -> None:
    from sklearn.datasets import load_digits

    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    images, labels = load_digits(return_X_y=True)
    run(sys.argv[1], images / 16, labels)


if __name__ == "__main__":
    main()
