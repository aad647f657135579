"""Builds snapshots in a thread of its own: reads and checks a version's files, builds its module and warms it up."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from driftline.errors import ServerError, Unavailable
from driftline.networks import bundle, sealed
from driftline.networks.build import build
from driftline.networks.bundle import Manifest
from driftline.networks.compilation import compile_network
from driftline.networks.devices import present_device
from driftline.networks.experts.serving import has_experts
from driftline.networks.kernels.all_kernels import warm
from driftline.networks.kernels.compilation import compilation
from driftline.networks.served_model import ServedModel
from driftline.rows.rows import zeros
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.support.memory import give_back
from driftline.versions import VersionFiles

from .network_code import network_code
from .snapshot import Limits, Snapshot


class VersionLoader:
    """Makes snapshots of versions.

    Args:
        warm_up_rows: the batch sizes that a new module computes before it is served.
    """

    def __init__(self, artifacts: Artifacts, settings: Settings, warm_up_rows: Sequence[int] = (1, 8, 32)) -> None:
        self.artifacts = artifacts
        self.settings = settings
        self.warm_up_rows = warm_up_rows
        self._thread = ThreadPoolExecutor(1, "prepare")

    async def warm_up(self) -> None:
        """Gets ready what answers of all models need: compiled kernels."""
        await asyncio.get_running_loop().run_in_executor(self._thread, warm)

    async def load(
        self, uid: str, digest: str, before: Snapshot | None = None, spare: Snapshot | None = None, largest: int = 1
    ) -> Snapshot:
        """A snapshot of the version whose manifest has this digest; ``failure`` says what its network raised in warm-up.

        Args:
            before: the snapshot that is served until then.
            spare: a snapshot that is no longer used: its module is reused where the structure is the same.
            largest: the most rows that a batch of this model has had.

        Raises:
            CorruptData: a file is missing or damaged.
            InvalidInput: the network's factory fails, or is not allowed here.
            ServerError: ``network_failed``: the module of a user's own cannot be built or loaded.
            Unavailable: ``not_ready``: kernels are compiled, which may take minutes.
        """
        if (compiled := compilation()) is not None:
            raise Unavailable(compiled, code="not_ready", retry_after=1)
        prepare = partial(self._prepare, uid, digest, before, spare, largest)
        return await asyncio.get_running_loop().run_in_executor(self._thread, prepare)

    def _prepare(
        self, uid: str, digest: str, before: Snapshot | None, spare: Snapshot | None, largest: int
    ) -> Snapshot:
        version_files = VersionFiles(self.artifacts, uid)
        manifest = version_files.manifest(digest)
        assert manifest.version is not None
        spec, limits = self._spec(manifest, before)
        small = version_files.small(manifest)
        with network_code(f"the network of version {manifest.version}"):
            module = self._module(spec, manifest, spare, has_experts([*small, *manifest.tensors]))
            # What is read takes the place of what the module has, and does not stand beside it.
            tables = version_files.brought_up(module, manifest) if spare is not None and module is spare.module else {}
            sealed.release(module, manifest.tensors.keys() - manifest.rows.keys())
            if manifest.tensors:
                give_back()
            tensors = small | version_files.large(manifest, leaving=tables) | tables
            # What has not changed is the live version's as well.
            bundle.load(module, tensors, is_trained=False)
        # The module may be another version's before the last answer of this one is written.
        factors = None if module.prior is None else module.prior.factors.cpu().numpy()
        known = uid, manifest.version, spec, manifest.spec, manifest.classes
        snapshot = Snapshot(*known, module, module.device, limits, factors, offset=manifest.offset)
        if spare is not None and module is spare.module:
            return dataclasses.replace(snapshot, failure=spare.failure)
        return _warmed(snapshot, {*self.warm_up_rows, largest})

    def _spec(self, manifest: Manifest, before: Snapshot | None) -> tuple[ModelSpec, Limits]:
        """The parsed spec of a manifest; the object of the snapshot before where nothing has changed."""
        if before is not None and before.raw_spec == manifest.spec:
            return before.spec, before.limits
        spec = parse(ModelSpec, manifest.spec)
        return spec, Limits.of(spec, self.settings)

    def _module(self, spec: ModelSpec, manifest: Manifest, spare: Snapshot | None, serves_experts: bool) -> ServedModel:
        is_alike = spare is not None and spare.classes == manifest.classes and _has_structure(spare.spec, spec)
        # Versions of a former release may have had no mixture where the same spec has one now.
        if spare is not None and is_alike and (spare.module.experts is not None) == serves_experts:
            return spare.module
        module = build(spec, manifest.classes, factories=self.settings.factories, seed=0)
        if spec.device is None:
            module.on(present_device(self.settings.device, "DRIFTLINE_DEVICE"))
        if spec.compile:
            compile_network(module, spec)
        return module

    def close(self) -> None:
        self._thread.shutdown()


def _has_structure(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether the modules of two specs of a model differ in nothing but their weights."""
    both = [(each.inputs, each.network, each.strategy, each.recipe.decide) for each in (one, other)]
    return both[0] == both[1]


def _warmed(snapshot: Snapshot, sizes: Iterable[int]) -> Snapshot:
    """The snapshot after a batch of each size: the first batches of a module are slow, and no request should wait for them."""
    for rows in sorted(sizes):
        inputs = zeros(snapshot.spec, rows)
        try:
            with network_code(f"the network of version {snapshot.version}, on {rows} rows of zeros,"):
                snapshot.compute(inputs)
        except ServerError as failed:
            return dataclasses.replace(snapshot, failure=failed.message)
    return snapshot
