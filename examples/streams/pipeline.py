"""A model in a pipeline without HTTP: rows come in one stream, their predictions leave in another, and labels come in a third.

python -m examples.streams.pipeline
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from driftline.client.clients import Client
from driftline.processes import instance
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard

SPEC = {"name": "digits", "task": "classification", "inputs": {"shape": [64]}, "classes": list(range(10))}
ROUND = 200


def sources(url: str) -> list[dict[str, Any]]:
    """Rows that are answered into a stream, and labels that may come before their rows."""
    stream = {"type": "redis_stream", "url": url}
    sink = {**stream, "stream": "predictions"}
    return [
        {**stream, "name": "rows", "stream": "rows", "mode": "infer", "sink": sink},
        {**stream, "name": "labels", "stream": "labels", "wait_seconds": 600},
    ]


def run(images: np.ndarray, labels: np.ndarray, rounds: int = 8) -> list[float]:
    """Feeds rows and labels, a third of which come first; how many predictions of each round were right."""
    scores: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Guard() as guard:
        server = EmbeddedServer(Path(folder), guard)
        server.start()
        with instance.up() as url, Client(url) as client, Redis.from_url(server.url) as redis:
            client.create_model(SPEC)
            for source in sources(server.url):
                client.make_source("digits", source)
            for number in range(rounds):
                chosen = range(ROUND * number, ROUND * (number + 1))
                early = random.sample(chosen, ROUND // 3)
                for n in early:
                    redis.xadd("labels", {"key": f"digit {n}", "label": int(labels[n])})
                for n in chosen:
                    redis.xadd("rows", {"key": f"digit {n}", "inputs": json.dumps(images[n].tolist())})
                for n in sorted({*chosen} - {*early}):
                    redis.xadd("labels", {"key": f"digit {n}", "label": int(labels[n])})
                while client.model("digits")["learned"] < ROUND * (number + 1):
                    time.sleep(0.2)
                scores.append(share_right(redis, labels, chosen))
                print(
                    f"round {number + 1}: {scores[-1]:.0%} of {ROUND} predictions were right, before their labels were learned"
                )
        server.stop()
    return scores


def share_right(redis: Any, labels: np.ndarray, chosen: range) -> float:
    """How many of the predictions that left were of the class that the label says."""
    found = [json.loads(fields[b"data"]) for _, fields in redis.xrange("predictions")]
    told = {each["key"]: each["label"] for each in found}
    return float(np.mean([told[f"digit {n}"] == labels[n] for n in chosen]))


def main() -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    run(images / 16, labels)


if __name__ == "__main__":
    main()
