"""How long it takes to forget 1 % of the labels of a model, and how good it is then, beside one that has never learned them.

The labels to be forgotten are wrong, and come from one source between the others. Accuracy is that on rows of the same stream
that nobody has learned.

python -m benchmarks.forgetting [--labels 20000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from driftline.client.clients import Client
from driftline.processes import instance

FEATURES, TEST_ROWS, BATCH = 8, 5000, 500
SOURCE = "wrong"


def stream(seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of four classes that a line alone does not part, a tenth of them at random."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, FEATURES)).astype(np.float32)
    classes = 2 * (rows[:, 0] * rows[:, 1] > 0) + (rows[:, 2] + 0.5 * rows[:, 3] > 0)
    noise = rng.random(count) < 0.1
    return rows, np.where(noise, rng.integers(0, 4, count), classes)


def learn(client: Client, name: str, items: list[dict[str, Any]]) -> None:
    """A model that has learned all of the items, and serves that."""
    spec = {"name": name, "task": "classification", "inputs": {"shape": [FEATURES]}, "classes": [0, 1, 2, 3]}
    client.create_model(spec)
    for start in range(0, len(items), BATCH):
        client.feedback(name, items[start : start + BATCH])
    client.wait_served(name, items[-1]["id"], timeout=1800)


def accuracy(client: Client, name: str, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    answers: list[Any] = []
    for start in range(0, len(rows), BATCH):
        answers += [row["label"] for row in client.predict(name, rows[start : start + BATCH])["predictions"]]
    return 100 * float(np.mean(np.array(answers) == labels))


def measure(client: Client, seed: int, count: int) -> tuple[float, dict[str, float], dict[str, Any]]:
    """Seconds to forget, accuracies, and the report of the job."""
    rows, labels = stream(seed, count + TEST_ROWS)
    is_wrong = np.zeros(count, bool)
    is_wrong[np.random.default_rng(seed + 1000).choice(count, count // 100, replace=False)] = True
    items: list[dict[str, Any]] = [
        {"id": f"i{n}", "inputs": row.tolist(), "label": int((label + wrong) % 4)}
        | ({"source": SOURCE} if wrong else {})
        for n, (row, label, wrong) in enumerate(zip(rows[:count], labels[:count], is_wrong, strict=True))
    ]
    test = rows[count:], labels[count:]
    learn(client, f"all{seed}", items)
    learn(client, f"never{seed}", [item for item in items if "source" not in item])
    found = {"with them": accuracy(client, f"all{seed}", *test), "never": accuracy(client, f"never{seed}", *test)}
    begin = time.monotonic()
    job = client.wait_for_job(client.forget(f"all{seed}", source=SOURCE), timeout=1800)
    seconds = time.monotonic() - begin
    while client.predict(f"all{seed}", rows[:1])["version"] < (job["version"] or 0):
        time.sleep(0.05)
    found["forgotten"] = accuracy(client, f"all{seed}", *test)
    return seconds, found, dict(job["report"] or {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print("| seed | seconds | labels learned again | with them | forgotten | never learned | difference |")
    print("|---|---|---|---|---|---|---|")
    with instance.up(note=lambda line: None) as url, Client(url, timeout=300) as client:
        for seed in range(given.seeds):
            seconds, found, report = measure(client, seed, given.labels)
            before, after, never = (found[name] for name in ("with them", "forgotten", "never"))
            print(
                f"| {seed} | {seconds:.1f} | {report.get('relearned', 0):,} | {before:.2f} | {after:.2f} | {never:.2f} | "
                f"{after - never:+.2f} |",
                flush=True,
            )
            print(report, file=sys.stderr)


if __name__ == "__main__":
    main()
