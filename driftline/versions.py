"""Versions for the app and checkpoints for recovery, written to and read from the artifacts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from driftline.errors import CorruptData
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


class VersionFiles:
    """The files of the versions and checkpoints of the model ``uid``.

    Files are written before the commit that names them: a crash in between leaves files that nothing refers to, which
    retention collects, and never a version without its files.
    """

    def __init__(self, artifacts: Artifacts, uid: str) -> None:
        self.artifacts = artifacts
        self.uid = uid

    def write_version(
        self, model: Model, number: int, parent: int | None, at: Position, reason: str, scores: Mapping[str, float]
    ) -> Version:
        """Writes a model as version ``number``; it is live once a step that names it is committed."""
        file = self._put_tensors(model.module.state_dict())
        manifest = self._manifest(
            "version", model, at, {"weights": file}, version=number, parent=parent, scores=dict(scores)
        )
        digest = self.artifacts.put(self.uid, bundle.encode(manifest))
        return Version(number, digest, parent, at.step, at.offset, manifest.created, reason, dict(scores))

    def write_first(self, model: Model) -> Version:
        """Writes version 1 of a new model."""
        return self.write_version(model, 1, None, START, "created", {})

    def write_checkpoint(self, model: Model, state: State, at: Position) -> Checkpoint:
        """Writes a learner's whole state; ``model`` is what it trains."""
        file = self._put_tensors(state.tensors)
        manifest = self._manifest("checkpoint", model, at, {"state": file}, data=state.data)
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

    def blobs(self, digest: str) -> dict[str, int]:
        """The digests of the blobs that a manifest needs, its own and those of its files, with their bytes."""
        data = self.artifacts.get(self.uid, digest)
        return {digest: len(data), **{file.sha256: file.bytes for file in bundle.decode(data).files.values()}}

    def newest_step(self) -> int:
        """The newest step that any file of the model is of; 0 where there is none."""
        steps = [0]
        for data in self.artifacts.texts(self.uid):
            with contextlib.suppress(CorruptData):
                steps.append(bundle.decode(data).step)
        return max(steps)

    def _put_tensors(self, tensors: Mapping[str, Tensor]) -> bundle.BundleFile:
        data = bundle.weights_to_bytes(tensors)
        return bundle.BundleFile(self.artifacts.put(self.uid, data), len(data))

    def _manifest(
        self,
        kind: Literal["version", "checkpoint"],
        model: Model,
        at: Position,
        files: dict[str, bundle.BundleFile],
        **more: Any,
    ) -> bundle.Manifest:
        return bundle.Manifest(
            kind=kind,
            model=self.uid,
            step=at.step,
            offset=at.offset,
            spec=model.spec.model_dump(mode="json"),
            classes=list(model.classes),
            created=time.time(),
            files=files,
            **more,
        )
