"""The memory of many models on one base: a process that serves them, and one that learns them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import torch

from app.version_loader import VersionLoader
from benchmarks.common.encoder import FACTORY, spec
from benchmarks.common.processes import resident_bytes
from driftline.learning.learner import Learner
from driftline.networks.bases import adapted
from driftline.networks.model import Model
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.spec.based import BasedSpec
from driftline.store.artifacts import Artifacts
from driftline.support.memory import give_back
from driftline.versions import START, VersionFiles

MB = 1e6
BASE = "ba5e00000000"


def measure(size: str, rank: int, count: int, folder: Path, is_learning: bool) -> dict[str, float]:
    """Megabytes of a base and of ``count`` models on it, each with adapters of its own on queries and values."""
    artifacts = Artifacts(folder)
    digests, bare = _written(size, rank, count, artifacts)
    give_back()
    before = resident_bytes(os.getpid())
    held = _learning(artifacts, digests) if is_learning else asyncio.run(_served(artifacts, digests))
    give_back()
    all_bytes, first = resident_bytes(os.getpid()) - before, held.first
    return {
        **bare,
        "models": count,
        "first MB": first / MB,
        "all MB": all_bytes / MB,
        "each more MB": (all_bytes - first) / (count - 1) / MB,
    }


class _Held:
    """What is in memory, and how much of it the first was."""

    def __init__(self) -> None:
        self.kept: list[object] = []
        self.first = 0
        self._before = resident_bytes(os.getpid())

    def take(self, one: object) -> None:
        self.kept.append(one)
        if len(self.kept) == 1:
            give_back()
            self.first = resident_bytes(os.getpid()) - self._before


def _written(size: str, rank: int, count: int, artifacts: Artifacts) -> tuple[dict[str, str], dict[str, float]]:
    """The manifests of the first versions, by uid, and the sizes of what they share and of what each has."""
    learner = Learner.create(parse(ModelSpec, spec(size, None)), seed=1, factories=[FACTORY])
    base = Model(learner.spec, learner.classes, learner.module)
    blocks = sum("query" in name for name, _ in base.module.network.named_modules())
    layers = [f"blocks.{block}.{name}" for block in range(blocks) for name in ("query", "value")]
    asked = parse(BasedSpec, {"name": "one", "network": {"base": "base", "adapter": {"rank": rank, "layers": layers}}})
    own, tensors = adapted(base, "base@1", asked.over(base.spec), asked.network.adapter)
    one = Learner.create(own, seed=2, begins_with=tensors, factories=[FACTORY])
    first = VersionFiles(artifacts, BASE).write_first(Model(one.spec, one.classes, one.module))
    blobs = frozenset(VersionFiles(artifacts, BASE).manifest(first.manifest).tensors.values())
    digests = {}
    trained = [each for each in one.module.parameters() if each.requires_grad]
    for number in range(count):
        uid = f"{number:012x}"
        with torch.no_grad():
            for parameter in trained:
                parameter.add_(torch.randn_like(parameter) * 0.01)
        artifacts.share(uid, BASE, blobs)
        model = Model(one.spec, one.classes, one.module)
        digests[uid] = VersionFiles(artifacts, uid).write_version(model, 1, None, START, "", {}).manifest
    adapter = sum(each.nbytes for each in trained)
    everything = sum(each.nbytes for each in one.module.parameters())
    return digests, {"base MB": (everything - adapter) / MB, "adapter MB": adapter / MB}


async def _served(artifacts: Artifacts, digests: dict[str, str]) -> _Held:
    held, loader = _Held(), VersionLoader(artifacts, Settings(factories=[FACTORY]), warm_up_rows=(1,))
    for uid, digest in digests.items():
        held.take(await loader.load(uid, digest))
    loader.close()
    return held


def _learning(artifacts: Artifacts, digests: dict[str, str]) -> _Held:
    held = _Held()
    for uid, digest in digests.items():
        manifest, state = VersionFiles(artifacts, uid).read(digest)
        described = parse(ModelSpec, manifest.spec)
        held.take(Learner.create(described, seed=1, weights=state.tensors, factories=[FACTORY]))
    return held
