"""Versions for the app and checkpoints for recovery, written to and read from the artifacts.

Small tensors are in one file together. A large one is a blob of its own, named by its sha256: whatever else has the same
tensor, a later version, a checkpoint's champion or another name of it, refers to that blob. So only what has changed is
written, read and compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from driftline.errors import CorruptData
from driftline.learning.stateful import State
from driftline.networks import bundle, row_history, sealed
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.networks.own_code import own_code
from driftline.row_files import RowFiles
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.commits import Checkpoint, CommitLog, Version


@dataclass(frozen=True)
class Position:
    """Where in its log a learner stands."""

    step: int
    offset: int


START = Position(0, 0)
MIN_BLOB_BYTES = 2**20
"""A tensor that is smaller, and trained, is in the file of all small ones: another file would cost more than its bytes."""


class VersionFiles:
    """The files of the versions and checkpoints of the model ``uid``.

    Files are written before the commit that names them: a crash in between leaves files that nothing refers to, which
    retention collects, and never a version without its files.
    """

    def __init__(self, artifacts: Artifacts, uid: str) -> None:
        self.artifacts = artifacts
        self.uid = uid
        self.row_files = RowFiles(artifacts, uid)

    def write_version(
        self, model: Model, number: int, parent: int | None, at: Position, reason: str, scores: Mapping[str, float]
    ) -> Version:
        """Writes a model as version ``number``; it is live once a step that names it is committed.

        Nothing may train the model meanwhile.
        """
        tensors = constants_sealed(model.module)
        manifest = self._manifest("version", model, at, tensors, version=number, parent=parent, scores=dict(scores))
        digest = self.artifacts.put(self.uid, bundle.encode(manifest))
        return Version(number, digest, parent, at.step, at.offset, manifest.created, reason, dict(scores))

    def write_first(self, model: Model) -> Version:
        """Writes version 1 of a new model."""
        return self.write_version(model, 1, None, START, "created", {})

    def write_checkpoint(self, model: Model, state: State, at: Position) -> Checkpoint:
        """Writes a learner's whole state; ``model`` is what it trains. Nothing may change the state meanwhile."""
        manifest = self._manifest("checkpoint", model, at, state.tensors, data=state.data)
        return Checkpoint(self.artifacts.put(self.uid, bundle.encode(manifest)), at.step, at.offset)

    def read(self, digest: str) -> tuple[bundle.Manifest, State]:
        """A version's or checkpoint's manifest and tensors; :class:`CorruptData` where a file is not what was written."""
        manifest = self.manifest(digest)
        return manifest, self.state(manifest)

    def manifest(self, digest: str) -> bundle.Manifest:
        """What a version or checkpoint is; :class:`CorruptData` where it is damaged."""
        manifest = bundle.decode(self.artifacts.get(self.uid, digest))
        if manifest.model != self.uid:
            raise CorruptData(f"the manifest {digest} belongs to another model", code="artifact_damaged", sha256=digest)
        return manifest

    def state(self, manifest: bundle.Manifest) -> State:
        """The tensors of a manifest, and its plain data; :class:`CorruptData` where a file is not what was written."""
        return State(self.small(manifest) | self.large(manifest), manifest.data)

    def small(self, manifest: bundle.Manifest) -> dict[str, Tensor]:
        """The tensors that are in one file together; of a former release, all."""
        return bundle.weights_from_bytes(self.artifacts.get(self.uid, manifest.together.sha256))

    def large(self, manifest: bundle.Manifest, leaving: Collection[str] = ()) -> dict[str, Tensor]:
        """The tensors that have blobs of their own; those that several names have, or another module, are one.

        Args:
            leaving: names that are not read.
        """
        names = [name for name in manifest.tensors if name not in leaving]
        tables = {name: self.row_files.read(table_files(manifest, name)) for name in names if name in manifest.rows}
        found = {
            digest: self._tensor(digest)
            for digest in {manifest.tensors[name]: None for name in names if name not in tables}
        }
        return tables | {name: found[manifest.tensors[name]] for name in names if name not in tables}

    def brought_up(self, module: nn.Module, manifest: bundle.Manifest) -> dict[str, Tensor]:
        """The tables of a module, which nobody uses, that are brought to those of a manifest by what has changed alone."""
        own = module.state_dict()
        found = {name: own[name] for name in manifest.rows if name in own}
        return {
            name: table for name, table in found.items() if self.row_files.bring_up(table, table_files(manifest, name))
        }

    def _tensor(self, digest: str) -> Tensor:
        """A tensor from its blob, or from the memory of this process, where a module has it."""
        found = sealed.in_memory(digest)
        if found is None:
            with self.artifacts.reading(self.uid, digest) as reader:
                found = bundle.read_tensor(reader)
            sealed.was_read(found, digest)
        return found

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

    def _manifest(
        self,
        kind: Literal["version", "checkpoint"],
        model: Model,
        at: Position,
        tensors: Mapping[str, Tensor],
        **more: Any,
    ) -> bundle.Manifest:
        """The manifest of tensors, which are written."""
        large = {name: tensor for name, tensor in tensors.items() if _is_large(tensor)}
        tables = {name: tensor for name, tensor in large.items() if row_history.moment_of(tensor) is not None}
        small = bundle.weights_to_bytes({name: tensor for name, tensor in tensors.items() if name not in large})
        blobs, files = self._put_large({name: tensor for name, tensor in large.items() if name not in tables})
        by_rows = self.row_files.put(tables)
        blobs |= {name: first.digest for name, (first, *_) in by_rows.items()}
        files |= {
            each.digest: bundle.BundleFile(each.digest, each.bytes) for found in by_rows.values() for each in found
        }
        together = bundle.BundleFile(self.artifacts.put(self.uid, small), len(small))
        return bundle.Manifest(
            format=bundle.FORMAT if tables else 2 if large else 1,
            kind=kind,
            model=self.uid,
            step=at.step,
            offset=at.offset,
            spec=model.spec.model_dump(mode="json"),
            classes=list(model.classes),
            created=time.time(),
            code=own_code(model.spec),
            files={"weights" if kind == "version" else "state": together, **files},
            tensors=blobs,
            rows={name: [each.digest for each in rest] for name, (_, *rest) in by_rows.items()},
            **more,
        )

    def _put_large(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, str], dict[str, bundle.BundleFile]]:
        """Writes each tensor that has no blob yet; the digests by name, and the blobs by digest."""
        blobs: dict[str, str] = {}
        files: dict[str, bundle.BundleFile] = {}
        for name, tensor in tensors.items():
            digest = blobs[name] = sealed.digest_of(tensor)
            if digest not in files:
                parts = sealed.header(tensor.dtype, tensor.shape), sealed.bytes_of(tensor)
                self.artifacts.put_parts(self.uid, digest, parts)
                files[digest] = bundle.BundleFile(digest, sum(map(len, parts)))
        return blobs, files


def constants_sealed(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module; its large frozen parameters are sealed, and so have a blob of their own."""
    tensors = module.state_dict(keep_vars=True)
    for tensor in tensors.values():
        if sealed.is_constant(tensor):
            sealed.seal(tensor)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def table_files(manifest: bundle.Manifest, name: str) -> list[str]:
    """The files that hold a table, by their sha256: all of its rows, then those that were written since, oldest first."""
    return [manifest.tensors[name], *manifest.rows[name]]


def _is_large(tensor: Tensor) -> bool:
    """Whether a tensor has a blob of its own: it is large, or many bundles may have it, since nothing writes it."""
    return sealed.can_be_blob(tensor) and (tensor.nbytes >= MIN_BLOB_BYTES or sealed.is_sealed(tensor))
