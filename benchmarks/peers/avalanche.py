"""Avalanche's online strategies on a stream of image tasks: ``python -P -m benchmarks.peers.avalanche STRATEGY FILE MEMORY
SEED`` prints ``{"prequential", "accuracies", "rate"}``. FILE is what :func:`benchmarks.learn.images.save` wrote."""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch

# torchvision's wheel from PyPI is made for torch with CUDA: beside another torch its operators, which nobody here calls,
# are missing, and its import fails.
_operators = torch.library.Library("torchvision", "FRAGMENT")
if not hasattr(torch.ops.torchvision, "nms"):
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
warnings.filterwarnings("ignore")

from avalanche.benchmarks import split_online_stream, tensors_benchmark  # noqa: E402
from avalanche.training import DER, ER_ACE, MIR, ReservoirSamplingBuffer  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin  # noqa: E402
from avalanche.training.supervised import Naive  # noqa: E402

BATCH = 10
REPLAYED = 64
LEARNING_RATE = 3e-3


def network() -> torch.nn.Module:
    """The default network of Driftline."""
    hidden = [torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU()]
    return torch.nn.Sequential(torch.nn.Flatten(), *hidden, torch.nn.Linear(64, 10))


def strategy(name: str, memory: int) -> Any:
    """One by name, with one update for each batch of ten."""
    module = network()
    common = {
        "model": module,
        "optimizer": torch.optim.AdamW(module.parameters(), LEARNING_RATE),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_mb_size": BATCH,
        "evaluator": EvaluationPlugin(),
    }
    if name == "ER":
        buffer = ReservoirSamplingBuffer(memory)
        replay = ReplayPlugin(memory, BATCH, REPLAYED, task_balanced_dataloader=False, storage_policy=buffer)
        return Naive(**common, plugins=[replay])
    if name == "ER-ACE":
        return ER_ACE(**common, mem_size=memory, batch_size_mem=REPLAYED)
    if name == "MIR":
        return MIR(**common, mem_size=memory, batch_size_mem=REPLAYED, subsample=4 * REPLAYED)
    if name == "DER++":
        return DER(**common, mem_size=memory, batch_size_mem=REPLAYED)
    raise SystemExit(f"there is no strategy {name}")


def play(name: str, file: str, memory: int, seed: int) -> dict[str, Any]:
    """Predicts each batch, then learns it; tests after each task."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = np.load(file)
    rows, labels = torch.from_numpy(data["rows"]), torch.from_numpy(data["labels"])
    tests = [(torch.from_numpy(data[f"test_rows{n}"]), data[f"test_labels{n}"]) for n in range(len(data["ends"]))]
    learner = strategy(name, memory)
    right, accuracies, seconds = 0, [], 0.0
    for begin, end in zip([0, *data["ends"]], data["ends"], strict=False):
        task = tensors_benchmark([(rows[begin:end], labels[begin:end])], [(rows[:1], labels[:1])], task_labels=[0])
        stream = split_online_stream(task.train_stream, experience_size=BATCH, drop_last=False, shuffle=False)
        first = time.perf_counter()
        for number, experience in enumerate(stream):
            batch = slice(begin + BATCH * number, min(begin + BATCH * (number + 1), end))
            right += int((answers(learner, rows[batch]) == labels[batch].numpy()).sum())
            learner.train(experience)
        seconds += time.perf_counter() - first
        accuracies.append([float((answers(learner, images) == truth).mean()) for images, truth in tests])
    return {"prequential": right / len(labels), "accuracies": accuracies, "rate": len(labels) / seconds}


def answers(learner: Any, rows: torch.Tensor) -> Any:
    learner.model.eval()
    with torch.inference_mode():
        return learner.model(rows).argmax(1).numpy()


if __name__ == "__main__":
    print(json.dumps(play(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
