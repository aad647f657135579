"""Fashion-MNIST as a stream that drifts, and every lever pulled on the live model: ``python -m examples.image.levers``."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np

from driftline.client.clients import Client
from driftline.processes.instance import up
from examples.live import Load, answers, parameters, pull_each, show, teach

MODEL = "fashion"
USUAL_FOLDER = Path("/usr/share/datasets/fashion-mnist")
OPTIMIZER = {"name": "rmsprop", "learning_rate": 0.01}
# In Keras: Flatten(), Dense(128, "relu"), Dense(10, "softmax"); the last follows from the task.
LAYERS = [{"type": "flatten"}, {"type": "linear", "features": 128}, {"type": "relu"}]
SPEC: dict[str, Any] = {
    "name": MODEL,
    "task": "classification",
    "inputs": {"shape": [28, 28]},
    "classes": list(range(10)),
    "network": {"layers": LAYERS},
    "recipe": {"strategy": "replay", "loss": "cross_entropy", "optimizer": OPTIMIZER},
}
RELU = {"type": "relu"}
CONVOLUTIONS = [
    {"type": "conv2d", "channels": 8},
    RELU,
    {"type": "max_pool"},
    {"type": "conv2d", "channels": 16},
    RELU,
    {"type": "max_pool"},
    {"type": "flatten"},
    {"type": "linear", "features": 64},
    RELU,
]
DEEPER = {"type": "insert", "after": "relu1", "layer": {"type": "linear", "features": 128}}
SLOWER: dict[str, Any] = {"optimizer": {"name": "rmsprop", "learning_rate": 0.001}}
LEVERS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "loss: focal": {"recipe": {"loss": {"name": "focal", "gamma": 1}}},
    "rate: 0.001": {"recipe": SLOWER},
    "optimizer: adamw": {"recipe": {"optimizer": {"name": "adamw", "learning_rate": 0.001}}},
    "activation: gelu": {"recipe": SLOWER, "edits": [{"type": "activation", "to": "gelu", "layer": "relu1"}]},
    "insert a layer": {"recipe": SLOWER, "edits": [DEEPER]},
    "widen to 256": {"recipe": SLOWER, "edits": [{"type": "widen", "layer": "linear1", "features": 256}]},
    "insert and merge": {"recipe": SLOWER, "edits": [DEEPER, {"type": "merge", "layers": ["linear1", "linear2"]}]},
    "concatenate": {"recipe": SLOWER, "edits": [{"type": "concatenate", "branch": CONVOLUTIONS}]},
    "adapters": {"recipe": SLOWER, "edits": [{"type": "adapter", "rank": 8}]},
}
# A linear layer goes before an activation: merge takes two neighbours.
LEVERS["insert and merge"]["edits"][0] = DEEPER | {"after": "linear1"}


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The training images ``[rows, 28, 28]`` from 0 to 1, and their labels ``[rows]``."""

    def read(name: str, head: int) -> np.ndarray:
        with gzip.open(folder / f"{name}.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=head)

    images = read("train-images-idx3-ubyte", 16).reshape(-1, 28, 28).astype(np.float32) / 255
    return images, read("train-labels-idx1-ubyte", 8).astype(np.int64)


def drifted(images: np.ndarray) -> np.ndarray:
    """The same, inverted and turned by 90 degrees."""
    return np.rot90(1 - images, axes=(1, 2))


def run(
    images: np.ndarray, labels: np.ndarray, learned: int, new: int, tested: int, epochs: int
) -> list[dict[str, Any]]:
    """Learns ``learned`` rows and ``new`` drifted ones, then pulls each lever from the version of then; gives the table."""
    images = images.round(3)
    later, test = slice(learned, learned + new), slice(learned + new, learned + new + tested)
    with up() as url, Client(url, timeout=120) as client:
        client.create_model(SPEC)

        def accuracy(inputs: np.ndarray) -> float:
            return float((answers(client, MODEL, inputs, tested) == labels[test]).mean())

        with Load(url, MODEL) as load:
            teach(client, MODEL, images[:learned], labels[:learned])
            print(f"accuracy after {learned} labels: {accuracy(images[test]):.3f}", end="; ")
            print(f"of drifted images: {accuracy(drifted(images[test])):.3f}")
            teach(client, MODEL, drifted(images[later]), labels[later])
            rows = []
            for pulled in pull_each(client, MODEL, LEVERS, epochs, lambda: accuracy(drifted(images[test]))):
                rows.append(
                    {
                        "lever": pulled.name,
                        "before": pulled.before,
                        "after": pulled.after,
                        "promoted": pulled.promoted,
                        "seconds": pulled.seconds,
                        "parameters": parameters(client, MODEL),
                    }
                )
        print(load)
        assert load.failed == 0
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=USUAL_FOLDER, help="the folder of Fashion-MNIST's .gz files")
    parser.add_argument("--learned", type=int, default=6000)
    parser.add_argument("--new", type=int, default=1000)
    arguments = parser.parse_args()
    images, labels = load(arguments.data)
    rows = run(images, labels, arguments.learned, arguments.new, 1000, epochs=5)
    show("Fashion-MNIST, inverted and turned: accuracy before and after each lever", rows)


if __name__ == "__main__":
    main()
