"""What a table of a million rows costs: dense, by rows, and in a bare loop of torch's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from app.version_loader import VersionLoader
from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.records import Item, Plan
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.versions import START, VersionFiles

COUNT, FEATURES, IDS, ROWS, REPLAYED, HIDDEN = 1_000_000, 64, 8, 32, 64, 32
STEPS, UPDATES = 6, 4
MB = 1e6
KINDS = ("dense", "by rows", "bare AdamW", "bare SparseAdam")


def spec(is_sparse: bool) -> dict[str, Any]:
    layers = [
        {"type": "embedding", "count": COUNT, "features": FEATURES, "sparse": is_sparse},
        {"type": "flatten"},
        {"type": "linear", "features": HIDDEN},
        {"type": "relu"},
    ]
    recipe = {"strategy": {"name": "replay", "replayed": REPLAYED}, "gate": {"mode": "off"}}
    return {
        "name": "ids",
        "task": "classification",
        "inputs": {"shape": [IDS], "dtype": "int64"},
        "classes": [0, 1],
        "network": {"layers": layers},
        "recipe": recipe,
    }


def labelled(step: int) -> list[Item]:
    """Rows of ids that are as often as natural ones are: a few come all the time, most once."""
    random = np.random.default_rng(step)
    ids = (random.zipf(1.1, (ROWS, IDS)) * 7919) % (COUNT - 1)
    return [Item(f"i{step}-{n}", {"inputs": row.tobytes()}, int(row[0]) % 2) for n, row in enumerate(ids)]


def measure(kind: str, files: VersionFiles, stored: Callable[[], int]) -> dict[str, float]:
    """Processor milliseconds of an update and of a step, and what a version and a checkpoint take, after the first of each."""
    return _bare(kind) if kind.startswith("bare") else _learner(kind == "by rows", files, stored)


def _bare(kind: str) -> dict[str, float]:
    is_sparse = kind == "bare SparseAdam"
    table = nn.Embedding(COUNT, FEATURES, sparse=is_sparse)
    rest = nn.Sequential(nn.Flatten(), nn.Linear(IDS * FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest.parameters(), fused=True)]
    optimizers.append(
        torch.optim.SparseAdam(table.parameters()) if is_sparse else torch.optim.AdamW(table.parameters(), fused=True)
    )
    times = []
    for step in range(STEPS * UPDATES):
        items = [*labelled(step), *labelled(100 + step), *labelled(200 + step)]
        rows = torch.tensor(np.stack([np.frombuffer(item.inputs["inputs"], np.int64) for item in items]))
        begin = time.process_time()
        for optimizer in optimizers:
            optimizer.zero_grad()
        nn.functional.cross_entropy(rest(table(rows)), rows[:, 0] % 2).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        times.append(time.process_time() - begin)
    return {"update ms": 1e3 * float(np.median(times[1:]))}


def _learner(is_sparse: bool, files: VersionFiles, stored: Callable[[], int]) -> dict[str, float]:
    learner = Learner.create(parse(ModelSpec, spec(is_sparse)), seed=1)
    digests = [_version(files, learner, 1)]
    updates: list[float] = []
    steps, written, sizes = [], [], []
    update = learner.course.update

    def timed(*arguments: Any) -> str | None:
        begin = time.process_time()
        found = update(*arguments)
        updates.append(time.process_time() - begin)
        return found

    learner.course.update = timed  # type: ignore[method-assign, assignment]
    for step in range(STEPS):
        items, first = labelled(step), ROWS * step
        begin = time.process_time()
        plan = Plan(updates=UPDATES, publish=True, version=step + 2)
        learner.learn(items, range(first + 1, first + ROWS + 1), plan)
        learner.digest()
        steps.append(time.process_time() - begin)
        before, begin = stored(), time.process_time()
        digests.append(_version(files, learner, step + 2))
        written.append(time.process_time() - begin)
        sizes.append(stored() - before)
        if step >= STEPS - 2:
            before = stored()
            files.write_checkpoint(Model(learner.spec, learner.classes, learner.module), learner.present_state(), START)
            checkpoint = stored() - before
    return {
        "update ms": 1e3 * float(np.median(updates[1:])),
        "step ms": 1e3 * float(np.median(steps[1:])),
        "version MB": float(np.median(sizes)) / MB,
        "write ms": 1e3 * float(np.median(written)),
        "checkpoint MB": checkpoint / MB,
        "swap ms": 1e3 * asyncio.run(_swapped(files, digests)),
    }


def _version(files: VersionFiles, learner: Learner, number: int) -> str:
    return files.write_version(
        Model(learner.spec, learner.classes, learner.served), number, None, START, "", {}
    ).manifest


async def _swapped(files: VersionFiles, digests: list[str]) -> float:
    """Processor seconds of a swap, as a server does it, once there is a spare module."""
    loader = VersionLoader(files.artifacts, Settings())
    snapshots, times = [await loader.load(files.uid, digests[0]), await loader.load(files.uid, digests[1])], []
    for digest in digests[2:]:
        begin = time.process_time()
        snapshots.append(await loader.load(files.uid, digest, snapshots[-1], snapshots[-2]))
        times.append(time.process_time() - begin)
    loader.close()
    return float(np.median(times))
