"""Writes what the learner has become: versions for the app, checkpoints for recovery."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from driftline.errors import CorruptData
from driftline.learning.learner import Learner
from driftline.learning.stateful import State
from driftline.networks import bundle
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.commits import Checkpoint, CommitLog, Version


@dataclass(frozen=True)
class Position:
    """Where in its log a learner stands."""

    step: int
    offset: int


START = Position(0, 0)


class Publisher:
    """Writes and reads bundles of the model ``uid``."""

    def __init__(self, artifacts: Artifacts, uid: str) -> None:
        self.artifacts = artifacts
        self.uid = uid

    def version(
        self,
        learner: Learner,
        number: int,
        parent: int | None,
        at: Position,
        reason: str,
        scores: dict[str, Any],
        is_canary: bool = False,
    ) -> Version:
        """Writes what the learner serves, or its canary, as a version; it is live once it is committed."""
        module = learner.promotion.canary.module if is_canary and learner.promotion.canary else learner.served
        data = bundle.weights_to_bytes(module.state_dict())
        files = {"weights": bundle.BundleFile(self.artifacts.put(self.uid, data), len(data))}
        manifest = self._manifest(
            "version", learner, at, files, learner.classes_of(module), version=number, parent=parent, scores=scores
        )
        digest = self.artifacts.put(self.uid, bundle.encode(manifest))
        return Version(number, digest, parent, at.step, at.offset, manifest.created, reason, scores)

    def first(self, learner: Learner) -> Version:
        """Writes version 1 of a new model."""
        return self.version(learner, 1, None, START, "created", {})

    def checkpoint(self, learner: Learner, state: State, at: Position) -> Checkpoint:
        """Writes the learner's whole state."""
        data = bundle.weights_to_bytes(state.tensors)
        files = {"state": bundle.BundleFile(self.artifacts.put(self.uid, data), len(data))}
        manifest = self._manifest("checkpoint", learner, at, files, learner.classes, data=state.data)
        return Checkpoint(self.artifacts.put(self.uid, bundle.encode(manifest)), at.step, at.offset)

    def read(self, digest: str) -> tuple[bundle.Manifest, State]:
        """A version's or checkpoint's manifest and tensors; :class:`CorruptData` where a file is not what was written."""
        manifest = bundle.decode(self.artifacts.get(self.uid, digest))
        (file,) = manifest.files.values()
        tensors = bundle.weights_from_bytes(self.artifacts.get(self.uid, file.sha256))
        if manifest.model != self.uid:
            raise CorruptData(f"the manifest {digest} belongs to another model", code="artifact_damaged", sha256=digest)
        return manifest, State(tensors, manifest.data)

    def restored(self, digest: str, factories: Collection[str]) -> Model:
        """The model of a version, as it was written."""
        manifest, state = self.read(digest)
        spec = parse(ModelSpec, manifest.spec)
        module = build(spec, manifest.classes, factories=factories, seed=0)
        bundle.load(module, state.tensors)
        return Model(spec, manifest.classes, module)

    async def weights_of(self, commit_log: CommitLog, versions: Iterable[int]) -> dict[int, dict[str, Tensor]]:
        """The weights of kept versions, by version and name; :class:`NotFound` where one is not kept."""
        found = {}
        for number in versions:
            version = await commit_log.version(number)
            _, state = await asyncio.to_thread(self.read, version.manifest)
            found[number] = state.tensors
        return found

    def files(self, digest: str) -> set[str]:
        """The blobs that a manifest keeps: itself, and its files."""
        manifest = bundle.decode(self.artifacts.get(self.uid, digest))
        return {digest, *(file.sha256 for file in manifest.files.values())}

    def newest_step(self) -> int:
        """The newest step that any file of the model is of; 0 where there is none."""
        steps = [0]
        for data in self.artifacts.texts(self.uid):
            with contextlib.suppress(CorruptData):
                steps.append(bundle.decode(data).step)
        return max(steps)

    def _manifest(
        self,
        kind: Any,
        learner: Learner,
        at: Position,
        files: dict[str, bundle.BundleFile],
        classes: Sequence[int | str],
        **more: Any,
    ) -> bundle.Manifest:
        return bundle.Manifest(
            kind=kind,
            model=self.uid,
            step=at.step,
            offset=at.offset,
            spec=learner.spec.model_dump(mode="json"),
            classes=list(classes),
            created=time.time(),
            files=files,
            **more,
        )
